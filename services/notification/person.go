package notification

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/docdb"
	"tulifo/platform/errs"
)

// zone is where the person lives; UTC when that is not known.
func (p person) zone() *time.Location {
	if p.Timezone == "" || p.Timezone == "Local" {
		return time.UTC
	}
	loc, err := time.LoadLocation(p.Timezone)
	if err != nil {
		return time.UTC
	}
	return loc
}

// learnPerson keeps the copy of a person up to date. auth and user tell in no order between them, so neither overwrites what is the other's.
func learnPerson(ctx context.Context, tx docdb.Tx, e any) error {
	switch e := e.(type) {
	case event.UserCreated:
		now := []docdb.Change{docdb.Set("email", e.Email)}
		if e.Verified {
			now = append(now, docdb.Set("verified", true))
		}
		_, err := people.Upsert(ctx, tx, person{ID: e.UserID, Email: e.Email, Verified: e.Verified, Name: e.Name}, now...)
		return err
	case event.UserVerified:
		return provePerson(ctx, tx, e.UserID, e.Email)
	case event.UserEmailChanged:
		return provePerson(ctx, tx, e.UserID, e.Email)
	case event.UserUpdated:
		fresh, err := people.InsertIfAbsent(ctx, tx, person{ID: e.UserID, Name: e.Name, Locale: e.Locale, Timezone: e.Timezone, Version: e.Version})
		if err != nil || fresh {
			return err
		}
		_, err = people.UpdateAll(ctx, tx, docdb.And(docdb.Eq("id", e.UserID), docdb.Lt("version", e.Version)),
			docdb.Set("name", e.Name), docdb.Set("locale", e.Locale), docdb.Set("timezone", e.Timezone), docdb.Set("version", e.Version))
		return err
	case event.UserDeleted:
		return erase(ctx, tx, e.UserID)
	}
	return nil
}

func provePerson(ctx context.Context, tx docdb.Tx, id uuid.UUID, email string) error {
	_, err := people.Upsert(ctx, tx, person{ID: id, Email: email, Verified: true}, docdb.Set("email", email), docdb.Set("verified", true))
	return err
}

// erase forgets everything that is about one person only.
func erase(ctx context.Context, tx docdb.Tx, user uuid.UUID) error {
	for _, forget := range []func() (int, error){
		func() (int, error) { return people.DeleteAll(ctx, tx, docdb.Eq("id", user)) },
		func() (int, error) { return preferred.DeleteAll(ctx, tx, docdb.Eq("id", user)) },
		func() (int, error) { return notifications.DeleteAll(ctx, tx, docdb.Eq("userId", user)) },
		func() (int, error) { return deliveries.DeleteAll(ctx, tx, docdb.Eq("userId", user)) },
		func() (int, error) { return subscriptions.DeleteAll(ctx, tx, docdb.Eq("userId", user)) },
	} {
		if _, err := forget(); err != nil {
			return err
		}
	}
	return nil
}

var errUnreachable = errors.New("there is no proven address to write to")

// reader is the person that a mail is for, with the address that it goes to. A copy that does not know the person, or that the address is proven,
// is not believed: auth is asked. errUnreachable: there is nobody to write to.
func (s *Service) reader(ctx context.Context, d delivery) (person, error) {
	p, err := people.Get(ctx, s.docs, d.UserID)
	if err != nil && errs.KindOf(err) != errs.NotFound {
		return p, err
	}
	if d.Address != "" {
		p.ID, p.Email = d.UserID, d.Address
		return p, nil
	}
	if p.Email != "" && p.Verified {
		return p, nil
	}
	a, err := s.askAccount(ctx, d.UserID)
	switch {
	case errs.KindOf(err) == errs.NotFound:
		return p, errUnreachable
	case err != nil:
		return p, err
	case a.Email == "" || !a.EmailVerified && !s.rules[d.Type].category.essential():
		return p, errUnreachable
	}
	p.ID, p.Email = d.UserID, a.Email
	if p.Name == "" {
		p.Name = a.Name
	}
	return p, nil
}
