package booking_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tulifo/services/booking"
)

// file is a calendar with these lines in it.
func icsFile(lines ...string) []byte {
	return []byte("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//test\r\n" + strings.Join(lines, "\r\n") + "\r\nEND:VCALENDAR\r\n")
}

func vevent(lines ...string) string {
	return "BEGIN:VEVENT\r\nUID:one\r\n" + strings.Join(lines, "\r\n") + "\r\nEND:VEVENT"
}

var march = booking.Span{Start: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), End: time.Date(2026, 4, 30, 0, 0, 0, 0, time.UTC)}

func inBerlin(t testing.TB) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func none(string) bool { return false }

// What the lines of an event mean, in UTC; the worker's calendar is in Berlin.
func TestEventsOfACalendarAreBusyTimes(t *testing.T) {
	zone := `BEGIN:VTIMEZONE
TZID:Office
BEGIN:STANDARD
DTSTART:16011028T030000
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=10
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
END:STANDARD
BEGIN:DAYLIGHT
DTSTART:16010325T020000
RRULE:FREQ=YEARLY;BYDAY=-1SU;BYMONTH=3
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
END:DAYLIGHT
END:VTIMEZONE`
	for what, c := range map[string]struct{ lines, want string }{
		"UTC":                          {vevent("DTSTART:20260302T090000Z", "DTEND:20260302T100000Z"), "0302T0900-0302T1000"},
		"a zone":                       {vevent("DTSTART;TZID=America/New_York:20260302T090000", "DTEND;TZID=America/New_York:20260302T100000"), "0302T1400-0302T1500"},
		"a quoted zone":                {vevent(`DTSTART;X-A="b;c:d";TZID="America/New_York":20260302T090000`, `DURATION:PT1H`), "0302T1400-0302T1500"},
		"a zone at the end of a path":  {vevent("DTSTART;TZID=/citadel.org/2025_1/Asia/Tokyo:20260302T090000", "DURATION:PT30M"), "0302T0000-0302T0030"},
		"a Windows zone":               {vevent("DTSTART;TZID=Pacific Standard Time:20260302T090000", "DURATION:PT30M"), "0302T1700-0302T1730"},
		"a zone that the file has":     {zone + "\r\n" + vevent("DTSTART;TZID=Office:20260328T120000", "DURATION:PT1H", "RRULE:FREQ=DAILY;COUNT=2"), "0328T1100-0328T1200 0329T1000-0329T1100"},
		"a zone that nobody knows":     {vevent("DTSTART;TZID=Nowhere/At all:20260302T090000", "DURATION:PT1H"), "0302T0800-0302T0900"},
		"floating":                     {vevent("DTSTART:20260302T090000", "DTEND:20260302T100000"), "0302T0800-0302T0900"},
		"a day":                        {vevent("DTSTART;VALUE=DATE:20260302"), "0301T2300-0302T2300"},
		"two days":                     {vevent("DTSTART;VALUE=DATE:20260302", "DTEND;VALUE=DATE:20260304"), "0301T2300-0303T2300"},
		"the day the clocks go on":     {vevent("DTSTART;VALUE=DATE:20260329"), "0328T2300-0329T2200"},
		"a duration in days and hours": {vevent("DTSTART:20260328T120000", "DURATION:P1DT2H"), "0328T1100-0329T1200"},
		"weeks":                        {vevent("DTSTART;VALUE=DATE:20260302", "DURATION:P1W"), "0301T2300-0308T2300"},
		"a moment":                     {vevent("DTSTART:20260302T090000Z"), ""},
		"backwards":                    {vevent("DTSTART:20260302T090000Z", "DTEND:20260302T080000Z"), ""},
		"transparent":                  {vevent("DTSTART:20260302T090000Z", "DURATION:PT1H", "TRANSP:TRANSPARENT"), ""},
		"cancelled":                    {vevent("DTSTART:20260302T090000Z", "DURATION:PT1H", "STATUS:CANCELLED"), ""},
		"tentative":                    {vevent("DTSTART:20260302T090000Z", "DURATION:PT1H", "STATUS:TENTATIVE"), "0302T0900-0302T1000"},
		"small letters":                {strings.ToLower(vevent("DTSTART:20260302T090000Z", "DURATION:PT1H")), "0302T0900-0302T1000"},
		"folded":                       {vevent("DTSTART:2026030\r\n 2T09\r\n\t0000Z", "DURATION:PT1H"), "0302T0900-0302T1000"},
		"an alarm inside":              {vevent("DTSTART:20260302T090000Z", "BEGIN:VALARM", "DURATION:PT15M", "TRIGGER:-PT5M", "DTSTART:x", "END:VALARM", "DURATION:PT1H"), "0302T0900-0302T1000"},
		// VTODO is RFC 5545's name of a component: a to-do takes no time.
		"a to-do":              {"BEGIN:VTODO\r\nDTSTART:20260302T090000Z\r\nDURATION:PT1H\r\nEND:VTODO", ""},
		"overlapping":          {vevent("DTSTART:20260302T090000Z", "DURATION:PT1H") + "\r\n" + vevent("DTSTART:20260302T093000Z", "DURATION:PT1H"), "0302T0900-0302T1030"},
		"across the beginning": {vevent("DTSTART:20260201T000000Z", "DTEND:20260301T020000Z"), "0301T0000-0301T0200"},
		"long ago":             {vevent("DTSTART:19000101T000000Z", "DURATION:PT1H"), ""},
		"far ahead":            {vevent("DTSTART:99991231T230000Z", "DTEND:99991231T235959Z"), ""},
		"weekly across the change": {vevent("DTSTART;TZID=Europe/Berlin:20260105T090000", "DURATION:PT1H", "RRULE:FREQ=WEEKLY;UNTIL=20260406T070000Z"),
			"0302T0800-0302T0900 0309T0800-0309T0900 0316T0800-0316T0900 0323T0800-0323T0900 0330T0700-0330T0800 0406T0700-0406T0800"},
		"every other week":         {vevent("DTSTART:20240101T090000Z", "DURATION:PT1H", "RRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=TU;WKST=SU;UNTIL=20260320"), "0310T0900-0310T1000"},
		"the last Friday":          {vevent("DTSTART:20200131T090000Z", "DURATION:PT1H", "RRULE:FREQ=MONTHLY;BYDAY=-1FR"), "0327T0900-0327T1000 0424T0900-0424T1000"},
		"the 31st":                 {vevent("DTSTART:20200131T090000Z", "DURATION:PT1H", "RRULE:FREQ=MONTHLY"), "0331T0900-0331T1000"},
		"every quarter":            {vevent("DTSTART:20200115T090000Z", "DURATION:PT1H", "RRULE:FREQ=MONTHLY;INTERVAL=3"), "0415T0900-0415T1000"},
		"yearly":                   {vevent("DTSTART;VALUE=DATE:19800310", "RRULE:FREQ=YEARLY"), "0309T2300-0310T2300"},
		"every third year":         {vevent("DTSTART:20200310T090000Z", "DURATION:PT1H", "RRULE:FREQ=YEARLY;INTERVAL=3;BYMONTH=3,4"), "0310T0900-0310T1000 0410T0900-0410T1000"},
		"not this year":            {vevent("DTSTART:20210310T090000Z", "DURATION:PT1H", "RRULE:FREQ=YEARLY;INTERVAL=3"), ""},
		"twice a day":              {vevent("DTSTART:20260302T090000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY;BYHOUR=9,15;COUNT=3"), "0302T0900-0302T1000 0302T1500-0302T1600 0303T0900-0303T1000"},
		"a count that is used up":  {vevent("DTSTART:20250101T090000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY;COUNT=10"), ""},
		"a first one off the rule": {vevent("DTSTART:20260301T090000Z", "DURATION:PT1H", "RRULE:FREQ=WEEKLY;BYDAY=MO;UNTIL=20260303"), "0301T0900-0301T1000 0302T0900-0302T1000"},
		"excluded":                 {vevent("DTSTART:20260302T090000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY;COUNT=4", "EXDATE:20260303T090000Z", "EXDATE;VALUE=DATE:20260304"), "0302T0900-0302T1000 0305T0900-0305T1000"},
		"excluded in another zone": {vevent("DTSTART;TZID=Europe/Berlin:20260302T090000", "DURATION:PT1H", "RRULE:FREQ=DAILY;COUNT=2", "EXDATE;TZID=America/New_York:20260302T030000"), "0303T0800-0303T0900"},
		"added":                    {vevent("DTSTART:20260302T090000Z", "DURATION:PT1H", "RDATE:20260310T090000Z,20260311T090000Z", "RDATE;VALUE=PERIOD:20260312T090000Z/PT2H,20260313T090000Z/20260313T093000Z"), "0302T0900-0302T1000 0310T0900-0310T1000 0311T0900-0311T1000 0312T0900-0312T1100 0313T0900-0313T0930"},
		"one moved, one cancelled": {vevent("DTSTART:20260302T090000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY;COUNT=3") + "\r\n" +
			vevent("RECURRENCE-ID:20260303T090000Z", "DTSTART:20260305T120000Z", "DURATION:PT1H") + "\r\n" +
			vevent("RECURRENCE-ID:20260304T090000Z", "STATUS:CANCELLED"), "0302T0900-0302T1000 0305T1200-0305T1300"},
		"one free":           {vevent("DTSTART;VALUE=DATE:20260302", "RRULE:FREQ=DAILY;COUNT=2") + "\r\n" + vevent("RECURRENCE-ID;VALUE=DATE:20260303", "DTSTART;VALUE=DATE:20260303", "TRANSP:TRANSPARENT"), "0301T2300-0302T2300"},
		"in the gap":         {vevent("DTSTART;TZID=Europe/Berlin:20260329T023000", "DURATION:PT1H"), "0329T0130-0329T0230"},
		"two files in one":   {vevent("DTSTART:20260302T090000Z", "DURATION:PT1H") + "\r\nEND:VCALENDAR\r\nBEGIN:VCALENDAR\r\n" + vevent("DTSTART:20260303T090000Z", "DURATION:PT1H"), "0302T0900-0302T1000 0303T0900-0303T1000"},
		"no such day at all": {vevent("DTSTART:20260228T090000Z", "DURATION:PT1H", "RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"), ""},
	} {
		t.Run(what, func(t *testing.T) {
			got, err := booking.BusyTimes(icsFile(c.lines), inBerlin(t), march, none)
			if err != nil {
				t.Fatal(err)
			}
			var list []string
			for _, s := range got {
				list = append(list, s.Start.Format("0102T1504")+"-"+s.End.Format("0102T1504"))
			}
			if text := strings.Join(list, " "); text != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.lines, text, c.want)
			}
		})
	}
}

