package booking_test

import (
	"strings"
	"testing"
	"time"

	"tulifo/services/booking"
)

func at(t testing.TB, s string) time.Time {
	t.Helper()
	v, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return v.UTC()
}

func hours(h1, m1, h2, m2 int) booking.Window {
	w := booking.Window{Start: h1*60 + m1, End: h2*60 + m2}
	if w.End <= w.Start {
		w.End += 1440
	}
	return w
}

func everyDay(zone string, w ...booking.Window) booking.Rules {
	r := booking.Rules{Zone: zone, HorizonDays: 400, SlotStep: 30}
	for d := range r.Weekly {
		r.Weekly[d] = w
	}
	return r
}

func date(s string) booking.Date {
	d, err := booking.ParseDate(s)
	if err != nil {
		panic(err)
	}
	return d
}

func TestInstant(t *testing.T) {
	for _, c := range []struct {
		what, zone, date string
		h, m             int
		want             string
		exists           bool
	}{
		{"an ordinary time", "Europe/Berlin", "2026-03-02", 9, 0, "2026-03-02T08:00:00Z", true},
		{"skipped by summer time: the end of the gap", "Europe/Berlin", "2026-03-29", 2, 30, "2026-03-29T01:00:00Z", false},
		{"the end of the gap itself exists", "Europe/Berlin", "2026-03-29", 3, 0, "2026-03-29T01:00:00Z", true},
		{"shown twice: the first one", "Europe/Berlin", "2026-10-25", 2, 30, "2026-10-25T00:30:00Z", true},
		{"after the repeated hour", "Europe/Berlin", "2026-10-25", 3, 0, "2026-10-25T02:00:00Z", true},
		{"New York in spring", "America/New_York", "2026-03-08", 2, 15, "2026-03-08T07:00:00Z", false},
		{"New York in autumn", "America/New_York", "2026-11-01", 1, 30, "2026-11-01T05:30:00Z", true},
		{"a half-hour zone", "Asia/Kolkata", "2026-06-01", 9, 0, "2026-06-01T03:30:00Z", true},
		{"a quarter-hour zone", "Asia/Kathmandu", "2026-06-01", 9, 0, "2026-06-01T03:15:00Z", true},
		{"half an hour is skipped", "Australia/Lord_Howe", "2026-10-04", 2, 15, "2026-10-03T15:30:00Z", false},
		{"half an hour is repeated", "Australia/Lord_Howe", "2026-04-05", 1, 45, "2026-04-04T14:45:00Z", true},
		{"Ramadan's clock goes back", "Africa/Casablanca", "2026-02-15", 2, 30, "2026-02-15T01:30:00Z", true},
		{"and forward after it", "Africa/Casablanca", "2026-03-22", 2, 30, "2026-03-22T02:00:00Z", false},
		{"a day that was skipped", "Pacific/Apia", "2011-12-30", 12, 0, "2011-12-30T10:00:00Z", false},
		{"midnight was skipped", "America/Sao_Paulo", "2018-11-04", 0, 0, "2018-11-04T03:00:00Z", false},
		{"midnight's hour was repeated", "America/Sao_Paulo", "2018-02-17", 23, 30, "2018-02-18T01:30:00Z", true},
		{"24:00 is the next midnight", "Europe/Berlin", "2026-03-02", 24, 0, "2026-03-02T23:00:00Z", true},
	} {
		t.Run(c.what, func(t *testing.T) {
			loc, err := time.LoadLocation(c.zone)
			if err != nil {
				t.Fatal(err)
			}
			got, exists := booking.InstantOn(loc, date(c.date), c.h*60+c.m)
			if !got.Equal(at(t, c.want)) || exists != c.exists {
				t.Errorf("got %s, %t; want %s, %t", got.Format(time.RFC3339), exists, c.want, c.exists)
			}
		})
	}
}

// 9 to 17 in Berlin, lunch 12 to 13, a buffer of 15 minutes on each side, and a booking from 14 to 15.
func berlin(t testing.TB) *booking.Plan {
	r := booking.Rules{Zone: "Europe/Berlin", HorizonDays: 60, SlotStep: 30, BufferBefore: 15, BufferAfter: 15, MinNotice: 120}
	for d := 1; d <= 5; d++ {
		r.Weekly[d] = []booking.Window{hours(9, 0, 17, 0)}
	}
	r.Overrides = map[booking.Date][]booking.Window{date("2026-03-06"): nil, date("2026-03-07"): {hours(10, 0, 12, 0)}}
	c := booking.NewCalendar(r)
	c.Repeat(booking.Recurring{From: date("2026-01-01"), Days: [7]bool{1: true, 2: true, 3: true, 4: true, 5: true}, Window: hours(12, 0, 13, 0), Reason: "lunch"})
	c.Booked(booking.Span{Start: at(t, "2026-03-03T14:00:00+01:00"), End: at(t, "2026-03-03T15:00:00+01:00")})
	return c
}

