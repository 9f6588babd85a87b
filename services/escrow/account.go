package escrow

import (
	"errors"
	"slices"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/outbox"
)

// Status is where an account stands; it follows from the amounts and from whether somebody keeps the account frozen.
type Status string

// The states of an account. Split: all is gone, some to either side.
const (
	Active            Status = "active"
	PartiallyReleased Status = "partially_released"
	Frozen            Status = "frozen"
	Released          Status = "released"
	Refunded          Status = "refunded"
	Split             Status = "split"
)

// unsettled are the states in which something remains.
var unsettled = []Status{Active, PartiallyReleased, Frozen}

// Who may keep an account frozen.
const (
	byDispute    = "dispute"
	byAdmin      = "admin"
	byContest    = "no_show_contested"
	byChargeback = "chargeback"
)

// Account is held money of one booking, in minor units of Currency, gross.
type Account struct {
	ID            uuid.UUID
	BookingID     uuid.UUID
	ClientID      uuid.UUID
	WorkerID      uuid.UUID
	PaymentID     uuid.UUID
	Held          int64 `db:"held_amount"` // never changes
	Released      int64 `db:"released_amount"`
	Refunded      int64 `db:"refunded_amount"`
	Currency      string
	Status        Status
	Holds         []string // who keeps it frozen
	FreezeReason  string
	AutoRelease   bool `db:"auto_release_enabled"`
	AutoReleaseAt *time.Time
	DivideAt      *time.Time // when a division that is decided takes effect
	DivideCause   string     // cancelled or no_show
	WorkerShare   int64      // of a division, out of Held
	ReleasedAt    *time.Time // the latest release
	Version       int64
	CreatedAt     time.Time
	UpdatedAt     time.Time
	StartsAt      *time.Time // of the booking, as far as it is known here
}

// Move is one movement of money out of an account, never changed. Remaining is what is left after it.
type Move struct {
	ID        uuid.UUID
	EscrowID  uuid.UUID
	Kind      string // release or refund
	Amount    int64
	Remaining int64
	Cause     string // client, auto, cancelled, no_show, resolution, admin or chargeback
	Actor     string
	At        time.Time
}

const (
	release = "release"
	refund  = "refund"
)

func (a Account) remaining() int64 { return a.Held - a.Released - a.Refunded }

func (a Account) status() Status {
	switch {
	case a.Released == a.Held:
		return Released
	case a.Refunded == a.Held:
		return Refunded
	case a.remaining() == 0:
		return Split
	case len(a.Holds) > 0:
		return Frozen
	case a.Released > 0:
		return PartiallyReleased
	}
	return Active
}

// due is when money moves by itself; nil when it does not.
func (a Account) due() *time.Time {
	switch {
	case a.remaining() == 0 || len(a.Holds) > 0:
		return nil
	case a.DivideAt != nil:
		return a.DivideAt
	case a.AutoRelease:
		return a.AutoReleaseAt
	}
	return nil
}

// part is the amount that was asked for, all that remains when none was. Conflict: nothing remains. Invalid: not above 0, more than
// remains, finer than the currency, or no whole number of its steps, unless it is all that remains.
func (a Account) part(asked *money.Decimal) (int64, error) {
	if a.remaining() == 0 {
		return 0, errs.Coded(errs.Conflict, "settled", "All the money has gone already: it was "+a.Status.words()+".")
	}
	if asked == nil {
		return a.remaining(), nil
	}
	amount, err := asked.In(a.Currency)
	if err == nil && amount.Minor%money.Step(a.Currency) != 0 && amount.Minor != a.remaining() {
		err = money.ErrStep
	}
	switch {
	case errors.Is(err, money.ErrDigits), errors.Is(err, money.ErrStep), errors.Is(err, money.ErrRange):
		return 0, errs.Field("amount", err.Error())
	case err != nil:
		return 0, err
	case amount.Minor <= 0:
		return 0, errs.Field("amount", "must be above 0")
	case amount.Minor > a.remaining():
		return 0, errs.Field("amount", "is more than what remains")
	}
	return amount.Minor, nil
}

