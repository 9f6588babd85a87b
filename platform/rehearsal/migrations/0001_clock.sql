-- +goose Up
-- Business time is at, plus the system time that has passed after since; since is null where the clock stands still.
CREATE TABLE clock (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch  bigint NOT NULL DEFAULT 1, -- grows with each move
    at     timestamptz NOT NULL,
    frozen boolean NOT NULL,
    since  timestamptz,
    CHECK (frozen = (since IS NULL))
);

-- The processes that follow the clock. One that has not been seen for some seconds of system time is dead.
CREATE TABLE follower (
    id       uuid PRIMARY KEY,
    process  text NOT NULL,
    services text[] NOT NULL,
    epoch    bigint NOT NULL,  -- the last one it has seen
    busy     boolean NOT NULL, -- something due was being worked on then
    seen_at  timestamptz NOT NULL
);
