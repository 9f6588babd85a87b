package user

import (
	"context"
	"reflect"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// The states of an account.
const (
	active    = "active"
	suspended = "suspended"
	deleted   = "deleted"
)

var (
	errNoUser = errs.New(errs.NotFound, "There is no such user.")
	errStale  = errs.Coded(errs.Conflict, "changed", "This has been changed meanwhile. Look at it again.")
)

// account is what auth says.
type account struct {
	Email         string
	EmailVerified bool
	Role          string
	Status        string
}

// profile is what everybody says about themselves.
type profile struct {
	Name        string
	Bio         string
	Skills      []event.Skill
	Experience  string
	City        string
	Country     string
	Lat, Lon    *float64
	Timezone    string
	Locale      string
	Avatar      string
	Portfolio   []PortfolioItem
	SocialLinks map[string]string
}

// offer is what a worker adds.
type offer struct {
	Title          string
	RateMinor      int64
	Currency       string
	Categories     []string
	Languages      []string
	InstantBooking bool
	Available      bool
}

// company is what a client adds.
type company struct {
	Company  string
	Industry string
	Size     string
}

// standing is what review says.
type standing struct {
	AverageRating  float64 // two digits
	TotalReviews   int64
	ReviewsWaiting int64 // written, and not revealed yet
	Badges         []Badge
	Rank           int64 // the average in billionths
}

// person is all that is known of a user. The slices and maps in it are replaced, never changed.
type person struct {
	UserID uuid.UUID
	account
	profile
	offer
	company
	standing
	Version       int64 // of the profile
	OfferVersion  int64 // 0 for who never was a worker
	ClientVersion int64 // 0 for who never was a client
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

// newPerson is a user of whom only the account is known.
func newPerson(id uuid.UUID, name string, a account, at time.Time) person {
	return person{UserID: id, account: a, profile: blank(name), offer: noOffer(), CreatedAt: at, UpdatedAt: at, Version: 1}
}

func blank(name string) profile {
	return profile{Name: name, Skills: []event.Skill{}, Timezone: "UTC", Locale: "en", Portfolio: []PortfolioItem{}, SocialLinks: map[string]string{}}
}

func noOffer() offer {
	return offer{Currency: defaultCurrency, Categories: []string{}, Languages: []string{}, Available: true}
}

// bookable says whether the worker may be booked.
func (p person) bookable() bool {
	return p.Role == token.Worker && p.Status == active && p.RateMinor > 0 && p.Available
}

func (p person) userUpdated() event.UserUpdated {
	return event.UserUpdated{UserID: p.UserID, Name: p.Name, Locale: p.Locale, Timezone: p.Timezone, Country: p.Country, Version: p.Version}
}

func (p person) workerUpdated() event.WorkerUpdated {
	return event.WorkerUpdated{
		WorkerID: p.UserID, Title: p.Title, Rate: money.Of(p.RateMinor, p.Currency), Skills: p.Skills, Categories: p.Categories,
		Timezone: p.Timezone, Country: p.Country, InstantBooking: p.InstantBooking, Active: p.bookable(), Version: p.OfferVersion,
	}
}

// change has fn change what is known of a user, under the lock of the user's row, and tells who needs to know. NotFound: there is no such user.
func (s *Service) change(ctx context.Context, tx postgres.Tx, send write, id uuid.UUID, fn func(*person) error) (person, error) {
	was, err := lock(ctx, tx, id)
	if err != nil {
		return person{}, err
	}
	is := was
	if err := fn(&is); err != nil {
		return person{}, err
	}
	return is, s.save(ctx, tx, send, was, &is)
}

// save writes what differs between was and is, gives it its versions and tells of it.
func (s *Service) save(ctx context.Context, tx postgres.Tx, send write, was person, is *person) error {
	now := s.clock.Now()
	edited := !reflect.DeepEqual(was.profile, is.profile)
	if edited {
		is.Version++
		is.UpdatedAt = now
	}
	if edited || was.account != is.account {
		updateProfile(send, *is)
	}
	before := was.userUpdated()
	before.Version = is.Version
	if told := is.userUpdated(); told != before {
		if err := s.tell(ctx, tx, is.UserID, told); err != nil {
			return err
		}
	}
	if is.Role == token.Worker || was.OfferVersion > 0 {
		if err := s.saveOffer(ctx, tx, send, was, is, edited); err != nil {
			return err
		}
	}
	if is.company != was.company || is.Role == token.Client && was.ClientVersion == 0 {
		is.ClientVersion++
		putClient(send, *is, now)
	}
	return nil
}

func (s *Service) saveOffer(ctx context.Context, tx postgres.Tx, send write, was person, is *person, edited bool) error {
	offered := was.OfferVersion == 0 || !reflect.DeepEqual(was.offer, is.offer) || !reflect.DeepEqual(was.workerUpdated(), is.workerUpdated())
	if offered {
		is.OfferVersion++
	}
	if offered || edited {
		putWorker(send, *is, s.clock.Now())
	}
	if !offered {
		return nil
	}
	return s.tell(ctx, tx, is.UserID, is.workerUpdated())
}

// edit is change for a person's request, in a transaction of its own: it finds the user at auth when the news of the registration is still on
// its way. NotFound: there is no such user, or none any more.
func (s *Service) edit(ctx context.Context, id uuid.UUID, fn func(postgres.Tx, *person) error) (person, error) {
	var p person
	run := func() error {
		return s.db.InTx(ctx, func(tx postgres.Tx) (err error) {
			p, err = s.change(ctx, tx, tx.Later, id, func(p *person) error {
				if p.Status == deleted {
					return errNoUser
				}
				return fn(tx, p)
			})
			return err
		})
	}
	err := run()
	if errs.KindOf(err) != errs.NotFound {
		return p, err
	}
	if err := s.learn(ctx, id); err != nil {
		return p, err
	}
	return p, run()
}

// known is a user, found at auth when the news of the registration is still on its way. NotFound: there is none, or none any more.
func (s *Service) known(ctx context.Context, id uuid.UUID) (person, error) {
	p, err := find(ctx, s.db, id)
	if errs.KindOf(err) == errs.NotFound {
		if err := s.learn(ctx, id); err != nil {
			return p, err
		}
		p, err = find(ctx, s.db, id)
	}
	if err == nil && p.Status == deleted {
		return p, errNoUser
	}
	return p, err
}

// add makes a user known, unless there is one already.
func (s *Service) add(ctx context.Context, tx postgres.Tx, p person) error {
	fresh, err := insertProfile(ctx, tx, p)
	if err != nil || !fresh {
		return err
	}
	return atOnce(ctx, tx, func(send write) error { return s.save(ctx, tx, send, p, &p) })
}

// current refuses a change that was made on another version than have; the sender need not say which it was made on.
func current(made *int64, have int64) error {
	if made != nil && *made != have {
		return errStale
	}
	return nil
}
