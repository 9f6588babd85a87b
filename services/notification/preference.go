package notification

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/docdb"
	"tulifo/platform/errs"
)

// Category is a kind of message that people can switch on and off.
type Category string

// The categories.
const (
	Account   Category = "account" // safety of the account; cannot be switched off
	Bookings  Category = "bookings"
	Reminders Category = "reminders"
	Payments  Category = "payments"
	Reviews   Category = "reviews"
)

var categories = []Category{Account, Bookings, Reminders, Payments, Reviews}

// essential says that messages of the category always come, and at once.
func (c Category) essential() bool { return c == Account }

// Channel is a way of telling people.
type Channel string

// The channels.
const (
	InApp Channel = "inApp"
	Email Channel = "email"
)

var channels = []Channel{InApp, Email}

// QuietHours are when no mail comes, by the clock of the reader's zone; they may span midnight.
type QuietHours struct {
	Start string `json:"start" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$" patternDescription:"a time of day, such as 22:00" example:"22:00"`
	End   string `json:"end" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$" patternDescription:"a time of day, such as 22:00" example:"07:00"`
}

// until is when the quiet hours end that now is in; false when it is in none.
func (q *QuietHours) until(now time.Time, zone *time.Location) (time.Time, bool) {
	if q == nil {
		return time.Time{}, false
	}
	var h, m [2]int
	for i, s := range []string{q.Start, q.End} {
		if _, err := fmt.Sscanf(s, "%d:%d", &h[i], &m[i]); err != nil {
			return time.Time{}, false
		}
	}
	local := now.In(zone)
	at, start, end := local.Hour()*60+local.Minute(), h[0]*60+m[0], h[1]*60+m[1]
	if quiet := start < end && at >= start && at < end || start > end && (at >= start || at < end); !quiet {
		return time.Time{}, false
	}
	year, month, day := local.Date()
	for ; ; day++ {
		if t := time.Date(year, month, day, h[1], m[1], 0, 0, zone); t.After(now) {
			return t.UTC(), true
		}
	}
}

// Matrix says for each category and channel whether it is on.
type Matrix map[Category]map[Channel]bool

// Preferences are what a person wants to be told, and when.
type Preferences struct {
	Matrix     Matrix      `json:"matrix"`
	QuietHours *QuietHours `json:"quietHours"` // null: none
	Timezone   string      `json:"timezone"`   // of the quiet hours; follows the profile
	Fixed      []Category  `json:"fixed"`      // categories that cannot be switched off
}

func cell(c Category, ch Channel) string { return string(c) + "_" + string(ch) }

func (p preferences) wants(c Category, ch Channel) bool { return c.essential() || !p.Off[cell(c, ch)] }

func (p preferences) shown(who person) Preferences {
	out := Preferences{Matrix: Matrix{}, QuietHours: p.Quiet, Timezone: who.zone().String()}
	for _, c := range categories {
		out.Matrix[c] = map[Channel]bool{}
		for _, ch := range channels {
			out.Matrix[c][ch] = p.wants(c, ch)
		}
		if c.essential() {
			out.Fixed = append(out.Fixed, c)
		}
	}
	return out
}

// Preferences are those of the user.
func (s *Service) Preferences(ctx context.Context, user uuid.UUID) (Preferences, error) {
	p, err := preferred.Get(ctx, s.docs, user)
	if err != nil && errs.KindOf(err) != errs.NotFound {
		return Preferences{}, err
	}
	return s.withZone(ctx, user, p)
}

func (s *Service) withZone(ctx context.Context, user uuid.UUID, p preferences) (Preferences, error) {
	who, err := people.Get(ctx, s.docs, user)
	if err != nil && errs.KindOf(err) != errs.NotFound {
		return Preferences{}, err
	}
	return p.shown(who), nil
}

// Prefer switches the cells of want; the others stay. With sent, quiet are the quiet hours from now on, nil for none.
// Invalid: a category or channel does not exist or cannot be switched off, or the quiet hours are not hours.
func (s *Service) Prefer(ctx context.Context, user uuid.UUID, want Matrix, quiet *QuietHours, sent bool) (Preferences, error) {
	doc := preferences{ID: user, Off: map[string]bool{}, Quiet: quiet}
	var changes []docdb.Change
	for c, row := range want {
		if !slices.Contains(categories, c) {
			return Preferences{}, errs.Field("matrix", "has a category that does not exist")
		}
		for ch, on := range row {
			switch {
			case !slices.Contains(channels, ch):
				return Preferences{}, errs.Field("matrix", "has a channel that does not exist")
			case c.essential() && !on:
				return Preferences{}, errs.Field("matrix", "switches off messages about the safety of the account, which always come")
			}
			doc.Off[cell(c, ch)] = !on
			changes = append(changes, docdb.Set("off."+cell(c, ch), !on))
		}
	}
	switch {
	case !sent:
	case quiet == nil:
		changes = append(changes, docdb.Unset("quietHours"))
	case quiet.Start == quiet.End:
		return Preferences{}, errs.Field("quietHours", "must end at another time than they start")
	default:
		changes = append(changes, docdb.Set("quietHours", *quiet))
	}
	if len(changes) == 0 {
		return s.Preferences(ctx, user)
	}
	p, err := preferred.Upsert(ctx, s.docs, doc, changes...)
	if err != nil {
		return Preferences{}, fmt.Errorf("keep preferences: %w", err)
	}
	return s.withZone(ctx, user, p)
}
