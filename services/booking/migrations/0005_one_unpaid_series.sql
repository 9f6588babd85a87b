-- +goose Up

-- A series may hold 26 of a worker's days and counts as one booking, so a client has one that is unpaid with a worker at a time.
CREATE UNIQUE INDEX series_unpaid ON series (client_id, worker_id) WHERE held > 0;
