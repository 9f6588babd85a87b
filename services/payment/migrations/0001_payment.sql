-- +goose Up

-- Append-only. key is the permanent business key of what caused the postings, such as payment:<id>.
CREATE TABLE ledger_transactions (
    seq       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key       text NOT NULL CONSTRAINT ledger_transactions_key UNIQUE,
    kind      text NOT NULL,
    subject   uuid NOT NULL,
    worker_id uuid,
    client_id uuid,
    posted_at timestamptz NOT NULL
);
CREATE INDEX ledger_transactions_worker ON ledger_transactions (worker_id, posted_at, seq) WHERE worker_id IS NOT NULL;
CREATE INDEX ledger_transactions_client ON ledger_transactions (client_id, posted_at, seq) WHERE client_id IS NOT NULL;
CREATE INDEX ledger_transactions_subject ON ledger_transactions (subject);

CREATE TABLE transfers (
    transaction bigint NOT NULL REFERENCES ledger_transactions (seq),
    n           smallint NOT NULL,
    debit       text COLLATE "C" NOT NULL,
    credit      text COLLATE "C" NOT NULL,
    currency    text NOT NULL,
    amount      bigint NOT NULL CHECK (amount > 0),
    PRIMARY KEY (transaction, n),
    CHECK (debit <> credit)
);

CREATE VIEW entries AS
    SELECT transaction, n, debit AS account, currency, -amount AS amount FROM transfers
    UNION ALL
    SELECT transaction, n, credit AS account, currency, amount FROM transfers;

CREATE TABLE balances (
    account  text COLLATE "C" NOT NULL,
    currency text NOT NULL,
    balance  bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (account, currency),
    CONSTRAINT balances_covered CHECK (balance >= 0 OR account LIKE 'chargeback\_debt:%'),
    CONSTRAINT balances_debt CHECK (balance <= 0 OR account NOT LIKE 'chargeback\_debt:%')
) WITH (fillfactor = 80); -- and no index on balance, so that an update stays on its page

-- Deltas of the accounts that everybody's postings touch; their balance is the sum, and rows are merged now and then.
CREATE TABLE rollup (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account  text COLLATE "C" NOT NULL,
    currency text NOT NULL,
    amount   bigint NOT NULL
);

CREATE TABLE payments (
    id               uuid PRIMARY KEY,
    booking_id       uuid NOT NULL CONSTRAINT payments_booking UNIQUE,
    client_id        uuid NOT NULL,
    worker_id        uuid NOT NULL,
    title            text NOT NULL,
    amount           bigint NOT NULL CHECK (amount > 0),
    currency         text NOT NULL,
    fee_basis_points int NOT NULL CHECK (fee_basis_points BETWEEN 0 AND 10000),
    status           text NOT NULL CHECK (status IN ('created', 'processing', 'completed', 'refunded', 'charged_back', 'cancelled', 'needs_review')),
    pay_by           timestamptz NOT NULL,
    created_at       timestamptz NOT NULL,
    completed_at     timestamptz,
    released         bigint NOT NULL DEFAULT 0 CHECK (released >= 0),
    fee_taken        bigint NOT NULL DEFAULT 0 CHECK (fee_taken BETWEEN 0 AND released),
    refunded         bigint NOT NULL DEFAULT 0 CHECK (refunded >= 0),
    refund_done      bigint NOT NULL DEFAULT 0 CHECK (refund_done >= 0),
    version          bigint NOT NULL DEFAULT 1,
    charged_back     bigint NOT NULL DEFAULT 0 CHECK (charged_back >= 0),
    client_owes      bigint NOT NULL DEFAULT 0 CHECK (client_owes >= 0),
    ends_at          timestamptz NOT NULL,
    release_at       timestamptz,
    blocked          text NOT NULL DEFAULT '',
    failure          text NOT NULL DEFAULT '',
    failed_event     text NOT NULL DEFAULT '',
    review           text NOT NULL DEFAULT '',
    intent_id        text CONSTRAINT payments_intent UNIQUE,
    intent_no        int NOT NULL DEFAULT 1,
    charge_id        text NOT NULL DEFAULT '',
    rail_fee         bigint,
    asked_at         timestamptz,
    next_try_at      timestamptz,
    attempts         int NOT NULL DEFAULT 0,
    CONSTRAINT payments_covered CHECK (released + refunded <= amount)
);
CREATE INDEX payments_client ON payments (client_id, created_at DESC, id DESC);
CREATE INDEX payments_worker ON payments (worker_id, created_at DESC, id DESC);
CREATE INDEX payments_all ON payments (created_at DESC, id DESC);
CREATE INDEX payments_held_worker ON payments (worker_id, id) WHERE completed_at IS NOT NULL AND released + refunded < amount;
CREATE INDEX payments_held_client ON payments (client_id, id) WHERE completed_at IS NOT NULL AND released + refunded < amount;
CREATE INDEX payments_retry ON payments (next_try_at) WHERE next_try_at IS NOT NULL;
CREATE INDEX payments_open ON payments (status) WHERE status IN ('created', 'processing', 'needs_review');

