-- +goose Up

-- How often a row was claimed. A step stores what it learned only while no later claim has been made: two processes may ask about one row at once,
-- when the rail tells of it while the first one waits for its answer.
ALTER TABLE refunds ADD COLUMN turn bigint NOT NULL DEFAULT 0;
ALTER TABLE payouts ADD COLUMN turn bigint NOT NULL DEFAULT 0;
ALTER TABLE payout_accounts ADD COLUMN turn bigint NOT NULL DEFAULT 0;
