package escrow

import "tulifo/platform/export"

// heldBy is what the service holds about a person: the accounts on either side, with every movement. Amounts are minor units.
func (s *Service) heldBy() []export.Part {
	return []export.Part{
		{Name: "accounts", Rows: export.SQL(s.db, `SELECT id AS key, jsonb_build_object('id', id, 'bookingId', booking_id, 'clientId', client_id, 'workerId', worker_id,
			'heldMinor', held_amount, 'releasedMinor', released_amount, 'refundedMinor', refunded_amount, 'currency', currency, 'status', status,
			'autoReleaseAt', auto_release_at, 'createdAt', created_at) AS doc FROM escrow_accounts WHERE client_id = $1 OR worker_id = $1`)},
		{Name: "moves", Rows: export.SQL(s.db, `SELECT m.id AS key, jsonb_build_object('escrowId', m.escrow_id, 'kind', m.kind, 'amountMinor', m.amount, 'cause', m.cause,
			'at', m.at) AS doc FROM moves m JOIN escrow_accounts a ON a.id = m.escrow_id WHERE a.client_id = $1 OR a.worker_id = $1`)},
	}
}
