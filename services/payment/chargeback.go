package payment

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/stripe/stripe-go/v85"

	"tulifo/event"
	"tulifo/platform/money"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
)

// chargeback is a row of chargebacks: money that a client's bank took back; ID is the rail's dispute. Who bears it is decided once, when it is taken.
type chargeback struct {
	ID         string
	PaymentID  uuid.UUID
	Amount     int64
	FromClient int64
	FromWorker int64
	FromFees   int64
	Status     string // open, won, lost
	OpenedAt   time.Time
	ClosedAt   *time.Time
	Attempts   int
}

const chargebackColumns = `id, payment_id, amount, from_client, from_worker, from_fees, status, opened_at, closed_at, attempts`

const asksDaily = 24 * time.Hour // how often a chargeback that is open is asked about

func (c chargeback) burden() burden { return burden{c.FromClient, c.FromWorker, c.FromFees} }

// took tells whether a dispute in this state has taken money: an inquiry has not.
func took(s stripe.DisputeStatus) bool {
	switch s {
	case stripe.DisputeStatusNeedsResponse, stripe.DisputeStatusUnderReview, stripe.DisputeStatusWon, stripe.DisputeStatusLost:
		return true
	}
	return false
}

// followDispute takes the books to where the dispute d of p, whose row is locked, is. Told in any order and number its states end alike: the
// money is taken once, given back at most once, and a closed dispute stays closed.
func (s *Service) followDispute(ctx context.Context, tx postgres.Tx, p payment, d *stripe.Dispute) error {
	charged, whole := railAmount(d.Amount, d.Currency)
	if !whole || charged.Currency != p.Currency || charged.Minor <= 0 {
		return s.review(ctx, tx, p, fmt.Sprintf("dispute %s is about %d %s", d.ID, d.Amount, d.Currency))
	}
	before, err := postgres.All[chargeback](ctx, tx, `SELECT `+chargebackColumns+` FROM chargebacks WHERE payment_id = $1`, p.ID)
	if err != nil {
		return err
	}
	var c *chargeback
	var borne burden
	for i, one := range before {
		switch {
		case one.ID == d.ID:
			c = &before[i]
		case one.Status != "won":
			borne = burden{borne.Client + one.FromClient, borne.Worker + one.FromWorker, borne.Fees + one.FromFees}
		}
	}
	if c == nil && !took(d.Status) {
		return nil
	}
	wallet, debt := purse{walletOf(p.WorkerID), p.Currency}, purse{debtOf(p.WorkerID), p.Currency}
	b, err := read(ctx, tx, nil, []purse{wallet, debt}, disputeFees(d))
	if err != nil {
		return err
	}
	at := s.clock.Now()
	bookDisputeFees(tx, p, d, b, at)
	if c == nil {
		bears := bear(p.holding(), charged.Minor, borne)
		c = &chargeback{d.ID, p.ID, charged.Minor, bears.Client, bears.Worker, bears.Fees, "open", at, nil, 0}
		fromWallet := min(b.balances[wallet], bears.Worker)
		post(tx, planChargeback(p.holding(), d.ID, bears, fromWallet, at))
		b.balances[wallet] -= fromWallet
		b.balances[debt] -= bears.Worker - fromWallet
		p.ClientOwes += bears.Client
		p.ChargedBack += c.Amount
		tx.Later(`INSERT INTO chargebacks (id, payment_id, amount, from_client, from_worker, from_fees, status, opened_at, next_try_at) VALUES ($1, $2, $3, $4, $5, $6, 'open', $7, $8)`,
			c.ID, c.PaymentID, c.Amount, c.FromClient, c.FromWorker, c.FromFees, at, time.Now().UTC().Add(asksDaily))
		if err := s.audited(ctx, tx, "payment.charged_back", p.ID, charged); err != nil {
			return err
		}
		if err := outbox.Add(ctx, tx, p.BookingID, event.PaymentChargedBack{Payment: p.event(), Charged: charged}); err != nil {
			return err
		}
	}
	switch {
	case c.Status != "open":
	case d.Status == stripe.DisputeStatusWon:
		if err := s.winChargeback(ctx, tx, &p, *c, b, at); err != nil {
			return err
		}
	case d.Status == stripe.DisputeStatusLost:
		tx.Later(`UPDATE chargebacks SET status = 'lost', closed_at = $2, next_try_at = NULL WHERE id = $1`, c.ID, at)
		e := event.PaymentChargebackLost{Payment: p.event(), Charged: charged, Owed: money.Of(min(p.ClientOwes, c.FromClient), p.Currency)}
		if err := s.audited(ctx, tx, "payment.chargeback_lost", p.ID, charged); err != nil {
			return err
		}
		if err := outbox.Add(ctx, tx, p.BookingID, e); err != nil {
			return err
		}
	}
	p.Status = p.settled()
	s.save(tx, p)
	// A refund that the rail refuses while the charge is disputed finds what it needs now.
	tx.Later(`UPDATE refunds SET next_try_at = $2 WHERE payment_id = $1 AND status = 'pending' AND next_try_at > $2`, p.ID, time.Now().UTC())
	poke(tx)
	return nil
}

