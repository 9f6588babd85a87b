package booking

import "tulifo/platform/export"

// heldBy is what the service holds about a person: his calendar, and the bookings on either side as he sees them. Amounts are minor units.
func (s *Service) heldBy() []export.Part {
	return []export.Part{
		{Name: "calendar", Rows: export.SQL(s.db, `SELECT worker_id AS key, jsonb_build_object('timezone', timezone, 'bufferBefore', buffer_before, 'bufferAfter', buffer_after,
			'minNotice', min_notice, 'horizonDays', horizon_days, 'slotStep', slot_step, 'slotLengths', slot_lengths, 'perDay', per_day, 'minutesPerDay', minutes_per_day,
			'perWeek', per_week, 'minutesPerWeek', minutes_per_week) AS doc FROM calendars WHERE worker_id = $1`)},
		{Name: "weeklyRules", Rows: export.SQL(s.db, `SELECT day_of_week || to_char(start_minute, 'FM0000') AS key, jsonb_build_object('dayOfWeek', day_of_week, 'startMinute', start_minute,
			'endMinute', end_minute) AS doc FROM weekly_rules WHERE worker_id = $1`)},
		{Name: "dateOverrides", Rows: export.SQL(s.db, `SELECT date AS key, jsonb_build_object('date', date, 'windows', windows) AS doc FROM date_overrides WHERE worker_id = $1`)},
		{Name: "blocks", Rows: export.SQL(s.db, `SELECT id AS key, jsonb_build_object('id', id, 'startTime', starts_at, 'endTime', ends_at, 'reason', reason, 'days', days,
			'firstDate', first_date, 'untilDate', until_date, 'createdAt', created_at) AS doc FROM blocks WHERE worker_id = $1`)},
		{Name: "externalCalendars", Rows: export.SQL(s.db, `SELECT id AS key, jsonb_build_object('id', id, 'name', name, 'host', substring(url FROM '://(?:[^@/]*@)?([^/:?#]+)'), 'events', events, 'lastFetchedAt', fetched_at,
			'failingSince', failing_since, 'error', error, 'createdAt', created_at) AS doc FROM external_calendars WHERE worker_id = $1`)},
		{Name: "bookings", Rows: export.SQL(s.db, `SELECT id AS key, jsonb_build_object('id', id, 'workerId', worker_id, 'clientId', client_id, 'title', title, 'description', description,
			'notes', notes, 'meetingUrl', meeting_url, 'category', category, 'startTime', starts_at, 'endTime', ends_at, 'durationMinutes', duration_minutes, 'rateMinor', rate_minor,
			'amountMinor', amount_minor, 'currency', currency, 'status', status, 'confirmedAt', confirmed_at, 'paidAt', paid_at, 'startedAt', started_at, 'completedAt', completed_at,
			'endedAt', ended_at, 'cancelledBy', cause, 'reason', reason, 'createdAt', created_at) AS doc FROM bookings WHERE worker_id = $1 OR client_id = $1`)},
	}
}
