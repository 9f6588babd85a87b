-- +goose Up
-- When its owner last proved who he is, by signing in or by a step-up since; NULL: not so that it would count for what needs a fresh proof.
ALTER TABLE sessions ADD COLUMN proved_at timestamptz;
UPDATE sessions SET proved_at = created_at;
