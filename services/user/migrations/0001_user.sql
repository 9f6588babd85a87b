-- +goose Up

-- Everybody's profile. What auth knows of the account (email, email_verified, role, status) is a copy, fed by its events.
CREATE TABLE user_profiles (
    user_id        uuid PRIMARY KEY,
    email          text    NOT NULL,
    email_verified boolean NOT NULL,
    role           text    NOT NULL,
    status         text    NOT NULL CHECK (status IN ('active', 'suspended', 'deleted')),
    name           text    NOT NULL,
    bio            text    NOT NULL,
    skills         jsonb   NOT NULL CHECK (jsonb_typeof(skills) = 'array'), -- [{name, proficiency}]
    experience     text    NOT NULL,
    city           text    NOT NULL,
    country        text    NOT NULL, -- ISO 3166-1 alpha-2, or empty
    lat            float8 CHECK (lat BETWEEN -90 AND 90),
    lon            float8 CHECK (lon BETWEEN -180 AND 180),
    timezone       text    NOT NULL,
    locale         text    NOT NULL,
    avatar         text    NOT NULL, -- the picture's name in the blob store, or empty
    portfolio      jsonb   NOT NULL CHECK (jsonb_typeof(portfolio) = 'array'),
    social_links   jsonb   NOT NULL CHECK (jsonb_typeof(social_links) = 'object'),
    badges         jsonb   NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(badges) = 'array'), -- [{badge, name}]
    rating_sum     bigint  NOT NULL DEFAULT 0,
    total_reviews  bigint  NOT NULL DEFAULT 0,
    rating_version bigint  NOT NULL DEFAULT 0, -- of the newest review.revealed that was applied
    average_rating numeric GENERATED ALWAYS AS (rating_sum::numeric / nullif(total_reviews, 0)) STORED,
    version        bigint  NOT NULL,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    CHECK ((lat IS NULL) = (lon IS NULL))
);
CREATE INDEX user_profiles_newest ON user_profiles (created_at DESC, user_id DESC);
CREATE INDEX user_profiles_avatar ON user_profiles (avatar) WHERE avatar <> '';

CREATE TABLE user_settings (
    user_id       uuid PRIMARY KEY,
    notifications jsonb  NOT NULL CHECK (jsonb_typeof(notifications) = 'object'),
    privacy       jsonb  NOT NULL CHECK (jsonb_typeof(privacy) = 'object'),
    preferences   jsonb  NOT NULL CHECK (jsonb_typeof(preferences) = 'object'),
    version       bigint NOT NULL,
    updated_at    timestamptz NOT NULL
);

-- A worker's offer. The last block repeats what lists filter and sort by; it is written with every change of what it repeats.
CREATE TABLE workers (
    worker_id       uuid PRIMARY KEY REFERENCES user_profiles,
    title           text    NOT NULL,
    rate_minor      bigint  NOT NULL CHECK (rate_minor >= 0), -- an hour; 0 while there is none
    currency        text    NOT NULL,
    categories      text[]  NOT NULL,
    languages       text[]  NOT NULL,
    instant_booking boolean NOT NULL,
    available       boolean NOT NULL, -- the worker takes work
    version         bigint  NOT NULL,
    updated_at      timestamptz NOT NULL,

    active          boolean  NOT NULL,
    country         text     NOT NULL,
    skill_keys      text[]   NOT NULL, -- names of the skills in lower case
    words           tsvector NOT NULL, -- of name, title, skills, categories, bio
    rating          bigint   NOT NULL, -- the average in billionths
    reviews         bigint   NOT NULL,
    created_at      timestamptz NOT NULL
);
CREATE INDEX workers_by_rating ON workers (rating DESC, reviews DESC, worker_id DESC) WHERE active;
CREATE INDEX workers_by_rate ON workers (currency, rate_minor, worker_id) WHERE active;
CREATE INDEX workers_by_age ON workers (created_at DESC, worker_id DESC) WHERE active;
CREATE INDEX workers_country ON workers (country) WHERE active;
CREATE INDEX workers_skills ON workers USING gin (skill_keys) WHERE active;
CREATE INDEX workers_words ON workers USING gin (words) WHERE active;

CREATE TABLE clients (
    client_id  uuid PRIMARY KEY REFERENCES user_profiles,
    company    text   NOT NULL,
    industry   text   NOT NULL,
    size       text   NOT NULL,
    version    bigint NOT NULL,
    updated_at timestamptz NOT NULL
);

-- Who has shared a booking with a client, and so may see the client's page.
CREATE TABLE counterparties (
    client_id uuid NOT NULL,
    worker_id uuid NOT NULL,
    PRIMARY KEY (client_id, worker_id)
);
