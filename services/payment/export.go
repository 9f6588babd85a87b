package payment

import "tulifo/platform/export"

// heldBy is what the service holds about a person. Amounts are minor units; the fee is shown to the worker who pays it, a failed charge to the client.
func (s *Service) heldBy() []export.Part {
	return []export.Part{
		{Name: "payments", Rows: export.SQL(s.db, `SELECT id AS key, jsonb_build_object('id', id, 'bookingId', booking_id, 'clientId', client_id, 'workerId', worker_id, 'title', title,
			'amountMinor', amount, 'currency', currency, 'status', status, 'releasedMinor', released, 'refundedMinor', refunded, 'chargedBackMinor', charged_back,
			'feeMinor', CASE WHEN worker_id = $1 THEN fee_taken END, 'failure', CASE WHEN client_id = $1 THEN failure END,
			'createdAt', created_at, 'completedAt', completed_at) AS doc FROM payments WHERE client_id = $1 OR worker_id = $1`)},
		{Name: "refunds", Rows: export.SQL(s.db, `SELECT r.id AS key, jsonb_build_object('id', r.id, 'paymentId', r.payment_id, 'amountMinor', r.amount, 'currency', r.currency,
			'status', r.status, 'createdAt', r.created_at, 'settledAt', r.settled_at) AS doc FROM refunds r JOIN payments p ON p.id = r.payment_id WHERE p.client_id = $1`)},
		{Name: "payoutAccount", Rows: export.SQL(s.db, `SELECT user_id AS key, jsonb_build_object('accountId', account_id, 'country', country, 'email', email, 'status', status,
			'reason', reason, 'createdAt', created_at) AS doc FROM payout_accounts WHERE user_id = $1`)},
		{Name: "payouts", Rows: export.SQL(s.db, `SELECT id AS key, jsonb_build_object('id', id, 'amountMinor', amount, 'currency', currency, 'status', status, 'failure', failure,
			'createdAt', created_at, 'settledAt', settled_at) AS doc FROM payouts WHERE user_id = $1`)},
		{Name: "ledger", Rows: export.SQL(s.db, `SELECT to_char(l.seq, 'FM0000000000000000000') || to_char(t.n, 'FM000000') || own.account AS key, jsonb_build_object('kind', l.kind,
			'subject', l.subject, 'at', l.posted_at, 'account', split_part(own.account, ':', 1), 'currency', t.currency,
			'amountMinor', CASE WHEN t.credit = own.account THEN t.amount ELSE -t.amount END) AS doc
			FROM unnest(ARRAY['wallet:' || $1::uuid, 'chargeback_debt:' || $1::uuid]) own (account)
			JOIN ledger_transactions l ON l.worker_id = $1 OR l.client_id = $1
			JOIN transfers t ON t.transaction = l.seq AND own.account IN (t.debit, t.credit)`)},
	}
}
