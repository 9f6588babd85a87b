-- +goose Up
-- Who did what to whom. Rows are only ever inserted; the sealer then fills in pos and hash, once.
CREATE TABLE audit (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(), -- system time
    actor      text NOT NULL,
    action     text NOT NULL,
    subject    uuid NOT NULL,
    detail     text NOT NULL, -- JSON as it was written, so that its bytes can be hashed again
    request_id text NOT NULL,
    pos        bigint UNIQUE, -- place in the chain, from 1 without gaps; NULL until sealed
    hash       bytea,
    CHECK ((pos IS NULL) = (hash IS NULL))
);
CREATE INDEX audit_unsealed ON audit (seq) WHERE pos IS NULL;
CREATE INDEX audit_subject ON audit (subject, seq);
