package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/audit"
	"tulifo/platform/errs"
	"tulifo/platform/outbox"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/platform/timer"
	"tulifo/platform/token"
)

// The states of an account that is deleted by its owner.
const (
	leaving = "leaving" // nobody signs in; the others are asked whether something ties him
	deleted = "deleted" // only the id and the role are left
)

const departureGap = 30 * time.Second // after which a departure that was broken off is taken up again

// Departure is what became of the wish to delete an account.
type Departure struct {
	Status string `json:"status" enum:"deleted,leaving" doc:"leaving: nobody can sign in any more, and the rest is done as soon as all parts of the platform answer"`
}

var (
	tied      = errs.Coded(errs.Conflict, "account_in_use", "The account cannot be deleted yet.")
	lastAdmin = errs.Coded(errs.Conflict, "last_admin", "This is the last administrator's account. Make another administrator first.")
)

// tie is what other services answer about whom something ties.
type tie struct {
	Reasons map[string]string `json:"reasons"`
}

// refusal is nil when nothing ties.
func refusal(ties ...tie) *errs.Error {
	e := tied
	for _, t := range ties {
		for code, reason := range t.Reasons {
			e = e.With(code, reason)
		}
	}
	if len(e.Details) == 0 {
		return nil
	}
	return e
}

// Delete deletes the caller's account: all sign-ins end, the address is free again, what is his alone is erased, and what belongs to the books stays, under
// an id that leads to nobody. It is refused while there are bookings, money or debts.
//
// The account is closed first, then everybody is asked again, so that nothing can begin meanwhile; what is broken off is taken up again by Retry.
// Conflict (account_in_use): something ties him, with the reasons; (last_admin). Forbidden: the password is given and not right.
// Unavailable: a service that knows of ties is away, and nothing has been done.
func (s *Service) Delete(ctx context.Context, from Visitor, by token.Caller, password string) (Departure, error) {
	if password != "" {
		if err := keepable("password", password); err != nil {
			return Departure{}, err
		}
		if _, err := s.confirm(ctx, from, by, password); err != nil {
			return Departure{}, err
		}
	}
	if err := s.untied(ctx, by.ID); err != nil {
		return Departure{}, err
	}
	if err := s.leave(ctx, by.ID); err != nil {
		return Departure{}, err
	}
	// Who has begun is done with it even if the browser hangs up now.
	err := s.depart(context.WithoutCancel(ctx), by.ID)
	switch {
	case errs.KindOf(err) == errs.Conflict:
		return Departure{}, err
	case err != nil:
		slog.WarnContext(ctx, "An account cannot be deleted just now; it is tried again.", "user", by.ID, "error", err)
		return Departure{leaving}, nil
	}
	return Departure{deleted}, nil
}

// untied asks what ties the user, and changes nothing.
func (s *Service) untied(ctx context.Context, id uuid.UUID) error {
	var found []tie
	for _, service := range []string{"booking", "payment"} {
		t, err := s.tiesAt(ctx, service, id)
		if err != nil {
			return err
		}
		found = append(found, t)
	}
	if no := refusal(found...); no != nil {
		return no
	}
	return nil
}

// tiesAt is what booking or payment knows to tie the user.
func (s *Service) tiesAt(ctx context.Context, service string, id uuid.UUID) (tie, error) {
	return peer.Get[tie](ctx, s.peers.To(service), "/api/"+service+"s/people/"+id.String()+"/ties")
}

// anotherAdmin refuses to take away the last administrator who can sign in; two who take each other away wait for each other here.
func anotherAdmin(ctx context.Context, tx postgres.Tx, id uuid.UUID) error {
	admins, err := activeAdmins(ctx, tx)
	if err == nil && len(admins) == 1 && admins[0] == id {
		err = lastAdmin
	}
	return err
}

// leave closes the account: nobody signs in, and all sign-ins end.
func (s *Service) leave(ctx context.Context, id uuid.UUID) error {
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		if err := anotherAdmin(ctx, tx, id); err != nil {
			return err
		}
		if err := beginDeparture(ctx, tx, id, s.clock.Now(), s.now().Add(departureGap)); err != nil {
			return err
		}
		if err := s.revoke(ctx, tx, id, nil); err != nil {
			return err
		}
		tx.Committed(func() { timer.Poke("auth") })
		return audit.Add(ctx, tx, audit.Entry{Actor: id.String(), Action: "account.leaving", Subject: id})
	})
}

