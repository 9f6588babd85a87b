-- +goose Up

-- What is known of bookings. Its row is locked first by whatever concerns a booking, so that a directive and the account it is for cannot miss each other.
CREATE TABLE bookings (
    booking_id uuid PRIMARY KEY,
    starts_at  timestamptz,
    version    bigint NOT NULL
);

-- Amounts are minor units of currency, gross. What remains is held - released - refunded.
CREATE TABLE escrow_accounts (
    id                   uuid PRIMARY KEY,
    booking_id           uuid        NOT NULL UNIQUE REFERENCES bookings,
    client_id            uuid        NOT NULL,
    worker_id            uuid        NOT NULL,
    payment_id           uuid        NOT NULL UNIQUE,
    held_amount          bigint      NOT NULL CHECK (held_amount > 0),
    released_amount      bigint      NOT NULL CHECK (released_amount >= 0),
    refunded_amount      bigint      NOT NULL CHECK (refunded_amount >= 0),
    currency             text        NOT NULL,
    status               text        NOT NULL,
    -- Who keeps it frozen; it may move again when the last one lets go.
    holds                text[]      NOT NULL,
    freeze_reason        text        NOT NULL,
    auto_release_enabled boolean     NOT NULL,
    auto_release_at      timestamptz,
    -- A division that is decided and waits for its time: the worker gets worker_share of the held gross, the client the rest.
    divide_at            timestamptz,
    divide_cause         text        NOT NULL,
    worker_share         bigint      NOT NULL CHECK (worker_share >= 0),
    released_at          timestamptz,
    due_at               timestamptz,
    version              bigint      NOT NULL,
    created_at           timestamptz NOT NULL,
    updated_at           timestamptz NOT NULL,
    CONSTRAINT escrow_conserved CHECK (released_amount + refunded_amount <= held_amount),
    CONSTRAINT escrow_status CHECK (status = CASE
        WHEN released_amount = held_amount THEN 'released'
        WHEN refunded_amount = held_amount THEN 'refunded'
        WHEN released_amount + refunded_amount = held_amount THEN 'split'
        WHEN cardinality(holds) > 0 THEN 'frozen'
        WHEN released_amount > 0 THEN 'partially_released'
        ELSE 'active' END),
    CONSTRAINT escrow_due CHECK (due_at IS NULL OR status IN ('active', 'partially_released'))
);
CREATE INDEX escrow_of_client ON escrow_accounts (client_id, created_at DESC, id DESC);
CREATE INDEX escrow_of_worker ON escrow_accounts (worker_id, created_at DESC, id DESC);
CREATE INDEX escrow_by_age ON escrow_accounts (created_at DESC, id DESC);
CREATE INDEX escrow_open ON escrow_accounts (status) WHERE status IN ('active', 'partially_released', 'frozen');
CREATE INDEX escrow_due ON escrow_accounts (due_at, id) WHERE due_at IS NOT NULL;

-- Every movement of money out of an account; rows are never changed. What remains falls with each, so it orders them, and there is one last move at most.
CREATE TABLE moves (
    id        uuid PRIMARY KEY,
    escrow_id uuid        NOT NULL REFERENCES escrow_accounts,
    kind      text        NOT NULL CHECK (kind IN ('release', 'refund')),
    amount    bigint      NOT NULL CHECK (amount > 0),
    remaining bigint      NOT NULL CHECK (remaining >= 0),
    cause     text        NOT NULL,
    actor     text        NOT NULL,
    at        timestamptz NOT NULL,
    CONSTRAINT moves_in_order UNIQUE (escrow_id, remaining)
);

-- What others have decided about a booking's money, each kind once; it waits here when it comes before the account.
CREATE TABLE directives (
    booking_id uuid        NOT NULL REFERENCES bookings,
    kind       text        NOT NULL CHECK (kind IN ('completed', 'cancelled', 'no_show', 'no_show_contested', 'charged_back')),
    detail     jsonb       NOT NULL,
    at         timestamptz NOT NULL,
    applied_at timestamptz,
    PRIMARY KEY (booking_id, kind)
);
