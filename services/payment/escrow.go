package payment

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"tulifo/event"
	"tulifo/platform/audit"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
)

// books is what a batch of escrow's decisions is posted against: the payments, held until the transaction ends, what their parties owe, and
// which decisions are posted already.
type books struct {
	payments map[uuid.UUID]*payment // by booking
	balances map[purse]int64
	posted   map[string]bool
}

// read locks payments in the order of their ids, then balances in the order of their names, in one round trip.
func read(ctx context.Context, tx postgres.Tx, bookings []uuid.UUID, purses []purse, keys []string) (books, error) {
	b := books{map[uuid.UUID]*payment{}, map[purse]int64{}, map[string]bool{}}
	batch := &pgx.Batch{}
	postgres.Queue(batch, func(p payment) { b.payments[p.BookingID] = &p }, `SELECT `+columns+` FROM payments WHERE booking_id = ANY($1) ORDER BY id FOR NO KEY UPDATE`, bookings)
	queueKeys(batch, keys, b.posted)
	queueLocks(batch, purses, b.balances)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return b, fmt.Errorf("read the books: %w", err)
	}
	return b, nil
}

// paid is the payment of a booking whose money has arrived.
func (b books) paid(booking uuid.UUID) (*payment, error) {
	p := b.payments[booking]
	if p == nil || p.CompletedAt == nil {
		return nil, fmt.Errorf("escrow moves money of booking %s, for which none has arrived", booking)
	}
	return p, nil
}

// owes is what the user owes, in minor units.
func (b books) owes(user uuid.UUID, currency string) int64 {
	return -b.balances[purse{debtOf(user), currency}]
}

func (b books) owesLess(user uuid.UUID, currency string, paid int64) {
	b.balances[purse{debtOf(user), currency}] += paid
}

// onEscrowReleased posts what escrow has given to workers, less the platform's fee.
func (s *Service) onEscrowReleased(ctx context.Context, tx postgres.Tx, es []event.EscrowReleased) error {
	var bookings []uuid.UUID
	var purses []purse
	var keys []string
	for _, e := range es {
		bookings = append(bookings, e.BookingID)
		purses = append(purses, purse{debtOf(e.WorkerID), e.Amount.Currency})
		keys = append(keys, fmt.Sprint("escrow_release:", e.MoveID))
	}
	b, err := read(ctx, tx, bookings, purses, keys)
	if err != nil {
		return err
	}
	var postings []posting
	var log []audit.Entry
	before, touched := map[uuid.UUID]holding{}, map[uuid.UUID]*payment{}
	for i, e := range es {
		if b.posted[keys[i]] {
			continue
		}
		b.posted[keys[i]] = true
		p, err := b.paid(e.BookingID)
		if err != nil {
			return err
		}
		if touched[p.ID] == nil {
			before[p.ID], touched[p.ID] = p.holding(), p
		}
		if e.Amount.Currency != p.Currency {
			return fmt.Errorf("escrow releases %s of booking %s, which was paid in %s", e.Amount, e.BookingID, p.Currency)
		}
		one, after, paid, err := planRelease(p.holding(), e.MoveID, e.Amount.Minor, b.owes(p.WorkerID, p.Currency), s.clock.Now())
		if err != nil {
			return err
		}
		b.owesLess(p.WorkerID, p.Currency, paid)
		p.Released, p.FeeTaken = after.Released, after.FeeTaken
		postings = append(postings, one)
		log = append(log, moved(ctx, "escrow.released", p.ID, e.Amount))
	}
	saveReleased(tx, before, touched)
	post(tx, postings...)
	return audit.Add(ctx, tx, log...)
}

