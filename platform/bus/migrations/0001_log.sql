-- +goose Up
-- The positions of log have no gaps: the row of head is locked by whoever appends until that commits, so a reader that has seen pos has
-- seen everything before it.
CREATE TABLE head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    pos bigint NOT NULL
) WITH (fillfactor = 10);
INSERT INTO head (pos) VALUES (0);

CREATE TABLE log (
    pos         bigint PRIMARY KEY,
    id          uuid NOT NULL,
    type        text NOT NULL,
    version     integer NOT NULL,
    occurred_at timestamptz NOT NULL,
    producer    text NOT NULL,
    subject     uuid NOT NULL,
    traceparent text NOT NULL,
    data        json NOT NULL, -- as text, so that it arrives byte for byte
    stored_at   timestamptz NOT NULL DEFAULT clock_timestamp() -- system time, for pruning
);

CREATE TABLE cursor (
    consumer text PRIMARY KEY,
    pos      bigint NOT NULL DEFAULT 0, -- handled up to here
    types    text[] NOT NULL
) WITH (fillfactor = 50);

-- What is too long for a notification; read by who hears of it, gone after a minute.
CREATE TABLE broadcast (
    id        uuid PRIMARY KEY,
    envelope  json NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
