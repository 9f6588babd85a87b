-- +goose Up
-- Whose account is being deleted books nothing more. It stands on the row that each of a client's bookings changes, so that the two cannot pass each other.
ALTER TABLE holds ADD COLUMN closed boolean NOT NULL DEFAULT false, ADD CONSTRAINT holds_closed CHECK (NOT closed OR held = 0);
