package booking

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/audit"
	"tulifo/platform/errs"
	"tulifo/platform/fetch"
	"tulifo/platform/postgres"
	"tulifo/platform/timer"
	"tulifo/platform/token"
)

const (
	maxExternal    = 5                // calendars of a worker
	refreshEvery   = 15 * time.Minute // a calendar that can be read
	retryAtMost    = 6 * time.Hour    // one that cannot
	readAtMost     = time.Minute      // between two readings that somebody asks for
	readsAnHour    = 30               // that a worker may ask for
	claimFor       = 2 * time.Minute  // nobody else reads a claimed calendar
	claimAtOnce    = 8
	readsInOne     = 4               // at the same time
	recomputeAfter = 24 * time.Hour  // of business time: the stretch that is worked out moves on with the clock
	importSlack    = 31              // days that are worked out beyond the worker's horizon
	oneReading     = 8 * time.Second // a person may be waiting for it
)

var errNoExternal = errs.New(errs.NotFound, "There is no such calendar.")

// External is a calendar of somebody else's whose events keep the worker busy. Times but CoversFrom are the system's.
type External struct {
	ID           uuid.UUID
	WorkerID     uuid.UUID
	Name         string
	URL          string
	ETag         string `db:"etag"`
	LastModified string
	CoversFrom   time.Time // business time at which its busy times were worked out
	Events       int
	FetchedAt    time.Time // when it was read last; what is known is as of then
	TriedAt      time.Time
	FailingSince *time.Time
	Failures     int
	Error        string // a sentence for its owner
	NextTryAt    time.Time
	CreatedAt    time.Time
}

// reading is what came of reading an address.
type reading struct {
	got    fetch.Response
	events int
	busy   []span
	from   time.Time
}

// AddExternal reads the address and keeps it with its busy times. Invalid: it cannot be read, and the reason says why. Conflict: there are five already,
// or this one. TooMany: too many readings within the hour.
func (s *Service) AddExternal(ctx context.Context, by token.Caller, worker uuid.UUID, address, name string) (External, error) {
	if by.ID != worker {
		return External{}, errNoWorker
	}
	if err := s.mayRead(ctx, worker); err != nil {
		return External{}, err
	}
	if rest, ok := strings.CutPrefix(address, "webcal://"); ok {
		address = "https://" + rest
	}
	id, err := uuid.NewV7()
	if err != nil {
		return External{}, fmt.Errorf("make a calendar id: %w", err)
	}
	at := systemNow()
	e := External{ID: id, WorkerID: worker, Name: name, URL: address, FetchedAt: at, TriedAt: at, NextTryAt: at.Add(refreshEvery), CreatedAt: at}
	cal, err := s.ownRules(ctx, worker)
	if err != nil {
		return External{}, err
	}
	got, err := s.read(ctx, e, cal)
	if reason, ok := readFault(err); ok {
		return External{}, errs.Field("url", reason)
	}
	if err != nil {
		return External{}, err
	}
	e.ETag, e.LastModified, e.CoversFrom, e.Events = got.got.ETag, got.got.LastModified, got.from, got.events
	err = s.db.InTx(ctx, func(tx postgres.Tx) error {
		// After this, whoever books decides on the calendar with these busy times or has to decide again. It also orders two who add at once.
		if err := bumpVersion(ctx, tx, worker, cal.Zone); err != nil {
			return err
		}
		if err := insertExternal(ctx, tx, e); err != nil {
			return err
		}
		if err := writeImported(ctx, tx, e, got.busy); err != nil {
			return err
		}
		tx.Committed(func() { timer.Poke("booking") })
		return audit.Add(ctx, tx, audit.Entry{Actor: actor(by), Action: "calendar.added", Subject: worker, Detail: map[string]string{"calendar": id.String()}})
	})
	return e, err
}

// Externals are the worker's own calendars, the oldest first.
func (s *Service) Externals(ctx context.Context, by token.Caller, worker uuid.UUID) ([]External, error) {
	if by.ID != worker {
		return nil, errNoWorker
	}
	return listExternals(ctx, s.db, worker)
}

// RemoveExternal forgets a calendar and its busy times. NotFound: the worker has none of that id.
func (s *Service) RemoveExternal(ctx context.Context, by token.Caller, worker, id uuid.UUID) error {
	if by.ID != worker {
		return errNoWorker
	}
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		if err := deleteExternal(ctx, tx, worker, id); err != nil {
			return err
		}
		return audit.Add(ctx, tx, audit.Entry{Actor: actor(by), Action: "calendar.removed", Subject: worker, Detail: map[string]string{"calendar": id.String()}})
	})
}

// RefreshExternal reads a calendar now. What came of it is in the answer, also when it cannot be read. TooMany: it was read within the minute, or
// too many were within the hour. NotFound: the worker has none of that id.
func (s *Service) RefreshExternal(ctx context.Context, by token.Caller, worker, id uuid.UUID) (External, error) {
	if by.ID != worker {
		return External{}, errNoWorker
	}
	e, err := findExternal(ctx, s.db, worker, id)
	if err != nil {
		return External{}, err
	}
	now := systemNow()
	if left := e.TriedAt.Add(readAtMost).Sub(now); left > 0 {
		return External{}, errs.New(errs.TooMany, "This calendar was read just now.").After(left)
	}
	if err := s.mayRead(ctx, worker); err != nil {
		return External{}, err
	}
	claimed, err := claimExternal(ctx, s.db, e, now.Add(claimFor))
	if err != nil {
		return External{}, err
	}
	if err := s.refresh(ctx, claimed); err != nil {
		return External{}, err
	}
	return findExternal(ctx, s.db, worker, id)
}

