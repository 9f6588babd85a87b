package booking

import (
	"errors"
	"time"

	"tulifo/platform/fetch"
	"tulifo/platform/money"
)

// Config is what an operator may set.
type Config struct {
	PublicURL string `env:"PUBLIC_URL"` // the only source of hosts in calendar addresses

	FetchAllow []string `env:"FETCH_ALLOW" envSeparator:","` // addresses and networks that are not public and may be read all the same; none unless named

	// What a client pays who cancels: nothing until FreeUntil before the start, then LateShare, from the start on StartedShare, in basis points.
	FreeUntil    time.Duration `env:"BOOKING_CANCEL_FREE_UNTIL" envDefault:"24h"`
	LateShare    int           `env:"BOOKING_CANCEL_LATE_SHARE" envDefault:"5000"`
	StartedShare int           `env:"BOOKING_CANCEL_STARTED_SHARE" envDefault:"10000"`

	AnswerWithin     time.Duration `env:"BOOKING_ANSWER_WITHIN" envDefault:"24h"`         // a pending booking expires after it
	PayWithin        time.Duration `env:"BOOKING_PAY_WITHIN" envDefault:"24h"`            // after the worker's word
	PayWithinInstant time.Duration `env:"BOOKING_PAY_WITHIN_INSTANT" envDefault:"30m"`    // after an instant booking
	CompleteAfter    time.Duration `env:"BOOKING_COMPLETE_AFTER" envDefault:"24h"`        // after the end a paid booking completes itself
	ReleaseAfter     time.Duration `env:"BOOKING_RELEASE_AFTER" envDefault:"72h"`         // after completion the money is released
	NoShowAfter      time.Duration `env:"BOOKING_NO_SHOW_AFTER" envDefault:"15m"`         // after the start somebody may be called absent
	ObjectWithin     time.Duration `env:"BOOKING_NO_SHOW_OBJECT_WITHIN" envDefault:"24h"` // who is called absent may object
}

// DefaultConfig is the configuration of the contract, for tests and for programs that read no environment.
func DefaultConfig() Config {
	return Config{FreeUntil: 24 * time.Hour, LateShare: 5000, StartedShare: 10000, AnswerWithin: 24 * time.Hour, PayWithin: 24 * time.Hour,
		PayWithinInstant: 30 * time.Minute, CompleteAfter: 24 * time.Hour, ReleaseAfter: 72 * time.Hour, NoShowAfter: 15 * time.Minute, ObjectWithin: 24 * time.Hour}
}

// Validate tells what is wrong with the configuration.
func (c Config) Validate() error {
	for _, d := range []time.Duration{c.FreeUntil, c.AnswerWithin, c.PayWithin, c.PayWithinInstant, c.CompleteAfter, c.ReleaseAfter, c.NoShowAfter, c.ObjectWithin} {
		if d <= 0 {
			return errors.New("every BOOKING_ duration must be above zero")
		}
	}
	if c.LateShare < 0 || c.LateShare > c.StartedShare || c.StartedShare > 10_000 {
		return errors.New("BOOKING_CANCEL_LATE_SHARE and BOOKING_CANCEL_STARTED_SHARE are basis points, 0 to 10000, and the first is not above the second")
	}
	_, err := fetch.New(fetch.Options{Allow: c.FetchAllow})
	return err
}

// fee is what of amount goes to the worker when the client cancels at now a booking that was once to start at start.
func (c Config) fee(amount money.Amount, start, now time.Time) money.Amount {
	switch {
	case !now.Before(start):
		return amount.Share(c.StartedShare)
	case now.After(start.Add(-c.FreeUntil)):
		return amount.Share(c.LateShare)
	}
	return money.Of(0, amount.Currency)
}
