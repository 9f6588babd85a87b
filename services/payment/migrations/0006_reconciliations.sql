-- +goose Up
-- Comparisons of the books with the rail. since and until are system time, as the rail's is; due_at is business time, of a daily one.
CREATE TABLE reconciliations (
    id          uuid PRIMARY KEY,
    due_at      timestamptz CONSTRAINT reconciliations_due UNIQUE,
    at          timestamptz NOT NULL,
    since       timestamptz NOT NULL,
    until       timestamptz NOT NULL,
    status      text NOT NULL CHECK (status IN ('running', 'clean', 'different', 'failed')),
    failure     text NOT NULL DEFAULT '',
    differences int NOT NULL DEFAULT 0,
    sums        jsonb NOT NULL DEFAULT '[]',
    own         jsonb NOT NULL DEFAULT '{}', -- by currency, what the rail has more than the books say
    finished_at timestamptz
);
CREATE INDEX reconciliations_newest ON reconciliations (id DESC);

CREATE TABLE reconciliation_differences (
    report_id uuid NOT NULL REFERENCES reconciliations (id),
    n         int NOT NULL,
    kind      text NOT NULL CHECK (kind IN ('missing_here', 'missing_there', 'amount', 'status', 'unknown', 'balance')),
    object    text NOT NULL,
    our_id    text NOT NULL,
    rail_id   text NOT NULL,
    sentence  text NOT NULL,
    PRIMARY KEY (report_id, n)
);

-- When a row was stored, in system time, which is the rail's.
ALTER TABLE payments ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT clock_timestamp();
ALTER TABLE refunds ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT clock_timestamp();
ALTER TABLE payouts ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT clock_timestamp();
ALTER TABLE chargebacks ADD COLUMN recorded_at timestamptz NOT NULL DEFAULT clock_timestamp();
CREATE INDEX payments_recorded ON payments (recorded_at);
CREATE INDEX refunds_recorded ON refunds (recorded_at);
CREATE INDEX payouts_recorded ON payouts (recorded_at);
CREATE INDEX chargebacks_recorded ON chargebacks (recorded_at);