// mayRead counts a reading that the worker asks for. TooMany: there were enough within the hour.
func (s *Service) mayRead(ctx context.Context, worker uuid.UUID) error {
	ok, err := countRead(ctx, s.db, worker, systemNow())
	if err == nil && !ok {
		err = errs.New(errs.TooMany, "You have had many calendars read. Try again in an hour.").After(time.Hour)
	}
	return err
}

// RetryDue is the earliest system time at which a calendar is to be read; zero when there is none.
func (s *Service) RetryDue(ctx context.Context) (time.Time, error) { return earliestRead(ctx, s.db) }

// Retry reads the calendars that are due. Safe in many processes: each claims the ones it reads.
func (s *Service) Retry(ctx context.Context, now time.Time) error {
	for {
		due, err := claimDueExternals(ctx, s.db, now, now.Add(claimFor), claimAtOnce)
		if err != nil || len(due) == 0 {
			return err
		}
		var (
			work   sync.WaitGroup
			mu     sync.Mutex
			failed []error
			free   = make(chan struct{}, readsInOne)
		)
		for _, e := range due {
			work.Go(func() {
				free <- struct{}{}
				defer func() { <-free }()
				if err := s.refresh(ctx, e); err != nil {
					mu.Lock()
					failed = append(failed, err)
					mu.Unlock()
				}
			})
		}
		work.Wait()
		if len(failed) > 0 {
			return errors.Join(failed...)
		}
	}
}

// refresh reads a claimed calendar and stores what came of it; what cannot be read keeps the busy times it has.
func (s *Service) refresh(ctx context.Context, e External) error {
	cal, err := s.ownRules(ctx, e.WorkerID)
	if err != nil {
		return err
	}
	got, err := s.read(ctx, e, cal)
	claim, now := e.NextTryAt, systemNow()
	e.TriedAt = now
	if reason, ok := readFault(err); ok {
		if e.FailingSince == nil {
			e.FailingSince = &now
		}
		e.Failures, e.Error = e.Failures+1, "The calendar "+reason+"."
		e.NextTryAt = now.Add(min(retryAtMost, refreshEvery<<min(e.Failures-1, 10)))
		_, err := storeExternal(ctx, s.db, e, claim)
		return err
	}
	if err != nil {
		return err
	}
	e.FetchedAt, e.FailingSince, e.Failures, e.Error, e.NextTryAt = now, nil, 0, "", now.Add(refreshEvery)
	if got.got.NotModified {
		_, err := storeExternal(ctx, s.db, e, claim)
		return err
	}
	e.ETag, e.LastModified, e.CoversFrom, e.Events = got.got.ETag, got.got.LastModified, got.from, got.events
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		// In the order in which everybody locks them: the worker's calendar first.
		if err := bumpVersion(ctx, tx, e.WorkerID, cal.Zone); err != nil {
			return err
		}
		if stored, err := storeExternal(ctx, tx, e, claim); err != nil || !stored {
			return err // removed, or read by somebody else, meanwhile
		}
		return writeImported(ctx, tx, e, got.busy)
	})
}

// read fetches a calendar and works out when it says busy, from a day back to past the worker's horizon.
func (s *Service) read(ctx context.Context, e External, cal *workerCalendar) (reading, error) {
	ctx, cancel := context.WithTimeout(ctx, oneReading)
	defer cancel()
	now := s.now()
	r := fetch.Request{URL: e.URL, Accept: "text/calendar", Starts: "BEGIN:VCALENDAR", MaxBytes: maxICSBytes}
	if age := now.Sub(e.CoversFrom); age >= 0 && age < recomputeAfter {
		r.ETag, r.LastModified = e.ETag, e.LastModified
	}
	got, err := s.web.Get(ctx, r)
	if err != nil || got.NotModified {
		return reading{got: got}, err
	}
	within := span{now.Add(-24 * time.Hour), now.AddDate(0, 0, cal.HorizonDays+importSlack)}
	f, err := readICS(got.Body, within.End)
	if err != nil {
		return reading{}, err
	}
	ours, err := ownBookings(ctx, s.db, e.WorkerID, f.bookingIDs())
	if err != nil {
		return reading{}, err
	}
	busy, err := f.busy(cal.loc, within, func(uid string) bool {
		id, ok := bookingOf(uid)
		return ok && ours[id]
	})
	return reading{got, len(f.events), busy, now}, err
}

// bookingIDs are the bookings that the file's events may be of, if it came from our own feed.
func (f *icsFile) bookingIDs() []uuid.UUID {
	ids := []uuid.UUID{}
	for _, e := range f.events {
		if id, ok := bookingOf(e.uid); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// readFault is what is wrong with an address or what it leads to, for its owner; false for errors that are ours.
func readFault(err error) (string, bool) {
	if no, ok := errors.AsType[*fetch.Refused](err); ok {
		return no.Reason, true
	}
	return sayICS(err)
}

// systemNow is the machine's time: addresses are read by it, whatever the business clock says.
func systemNow() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
