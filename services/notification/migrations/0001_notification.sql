-- +goose Up
-- The data of this service are documents: platform/docdb makes their tables when the service starts.
COMMENT ON SCHEMA tulifo_notification IS 'documents of notification-service';
