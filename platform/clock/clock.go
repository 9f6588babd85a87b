// Package clock tells business time: what rules bookings, deadlines and releases.
//
// In production it is the system's time; in a rehearsal, a demo or a test it is virtual and moves only when told to.
// Tokens, rate limits, leases and logs use the time package instead, because they must follow the real world.
package clock

import (
	"sync"
	"time"
)

// Clock answers business time.
type Clock interface {
	// Now is in UTC and in whole microseconds, as Postgres keeps it.
	Now() time.Time
	// Jumped is closed at the next jump of a virtual clock; nil, which never fires, for the system clock.
	Jumped() <-chan struct{}
}

// System is the machine's own time.
var System Clock = system{}

type system struct{}

func (system) Now() time.Time          { return time.Now().UTC().Truncate(time.Microsecond) }
func (system) Jumped() <-chan struct{} { return nil }

// Virtual is a clock that stands still until it is set. Its methods may be called from many goroutines.
type Virtual struct {
	mu     sync.Mutex
	now    time.Time
	live   bool
	jumped chan struct{}
}

// NewVirtual is a virtual clock that stands at start.
func NewVirtual(start time.Time) *Virtual {
	return &Virtual{now: start.UTC().Truncate(time.Microsecond), jumped: make(chan struct{})}
}

// Now is the time the clock was last set to, or the system's after Follow.
func (v *Virtual) Now() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.live {
		return System.Now()
	}
	return v.now
}

// Jumped is closed when the clock is next set.
func (v *Virtual) Jumped() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.jumped
}

// Set moves the clock to t and wakes who waits for a jump. The clock never goes back: an earlier t changes nothing.
func (v *Virtual) Set(t time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if t = t.UTC().Truncate(time.Microsecond); t.After(v.now) {
		v.now = t
		v.jump()
	}
}

// Advance moves the clock on by d.
func (v *Virtual) Advance(d time.Duration) { v.Set(v.Now().Add(d)) }

// Follow makes the clock run with the system's from now on.
func (v *Virtual) Follow() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.live = true
	v.jump()
}

func (v *Virtual) jump() {
	close(v.jumped)
	v.jumped = make(chan struct{})
}
