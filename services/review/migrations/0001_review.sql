-- +goose Up

-- Completed bookings, whose two sides may write about each other.
CREATE TABLE engagements (
    booking_id   uuid PRIMARY KEY,
    worker_id    uuid        NOT NULL,
    client_id    uuid        NOT NULL,
    category     text        NOT NULL,
    completed_at timestamptz NOT NULL
);

-- A review is hidden until revealed_at is set; due_at is when that happens by itself.
CREATE TABLE reviews (
    id           uuid PRIMARY KEY,
    booking_id   uuid        NOT NULL REFERENCES engagements,
    reviewer_id  uuid        NOT NULL,
    reviewee_id  uuid        NOT NULL CHECK (reviewee_id <> reviewer_id),
    rating       smallint    NOT NULL CHECK (rating BETWEEN 1 AND 5),
    comment      text        NOT NULL,
    category     text        NOT NULL,
    private_note text        NOT NULL,
    created_at   timestamptz NOT NULL,
    revealed_at  timestamptz,
    due_at       timestamptz,
    CONSTRAINT reviews_once UNIQUE (booking_id, reviewer_id),
    CONSTRAINT reviews_hidden_or_revealed CHECK ((due_at IS NULL) <> (revealed_at IS NULL))
);
CREATE INDEX reviews_about ON reviews (reviewee_id, created_at DESC, id DESC);
CREATE INDEX reviews_due ON reviews (due_at, id) WHERE due_at IS NOT NULL;

-- What the revealed ratings of a user come to. Reveals about one user follow each other on its row, and version counts them.
CREATE TABLE stats (
    user_id uuid PRIMARY KEY,
    count   bigint   NOT NULL,
    sum     bigint   NOT NULL,
    stars   bigint[] NOT NULL, -- how many of 1, 2, 3, 4 and 5
    version bigint   NOT NULL,
    CONSTRAINT stats_add_up CHECK (stars[1] + stars[2] + stars[3] + stars[4] + stars[5] = count AND stars[1] + 2 * stars[2] + 3 * stars[3] + 4 * stars[4] + 5 * stars[5] = sum)
);

CREATE TABLE user_badges (
    user_id     uuid        NOT NULL,
    badge_type  text        NOT NULL,
    name        text        NOT NULL,
    description text        NOT NULL,
    earned_at   timestamptz NOT NULL,
    PRIMARY KEY (user_id, badge_type)
);
