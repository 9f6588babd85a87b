-- +goose Up
-- Asked by whatever takes an administrator away.
CREATE INDEX users_admins ON users (id) WHERE role = 'admin' AND status = 'active';
-- Whoever leaves takes these along, also what is used up.
CREATE INDEX sessions_of_user ON sessions (user_id);
CREATE INDEX links_of_user ON links (user_id);
CREATE INDEX challenges_of_user ON challenges (user_id);
CREATE INDEX revoked_sessions_until ON revoked_sessions (until);
