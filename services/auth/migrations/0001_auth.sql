-- +goose Up
CREATE TABLE users (
    id             uuid PRIMARY KEY,
    email          text NOT NULL, -- ASCII, as it was typed; compared without regard to case
    password_hash  text NOT NULL, -- bcrypt
    name           text NOT NULL,
    role           text NOT NULL CHECK (role IN ('worker', 'client', 'admin', 'support')),
    email_verified boolean NOT NULL,
    status         text NOT NULL CHECK (status IN ('active', 'suspended')),
    created_at     timestamptz NOT NULL, -- business time, as updated_at
    updated_at     timestamptz NOT NULL
);
CREATE UNIQUE INDEX users_email_key ON users (lower(email));

-- A sign-in: one row a device, whose refresh token is replaced at each use. All its times, and those below, are system time.
CREATE TABLE sessions (
    id            uuid PRIMARY KEY, -- claim sid of its access tokens
    user_id       uuid NOT NULL REFERENCES users,
    token_hash    bytea NOT NULL,   -- SHA-256 of the refresh token that is good now
    previous_hash bytea,            -- of the one it replaced
    rotated_at    timestamptz,
    expires_at    timestamptz NOT NULL,
    revoked_at    timestamptz,
    device        text NOT NULL,
    ip            text NOT NULL,
    created_at    timestamptz NOT NULL,
    last_seen_at  timestamptz NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id, id) WHERE revoked_at IS NULL;
CREATE INDEX sessions_expires_at ON sessions (expires_at);

-- The truth about sessions whose access tokens are no longer good.
CREATE TABLE revoked_sessions (
    session_id uuid PRIMARY KEY,
    until      timestamptz NOT NULL, -- their last access token has expired by itself
    revoked_at timestamptz NOT NULL
);
CREATE INDEX revoked_sessions_revoked_at ON revoked_sessions (revoked_at);

-- What was mailed, or will be. The token in the link is derived from id, so nothing here lets anybody in.
CREATE TABLE links (
    id         uuid PRIMARY KEY,
    user_id    uuid NOT NULL REFERENCES users,
    purpose    text NOT NULL CHECK (purpose IN ('verify', 'reset', 'email')),
    email      text NOT NULL, -- where it is sent
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    created_at timestamptz NOT NULL
);
CREATE INDEX links_user ON links (user_id) WHERE used_at IS NULL;
CREATE INDEX links_expires_at ON links (expires_at);

-- Attempts in a window; key is a hash of what they are counted by.
CREATE TABLE attempts (
    key   bytea PRIMARY KEY,
    n     integer NOT NULL,
    until timestamptz NOT NULL
);
CREATE INDEX attempts_until ON attempts (until);
