-- +goose Up
-- System time: keys age in the real world, whatever the business clock says.
CREATE TABLE idempotency_keys (
    caller     text        NOT NULL,
    route      text        NOT NULL,
    key        text        NOT NULL,
    body_hash  bytea       NOT NULL,
    status     int,
    header     jsonb,
    answer     bytea,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (caller, route, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
