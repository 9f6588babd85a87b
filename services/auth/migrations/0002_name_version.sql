-- +goose Up
ALTER TABLE users ADD COLUMN name_version bigint NOT NULL DEFAULT 0; -- of the user.updated that name was taken from; 0: from the registration