func (s Status) words() string {
	if s == Split {
		return "divided"
	}
	return string(s)
}

func (a Account) facts() event.Escrow {
	return event.Escrow{EscrowID: a.ID, BookingID: a.BookingID, PaymentID: a.PaymentID, ClientID: a.ClientID, WorkerID: a.WorkerID,
		Held: money.Of(a.Held, a.Currency), Remaining: money.Of(a.remaining(), a.Currency)}
}

// change is an account as it is being changed in one transaction, with what is to be told of it. Its methods are pure.
type change struct {
	Account
	moves []Move
	told  []outbox.Event
	did   []deed
}

// deed is an action of a change for the audit log.
type deed struct {
	action string
	detail map[string]string
}

// move takes amount out, at most what remains. Nothing happens when it is 0.
func (c *change) move(kind string, amount int64, cause, actor string, at time.Time) error {
	if amount == 0 {
		return nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	if kind == release {
		c.Released += amount
		c.ReleasedAt = &at
	} else {
		c.Refunded += amount
	}
	if c.remaining() == 0 {
		c.Holds, c.DivideAt, c.DivideCause = []string{}, nil, ""
	}
	sum := money.Of(amount, c.Currency)
	c.moves = append(c.moves, Move{id, c.ID, kind, amount, c.remaining(), cause, actor, at})
	action := "escrow.refunded"
	if kind == release {
		action = "escrow.released"
		c.told = append(c.told, event.EscrowReleased{Escrow: c.facts(), MoveID: id, Amount: sum, Cause: cause})
	} else {
		c.told = append(c.told, event.EscrowRefunded{Escrow: c.facts(), MoveID: id, Amount: sum, Cause: cause})
	}
	c.did = append(c.did, deed{action, map[string]string{"amount": sum.String(), "cause": cause, "move": id.String()}})
	return nil
}

// divide gives the worker the share that was decided, less what was released before, and the client all the rest.
func (c *change) divide(actor string, at time.Time) error {
	cause, toWorker := c.DivideCause, min(max(c.WorkerShare-c.Released, 0), c.remaining())
	if err := c.move(refund, c.remaining()-toWorker, cause, actor, at); err != nil {
		return err
	}
	return c.move(release, toWorker, cause, actor, at)
}

// freeze has who keep the account from moving. The chargebacks of a payment are counted, everybody else holds once.
func (c *change) freeze(who, reason string) {
	if c.remaining() == 0 || who != byChargeback && slices.Contains(c.Holds, who) {
		return
	}
	first := len(c.Holds) == 0
	c.Holds = append(slices.Clone(c.Holds), who)
	if first {
		c.FreezeReason = reason
		c.told = append(c.told, event.EscrowFrozen{Escrow: c.facts(), Reason: reason})
	}
	c.did = append(c.did, deed{"escrow.frozen", map[string]string{"by": who, "reason": reason}})
}

// unfreeze has who let go, or everybody when who is empty. What was decided or fell due in the meantime happens now, not in the past.
func (c *change) unfreeze(who, actor string, at time.Time) error {
	var kept []string
	if i := slices.Index(c.Holds, who); who != "" && i >= 0 {
		kept = slices.Delete(slices.Clone(c.Holds), i, i+1)
	} else if who != "" || len(c.Holds) == 0 {
		return nil
	}
	c.Holds = append([]string{}, kept...)
	c.did = append(c.did, deed{"escrow.unfrozen", map[string]string{"by": who}})
	if len(c.Holds) > 0 {
		return nil
	}
	c.FreezeReason = ""
	c.told = append(c.told, event.EscrowUnfrozen{Escrow: c.facts()})
	if c.DivideAt != nil && !c.DivideAt.After(at) {
		return c.divide(actor, at)
	}
	if c.AutoReleaseAt != nil && c.AutoReleaseAt.Before(at) {
		c.AutoReleaseAt = &at
	}
	return nil
}
