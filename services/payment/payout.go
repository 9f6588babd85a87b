package payment

import (
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
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// States of a withdrawal:
//
//	pending → transferred → in_transit → paid
//	   │           └─────────────┴──▶ returning → failed     (paid → returning too: a bank may send it back days later)
//	   └──▶ failed                      any → needs_review
const (
	payoutPending     = "pending"
	payoutTransferred = "transferred" // on the worker's account at the rail
	payoutInTransit   = "in_transit"  // on its way to the bank
	payoutPaid        = "paid"
	payoutReturning   = "returning" // the bank refused; it is being taken back from the worker's account
	payoutFailed      = "failed"    // back in the wallet
	payoutReview      = "needs_review"
)

// payout is a row of payouts.
type payout struct {
	ID         uuid.UUID
	UserID     uuid.UUID
	AccountID  string
	Amount     int64
	Currency   string
	Status     string
	TransferID *string
	RailID     *string
	Failure    string
	Review     string
	Scheduled  bool // by the worker's schedule
	CreatedAt  time.Time
	SettledAt  *time.Time
	AskedAt    *time.Time // system time of the first call of this state
	NextTryAt  *time.Time
	Attempts   int
	Turn       int64 // how often it was claimed
}

const payoutColumns = `id, user_id, account_id, amount, currency, status, transfer_id, rail_id, failure, review, scheduled, created_at, settled_at, asked_at, next_try_at, attempts, turn`

func (p payout) total() money.Amount { return money.Of(p.Amount, p.Currency) }

// Withdraw takes amount, or all there is, out of the worker's wallet; the retry loop sends it to the bank. currency may be empty when the wallet
// has one only. Forbidden: the e-mail address is not proven. Conflict: the payout account is not ready, or the wallet does not have it.
func (s *Service) Withdraw(ctx context.Context, by token.Caller, amount *money.Decimal, currency string) (Payout, error) {
	if _, err := s.provenEmail(ctx, by.ID); err != nil {
		return Payout{}, err
	}
	a, err := s.verifiedAccount(ctx, by.ID)
	if err != nil {
		return Payout{}, err
	}
	now := time.Now().UTC()
	var p payout
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		has, err := postgres.All[funds](ctx, tx, `SELECT currency, balance FROM balances WHERE account = $1 AND balance > 0 AND ($2 = '' OR currency = $2) ORDER BY currency FOR NO KEY UPDATE`, walletOf(by.ID), currency)
		switch {
		case err != nil:
			return err
		case len(has) == 0:
			return errs.Coded(errs.Conflict, "insufficient_funds", "There is nothing to withdraw.")
		case len(has) > 1:
			return errs.Field("currency", "is needed: the wallet has several")
		}
		want := has[0].total().Whole()
		if amount != nil {
			if want, err = amount.Payable(want.Currency); errors.Is(err, money.ErrStep) {
				return errs.Field("amount", err.Error())
			} else if err != nil || want.Minor <= 0 {
				return errs.Field("amount", "must be above 0, with no more digits than "+has[0].Currency+" has")
			}
		}
		if want.Minor == 0 {
			return errs.Coded(errs.Conflict, "insufficient_funds", "What is in the wallet is less than can be paid in "+want.Currency+".")
		}
		if want.Minor > has[0].Balance {
			return errs.Coded(errs.Conflict, "insufficient_funds", "The wallet does not have that much.")
		}
		p = payout{ID: uuid.Must(uuid.NewV7()), UserID: by.ID, AccountID: *a.AccountID, Amount: want.Minor, Currency: want.Currency,
			Status: payoutPending, CreatedAt: s.clock.Now(), NextTryAt: &now}
		return s.order(ctx, tx, p)
	})
	return viewPayout(p), err
}

