package review

import "tulifo/platform/export"

// heldBy is what the service holds about a person: what he wrote, and of what others wrote about him only what is revealed, without their private notes.
func (s *Service) heldBy() []export.Part {
	return []export.Part{
		{Name: "written", Rows: export.SQL(s.db, `SELECT id AS key, jsonb_build_object('id', id, 'bookingId', booking_id, 'revieweeId', reviewee_id, 'rating', rating, 'comment', comment,
			'category', category, 'privateNote', private_note, 'createdAt', created_at, 'revealedAt', revealed_at) AS doc FROM reviews WHERE reviewer_id = $1`)},
		{Name: "about", Rows: export.SQL(s.db, `SELECT id AS key, jsonb_build_object('id', id, 'bookingId', booking_id, 'reviewerId', reviewer_id, 'rating', rating, 'comment', comment,
			'category', category, 'createdAt', created_at, 'revealedAt', revealed_at) AS doc FROM reviews WHERE reviewee_id = $1 AND revealed_at IS NOT NULL`)},
		{Name: "badges", Rows: export.SQL(s.db, `SELECT badge_type AS key, jsonb_build_object('badge', badge_type, 'name', name, 'earnedAt', earned_at) AS doc FROM user_badges WHERE user_id = $1`)},
	}
}
