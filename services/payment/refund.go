package payment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/stripe/stripe-go/v85"

	"tulifo/event"
	"tulifo/platform/api"
	"tulifo/platform/audit"
	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/outbox"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// States of a refund: pending → sent → succeeded, or needs_review when the rail refuses or takes it back.
const (
	refundPending   = "pending"
	refundSent      = "sent"
	refundSucceeded = "succeeded"
	refundReview    = "needs_review"
)

// refund is a row of refunds: money that escrow has given back. ID is escrow's move. RailAmount is what is sent; the rest has paid a debt.
type refund struct {
	ID         uuid.UUID
	PaymentID  uuid.UUID
	Amount     int64
	RailAmount int64
	Currency   string
	Status     string
	RailID     *string
	Review     string
	CreatedAt  time.Time
	SettledAt  *time.Time
	AskedAt    *time.Time
	NextTryAt  *time.Time
	Attempts   int
	Turn       int64 // how often it was claimed
}

const refundColumns = `id, payment_id, amount, rail_amount, currency, status, rail_id, review, created_at, settled_at, asked_at, next_try_at, attempts, turn`

func (f refund) total() money.Amount { return money.Of(f.Amount, f.Currency) }
func (f refund) sent() money.Amount  { return money.Of(f.RailAmount, f.Currency) }

// retryRefund sends a refund, or asks what became of it.
func (s *Service) retryRefund(ctx context.Context, f refund, now time.Time) error {
	p, err := byID(ctx, s.db, f.PaymentID)
	if err != nil {
		return err
	}
	if p.IntentID == nil {
		return s.reviewRefund(ctx, f, "the payment has no PaymentIntent")
	}
	r, err := s.rail.refund(ctx, f, *p.IntentID, now)
	if code, _ := refused(err); code == string(stripe.ErrorCodeChargeDisputed) {
		return s.offsetRefund(ctx, f, err)
	}
	if _, no := refused(err); no || errors.Is(err, errUndecided) {
		return s.reviewRefund(ctx, f, err.Error())
	}
	if err != nil {
		return err
	}
	return s.followRefund(ctx, f, r)
}

// followRefund takes a refund to where the rail says that it is.
func (s *Service) followRefund(ctx context.Context, from refund, r *stripe.Refund) error {
	return s.changeRefund(ctx, from, func(tx postgres.Tx, p payment, f refund) error {
		if got, whole := railAmount(r.Amount, r.Currency); !whole || got != f.sent() {
			s.saveRefund(tx, f, refundReview, r.ID, nil, fmt.Sprintf("the rail refunded %d %s instead of %s", r.Amount, r.Currency, f.sent()))
			return nil
		}
		switch r.Status {
		case stripe.RefundStatusSucceeded:
			if f.SettledAt != nil {
				s.saveRefund(tx, f, f.Status, r.ID, nil, f.Review)
				return nil
			}
			return s.settleRefund(ctx, tx, p, f, r.ID)
		case stripe.RefundStatusFailed, stripe.RefundStatusCanceled:
			return s.failRefund(ctx, tx, p, f, r)
		}
		again := time.Now().UTC().Add(asksAgain)
		s.saveRefund(tx, f, refundSent, r.ID, &again, "")
		return nil
	})
}

// offsetRefund has a refund that a chargeback has overtaken pay what the client owes because of it, who has the money from his bank. refusal is
// the answer while nothing is known of the chargeback here; what the bank did not take waits until the rail sends it.
func (s *Service) offsetRefund(ctx context.Context, from refund, refusal error) error {
	return s.changeRefund(ctx, from, func(tx postgres.Tx, p payment, f refund) error {
		if f.Status != refundPending || f.RailID != nil {
			return nil
		}
		paid := min(p.ClientOwes, f.RailAmount)
		if paid == 0 {
			over, err := postgres.One[bool](ctx, tx, `SELECT count(*) FILTER (WHERE status = 'lost') > 0 AND count(*) FILTER (WHERE status = 'open') = 0 FROM chargebacks WHERE payment_id = $1`, p.ID)
			if err != nil || !over {
				return cmp.Or(err, refusal)
			}
			s.saveRefund(tx, f, refundReview, "", nil, refusal.Error())
			return audit.Add(ctx, tx, audit.Entry{Actor: "service:payment", Action: "refund.needs_review", Subject: f.ID, Detail: map[string]string{"why": refusal.Error()}})
		}
		at := s.clock.Now()
		post(tx, planRefundOffset(p.holding(), f.ID, f.RailAmount, paid, at))
		p.ClientOwes -= paid
		p.RefundDone += paid
		p.Status = p.settled()
		s.save(tx, p)
		f.RailAmount -= paid
		tx.Later(`UPDATE refunds SET rail_amount = $2 WHERE id = $1`, f.ID, f.RailAmount)
		if f.RailAmount > 0 {
			again := time.Now().UTC().Add(asksAgain)
			s.saveRefund(tx, f, refundPending, "", &again, "")
			return nil
		}
		f.SettledAt = &at
		s.saveRefund(tx, f, refundSucceeded, "", nil, "")
		return outbox.Add(ctx, tx, p.BookingID, event.PaymentRefunded{Payment: p.event(), RefundID: f.ID, Refund: f.total()})
	})
}

