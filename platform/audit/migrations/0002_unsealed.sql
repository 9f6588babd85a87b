-- +goose Up

-- A row that is not sealed has no place in the chain, so it needs no entry in the index of places.
CREATE UNIQUE INDEX audit_pos ON audit (pos) WHERE pos IS NOT NULL;
ALTER TABLE audit DROP CONSTRAINT audit_pos_key;
