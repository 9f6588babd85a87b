-- +goose Up

-- Calendars of somebody else's whose events are busy times. next_try_at is system time; whoever claims a row moves it on before it reads the address.
CREATE TABLE external_calendars (
    id            uuid PRIMARY KEY,
    worker_id     uuid        NOT NULL,
    name          text        NOT NULL,
    url           text        NOT NULL, -- as good as a password: shown to nobody
    etag          text        NOT NULL,
    last_modified text        NOT NULL,
    covers_from   timestamptz NOT NULL, -- business time at which its busy times were worked out
    events        int         NOT NULL,
    fetched_at    timestamptz NOT NULL, -- when it was read last, and what is known is as of then
    tried_at      timestamptz NOT NULL,
    failing_since timestamptz,
    failures      int         NOT NULL,
    error         text        NOT NULL,
    next_try_at   timestamptz NOT NULL,
    created_at    timestamptz NOT NULL,
    UNIQUE (worker_id, url),
    CHECK ((failing_since IS NULL) = (failures = 0))
);
CREATE INDEX external_calendars_due ON external_calendars (next_try_at);

-- When they say busy: merged, none overlaps another of its calendar.
CREATE TABLE imported_busy (
    calendar_id uuid        NOT NULL REFERENCES external_calendars ON DELETE CASCADE,
    worker_id   uuid        NOT NULL,
    starts_at   timestamptz NOT NULL,
    ends_at     timestamptz NOT NULL CHECK (ends_at > starts_at),
    PRIMARY KEY (calendar_id, starts_at)
);
CREATE INDEX imported_busy_of_worker ON imported_busy (worker_id, ends_at, starts_at);

-- How often a worker has had addresses read within an hour of system time.
CREATE TABLE calendar_reads (
    worker_id uuid PRIMARY KEY,
    since     timestamptz NOT NULL,
    reads     int         NOT NULL
);