func (s *Service) settleRefund(ctx context.Context, tx postgres.Tx, p payment, f refund, rail string) error {
	at := s.clock.Now()
	f.SettledAt = &at
	p.RefundDone += f.RailAmount
	p.Status = p.settled()
	s.save(tx, p)
	s.saveRefund(tx, f, refundSucceeded, rail, nil, "")
	post(tx, planRefunded(p.holding(), f.ID, f.RailAmount, at))
	return outbox.Add(ctx, tx, p.BookingID, event.PaymentRefunded{Payment: p.event(), RefundID: f.ID, Refund: f.total()})
}

// failRefund leaves the money with us, as payable to the client, and has a person look.
func (s *Service) failRefund(ctx context.Context, tx postgres.Tx, p payment, f refund, r *stripe.Refund) error {
	if f.Status == refundReview {
		return nil
	}
	if f.SettledAt != nil {
		back := p.holding().posting(fmt.Sprint("refund_failed:", f.ID), kindRefundFailed, s.clock.Now())
		back.move(f.RailAmount, f.Currency, railClearing, refundsPayable)
		post(tx, back)
		p.RefundDone -= f.RailAmount
		p.Status = p.settled()
		s.save(tx, p)
		f.SettledAt = nil
	}
	s.saveRefund(tx, f, refundReview, r.ID, nil, "the rail could not refund: "+string(r.FailureReason))
	return audit.Add(ctx, tx, audit.Entry{Actor: "service:payment", Action: "refund.needs_review", Subject: f.ID})
}

func (s *Service) reviewRefund(ctx context.Context, from refund, why string) error {
	return s.changeRefund(ctx, from, func(tx postgres.Tx, _ payment, f refund) error {
		rail := ""
		if f.RailID != nil {
			rail = *f.RailID
		}
		s.saveRefund(tx, f, refundReview, rail, nil, why)
		return audit.Add(ctx, tx, audit.Entry{Actor: "service:payment", Action: "refund.needs_review", Subject: f.ID, Detail: map[string]string{"why": why}})
	})
}

// changeRefund has fn store what a step has learned of a refund, whose row is locked, and its payment's, unless it was claimed again since from was:
// whoever did that knows more.
func (s *Service) changeRefund(ctx context.Context, from refund, fn func(postgres.Tx, payment, refund) error) error {
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		p, err := lock(ctx, tx, from.PaymentID) // first, as everybody does
		if err != nil {
			return err
		}
		f, err := postgres.One[refund](ctx, tx, `SELECT `+refundColumns+` FROM refunds WHERE id = $1 FOR NO KEY UPDATE`, from.ID)
		if err != nil || f.Turn != from.Turn {
			return err
		}
		return fn(tx, p, f)
	})
}

func (s *Service) saveRefund(tx postgres.Tx, f refund, status, rail string, next *time.Time, review string) {
	next = hinted(f.NextTryAt, next)
	tx.Later(`UPDATE refunds SET status = $2, rail_id = nullif($3, ''), next_try_at = $4, review = $5, settled_at = $6, attempts = 0 WHERE id = $1`,
		f.ID, status, rail, next, review, f.SettledAt)
}

// Refund has escrow send back amount of a payment, all that is held when amount is nil. Invalid: more than the payment.
// Conflict: the money is not held any more, or has not arrived. Escrow decides; the refund on the rail follows.
func (s *Service) Refund(ctx context.Context, by token.Caller, id uuid.UUID, amount *money.Decimal, reason string) (Payment, error) {
	p, err := byID(ctx, s.db, id)
	if err != nil {
		return Payment{}, err
	}
	if p.CompletedAt == nil {
		return Payment{}, errs.Coded(errs.Conflict, "not_paid", "Nothing has been paid, so there is nothing to refund.")
	}
	if amount != nil {
		a, err := amount.Payable(p.Currency)
		switch {
		case errors.Is(err, money.ErrDigits), errors.Is(err, money.ErrStep):
			return Payment{}, errs.Field("amount", err.Error())
		case err != nil || a.Minor <= 0 || a.Minor > p.Amount:
			// What is left is for escrow to say, which knows whether this was ordered before.
			return Payment{}, errs.Field("amount", "must be above 0 and at most the payment")
		}
	}
	account, err := s.askEscrow(ctx, p)
	if err != nil {
		return Payment{}, err
	}
	body := map[string]any{"reason": reason}
	if amount != nil {
		body["amount"] = *amount
	}
	key := api.IdempotencyKey(ctx)
	if key != "" {
		// To escrow all of them come from this service, so keys of two people must not meet there.
		key = uuid.NewSHA1(by.ID, []byte(key)).String()
	}
	if _, err := peer.Post[struct{}](ctx, s.peers.To("escrow"), "/api/v1/escrow/"+account.String()+"/refund", key, body); err != nil {
		return Payment{}, err
	}
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		return audit.Add(ctx, tx, audit.Entry{Action: "payment.refund_ordered", Subject: p.ID, Detail: map[string]string{"reason": reason}})
	})
	return view(p, by), err
}
