-- +goose Up
-- When a worker's wallet is paid out by itself; no row is by hand. next_at is business time, none while by hand or paused.
CREATE TABLE payout_schedules (
    user_id       uuid PRIMARY KEY,
    every         text NOT NULL CHECK (every IN ('manual', 'daily', 'weekly', 'monthly')),
    day           int NOT NULL CHECK (day BETWEEN 0 AND 31), -- of the week from Sunday, or of the month
    minimums      jsonb NOT NULL, -- minor units by currency
    zone          text NOT NULL,
    next_at       timestamptz,
    failures      int NOT NULL DEFAULT 0, -- in a row
    paused_at     timestamptz,
    paused_reason text NOT NULL DEFAULT '',
    last_at       timestamptz,
    last_outcome  text NOT NULL DEFAULT '',
    CHECK (next_at IS NULL OR every <> 'manual' AND paused_at IS NULL)
);
CREATE INDEX payout_schedules_due ON payout_schedules (next_at) WHERE next_at IS NOT NULL;

ALTER TABLE payouts ADD COLUMN scheduled boolean NOT NULL DEFAULT false;
CREATE INDEX payouts_under_way ON payouts (user_id, id) WHERE status NOT IN ('paid', 'failed');
CREATE INDEX refunds_under_way ON refunds (payment_id, id) WHERE status <> 'succeeded';
CREATE INDEX chargebacks_open ON chargebacks (payment_id) WHERE status = 'open';
