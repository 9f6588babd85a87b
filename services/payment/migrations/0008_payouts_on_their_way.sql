-- +goose Up
-- Compared with the rail's balance every day.
CREATE INDEX payouts_on_their_way ON payouts (id) WHERE transfer_id IS NOT NULL AND settled_at IS NULL AND status <> 'failed';
