-- +goose Up

CREATE TABLE workers (
    worker_id  uuid PRIMARY KEY,
    rate_minor bigint  NOT NULL,
    currency   text    NOT NULL,
    category   text    NOT NULL,
    timezone   text    NOT NULL,
    instant    boolean NOT NULL,
    active     boolean NOT NULL,
    version    bigint  NOT NULL
);

CREATE TABLE people (
    user_id  uuid PRIMARY KEY,
    verified boolean NOT NULL
);

CREATE TABLE calendars (
    worker_id        uuid PRIMARY KEY,
    timezone         text     NOT NULL,
    buffer_before    int      NOT NULL,
    buffer_after     int      NOT NULL,
    min_notice       int      NOT NULL,
    horizon_days     int      NOT NULL,
    slot_step        int      NOT NULL,
    slot_lengths     int[]    NOT NULL,
    per_day          int      NOT NULL,
    minutes_per_day  int      NOT NULL,
    per_week         int      NOT NULL,
    minutes_per_week int      NOT NULL,
    version          bigint   NOT NULL
);

CREATE TABLE weekly_rules (
    worker_id    uuid     NOT NULL REFERENCES calendars,
    day_of_week  smallint NOT NULL CHECK (day_of_week BETWEEN 0 AND 6),
    start_minute int      NOT NULL,
    end_minute   int      NOT NULL,
    CHECK (start_minute >= 0 AND start_minute < 1440 AND end_minute > start_minute AND end_minute <= start_minute + 1440),
    PRIMARY KEY (worker_id, day_of_week, start_minute)
);

-- windows is an array of [start, end] in minutes; an empty one closes the date.
CREATE TABLE date_overrides (
    worker_id uuid  NOT NULL REFERENCES calendars,
    date      date  NOT NULL,
    windows   jsonb NOT NULL,
    PRIMARY KEY (worker_id, date)
);

CREATE TABLE blocks (
    id         uuid PRIMARY KEY,
    lane       bigint GENERATED ALWAYS AS IDENTITY,
    worker_id  uuid        NOT NULL,
    starts_at  timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL CHECK (ends_at > starts_at),
    reason     text        NOT NULL,
    -- A recurring block has all of these, a one-off block none.
    days         boolean[] CHECK (cardinality(days) = 7),
    first_date   date,
    until_date   date,
    start_minute int,
    end_minute   int,
    created_at timestamptz NOT NULL,
    CHECK ((days IS NULL) = (first_date IS NULL) AND (days IS NULL) = (start_minute IS NULL) AND (days IS NULL) = (end_minute IS NULL))
);
CREATE INDEX blocks_of_worker ON blocks (worker_id, starts_at, id);

CREATE TABLE bookings (
    id               uuid PRIMARY KEY,
    worker_id        uuid        NOT NULL,
    client_id        uuid        NOT NULL,
    project_id       uuid,
    title            text        NOT NULL,
    description      text        NOT NULL,
    notes            text        NOT NULL,
    meeting_url      text        NOT NULL,
    category         text        NOT NULL,
    starts_at        timestamptz NOT NULL,
    ends_at          timestamptz NOT NULL CHECK (ends_at > starts_at),
    duration_minutes int         NOT NULL,
    rate_minor       bigint      NOT NULL CHECK (rate_minor > 0),
    amount_minor     bigint      NOT NULL CHECK (amount_minor > 0),
    currency         text        NOT NULL,
    status           text        NOT NULL CHECK (status IN ('pending', 'confirmed', 'in_progress', 'completed', 'cancelled', 'expired', 'no_show')),
    instant          boolean     NOT NULL,
    expires_at       timestamptz,
    confirmed_at     timestamptz,
    pay_by           timestamptz,
    paid_at          timestamptz,
    started_at       timestamptz,
    completed_at     timestamptz,
    ended_at         timestamptz,
    cause            text        NOT NULL,
    reason           text        NOT NULL,
    client_share     bigint,
    worker_share     bigint,
    absent           text        NOT NULL,
    settle_at        timestamptz,
    settled_at       timestamptz,
    contested_at     timestamptz,
    contest_reason   text        NOT NULL,
    earliest_start   timestamptz NOT NULL,
    proposed_by      text        NOT NULL,
    proposed_start   timestamptz,
    buffer_before    int         NOT NULL,
    buffer_after     int         NOT NULL,
    load_day         date        NOT NULL,
    due_at           timestamptz,
    version          bigint      NOT NULL,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    CHECK (client_share + worker_share = amount_minor AND client_share >= 0 AND worker_share >= 0)
);
CREATE INDEX bookings_of_worker ON bookings (worker_id, starts_at DESC, id DESC);
CREATE INDEX bookings_of_client ON bookings (client_id, starts_at DESC, id DESC);
CREATE INDEX bookings_by_start ON bookings (starts_at DESC, id DESC);
CREATE INDEX bookings_pending ON bookings (worker_id) WHERE status = 'pending';
CREATE INDEX bookings_due ON bookings (due_at) WHERE due_at IS NOT NULL;

-- What holds a worker's time. A booking takes every lane, a one-off block its own, so that blocks may overlap each other and nothing else does.
CREATE TABLE busy (
    worker_id  uuid      NOT NULL,
    lane       int8range NOT NULL,
    held       tstzrange NOT NULL,
    live       boolean   NOT NULL,
    booking_id uuid UNIQUE REFERENCES bookings,
    block_id   uuid UNIQUE REFERENCES blocks,
    CHECK (num_nonnulls(booking_id, block_id) = 1),
    CONSTRAINT busy_no_overlap EXCLUDE USING gist (worker_id WITH =, lane WITH &&, held WITH &&) WHERE (live)
);

-- What a worker has on a local date and in an ISO week (by its Monday). The limits are those of the last booking that was let in.
CREATE TABLE load (
    worker_id    uuid NOT NULL,
    period       text NOT NULL CHECK (period IN ('day', 'week')),
    start        date NOT NULL,
    bookings     int  NOT NULL,
    minutes      int  NOT NULL,
    max_bookings int,
    max_minutes  int,
    PRIMARY KEY (worker_id, period, start),
    CONSTRAINT load_counts CHECK (bookings >= 0 AND minutes >= 0),
    CONSTRAINT load_within_limit CHECK (bookings <= max_bookings AND minutes <= max_minutes)
);

-- How many unpaid live bookings a client has with a worker, and in all (under the nil worker).
CREATE TABLE holds (
    client_id uuid NOT NULL,
    worker_id uuid NOT NULL,
    held      int  NOT NULL,
    PRIMARY KEY (client_id, worker_id),
    CONSTRAINT holds_counts CHECK (held >= 0),
    CONSTRAINT holds_within_limit CHECK (held <= CASE WHEN worker_id = '00000000-0000-0000-0000-000000000000' THEN 10 ELSE 3 END)
);

-- The secret part of a calendar feed's address, as its SHA-256.
CREATE TABLE calendar_tokens (
    user_id    uuid PRIMARY KEY,
    hash       bytea       NOT NULL UNIQUE,
    created_at timestamptz NOT NULL
);