CREATE TABLE refunds (
    id          uuid PRIMARY KEY,
    payment_id  uuid NOT NULL REFERENCES payments (id),
    amount      bigint NOT NULL CHECK (amount > 0),
    rail_amount bigint NOT NULL CHECK (rail_amount BETWEEN 0 AND amount),
    currency    text NOT NULL,
    status      text NOT NULL CHECK (status IN ('pending', 'sent', 'succeeded', 'needs_review')),
    rail_id     text CONSTRAINT refunds_rail UNIQUE,
    review      text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL,
    settled_at  timestamptz,
    asked_at    timestamptz,
    next_try_at timestamptz,
    attempts    int NOT NULL DEFAULT 0
);
CREATE INDEX refunds_payment ON refunds (payment_id);
CREATE INDEX refunds_retry ON refunds (next_try_at) WHERE next_try_at IS NOT NULL;

CREATE TABLE chargebacks (
    id          text PRIMARY KEY,
    payment_id  uuid NOT NULL REFERENCES payments (id),
    amount      bigint NOT NULL CHECK (amount > 0),
    from_client bigint NOT NULL CHECK (from_client >= 0),
    from_worker bigint NOT NULL CHECK (from_worker >= 0),
    from_fees   bigint NOT NULL CHECK (from_fees >= 0),
    status      text NOT NULL CHECK (status IN ('open', 'won', 'lost')),
    opened_at   timestamptz NOT NULL,
    closed_at   timestamptz,
    CHECK (amount = from_client + from_worker + from_fees)
);
CREATE INDEX chargebacks_payment ON chargebacks (payment_id);

CREATE TABLE payout_accounts (
    user_id     uuid PRIMARY KEY,
    account_id  text CONSTRAINT payout_accounts_account UNIQUE,
    country     text NOT NULL,
    email       text NOT NULL,
    status      text NOT NULL CHECK (status IN ('pending', 'verified', 'refused')),
    reason      text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL,
    asked_at    timestamptz,
    next_try_at timestamptz,
    attempts    int NOT NULL DEFAULT 0
);
CREATE INDEX payout_accounts_retry ON payout_accounts (next_try_at) WHERE next_try_at IS NOT NULL;

CREATE TABLE payouts (
    id          uuid PRIMARY KEY,
    user_id     uuid NOT NULL,
    account_id  text NOT NULL,
    amount      bigint NOT NULL CHECK (amount > 0),
    currency    text NOT NULL,
    status      text NOT NULL CHECK (status IN ('pending', 'transferred', 'in_transit', 'paid', 'returning', 'failed', 'needs_review')),
    transfer_id text,
    rail_id     text CONSTRAINT payouts_rail UNIQUE,
    failure     text NOT NULL DEFAULT '',
    review      text NOT NULL DEFAULT '',
    created_at  timestamptz NOT NULL,
    settled_at  timestamptz,
    asked_at    timestamptz,
    next_try_at timestamptz,
    attempts    int NOT NULL DEFAULT 0
);
CREATE INDEX payouts_user ON payouts (user_id, created_at DESC, id DESC);
CREATE INDEX payouts_retry ON payouts (next_try_at) WHERE next_try_at IS NOT NULL;

-- What the rail told us, as it was signed. Stored before it is applied; applied once.
CREATE TABLE webhook_events (
    id          text PRIMARY KEY,
    type        text NOT NULL,
    intent_id   text NOT NULL DEFAULT '',
    tulifo_id   text NOT NULL DEFAULT '',
    payload     bytea NOT NULL,
    received_at timestamptz NOT NULL,
    outcome     text NOT NULL CHECK (outcome IN ('received', 'waiting', 'applied', 'ignored', 'given_up')),
    asked_at    timestamptz,
    next_try_at timestamptz,
    attempts    int NOT NULL DEFAULT 0
);
CREATE INDEX webhook_events_retry ON webhook_events (next_try_at) WHERE next_try_at IS NOT NULL;
CREATE INDEX webhook_events_waiting_intent ON webhook_events (intent_id) WHERE outcome = 'waiting';
CREATE INDEX webhook_events_waiting_ours ON webhook_events (tulifo_id) WHERE outcome = 'waiting';

-- A copy of whose e-mail address is proven; it may only say yes.
CREATE TABLE people (
    user_id  uuid PRIMARY KEY,
    email    text NOT NULL,
    verified boolean NOT NULL
);
