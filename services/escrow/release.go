package escrow

import (
	"context"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// The services that may order something here. Payment hands on what an admin has told it.
const (
	disputes = "dispute"
	payments = "payment"
)

// Account is the account of that id, for its parties, admins and services. NotFound for everybody else.
func (s *Service) Account(ctx context.Context, by token.Caller, id uuid.UUID) (Account, error) {
	a, err := find(ctx, s.db, id)
	if err == nil && !a.known(by) {
		return Account{}, errNoAccount
	}
	return a, err
}

// known says whether the caller may know of the account.
func (a Account) known(by token.Caller) bool {
	return by.Is(token.Admin, token.Service) || by.ID == a.ClientID || by.ID == a.WorkerID
}

// Moves are the movements out of an account, the first one first.
func (s *Service) Moves(ctx context.Context, id uuid.UUID) ([]Move, error) {
	return movesOf(ctx, s.db, id)
}

// Accounts is a page of the caller's accounts, the newest first; all of them for an admin or a service. A booking that is not nil and a
// status that is not empty narrow it.
func (s *Service) Accounts(ctx context.Context, by token.Caller, booking uuid.UUID, status Status, p api.Paging) (api.Page[Account], error) {
	side := by.Role
	if by.Is(token.Admin, token.Service) {
		side = ""
	}
	var before *time.Time
	var id uuid.UUID
	if p.Cursor != "" {
		before = &time.Time{}
		if err := api.DecodeCursor(p.Cursor, before, &id); err != nil {
			return api.Page[Account]{}, err
		}
	}
	rows, err := list(ctx, s.db, side, by.ID, booking, status, before, id, p.Limit+1)
	if err != nil {
		return api.Page[Account]{}, err
	}
	return api.Slice(rows, p.Limit, func(a Account) string { return api.EncodeCursor(a.CreatedAt, a.ID) }), nil
}

// Ensure is the account of a completed payment, made if no event has made it yet; what payment-service says counts. NotFound: there is no
// such payment, or the caller is no party to it. Conflict (not_paid): the money has not arrived.
func (s *Service) Ensure(ctx context.Context, by token.Caller, payment uuid.UUID) (Account, error) {
	a, ok, err := byPayment(ctx, s.db, payment)
	if err != nil || ok && a.known(by) {
		return a, err
	}
	if ok {
		return Account{}, errNoPayment
	}
	p, paid, err := s.askPayment(ctx, payment)
	if err != nil {
		return Account{}, err
	}
	if by.Service != payments && by.ID != p.ClientID && by.ID != p.WorkerID {
		return Account{}, errNoPayment
	}
	if !paid {
		return Account{}, errs.Coded(errs.Conflict, "not_paid", "The payment has not arrived yet.")
	}
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		a, err = s.open(ctx, tx, p, by.String())
		return err
	})
	return a, err
}

// Release gives the worker amount of what remains, or all of it. Its client may from the booking's start on; an admin, and dispute-service by
// a resolution, also while it is frozen. NotFound: a stranger. Conflict: frozen, settled, or too_early. Invalid: not above 0, more than
// remains, or finer than the currency. Forbidden: the worker, or another service.
func (s *Service) Release(ctx context.Context, by token.Caller, id uuid.UUID, amount *money.Decimal) (Account, error) {
	cause, err := causeOf(by)
	if err != nil || by.Service == payments {
		return Account{}, errForbidden
	}
	seen, err := s.Account(ctx, by, id)
	if err != nil {
		return seen, err
	}
	if by.Role == token.Client && by.ID != seen.ClientID {
		return Account{}, errForbidden
	}
	plan := s.moving(by, release, amount, cause, "")
	if _, err := plan(seen); err != nil {
		return seen, err
	}
	if by.Role == token.Client {
		if err := s.started(ctx, seen); err != nil {
			return seen, err
		}
	}
	return s.alter(ctx, by, seen, plan)
}

// Refund gives the client amount of what remains back, or all of it; also while it is frozen. The reason is for the audit log. Errors are
// those of Release.
func (s *Service) Refund(ctx context.Context, by token.Caller, id uuid.UUID, amount *money.Decimal, reason string) (Account, error) {
	cause, err := causeOf(by)
	if err != nil {
		return Account{}, err
	}
	seen, err := s.Account(ctx, by, id)
	if err != nil {
		return seen, err
	}
	return s.alter(ctx, by, seen, s.moving(by, refund, amount, cause, reason))
}

