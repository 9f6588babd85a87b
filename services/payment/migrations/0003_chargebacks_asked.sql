-- +goose Up
-- An open chargeback is asked about, in system time, so that its end does not hang on a webhook alone.
ALTER TABLE chargebacks ADD COLUMN next_try_at timestamptz, ADD COLUMN attempts int NOT NULL DEFAULT 0;
UPDATE chargebacks SET next_try_at = clock_timestamp() WHERE status = 'open';
CREATE INDEX chargebacks_retry ON chargebacks (next_try_at) WHERE next_try_at IS NOT NULL;
