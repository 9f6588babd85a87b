-- +goose Up

-- Bookings that a client has made at once. held says how many of them are unpaid and live: as long as it is above zero, the series is one of the
-- bookings that table holds counts.
CREATE TABLE series (
    id         uuid PRIMARY KEY,
    worker_id  uuid        NOT NULL,
    client_id  uuid        NOT NULL,
    held       int         NOT NULL CHECK (held >= 0),
    created_at timestamptz NOT NULL
);

ALTER TABLE bookings ADD COLUMN series_id uuid REFERENCES series;
CREATE INDEX bookings_of_series ON bookings (series_id, starts_at) WHERE series_id IS NOT NULL;

-- A suspended worker's clients are not charged for cancelling.
ALTER TABLE people ADD COLUMN suspended boolean NOT NULL DEFAULT false;