// order takes p out of the wallet, whose balance tx holds; the retry loop sends it.
func (s *Service) order(ctx context.Context, tx postgres.Tx, p payout) error {
	tx.Later(`INSERT INTO payouts (id, user_id, account_id, amount, currency, status, created_at, next_try_at, scheduled) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		p.ID, p.UserID, p.AccountID, p.Amount, p.Currency, p.Status, p.CreatedAt, p.NextTryAt, p.Scheduled)
	post(tx, planPayout(p.ID, p.UserID, p.total(), p.CreatedAt))
	poke(tx)
	return s.audited(ctx, tx, "payout.ordered", p.ID, p.total())
}

// Payouts is a page of the caller's withdrawals, newest first.
func (s *Service) Payouts(ctx context.Context, by token.Caller, paging api.Paging) (api.Page[Payout], error) {
	before := key{CreatedAt: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}
	if paging.Cursor != "" {
		if err := api.DecodeCursor(paging.Cursor, &before.CreatedAt, &before.ID); err != nil {
			return api.Page[Payout]{}, err
		}
	}
	rows, err := postgres.All[payout](ctx, s.db, `SELECT `+payoutColumns+` FROM payouts WHERE user_id = $1 AND (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC LIMIT $4`,
		by.ID, before.CreatedAt, before.ID, paging.Limit+1)
	if err != nil {
		return api.Page[Payout]{}, err
	}
	cut := api.Slice(rows, paging.Limit, func(p payout) string { return api.EncodeCursor(p.CreatedAt, p.ID) })
	return api.View(cut, viewPayout), nil
}

// retryPayout makes the next step of a withdrawal at the rail.
func (s *Service) retryPayout(ctx context.Context, p payout, now time.Time) error {
	switch p.Status {
	case payoutPending:
		t, err := s.rail.transfer(ctx, p, now)
		if done, err := s.payoutFault(ctx, p, err, payoutFailed); done {
			return err
		}
		return s.changePayout(ctx, p, func(tx postgres.Tx, p *payout) error {
			p.Status, p.TransferID, p.NextTryAt = payoutTransferred, &t.ID, &now
			return nil
		})
	case payoutReturning:
		err := s.rail.takeBack(ctx, p, now)
		if done, err := s.payoutFault(ctx, p, err, payoutReview); done {
			return err
		}
		return s.changePayout(ctx, p, func(tx postgres.Tx, p *payout) error { return s.failPayout(ctx, tx, p) })
	case payoutFailed, payoutReview:
		return s.rest(ctx, "payouts", p.ID.String(), *p.NextTryAt, nil)
	}
	r, err := s.rail.payout(ctx, p, now)
	to := payoutReturning
	if p.RailID != nil {
		to = payoutReview // it has gone out, so only the rail can say that it came back
	}
	if done, err := s.payoutFault(ctx, p, err, to); done {
		return err
	}
	return s.changePayout(ctx, p, func(tx postgres.Tx, p *payout) error { return s.followPayout(ctx, tx, p, r, now) })
}

// payoutFault says whether err ended the step: one that repeating will not mend takes p to the state to.
func (s *Service) payoutFault(ctx context.Context, p payout, err error, to string) (done bool, _ error) {
	if err == nil {
		return false, nil
	}
	code, no := refused(err)
	undecided := errors.Is(err, errUndecided)
	if !no && !undecided {
		return true, err
	}
	now := time.Now().UTC()
	return true, s.changePayout(ctx, p, func(tx postgres.Tx, p *payout) error {
		p.Failure = code
		switch {
		case undecided, to == payoutReview:
			p.Status, p.Review, p.NextTryAt = payoutReview, err.Error(), nil
			return audit.Add(ctx, tx, audit.Entry{Actor: "service:payment", Action: "payout.needs_review", Subject: p.ID})
		case to == payoutFailed:
			return s.failPayout(ctx, tx, p)
		}
		p.Status, p.NextTryAt = to, &now
		return nil
	})
}

// changePayout stores what fn makes of a withdrawal, unless it was claimed again since from was: whoever did that knows more.
func (s *Service) changePayout(ctx context.Context, from payout, fn func(postgres.Tx, *payout) error) error {
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		p, err := postgres.One[payout](ctx, tx, `SELECT `+payoutColumns+` FROM payouts WHERE id = $1 FOR NO KEY UPDATE`, from.ID)
		if err != nil || p.Turn != from.Turn {
			return err
		}
		before := p.NextTryAt
		if err := fn(tx, &p); err != nil {
			return err
		}
		if p.Status != from.Status {
			p.AskedAt = nil
		}
		p.NextTryAt = hinted(before, p.NextTryAt)
		tx.Later(`UPDATE payouts SET status = $2, transfer_id = $3, rail_id = $4, failure = $5, review = $6, settled_at = $7, asked_at = $8, next_try_at = $9, attempts = 0 WHERE id = $1`,
			p.ID, p.Status, p.TransferID, p.RailID, p.Failure, p.Review, p.SettledAt, p.AskedAt, p.NextTryAt)
		poke(tx)
		return nil
	})
}

// followPayout takes a withdrawal to where the rail says that it is.
func (s *Service) followPayout(ctx context.Context, tx postgres.Tx, p *payout, r *stripe.Payout, now time.Time) error {
	p.RailID = &r.ID
	if got, whole := railAmount(r.Amount, r.Currency); !whole || got != p.total() {
		p.Status, p.Review, p.NextTryAt = payoutReview, fmt.Sprintf("the rail pays %d %s instead of %s", r.Amount, r.Currency, p.total()), nil
		return audit.Add(ctx, tx, audit.Entry{Actor: "service:payment", Action: "payout.needs_review", Subject: p.ID})
	}
	switch r.Status {
	case stripe.PayoutStatusPaid:
		p.NextTryAt = nil
		if p.Status == payoutPaid {
			return nil
		}
		at := s.clock.Now()
		p.Status, p.SettledAt = payoutPaid, &at
		post(tx, planPayoutPaid(p.ID, p.UserID, p.total(), at))
		if p.Scheduled {
			tx.Later(`UPDATE payout_schedules SET failures = 0 WHERE user_id = $1 AND paused_at IS NULL`, p.UserID)
		}
		return outbox.Add(ctx, tx, p.UserID, event.PayoutPaid{PayoutID: p.ID, UserID: p.UserID, Amount: p.total()})
	case stripe.PayoutStatusFailed, stripe.PayoutStatusCanceled:
		p.Status, p.NextTryAt, p.Failure = payoutReturning, &now, string(r.FailureCode)
		if p.Failure == "" {
			p.Failure = string(r.Status)
		}
		return nil
	}
	next := now.Add(asksAgain)
	p.Status, p.NextTryAt = payoutInTransit, &next
	return nil
}

// failPayout puts a withdrawal back into the wallet.
func (s *Service) failPayout(ctx context.Context, tx postgres.Tx, p *payout) error {
	wallet, debt := purse{walletOf(p.UserID), p.Currency}, purse{debtOf(p.UserID), p.Currency}
	b, err := read(ctx, tx, nil, []purse{wallet, debt}, nil)
	if err != nil {
		return err
	}
	at := s.clock.Now()
	settled := p.SettledAt != nil
	p.Status, p.SettledAt, p.NextTryAt = payoutFailed, &at, nil
	post(tx, planPayoutFailed(p.ID, p.UserID, p.total(), settled, b.owes(p.UserID, p.Currency), at))
	if err := s.audited(ctx, tx, "payout.failed", p.ID, p.total()); err != nil {
		return err
	}
	if err := s.scheduledFailed(ctx, tx, *p); err != nil {
		return err
	}
	return outbox.Add(ctx, tx, p.UserID, event.PayoutFailed{PayoutID: p.ID, UserID: p.UserID, Amount: p.total(), Reason: p.Failure})
}
