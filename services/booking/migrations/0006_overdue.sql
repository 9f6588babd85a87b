-- +goose Up

-- Each booking looks for its worker's overdue ones first; without the time in the index it read all that wait for an answer.
CREATE INDEX bookings_overdue ON bookings (worker_id, expires_at) WHERE status = 'pending';
DROP INDEX bookings_pending;
