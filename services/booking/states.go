package booking

import (
	"fmt"
	"slices"
	"time"

	"tulifo/platform/errs"
	"tulifo/platform/money"
)

// Status is where a booking stands.
type Status string

// The states of a booking.
const (
	Pending    Status = "pending"
	Confirmed  Status = "confirmed"
	InProgress Status = "in_progress"
	Completed  Status = "completed"
	Cancelled  Status = "cancelled"
	Expired    Status = "expired"
	NoShow     Status = "no_show"
)

var statuses = []Status{Pending, Confirmed, InProgress, Completed, Cancelled, Expired, NoShow}

// live says whether the booking holds the worker's time.
func (s Status) live() bool { return s == Pending || s == Confirmed || s == InProgress }

// counts says whether the booking counts towards the limits of its day and week.
func (s Status) counts() bool { return s != Cancelled && s != Expired }

func (s Status) words() string {
	switch s {
	case InProgress:
		return "running"
	case NoShow:
		return "closed (no show)"
	}
	return string(s)
}

// side is who moves a booking.
type side string

const (
	clientSide side = "client"
	workerSide side = "worker"
	adminSide  side = "admin"
	systemSide side = "system"
)

func (s side) other() side {
	if s == clientSide {
		return workerSide
	}
	return clientSide
}

// step is one kind of move.
type step struct {
	verb string
	from []Status
	to   Status
	by   []side
}

// The state table. A booking is born pending, or confirmed when the worker takes instant bookings.
var (
	confirmStep  = step{"confirmed", []Status{Pending}, Confirmed, []side{workerSide}}
	cancelStep   = step{"cancelled", []Status{Pending, Confirmed, InProgress}, Cancelled, []side{clientSide, workerSide, adminSide, systemSide}}
	expireStep   = step{"expired", []Status{Pending}, Expired, []side{systemSide}}
	startStep    = step{"started", []Status{Confirmed}, InProgress, []side{clientSide, workerSide}}
	completeStep = step{"completed", []Status{Confirmed, InProgress}, Completed, []side{clientSide, workerSide, systemSide}}
	noShowStep   = step{"closed as a no-show", []Status{Confirmed, InProgress}, NoShow, []side{clientSide, workerSide}}
	editable     = []Status{Pending, Confirmed, InProgress, Completed, NoShow}
	movable      = []Status{Pending, Confirmed}
	steps        = []step{confirmStep, cancelStep, expireStep, startStep, completeStep, noShowStep}
)

// allows is nil when by may take b along the step. Forbidden: never that side. Conflict: not from where b stands.
func (st step) allows(b Booking, by side) error {
	if !slices.Contains(st.by, by) {
		return errs.New(errs.Forbidden, fmt.Sprintf("A booking cannot be %s by the %s.", st.verb, by))
	}
	if !slices.Contains(st.from, b.Status) {
		return errs.New(errs.Conflict, fmt.Sprintf("The booking is %s, so it cannot be %s.", b.Status.words(), st.verb))
	}
	return nil
}

// drawn says whether a booking may go from one status to the other.
func drawn(from, to Status) bool {
	return slices.ContainsFunc(steps, func(st step) bool { return st.to == to && slices.Contains(st.from, from) })
}

// The moves below are pure: they answer the booking as it is afterwards, and leave the saving to their caller.

func (b Booking) confirmed(c Config, at time.Time) Booking {
	b.Status, b.ConfirmedAt = Confirmed, &at
	return b.deadlines(c)
}

func (b Booking) expired(at time.Time) Booking {
	b.Status, b.EndedAt = Expired, &at
	return b
}

func (b Booking) started(at time.Time) Booking {
	b.Status, b.StartedAt = InProgress, &at
	return b
}

func (b Booking) completed(at time.Time) Booking {
	b.Status, b.CompletedAt = Completed, &at
	return b
}

func (b Booking) paid(at time.Time) Booking {
	if b.PaidAt == nil {
		b.PaidAt = &at
	}
	return b
}

// cancelled divides the price: the client gets back what is not the worker's. Nobody is charged for a booking that was not paid.
func (b Booking) cancelled(c Config, by side, cause, reason string, at time.Time) Booking {
	b.Status, b.EndedAt, b.Cause, b.Reason = Cancelled, &at, cause, reason
	fee := money.Of(0, b.Currency)
	if by == clientSide && b.PaidAt != nil {
		fee = c.fee(b.price(), b.EarliestStart, at)
	}
	return b.shared(fee.Minor)
}

// notShown says that absent did not come: an absent client pays in full, an absent worker nothing is paid to.
func (b Booking) notShown(c Config, absent side, at time.Time) Booking {
	settle := at.Add(c.ObjectWithin)
	b.Status, b.EndedAt, b.Absent, b.SettleAt = NoShow, &at, string(absent), &settle
	if absent == clientSide {
		return b.shared(b.Amount)
	}
	return b.shared(0)
}

func (b Booking) shared(worker int64) Booking {
	client := b.Amount - worker
	b.ClientShare, b.WorkerShare = &client, &worker
	return b
}

// moved puts b at another time; deadlines follow, and the worst start it ever had is remembered for the cancel policy.
func (b Booking) moved(c Config, to span, cal *calendar) Booking {
	b.Start, b.End, b.ProposedBy, b.ProposedStart = to.Start, to.End, "", nil
	if to.Start.Before(b.EarliestStart) {
		b.EarliestStart = to.Start
	}
	b.BufferBefore, b.BufferAfter, b.LoadDay = cal.BufferBefore, cal.BufferAfter, localDate(cal.loc, to.Start)
	return b.deadlines(c)
}

// deadlines are those of an unanswered and of an unpaid booking; both end with its start.
func (b Booking) deadlines(c Config) Booking {
	if b.Status == Pending {
		b.ExpiresAt = earlier(b.CreatedAt.Add(c.AnswerWithin), b.Start)
	}
	if b.ConfirmedAt != nil {
		within := c.PayWithin
		if b.Instant {
			within = c.PayWithinInstant
		}
		b.PayBy = earlier(b.ConfirmedAt.Add(within), b.Start)
	}
	return b
}

// due is when something happens to b by itself; nil when nothing does.
func (b Booking) due(c Config) *time.Time {
	switch {
	case b.Status == Pending:
		return b.ExpiresAt
	case b.Status == Confirmed && b.PaidAt == nil:
		return b.PayBy
	case b.Status == Confirmed || b.Status == InProgress:
		at := b.End.Add(c.CompleteAfter)
		return &at
	case b.Status == NoShow && b.SettledAt == nil && b.ContestedAt == nil:
		return b.SettleAt
	}
	return nil
}

func (b Booking) releaseAt(c Config) time.Time {
	if b.CompletedAt != nil && b.CompletedAt.After(b.End) {
		return b.CompletedAt.Add(c.ReleaseAfter)
	}
	return b.End.Add(c.ReleaseAfter)
}

// overdue says that b has expired already, though nothing has moved it yet.
func (b Booking) overdue(now time.Time) bool {
	return b.Status == Pending && b.ExpiresAt != nil && !b.ExpiresAt.After(now)
}

func earlier(a, b time.Time) *time.Time {
	if b.Before(a) {
		a = b
	}
	return &a
}
