-- +goose Up
ALTER TABLE user_profiles ADD COLUMN reviews_waiting bigint NOT NULL DEFAULT 0 CHECK (reviews_waiting >= 0); -- written about the user, and not revealed yet
