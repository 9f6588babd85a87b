-- +goose Up
-- What a person wrote about a row that needed review, which then waits for nobody; a finding of another kind opens it again.
ALTER TABLE payments ADD COLUMN resolution text NOT NULL DEFAULT '';
ALTER TABLE refunds ADD COLUMN resolution text NOT NULL DEFAULT '';
ALTER TABLE payouts ADD COLUMN resolution text NOT NULL DEFAULT '';
CREATE INDEX payments_review ON payments (id) WHERE review <> '';
CREATE INDEX refunds_review ON refunds (id) WHERE status = 'needs_review';
CREATE INDEX payouts_review ON payouts (id) WHERE status = 'needs_review';