func TestDecide(t *testing.T) {
	now := at(t, "2026-03-02T10:00:00+01:00") // a Monday
	for _, c := range []struct {
		what, start string
		minutes     int
		code, has   string
		set         func(*booking.Plan)
	}{
		{"a free hour", "2026-03-03T09:00:00+01:00", 60, "", "", nil},
		{"in the client's zone", "2026-03-03T03:00:00-05:00", 60, "", "", nil},
		{"past", "2026-03-02T09:00:00+01:00", 60, "notice", "past", nil},
		{"within the notice", "2026-03-02T11:30:00+01:00", 30, "notice", "Notice of 120 minutes, set by you, which ends on 2026-03-02 12:00. Shorten it", nil},
		{"beyond the horizon", "2026-05-04T09:00:00+02:00", 60, "horizon", "Horizon of 60 days, set by you, which ends on 2026-05-01 11:00. Widen it", nil},
		{"before hours", "2026-03-03T08:30:00+01:00", 60, "outside_hours", "08:30–09:30 does not lie within 09:00–17:00, your hours on Tuesdays. Widen them", nil},
		{"over the end", "2026-03-03T16:30:00+01:00", 60, "outside_hours", "16:30–17:30 does not lie within 09:00–17:00", nil},
		{"until the end; the buffer sticks out", "2026-03-03T16:00:00+01:00", 60, "", "", nil},
		{"off the grid", "2026-03-03T09:10:00+01:00", 60, "outside_hours", "30 minutes", nil},
		{"on Sunday", "2026-03-08T10:00:00+01:00", 60, "outside_hours", "there are none on Sundays. Set some", nil},
		{"beside what an override sets", "2026-03-07T13:00:00+01:00", 60, "outside_hours", "within 10:00–12:00, your hours on 2026-03-07. Widen the override", nil},
		{"an override closes the Friday", "2026-03-06T10:00:00+01:00", 60, "outside_hours", "Closed on 2026-03-06", nil},
		{"an override opens the Saturday", "2026-03-07T10:00:00+01:00", 60, "", "", nil},
		{"lunch", "2026-03-03T12:00:00+01:00", 60, "busy", "lunch, 12:00–13:00, blocks it. Remove the block", nil},
		{"the buffer runs into lunch", "2026-03-03T11:00:00+01:00", 60, "busy", "lunch, 12:00–13:00, is too close: with its buffers this time takes 10:45–12:15.", nil},
		{"clear of lunch", "2026-03-03T10:30:00+01:00", 60, "", "", nil},
		{"on a booking", "2026-03-03T14:30:00+01:00", 60, "busy", `The booking "Calm the cluster", 14:00–15:00, blocks it. Move or cancel`, nil},
		{"buffers touch", "2026-03-03T15:30:00+01:00", 60, "", "", nil},
		{"buffers overlap", "2026-03-03T15:00:00+01:00", 60, "busy", "14:00–15:00, is too close: with its buffers it holds 13:45–15:15, and this time takes 14:45–16:15.", nil},
		{"one minute", "2026-03-03T09:00:00+01:00", 1, "length", "", nil},
		{"ten years", "2026-03-03T09:00:00+01:00", 10 * 365 * 1440, "length", "", nil},
		{"ends before it starts", "2026-03-03T09:00:00+01:00", -60, "length", "", nil},
		{"no time at all", "2026-03-03T09:00:00+01:00", 0, "length", "", nil},
		{"a length that is not offered", "2026-03-03T09:00:00+01:00", 60, "length", "60 minutes is none of your slot lengths, which are 50, 90 minutes. Add it", func(c *booking.Plan) { c.SlotLengths = []int{50, 90} }},
		{"a length that is offered", "2026-03-03T09:00:00+01:00", 50, "", "", func(c *booking.Plan) { c.SlotLengths = []int{50, 90} }},
		{"the day is full", "2026-03-03T09:00:00+01:00", 60, "limit", "Daily limit 4 of 4, set by you; this would add 1. Raise it, or move a booking out of 2026-03-03", func(c *booking.Plan) {
			c.Limits.PerDay = 4
			c.Load(booking.DayOf(date("2026-03-03")), 4, 240)
		}},
		{"its minutes would be too many", "2026-03-03T09:00:00+01:00", 60, "limit", "Daily limit 200 of 240 minutes, set by you; this would add 60. Raise it", func(c *booking.Plan) {
			c.Limits.MinutesPerDay = 240
			c.Load(booking.DayOf(date("2026-03-03")), 3, 200)
		}},
		{"its minutes just fit", "2026-03-03T09:00:00+01:00", 60, "", "", func(c *booking.Plan) {
			c.Limits.MinutesPerDay = 240
			c.Load(booking.DayOf(date("2026-03-03")), 3, 180)
		}},
		{"the week is full", "2026-03-07T10:00:00+01:00", 60, "limit", "Weekly limit 9 of 9, set by you; this would add 1. Raise it, or move a booking out of the week of 2026-03-02", func(c *booking.Plan) {
			c.Limits.PerWeek = 9
			c.Load(booking.WeekOf(date("2026-03-02")), 9, 540)
		}},
		{"the next week is not", "2026-03-09T10:00:00+01:00", 60, "", "", func(c *booking.Plan) {
			c.Limits.PerWeek = 9
			c.Load(booking.WeekOf(date("2026-03-08")), 9, 540)
		}},
		{"nobody takes bookings", "2026-03-03T09:00:00+01:00", 60, "inactive", "Set your offer active", (*booking.Plan).Deactivate},
	} {
		t.Run(c.what, func(t *testing.T) {
			cal := berlin(t)
			if c.set != nil {
				c.set(cal)
			}
			start := at(t, c.start)
			no := booking.Decide(cal, booking.Span{Start: start, End: start.Add(time.Duration(c.minutes) * time.Minute)}, now)
			switch {
			case c.code == "" && no != nil:
				t.Errorf("refused: %+v", no)
			case c.code != "" && (no == nil || no.Code != c.code || !strings.Contains(no.Full(), c.has)):
				t.Errorf("got %+v, want %s with %q", no, c.code, c.has)
			}
		})
	}
}

