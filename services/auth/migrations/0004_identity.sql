-- +goose Up
-- Accounts at providers with which people sign in here. All times are system time.
CREATE TABLE identities (
    provider     text NOT NULL CHECK (provider IN ('google', 'github')),
    subject      text NOT NULL, -- the provider's own, lasting name for its account
    user_id      uuid NOT NULL REFERENCES users,
    email        text NOT NULL, -- as the provider gave it when this was added
    created_at   timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    PRIMARY KEY (provider, subject)
);
CREATE UNIQUE INDEX identities_user ON identities (user_id, provider);

-- Sign-ins at providers that have been used, until they would no longer be good anyway; the state's SHA-256.
CREATE TABLE oauth_states (
    state_hash bytea PRIMARY KEY,
    until      timestamptz NOT NULL
);
CREATE INDEX oauth_states_until ON oauth_states (until);
