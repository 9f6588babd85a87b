package escrow

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
)

// directive is what another service has decided about a booking's money. There is one of each kind for a booking.
type directive struct {
	BookingID uuid.UUID
	Kind      string
	Detail    detail
	At        time.Time // when it was decided
}

const (
	completed   = "completed"
	cancelled   = "cancelled"
	noShow      = "no_show"
	contested   = "no_show_contested"
	chargedBack = "charged_back"
)

// detail is what a directive's kind needs.
type detail struct {
	ReleaseAt   *time.Time `json:"releaseAt,omitempty"`
	SettleAt    *time.Time `json:"settleAt,omitempty"`
	WorkerShare int64      `json:"workerShare,omitempty"` // minor units of Currency, gross
	Currency    string     `json:"currency,omitempty"`
	Reason      string     `json:"reason,omitempty"`
}

// follow has the account do what d says, as of at.
func (c *change) follow(d directive, actor string, at time.Time) error {
	if c.remaining() == 0 {
		return nil
	}
	switch d.Kind {
	case completed:
		c.AutoReleaseAt = d.Detail.ReleaseAt
	case cancelled:
		if err := c.decide(cancelled, d.Detail, at); err != nil {
			return err
		}
		if len(c.Holds) == 0 {
			return c.divide(actor, at)
		}
	case noShow:
		return c.decide(noShow, d.Detail, *d.Detail.SettleAt)
	case contested:
		// The division stands: it is what happens when an admin lets go without deciding otherwise.
		c.freeze(byContest, d.Detail.Reason)
	case chargedBack:
		c.freeze(byChargeback, d.Detail.Reason)
	default:
		return fmt.Errorf("unknown directive %q of booking %s", d.Kind, d.BookingID)
	}
	return nil
}

// decide notes how the money is to be divided, and when.
func (c *change) decide(cause string, d detail, at time.Time) error {
	if d.WorkerShare < 0 || d.WorkerShare > c.Held || d.WorkerShare > 0 && d.Currency != c.Currency {
		return fmt.Errorf("booking %s gives the worker %d %s of %d %s", c.BookingID, d.WorkerShare, d.Currency, c.Held, c.Currency)
	}
	c.DivideAt, c.DivideCause, c.WorkerShare = &at, cause, d.WorkerShare
	return nil
}

// direct stores d and, when the account is there, has it follow at once. False: one of its kind was there already, and nothing changes.
func (s *Service) direct(ctx context.Context, tx postgres.Tx, d directive, start *time.Time, version int64, actor string) (fresh bool, err error) {
	d.At = s.now()
	a, ok, fresh, err := put(ctx, tx, d, start, version)
	if err != nil || !ok || !fresh {
		return fresh, err
	}
	c := change{Account: a}
	if err := c.follow(d, actor, d.At); err != nil {
		return fresh, err
	}
	applied(tx, d.BookingID, d.At)
	return fresh, s.keep(ctx, tx, c, actor, d.At)
}

// keep saves a change of an account that tx has locked.
func (s *Service) keep(ctx context.Context, tx postgres.Tx, c change, actor string, at time.Time) error {
	_, ok, err := save(ctx, tx, c, actor, at)
	if err == nil && !ok {
		err = fmt.Errorf("escrow account %s changed although it was locked", c.ID)
	}
	return err
}

// open makes the account of a payment that has arrived, and has it follow what waited for it. The account that is there already is answered
// as it stands, whoever made it.
func (s *Service) open(ctx context.Context, tx postgres.Tx, p event.Payment, actor string) (Account, error) {
	if p.Amount.Minor <= 0 {
		return Account{}, fmt.Errorf("payment %s holds %s", p.PaymentID, p.Amount)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Account{}, err
	}
	at := s.now()
	a, waiting, entered, err := enter(ctx, tx, Account{ID: id, BookingID: p.BookingID, ClientID: p.ClientID, WorkerID: p.WorkerID, PaymentID: p.PaymentID,
		Held: p.Amount.Minor, Currency: p.Amount.Currency, Status: Active, AutoRelease: true, Version: 1, CreatedAt: at})
	if err != nil {
		return a, err
	}
	if a.PaymentID != p.PaymentID {
		return a, fmt.Errorf("booking %s is held from payment %s, so payment %s is one too many", a.BookingID, a.PaymentID, p.PaymentID)
	}
	if !entered {
		return a, nil
	}
	c := change{Account: a, told: []outbox.Event{event.EscrowHeld{Escrow: a.facts()}}, did: []deed{{"escrow.held", map[string]string{"amount": p.Amount.String(), "payment": p.PaymentID.String()}}}}
	for _, d := range waiting {
		if err := c.follow(d, actor, at); err != nil {
			return a, err
		}
	}
	if len(waiting) == 0 {
		return a, tell(ctx, tx, c, actor, at)
	}
	applied(tx, a.BookingID, at)
	a, _, err = save(ctx, tx, c, actor, at)
	return a, err
}
