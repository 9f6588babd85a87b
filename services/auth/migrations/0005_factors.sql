-- +goose Up
-- An authenticator app. All times here are system time.
CREATE TABLE totps (
    user_id      uuid PRIMARY KEY REFERENCES users,
    secret       bytea NOT NULL,            -- encrypted, for this user only
    last_step    bigint NOT NULL DEFAULT 0, -- the latest step whose code was used; no earlier one is good any more
    confirmed_at timestamptz,               -- NULL: asked for, and not in force
    created_at   timestamptz NOT NULL
);

-- Codes for who has lost the app; a row goes when its code is used.
CREATE TABLE recovery_codes (
    user_id uuid NOT NULL REFERENCES users,
    hash    bytea NOT NULL, -- SHA-256 of 80 random bits
    PRIMARY KEY (user_id, hash)
);

CREATE TABLE passkeys (
    id              uuid PRIMARY KEY,
    user_id         uuid NOT NULL REFERENCES users,
    name            text NOT NULL,
    credential_id   bytea NOT NULL CONSTRAINT passkeys_credential UNIQUE, -- the authenticator's own
    public_key      bytea NOT NULL, -- COSE
    sign_count      bigint NOT NULL, -- 0: the authenticator does not count
    backup_eligible boolean NOT NULL, -- it can be on several devices
    transports      text[] NOT NULL,
    created_at      timestamptz NOT NULL,
    last_used_at    timestamptz
);
CREATE INDEX passkeys_user ON passkeys (user_id, id);

-- What an authenticator is asked to sign; a row goes when it is answered.
CREATE TABLE challenges (
    hash       bytea PRIMARY KEY, -- SHA-256 of the challenge
    purpose    text NOT NULL CHECK (purpose IN ('register', 'login', 'step_up')),
    user_id    uuid,              -- nil for login
    session_id uuid,
    data       jsonb NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX challenges_expires_at ON challenges (expires_at);
