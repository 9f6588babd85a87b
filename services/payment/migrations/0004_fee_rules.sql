-- +goose Up
-- What the platform takes, by category and period; an empty category is any. A rule is never changed but in when it ends.
CREATE TABLE fee_rules (
    id           uuid PRIMARY KEY,
    category     text NOT NULL,
    basis_points int NOT NULL CHECK (basis_points BETWEEN 0 AND 10000),
    valid_from   timestamptz NOT NULL,
    valid_until  timestamptz CHECK (valid_until >= valid_from),
    reason       text NOT NULL,
    created_by   uuid NOT NULL,
    created_at   timestamptz NOT NULL,
    CONSTRAINT fee_rules_apart EXCLUDE USING gist (category WITH =, tstzrange(valid_from, valid_until) WITH &&)
);
CREATE INDEX fee_rules_newest ON fee_rules (valid_from DESC, id DESC);

-- The rule that a payment's fee was frozen from; none is the configuration.
ALTER TABLE payments ADD COLUMN fee_rule_id uuid REFERENCES fee_rules (id);