func TestOwnBookingsInACalendarDoNotBlock(t *testing.T) {
	got, err := booking.BusyTimes(icsFile(vevent("DTSTART:20260302T090000Z", "DURATION:PT1H")), time.UTC, march, func(uid string) bool { return uid == "one" })
	if err != nil || len(got) > 0 {
		t.Errorf("%v, %v", got, err)
	}
}

// hostile are calendars that must be refused, and what must not take long.
func hostileCalendars() map[string][]byte {
	lots := func(n int, line string) string { return strings.Repeat(line, n) }
	wrap := func(s string) []byte { return []byte("BEGIN:VCALENDAR\n" + s + "END:VCALENDAR\n") }
	at := "DTSTART:20200101T000000Z\nDURATION:PT1H\n"
	return map[string][]byte{
		"nothing":                nil,
		"a page":                 []byte("<html><body>Sign in</body></html>"),
		"cut off":                []byte("BEGIN:VCALENDAR\nBEGIN:VEVENT\n" + at),
		"cut off between events": []byte("BEGIN:VCALENDAR\n" + vevent("DTSTART:20260302T090000Z") + "\n"),
		"a NUL":                  wrap("BEGIN:VEVENT\n" + at + "UID:a\x00b\nEND:VEVENT\n"),
		// An END of another component of RFC 5545 than the one that began.
		"ends that do not match":        wrap("BEGIN:VEVENT\n" + at + "END:VJOURNAL\n"),
		"every second":                  wrap("BEGIN:VEVENT\n" + at + "RRULE:FREQ=SECONDLY\nEND:VEVENT\n"),
		"every minute":                  wrap("BEGIN:VEVENT\n" + at + "RRULE:FREQ=MINUTELY;INTERVAL=1\nEND:VEVENT\n"),
		"every hour":                    wrap("BEGIN:VEVENT\n" + at + "RRULE:FREQ=HOURLY\nEND:VEVENT\n"),
		"every second of a day by BY":   wrap("BEGIN:VEVENT\n" + at + "RRULE:FREQ=DAILY;BYHOUR=" + strings.TrimSuffix(lots(60, "1,"), ",") + ";BYMINUTE=" + strings.TrimSuffix(lots(60, "1,"), ",") + ";BYSECOND=" + strings.TrimSuffix(lots(60, "1,"), ",") + "\nEND:VEVENT\n"),
		"a list of a million months":    wrap("BEGIN:VEVENT\n" + at + "RRULE:FREQ=YEARLY;BYMONTH=" + strings.TrimSuffix(lots(500_000, "1,"), ",") + "\nEND:VEVENT\n"),
		"a huge count from long ago":    wrap(lots(100, "BEGIN:VEVENT\nDTSTART:00010101T000000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;COUNT=999999999\nEND:VEVENT\n")),
		"no such frequency":             wrap("BEGIN:VEVENT\n" + at + "RRULE:FREQ=NEVER\nEND:VEVENT\n"),
		"a rule without frequency":      wrap("BEGIN:VEVENT\n" + at + "RRULE:COUNT=1\nEND:VEVENT\n"),
		"a negative interval":           wrap("BEGIN:VEVENT\n" + at + "RRULE:FREQ=DAILY;INTERVAL=-1\nEND:VEVENT\n"),
		"a huge interval":               wrap("BEGIN:VEVENT\n" + at + "RRULE:FREQ=MONTHLY;INTERVAL=9223372036854775807\nEND:VEVENT\n"),
		"no start":                      wrap("BEGIN:VEVENT\nUID:a\nEND:VEVENT\n"),
		"a start that is none":          wrap("BEGIN:VEVENT\nDTSTART:tomorrow\nEND:VEVENT\n"),
		"a duration that is none":       wrap("BEGIN:VEVENT\nDTSTART:20260302T090000Z\nDURATION:P99999999999999W\nEND:VEVENT\n"),
		"5,001 events":                  wrap(lots(5001, "BEGIN:VEVENT\n"+at+"END:VEVENT\n")),
		"20,001 occurrences":            wrap(lots(700, "BEGIN:VEVENT\n"+at+"RRULE:FREQ=DAILY\nEND:VEVENT\n")),
		"a million lines":               wrap(lots(600_000, "A:\n")),
		"a deep nest":                   []byte("BEGIN:VCALENDAR\n" + lots(100_000, "BEGIN:X\n")),
		"parameters without end":        wrap("BEGIN:VEVENT\nDTSTART;" + lots(100_000, "a=b;") + "c=d:20260302T090000Z\nEND:VEVENT\n"),
		"quotes within quotes":          wrap("BEGIN:VEVENT\nDTSTART;TZID=\"a\"b\"c\"\":20260302T090000Z\nEND:VEVENT\n"),
		"a quote that is never closed":  wrap("BEGIN:VEVENT\nDTSTART;TZID=\"a:20260302T090000Z\nEND:VEVENT\n"),
		"a million exclusions, one bad": wrap("BEGIN:VEVENT\n" + at + "EXDATE:" + lots(100_000, "20260302T090000Z,") + "x\nEND:VEVENT\n"),
		"a 53rd Monday of a month":      wrap("BEGIN:VEVENT\n" + at + "RRULE:FREQ=MONTHLY;BYDAY=53MO\nEND:VEVENT\n"),
		"a 53rd last Monday of a month": wrap("BEGIN:VEVENT\n" + at + "RRULE:FREQ=MONTHLY;BYDAY=-53MO\nEND:VEVENT\n"),
		"a 53rd last Monday of a March": wrap("BEGIN:VTIMEZONE\nTZID:Office\nBEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0000\nRRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-53MO\nEND:STANDARD\nEND:VTIMEZONE\n"),
		"zones full of rules":           wrap("BEGIN:VTIMEZONE\nTZID:Office\n" + lots(300, "BEGIN:STANDARD\nDTSTART:19700101T000000\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0000\nRRULE:FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYHOUR="+strings.TrimSuffix(lots(24, "1,"), ",")+";BYMINUTE=0,5,10,15,20,25,30,35,40,45,50,55\nEND:STANDARD\n") + "END:VTIMEZONE\n"),
		"rules that never come true":    wrap(lots(2000, "BEGIN:VEVENT\n"+at+"RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30\nEND:VEVENT\n")),
	}
}

