// Package rehearsal keeps the business clock of a rehearsal: one row in Postgres that every process of a platform follows, and that the
// operator moves.
//
// Always: the clock never goes back, in no process; who moves it can tell when every process that lives has seen the move; and while it is
// being moved it stands, so that what is due is done in the order of its time. A mover that dies leaves a clock that goes on by itself.
package rehearsal

import (
	"context"
	"embed"
	"fmt"
	"sync"
	"time"

	"tulifo/platform/errs"
	"tulifo/platform/postgres"
)

// Schema is where the clock is kept.
const Schema = "tulifo_clock"

//go:embed migrations/*.sql
var migrations embed.FS

// Migration brings up the tables of the clock.
var Migration = postgres.Migration{Schema: Schema, FS: migrations}

// State is the row.
type State struct {
	Epoch  int64      // grows with each move
	At     time.Time  // business time
	Frozen bool       // it stands still between moves
	Since  *time.Time // the system time since when it runs on from At, maybe in the future; nil when it is frozen
}

// Now is the business time of the state, in UTC and microseconds.
func (s State) Now() time.Time {
	now := s.At
	if s.Since != nil {
		now = now.Add(max(0, time.Since(*s.Since)))
	}
	return now.UTC().Truncate(time.Microsecond)
}

// Held tells whether somebody is moving the clock just now.
func (s State) Held() bool { return s.Since != nil && time.Until(*s.Since) > 0 }

// Start says how a clock that does not exist yet begins.
type Start struct {
	At     time.Time // business time; the system's when zero
	Frozen bool      // it stands still between moves, instead of running at the speed of the system's
}

// Exists tells whether the database is a rehearsal's, and whether any platform has worked on it.
func Exists(ctx context.Context, db *postgres.DB, used string) (rehearsal, worked bool, err error) {
	s, err := postgres.One[struct{ Rehearsal, Worked bool }](ctx, db, `SELECT to_regclass($1) IS NOT NULL AS rehearsal, to_regnamespace($2) IS NOT NULL AS worked`, Schema+".clock", used)
	if err != nil {
		return false, false, fmt.Errorf("look for a rehearsal's clock: %w", err)
	}
	return s.Rehearsal, s.Worked, nil
}

// Begin is the clock of the rehearsal, which it makes when there is none; begun tells which. The tables must be there.
func Begin(ctx context.Context, db *postgres.DB, s Start) (c *Clock, begun bool, err error) {
	if s.At.IsZero() {
		s.At = time.Now()
	}
	tag, err := db.Exec(ctx, `INSERT INTO clock (at, frozen, since) VALUES ($1, $2, CASE WHEN NOT $2 THEN clock_timestamp() END) ON CONFLICT DO NOTHING`, s.At.UTC().Truncate(time.Microsecond), s.Frozen)
	if err != nil {
		return nil, false, fmt.Errorf("begin a rehearsal: %w", err)
	}
	now, err := Read(ctx, db)
	if err != nil {
		return nil, false, err
	}
	return &Clock{db: db, state: now, floor: now.Now(), jumped: make(chan struct{})}, tag.RowsAffected() == 1, nil
}

const columns = `epoch, at, frozen, since`

// Read is the row as it is now.
func Read(ctx context.Context, db *postgres.DB) (State, error) {
	s, err := postgres.One[State](ctx, db, `SELECT `+columns+` FROM clock`)
	if err != nil {
		return s, fmt.Errorf("read the rehearsal's clock: %w", err)
	}
	return s, nil
}

// Clock is the row as this process knows it; it is a clock.Clock. Follow keeps it true.
type Clock struct {
	db *postgres.DB

	mu     sync.Mutex
	state  State
	floor  time.Time // the latest that was answered
	jumped chan struct{}
}

// Now is business time, in UTC and microseconds. It never goes back.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := c.state.Now(); now.After(c.floor) {
		c.floor = now
	}
	return c.floor
}

// Jumped is closed at the next move.
func (c *Clock) Jumped() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.jumped
}

// see takes what the row says now, and tells whether it was moved.
func (c *Clock) see(s State) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	moved := s.Epoch > c.state.Epoch
	if s.Epoch >= c.state.Epoch {
		c.state = s
	}
	if moved {
		close(c.jumped)
		c.jumped = make(chan struct{})
	}
	return moved
}

func (c *Clock) epoch() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.Epoch
}

// holdFor is how long a clock that is being moved stands without word of its mover.
const holdFor = 15 * time.Second

// Move sets the clock to at, which counts from epoch. With hold it stands there until it is moved again, or until the mover is silent for
// 15 s; else it goes on as it did before. Conflict: the clock was moved since, or is later than at.
func Move(ctx context.Context, db *postgres.DB, epoch int64, at time.Time, hold bool) (State, error) {
	s, err := postgres.One[State](ctx, db, `
		UPDATE clock SET epoch = epoch + 1, at = $2, since = CASE WHEN NOT frozen THEN clock_timestamp() + CASE WHEN $3 THEN $4 ELSE 0 END * interval '1 second' END
		WHERE epoch = $1 AND at <= $2 RETURNING `+columns, epoch, at.UTC(), hold, holdFor.Seconds())
	if errs.KindOf(err) == errs.NotFound {
		return s, errs.New(errs.Conflict, "Somebody else has moved the clock.")
	}
	if err != nil {
		return s, fmt.Errorf("move the rehearsal's clock: %w", err)
	}
	return s, nil
}

// Hold tells that the mover is still there; only he may call it.
func Hold(ctx context.Context, db *postgres.DB) error {
	_, err := db.Exec(ctx, `UPDATE clock SET since = clock_timestamp() + $1 * interval '1 second' WHERE NOT frozen`, holdFor.Seconds())
	if err != nil {
		return fmt.Errorf("hold the rehearsal's clock: %w", err)
	}
	return nil
}
