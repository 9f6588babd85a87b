package auth

import "tulifo/platform/export"

// heldBy is what the service holds about a person. Secrets, and what others did to the account, stay here; of those acts it says that they happened.
func (s *Service) heldBy() []export.Part {
	return []export.Part{
		{Name: "account", Rows: export.SQL(s.db, `SELECT id AS key, jsonb_build_object('id', id, 'email', email, 'name', name, 'role', role, 'emailVerified', email_verified,
			'status', status, 'hasPassword', password_hash <> '', 'createdAt', created_at, 'updatedAt', updated_at) AS doc FROM users WHERE id = $1`)},
		{Name: "signIns", Rows: export.SQL(s.db, `SELECT id AS key, jsonb_build_object('id', id, 'device', device, 'ip', ip, 'createdAt', created_at, 'lastSeenAt', last_seen_at,
			'expiresAt', expires_at, 'endedAt', revoked_at) AS doc FROM sessions WHERE user_id = $1`)},
		{Name: "identities", Rows: export.SQL(s.db, `SELECT provider AS key, jsonb_build_object('provider', provider, 'subject', subject, 'email', email, 'createdAt', created_at,
			'lastUsedAt', last_used_at) AS doc FROM identities WHERE user_id = $1`)},
		{Name: "secondFactors", Rows: export.SQL(s.db, `SELECT user_id AS key, jsonb_build_object('factor', 'totp', 'name', '', 'confirmedAt', confirmed_at, 'createdAt', created_at) AS doc
			FROM totps WHERE user_id = $1
			UNION ALL SELECT id, jsonb_build_object('factor', 'passkey', 'name', name, 'lastUsedAt', last_used_at, 'createdAt', created_at) FROM passkeys WHERE user_id = $1`)},
		{Name: "links", Rows: export.SQL(s.db, `SELECT id AS key, jsonb_build_object('purpose', purpose, 'email', email, 'createdAt', created_at, 'expiresAt', expires_at,
			'usedAt', used_at) AS doc FROM links WHERE user_id = $1`)},
		{Name: "log", Rows: export.SQL(s.db, `SELECT to_char(seq, 'FM0000000000000000000') AS key, jsonb_build_object('at', at, 'action', action, 'byYourself', actor = $1::uuid::text,
			'detail', CASE WHEN actor = $1::uuid::text THEN nullif(detail, '')::jsonb END) AS doc FROM audit WHERE subject = $1`)},
	}
}
