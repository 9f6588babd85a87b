-- +goose Up
ALTER TABLE payments ADD COLUMN absent text NOT NULL DEFAULT '', ADD COLUMN frozen boolean NOT NULL DEFAULT false;
UPDATE payments SET frozen = true, blocked = '' WHERE blocked = 'frozen';
UPDATE payments SET absent = 'client' WHERE blocked <> '';