func TestHostileCalendarsAreRefusedAndCostLittle(t *testing.T) {
	for what, body := range hostileCalendars() {
		began := time.Now()
		got, err := booking.BusyTimes(body, time.UTC, booking.Span{Start: march.Start, End: march.Start.AddDate(2, 0, 0)}, none)
		if err == nil {
			t.Errorf("%s: %d busy times, want it refused", what, len(got))
		} else if !strings.HasPrefix(err.Error(), "ics: the calendar ") {
			t.Errorf("%s: %v is not a sentence", what, err)
		}
		if took := time.Since(began); took > 15*time.Second {
			t.Errorf("%s took %s", what, took)
		}
	}
}

func TestLargeCalendarsThatAreFineAreRead(t *testing.T) {
	var many strings.Builder
	for i := range 4_999 {
		fmt.Fprintf(&many, "BEGIN:VEVENT\r\nUID:%d\r\nDTSTART:20260302T090000Z\r\nDURATION:PT1H\r\nSUMMARY:%s\r\nEND:VEVENT\r\n", i, strings.Repeat("x", 200))
	}
	exclusions := "EXDATE:" + strings.TrimSuffix(strings.Repeat("20260302T090000Z,", 100_000), ",")
	for what, c := range map[string]struct {
		body []byte
		want int
	}{
		"4,999 events":       {icsFile(many.String()), 1},
		"100,000 exclusions": {icsFile(vevent("DTSTART:20260302T090000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY;COUNT=2", exclusions)), 1},
		"a long description": {icsFile(vevent("DESCRIPTION:"+strings.Repeat("long ", 200_000), "DTSTART:20260302T090000Z", "DURATION:PT1H")), 1},
		"no events":          {icsFile("X-WR-CALNAME:Empty"), 0},
	} {
		got, err := booking.BusyTimes(c.body, time.UTC, march, none)
		if err != nil || len(got) != c.want {
			t.Errorf("%s: %d busy times, %v", what, len(got), err)
		}
	}
}

// Whatever is sent: no panic, and what is answered is merged, in order and within the stretch.
func FuzzCalendar(f *testing.F) {
	seeds, err := filepath.Glob("testdata/calendars/*.ics")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, path := range seeds {
		body, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	for _, body := range hostileCalendars() {
		if len(body) < 4096 {
			f.Add(body)
		}
	}
	loc := inBerlin(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := booking.BusyTimes(body, loc, march, none)
		if err != nil && len(got) > 0 {
			t.Fatalf("both an error and busy times")
		}
		last := march.Start.Add(-time.Second)
		for _, s := range got {
			if !s.Start.After(last) || !s.Start.Before(s.End) || s.End.After(march.End) {
				t.Fatalf("%v comes after %v", s, last)
			}
			last = s.End
		}
	})
}