func TestLimitsCountByTheWorkersDate(t *testing.T) {
	c := booking.NewCalendar(everyDay("Pacific/Auckland", hours(0, 0, 24, 0)))
	c.Limits.PerDay = 1
	c.Load(booking.DayOf(date("2026-06-02")), 1, 60)
	now := at(t, "2026-05-01T00:00:00Z")
	hour := func(s string) booking.Span {
		return booking.Span{Start: at(t, s), End: at(t, s).Add(time.Hour)}
	}
	if no := booking.Decide(c, hour("2026-06-01T11:30:00Z"), now); no != nil {
		t.Errorf("23:30 on the first, there: %+v", no)
	}
	if no := booking.Decide(c, hour("2026-06-01T12:00:00Z"), now); no == nil || no.Code != "limit" {
		t.Errorf("midnight of the second, there: %+v", no)
	}
}

func TestAcrossMidnight(t *testing.T) {
	now := at(t, "2026-03-01T00:00:00Z")
	for _, c := range []struct {
		what string
		w    []booking.Window
		free bool
	}{
		{"a window over midnight", []booking.Window{hours(22, 0, 2, 0)}, true},
		{"windows that meet at midnight", []booking.Window{hours(0, 0, 24, 0)}, true},
		{"from midnight to midnight", []booking.Window{hours(0, 0, 0, 0)}, true},
		{"a gap of a minute", []booking.Window{hours(0, 0, 23, 59)}, false},
	} {
		cal := booking.NewCalendar(everyDay("Asia/Kathmandu", c.w...))
		start := at(t, "2026-03-03T23:00:00+05:45")
		no := booking.Decide(cal, booking.Span{Start: start, End: start.Add(2 * time.Hour)}, now)
		if (no == nil) != c.free {
			t.Errorf("%s: %+v", c.what, no)
		}
	}
}

// In Cairo midnight jumps to 01:00: a window over it ends where the gap begins, and its grid has nothing in the hours of the window that follows.
func TestGridDoesNotGoOnBeyondAGap(t *testing.T) {
	r := everyDay("Africa/Cairo", hours(23, 30, 0, 30), hours(1, 0, 4, 0))
	r.SlotStep = 45
	c := booking.NewCalendar(r)
	now := at(t, "2024-04-20T00:00:00Z")
	for start, free := range map[string]bool{"2024-04-26T01:00:00+03:00": true, "2024-04-26T01:45:00+03:00": true, "2024-04-26T01:15:00+03:00": false} {
		s := at(t, start)
		if no := booking.Decide(c, booking.Span{Start: s, End: s.Add(30 * time.Minute)}, now); (no == nil) != free {
			t.Errorf("%s: %v", start, no)
		}
	}
}

func BenchmarkSixtyTwoDays(b *testing.B) {
	cal := berlin(b)
	now := at(b, "2026-03-02T10:00:00+01:00")
	within := booking.Span{Start: now, End: now.AddDate(0, 0, 62)}
	for b.Loop() {
		cal.Listed(within, 60, now)
	}
}
