-- +goose Up

-- Nobody looks for postings by their subject.
DROP INDEX ledger_transactions_subject;