// onEscrowRefunded posts what escrow has given back, and has the retry loop send it on the rail.
func (s *Service) onEscrowRefunded(ctx context.Context, tx postgres.Tx, es []event.EscrowRefunded) error {
	var bookings []uuid.UUID
	var keys []string
	for _, e := range es {
		bookings = append(bookings, e.BookingID)
		keys = append(keys, fmt.Sprint("escrow_refund:", e.MoveID))
	}
	b, err := read(ctx, tx, bookings, nil, keys)
	if err != nil {
		return err
	}
	var postings []posting
	before, touched, done := map[uuid.UUID]holding{}, map[uuid.UUID]*payment{}, map[uuid.UUID]int64{}
	for i, e := range es {
		if b.posted[keys[i]] {
			continue
		}
		b.posted[keys[i]] = true
		p, err := b.paid(e.BookingID)
		if err != nil {
			return err
		}
		if touched[p.ID] == nil {
			before[p.ID], touched[p.ID] = p.holding(), p
		}
		if e.Amount.Currency != p.Currency {
			return fmt.Errorf("escrow refunds %s of booking %s, which was paid in %s", e.Amount, e.BookingID, p.Currency)
		}
		at := s.clock.Now()
		one, after, rail, err := planRefund(p.holding(), e.MoveID, e.Amount.Minor, p.ClientOwes, at)
		if err != nil {
			return err
		}
		p.ClientOwes -= e.Amount.Minor - rail
		p.Refunded = after.Refunded
		done[p.ID] += e.Amount.Minor - rail
		postings = append(postings, one)
		f := refund{ID: e.MoveID, PaymentID: p.ID, Amount: e.Amount.Minor, RailAmount: rail, Currency: p.Currency, Status: refundPending, CreatedAt: at}
		if err := s.startRefund(ctx, tx, p, f, e.Cause != byChargeback); err != nil {
			return err
		}
	}
	saveRefunded(tx, before, touched, done)
	post(tx, postings...)
	return nil
}

// Several batches may share a transaction, whose changes travel with COMMIT: a batch that was decided on shares which an earlier one of the
// same transaction has changed leaves version without a value, which the table refuses, and the events come again one at a time.

// saveReleased stores what was released, with COMMIT.
func saveReleased(tx postgres.Tx, before map[uuid.UUID]holding, ps map[uuid.UUID]*payment) {
	var ids []uuid.UUID
	var was, released, fee []int64
	for id, p := range ps {
		ids, was, released, fee = append(ids, id), append(was, before[id].Released), append(released, p.Released), append(fee, p.FeeTaken)
	}
	if len(ids) > 0 {
		tx.Later(`UPDATE payments p SET released = n.released, fee_taken = n.fee, version = CASE WHEN p.released = n.was THEN p.version + 1 END
			FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[]) AS n (id, was, released, fee) WHERE p.id = n.id`, ids, was, released, fee)
	}
}

// saveRefunded stores what was taken out for the client, with COMMIT, and the state that it leads to.
func saveRefunded(tx postgres.Tx, before map[uuid.UUID]holding, ps map[uuid.UUID]*payment, done map[uuid.UUID]int64) {
	var ids []uuid.UUID
	var was, refunded, paidOff []int64
	for id, p := range ps {
		ids, was, refunded, paidOff = append(ids, id), append(was, before[id].Refunded), append(refunded, p.Refunded), append(paidOff, done[id])
	}
	if len(ids) > 0 {
		tx.Later(`UPDATE payments p SET refunded = n.refunded, client_owes = p.client_owes - n.done, refund_done = p.refund_done + n.done,
				status = CASE WHEN p.charged_back > 0 THEN 'charged_back' WHEN p.refund_done + n.done >= p.amount THEN 'refunded' ELSE 'completed' END,
				version = CASE WHEN p.refunded = n.was THEN p.version + 1 END
			FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[]) AS n (id, was, refunded, done) WHERE p.id = n.id`, ids, was, refunded, paidOff)
	}
}

// byChargeback is escrow's cause of a refund for which the client's bank has taken the money already.
const byChargeback = "chargeback"

// startRefund stores a refund that is to be sent. What has paid a debt of the client's instead is done at once, and told when tell says so.
func (s *Service) startRefund(ctx context.Context, tx postgres.Tx, p *payment, f refund, tell bool) error {
	var next *time.Time
	if f.RailAmount == 0 {
		f.Status, f.SettledAt = refundSucceeded, &f.CreatedAt
		if tell {
			if err := outbox.Add(ctx, tx, p.BookingID, event.PaymentRefunded{Payment: p.event(), RefundID: f.ID, Refund: f.total()}); err != nil {
				return err
			}
		}
	} else {
		now := time.Now().UTC()
		next = &now
		poke(tx)
	}
	tx.Later(`INSERT INTO refunds (id, payment_id, amount, rail_amount, currency, status, created_at, settled_at, next_try_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		f.ID, f.PaymentID, f.Amount, f.RailAmount, f.Currency, f.Status, f.CreatedAt, f.SettledAt, next)
	return s.audited(ctx, tx, "escrow.refunded", p.ID, f.total())
}
