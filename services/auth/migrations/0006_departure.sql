-- +goose Up
ALTER TABLE users DROP CONSTRAINT users_status_check, ADD CONSTRAINT users_status_check CHECK (status IN ('active', 'suspended', 'leaving', 'deleted'));

-- Accounts that are being deleted: what was broken off is taken up again, in system time.
CREATE TABLE departures (
    user_id     uuid PRIMARY KEY REFERENCES users,
    next_try_at timestamptz NOT NULL
);
CREATE INDEX departures_due ON departures (next_try_at);
