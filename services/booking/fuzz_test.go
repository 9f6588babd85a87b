package booking_test

import (
	"encoding/json"
	"testing"
	"time"

	"tulifo/platform/errs"
	"tulifo/services/booking"
)

// Whatever is asked for as a period, it is refused as invalid, or is a stretch of time that can be listed and written.
func FuzzPeriod(f *testing.F) {
	for _, s := range [][4]string{
		{"", "", "", "Europe/Berlin"}, {"2026-03-02", "2026-03-08", "", "America/New_York"}, {"", "", "2026-03-29", "Europe/Berlin"}, {"", "", "2011-12-30", "Pacific/Apia"},
		{"2026-03-02T08:00:00+14:00", "2026-03-03T08:00:00-12:00", "", "UTC"}, {"8999-12-31", "", "", "Asia/Tokyo"}, {"", "9000-12-31", "", "Pacific/Kiritimati"},
		{"1970-01-01", "1970-01-02", "", "Pacific/Kiritimati"}, {"0000-01-01", "9999-12-31", "", "UTC"}, {"9000-12-31T23:59:59-23:59", "", "", "UTC"}, {"2026-03-05", "2026-03-04", "", "UTC"},
		{"", "", "2026-02-30", "UTC"}, {"", "", "0000-01-01", "Asia/Kathmandu"}, {"x", "", "", "Local"}, {"", "", "", "../../etc/passwd"}, {"", "", "", "\x00"}, {"2026-03-02T08:00:00.9999999999Z", "", "", ""},
	} {
		f.Add(s[0], s[1], s[2], s[3], 60)
	}
	f.Add("2026-03-02", "2026-03-03", "", "UTC", -1)
	f.Add("2026-03-02", "2026-03-03", "", "UTC", 1440)
	now := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	open := booking.NewCalendar(booking.Rules{Zone: "Europe/Berlin", HorizonDays: 60, SlotStep: 30,
		Weekly: [7][]booking.Window{1: {{Start: 0, End: 1440}}, 3: {{Start: 540, End: 1020}}, 0: {{Start: 0, End: 240}}}})
	f.Fuzz(func(t *testing.T, from, to, date, tz string, duration int) {
		within, err := booking.Within(from, to, date, tz, now)
		if err != nil {
			if errs.KindOf(err) != errs.Invalid {
				t.Errorf("%q to %q or %q in %q: %v", from, to, date, tz, err)
			}
			return
		}
		// A date that its zone skipped, as Samoa did, has no time in it.
		if raw, err := json.Marshal(within); err != nil || within.End.Before(within.Start) {
			t.Errorf("%q to %q or %q in %q is %s, %v", from, to, date, tz, raw, err)
		}
		// Longer listings are refused before anything is read, and other lengths by the schema.
		if within.End.Sub(within.Start) > booking.MaxListing || duration < 1 || duration > 1440 {
			return
		}
		for _, start := range open.Listed(within, duration, now) {
			if start.Before(within.Start) || !start.Before(within.End) || start.Before(now) {
				t.Errorf("%q to %q or %q in %q for %d minutes lists %s", from, to, date, tz, duration, start)
			}
		}
	})
}