// Freeze stops everything until the same side, or an admin, unfreezes it; freezing twice changes nothing. Conflict (settled): the money has
// gone already. Forbidden: not an admin or dispute-service.
func (s *Service) Freeze(ctx context.Context, by token.Caller, id uuid.UUID, reason string) (Account, error) {
	who, err := holderOf(by)
	if err != nil {
		return Account{}, err
	}
	return s.unless(ctx, by, id, func(c *change) error {
		c.freeze(who, reason)
		return nil
	})
}

// Unfreeze has the caller let go of it: an admin for everybody, dispute-service for itself. What fell due meanwhile happens. Conflict
// (settled): the money has gone already. Forbidden: not an admin or dispute-service.
func (s *Service) Unfreeze(ctx context.Context, by token.Caller, id uuid.UUID) (Account, error) {
	who, err := holderOf(by)
	if err != nil {
		return Account{}, err
	}
	if who == byAdmin {
		who = ""
	}
	return s.unless(ctx, by, id, func(c *change) error { return c.unfreeze(who, by.String(), s.now()) })
}

// unless changes the account unless all its money has gone.
func (s *Service) unless(ctx context.Context, by token.Caller, id uuid.UUID, do func(*change) error) (Account, error) {
	seen, err := s.Account(ctx, by, id)
	if err != nil {
		return seen, err
	}
	return s.alter(ctx, by, seen, func(a Account) (change, error) {
		c := change{Account: a}
		if _, err := a.part(nil); err != nil {
			return c, err
		}
		return c, do(&c)
	})
}

// moving plans one move that somebody orders.
func (s *Service) moving(by token.Caller, kind string, asked *money.Decimal, cause, reason string) func(Account) (change, error) {
	return func(a Account) (change, error) {
		c := change{Account: a}
		amount, err := a.part(asked)
		if err != nil && errs.KindOf(err) == errs.Conflict {
			return c, err
		}
		if a.Status == Frozen && by.Role == token.Client {
			return c, errs.Coded(errs.Conflict, "frozen", "The money is frozen until somebody decides: nothing can be released.")
		}
		if err != nil {
			return c, err
		}
		err = c.move(kind, amount, cause, by.String(), s.now())
		for _, d := range c.did {
			if reason != "" {
				d.detail["reason"] = reason
			}
		}
		return c, err
	}
}

// alter saves what plan makes of the account: of the one that was seen, or of the one that stands by then. A plan that changes nothing is not saved.
func (s *Service) alter(ctx context.Context, by token.Caller, seen Account, plan func(Account) (change, error)) (Account, error) {
	c, err := plan(seen)
	if err != nil {
		return seen, err
	}
	after := c.Account
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		if c.unchanged() {
			return nil
		}
		var ok bool
		after, ok, err = save(ctx, tx, c, by.String(), s.now())
		if err != nil || ok {
			return err
		}
		fresh, err := lock(ctx, tx, seen.ID)
		if err != nil {
			return err
		}
		if c, err = plan(fresh); err != nil {
			return err
		}
		after = c.Account
		if c.unchanged() {
			return nil
		}
		after, _, err = save(ctx, tx, c, by.String(), s.now())
		return err
	})
	return after, err
}

func (c *change) unchanged() bool { return len(c.did) == 0 }

// started is nil when the booking has begun. The copy here may say yes; before no is said, booking is asked. Conflict (too_early): not yet.
func (s *Service) started(ctx context.Context, a Account) error {
	now := s.now()
	if a.StartsAt != nil && !a.StartsAt.After(now) {
		return nil
	}
	b, err := s.askBooking(ctx, a.BookingID)
	if err != nil {
		return err
	}
	if b.Start.After(now) {
		return errs.Coded(errs.Conflict, "too_early", "The money can be released once the booking has begun.")
	}
	return nil
}

var errForbidden = errs.New(errs.Forbidden, "You may not do that.")

// causeOf is why money moves when the caller orders it. Forbidden: a worker, or a service that decides nothing.
func causeOf(by token.Caller) (string, error) {
	switch {
	case by.Role == token.Client:
		return "client", nil
	case by.Role == token.Admin, by.Service == payments:
		return "admin", nil
	case by.Service == disputes:
		return "resolution", nil
	}
	return "", errForbidden
}

// holderOf is in whose name the caller freezes.
func holderOf(by token.Caller) (string, error) {
	switch {
	case by.Role == token.Admin:
		return byAdmin, nil
	case by.Service == disputes:
		return byDispute, nil
	}
	return "", errForbidden
}

var errNoPayment = errs.New(errs.NotFound, "There is no such payment.")