// depart finishes what leave has begun. Conflict: something ties the user after all, and his account is open again.
func (s *Service) depart(ctx context.Context, id uuid.UUID) error {
	found, err := peer.Post[tie](ctx, s.peers.To("booking"), "/api/bookings/people/"+id.String()+"/close", "", struct{}{})
	if err != nil {
		return err
	}
	no := refusal(found)
	if no == nil {
		// Nothing can be booked any more, so no new payment can begin.
		money, err := s.tiesAt(ctx, "payment", id)
		if err != nil {
			return err
		}
		no = refusal(money)
	}
	if no != nil {
		if err := s.reopen(ctx, id); err != nil {
			return err
		}
		return orErr(s.stay(ctx, id, no), no)
	}
	erased, err := s.erase(ctx, id)
	if err != nil || erased {
		return err
	}
	return s.undo(ctx, id)
}

func (s *Service) reopen(ctx context.Context, id uuid.UUID) error {
	_, err := peer.Post[struct{}](ctx, s.peers.To("booking"), "/api/bookings/people/"+id.String()+"/reopen", "", struct{}{})
	return err
}

// undo takes back what this process has closed of an account that another one, which went on with the same departure, has opened again meanwhile.
// What fails of it is taken up as the departure was.
func (s *Service) undo(ctx context.Context, id uuid.UUID) error {
	a, err := account(ctx, s.db, id)
	if err != nil || a.Status != active {
		return err
	}
	if err := resumeDeparture(ctx, s.db, id, s.now().Add(departureGap)); err != nil {
		return err
	}
	if err := s.reopen(ctx, id); err != nil {
		return err
	}
	return dropDeparture(ctx, s.db, id)
}

// stay opens the account again, whose owner signs in anew and is told why.
func (s *Service) stay(ctx context.Context, id uuid.UUID, no *errs.Error) error {
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		back, err := endDeparture(ctx, tx, id, s.clock.Now())
		if err != nil || !back {
			return err
		}
		var why []string
		for _, code := range slices.Sorted(maps.Keys(no.Details)) {
			why = append(why, no.Details[code])
		}
		return tell(outbox.WithClock(ctx, s.clock), tx, event.UserDeletionRefused{UserID: id, Reason: strings.Join(why, " ")},
			audit.Entry{Actor: id.String(), Action: "account.stayed", Subject: id})
	})
}

// erase leaves of an account its id and its role. The goodbye is written to the address that the event carries, and nobody keeps it.
// It says whether it did: another process may have been quicker, to this end or to the other.
func (s *Service) erase(ctx context.Context, id uuid.UUID) (erased bool, err error) {
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		erased = false
		email, err := eraseUser(ctx, tx, id, s.clock.Now())
		if errs.KindOf(err) == errs.NotFound {
			return nil
		}
		if err != nil {
			return err
		}
		erased = true
		dropWaysIn(tx, id)
		for _, sql := range []string{`DELETE FROM links WHERE user_id = $1`, `DELETE FROM sessions WHERE user_id = $1`, `DELETE FROM departures WHERE user_id = $1`} {
			tx.Later(sql, id)
		}
		return tell(outbox.WithClock(ctx, s.clock), tx, event.UserDeleted{UserID: id, Email: email},
			audit.Entry{Actor: id.String(), Action: "user.deleted", Subject: id})
	})
	return erased, err
}

// RetryDue is when a departure that was broken off is to be taken up again; zero when there is none.
func (s *Service) RetryDue(ctx context.Context) (time.Time, error) { return nextDeparture(ctx, s.db) }

// Retry takes up departures that were broken off.
func (s *Service) Retry(ctx context.Context, now time.Time) error {
	ids, err := claimDepartures(ctx, s.db, now, now.Add(departureGap))
	if err != nil {
		return fmt.Errorf("look for departures: %w", err)
	}
	var failed []error
	for _, id := range ids {
		if err := s.depart(ctx, id); err != nil && errs.KindOf(err) != errs.Conflict {
			failed = append(failed, fmt.Errorf("delete account %s: %w", id, err))
		}
	}
	return errors.Join(failed...)
}
