package payment

import (
	"context"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/errs"
	"tulifo/platform/postgres"
)

const columns = `id, booking_id, client_id, worker_id, title, amount, currency, fee_basis_points, fee_rule_id, status, pay_by, created_at, completed_at,
	released, fee_taken, refunded, refund_done, charged_back, client_owes, ends_at, release_at, blocked, absent, frozen, failure, failed_event, review,
	intent_id, intent_no, charge_id, rail_fee, asked_at, next_try_at, attempts`

// insert stores p with the fee rule of its category at its creation; false: the booking has a payment already, which then takes p's date to pay by.
func (s *Service) insert(ctx context.Context, tx postgres.Tx, p payment, category string) (isNew bool, err error) {
	return postgres.One[bool](ctx, tx, `
		INSERT INTO payments (id, booking_id, client_id, worker_id, title, amount, currency, fee_basis_points, fee_rule_id, status, pay_by, created_at, ends_at)
		SELECT $1, $2, $3, $4, $5, $6, $7, f.basis_points, f.rule_id, $8, $9, $10, $11 FROM (`+ruleAt("$12", "$10", "$13", "$14")+`) AS f
		ON CONFLICT (booking_id) DO UPDATE SET pay_by = excluded.pay_by
		RETURNING id = $1`,
		p.ID, p.BookingID, p.ClientID, p.WorkerID, p.Title, p.Amount, p.Currency, p.Status, p.PayBy, p.CreatedAt, p.EndsAt,
		category, s.config.feeOfCategory(category), s.config.Fee)
}

// ask is the client's payment of a booking; when it is open, the row says from now on that the rail has been asked for an intent.
// The time of the next look is set with it, so that a process that dies during the call leaves nothing behind. NotFound: none, or another's.
func ask(ctx context.Context, q postgres.Querier, booking, client uuid.UUID, now time.Time) (payment, error) {
	return postgres.One[payment](ctx, q, `
		UPDATE payments SET
			asked_at = CASE WHEN status IN ('created', 'processing') THEN coalesce(asked_at, $3) ELSE asked_at END,
			next_try_at = CASE WHEN status IN ('created', 'processing') THEN coalesce(next_try_at, $4) ELSE next_try_at END
		WHERE booking_id = $1 AND client_id = $2 RETURNING `+columns, booking, client, now, now.Add(asksAgain))
}

// lock reads a payment and holds its row until the transaction ends.
func lock(ctx context.Context, tx postgres.Tx, id uuid.UUID) (payment, error) {
	return postgres.One[payment](ctx, tx, `SELECT `+columns+` FROM payments WHERE id = $1 FOR NO KEY UPDATE`, id)
}

// save stores what changes of a payment, whose row is locked, with COMMIT.
func (s *Service) save(tx postgres.Tx, p payment) {
	tx.Later(`
		UPDATE payments SET status = $2, completed_at = $3, released = $4, fee_taken = $5, refunded = $6, refund_done = $7, charged_back = $8,
			failure = $9, failed_event = $10, review = $11, intent_id = $12, intent_no = $13, charge_id = $14, asked_at = $15, next_try_at = $16, attempts = $17, client_owes = $18
		WHERE id = $1`,
		p.ID, p.Status, p.CompletedAt, p.Released, p.FeeTaken, p.Refunded, p.RefundDone, p.ChargedBack,
		p.Failure, p.FailedEvent, p.Review, p.IntentID, p.IntentNo, p.ChargeID, p.AskedAt, p.NextTryAt, p.Attempts, p.ClientOwes)
	if p.NextTryAt != nil && !p.NextTryAt.After(time.Now()) {
		poke(tx)
	}
}

// noteRailFee stores what the rail kept; false: it was stored before.
func noteRailFee(ctx context.Context, tx postgres.Tx, id uuid.UUID, minor int64) (first bool, err error) {
	tag, err := tx.Exec(ctx, `UPDATE payments SET rail_fee = $2, next_try_at = NULL, attempts = 0 WHERE id = $1 AND rail_fee IS NULL`, id, minor)
	return tag.RowsAffected() == 1, err
}

// wake has the webhooks that wait for an intent or for one of our rows applied. One that is locked is being applied just now, and waits for
// our rows in its turn.
func (s *Service) wake(tx postgres.Tx, intent, ours string) {
	tx.Later(`UPDATE webhook_events SET next_try_at = $3 WHERE id IN (SELECT id FROM webhook_events
		WHERE outcome = 'waiting' AND ((intent_id = $1 AND $1 <> '') OR (tulifo_id = $2 AND $2 <> '')) FOR UPDATE SKIP LOCKED)`,
		intent, ours, time.Now().UTC())
	poke(tx)
}

type key struct {
	CreatedAt time.Time
	ID        uuid.UUID
}

// pageOf is the newest payments before a key; zero ids select nothing, so an admin's page names neither.
func pageOf(ctx context.Context, q postgres.Querier, party string, who uuid.UUID, status Status, before *key, limit int) ([]payment, error) {
	where := map[string]string{"client": `client_id = $1`, "worker": `worker_id = $1`, "admin": `$1::uuid IS NOT NULL`}[party] + ` AND ($2 = '' OR status = $2)`
	if before == nil {
		return postgres.All[payment](ctx, q, `SELECT `+columns+` FROM payments WHERE `+where+` ORDER BY created_at DESC, id DESC LIMIT $3`, who, status, limit)
	}
	return postgres.All[payment](ctx, q, `SELECT `+columns+` FROM payments WHERE `+where+` AND (created_at, id) < ($4, $5) ORDER BY created_at DESC, id DESC LIMIT $3`,
		who, status, limit, before.CreatedAt, before.ID)
}

func byID(ctx context.Context, q postgres.Querier, id uuid.UUID) (payment, error) {
	return known(postgres.One[payment](ctx, q, `SELECT `+columns+` FROM payments WHERE id = $1`, id))
}

func byBooking(ctx context.Context, q postgres.Querier, booking uuid.UUID) (payment, error) {
	return known(postgres.One[payment](ctx, q, `SELECT `+columns+` FROM payments WHERE booking_id = $1`, booking))
}

var errNoPayment = errs.New(errs.NotFound, "There is no such payment.")

// known says in words that a payment is not there.
func known(p payment, err error) (payment, error) {
	if errs.KindOf(err) == errs.NotFound {
		err = errNoPayment
	}
	return p, err
}