// disputeFees are the business keys of what the rail has charged for the dispute itself.
func disputeFees(d *stripe.Dispute) (keys []string) {
	for _, one := range d.BalanceTransactions {
		keys = append(keys, fmt.Sprint("dispute_fee:", d.ID, ":", one.ID))
	}
	return keys
}

// bookDisputeFees books what the rail keeps for handling the dispute, or has given back of it; the platform pays it.
func bookDisputeFees(tx postgres.Tx, p payment, d *stripe.Dispute, b books, at time.Time) {
	for i, key := range disputeFees(d) {
		one := d.BalanceTransactions[i]
		fee, whole := railAmount(one.Fee, one.Currency)
		if b.posted[key] || !whole || fee.Minor == 0 {
			continue
		}
		booked := posting{Key: key, Kind: kindRailFee, Subject: p.BookingID, At: at}
		booked.move(fee.Minor, fee.Currency, railFees, railClearing)
		booked.move(-fee.Minor, fee.Currency, railClearing, railFees)
		post(tx, booked)
	}
}

// retryChargeback asks what became of a chargeback that no webhook has closed.
func (s *Service) retryChargeback(ctx context.Context, c chargeback, now time.Time) error {
	d, err := s.rail.dispute(ctx, c.ID)
	if err != nil {
		return err
	}
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		p, err := lock(ctx, tx, c.PaymentID)
		if err != nil {
			return err
		}
		tx.Later(`UPDATE chargebacks SET next_try_at = $2, attempts = 0 WHERE id = $1 AND status = 'open'`, c.ID, now.Add(asksDaily))
		return s.followDispute(ctx, tx, p, d)
	})
}

// winChargeback gives back what the chargeback took, from whom it took it.
func (s *Service) winChargeback(ctx context.Context, tx postgres.Tx, p *payment, c chargeback, b books, at time.Time) error {
	one, rail := planChargebackWon(p.holding(), c.ID, c.burden(), p.ClientOwes, b.owes(p.WorkerID, p.Currency), at)
	post(tx, one)
	p.ClientOwes -= c.FromClient - rail
	p.ChargedBack -= c.Amount
	tx.Later(`UPDATE chargebacks SET status = 'won', closed_at = $2, next_try_at = NULL WHERE id = $1`, c.ID, at)
	if rail > 0 {
		// The client's refund has paid his debt, which he did not have in the end.
		f := refund{ID: uuid.NewSHA1(p.ID, []byte(c.ID)), PaymentID: p.ID, Amount: rail, RailAmount: rail, Currency: p.Currency, Status: refundPending, CreatedAt: at}
		p.RefundDone -= rail
		if err := s.startRefund(ctx, tx, p, f, true); err != nil {
			return err
		}
	}
	e := event.PaymentChargebackWon{Payment: p.event(), Charged: p.gross()}
	e.Charged.Minor = c.Amount
	if err := s.audited(ctx, tx, "payment.chargeback_won", p.ID, e.Charged); err != nil {
		return err
	}
	return outbox.Add(ctx, tx, p.BookingID, e)
}
