package booking

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	ical "github.com/arran4/golang-ical"
	"github.com/teambition/rrule-go"
)

// What a calendar of somebody else's may have. What has more is refused as a whole: busy times that are silently left out would be sold.
const (
	maxICSBytes       = 2 << 20
	maxICSLines       = 200_000
	maxICSDepth       = 8
	maxICSEvents      = 5_000
	maxICSOccurrences = 20_000 // within the stretch that is looked at
	maxICSSteps       = 200_000
	maxICSParameters  = 1 << 10
	maxICSWork        = 2 * time.Second // of this machine
)

// icsError says what is wrong with a calendar; it follows "The calendar".
type icsError string

func (e icsError) Error() string { return "ics: the calendar " + string(e) }

const (
	errICSUnreadable = icsError("is not one that can be read")
	errICSTooMuch    = icsError("has more events than can be read")
	errICSRule       = icsError("has an event that repeats in a way that cannot be read")
	errICSTime       = icsError("has an event whose time cannot be read")
)

// icsFile is a calendar as far as it says when somebody is busy.
type icsFile struct {
	events []icsEvent
	zones  map[string]*time.Location // by TZID; nil for one that nobody knows
}

type icsEvent struct {
	uid      string
	start    icsTime
	length   icsLength
	rule     *rrule.ROption // its DTSTART is not set yet
	rdates   []icsPeriod
	exdates  []icsTime
	replaces *icsTime // the occurrence of the event with the same uid in whose place this one is
	free     bool     // cancelled, or marked as not busy
}

// icsTime is a date or a time as it is written: the wall clock's reading, as if it were UTC. Without a zone it is read in that of the worker's calendar.
type icsTime struct {
	wall time.Time
	loc  *time.Location
	date bool
}

// icsLength is how long something takes: days by the calendar and then elapsed time.
type icsLength struct {
	days int
	rest time.Duration
}

type icsPeriod struct {
	start  icsTime
	length *icsLength // the event's unless given
}

// readICS reads a calendar of RFC 5545. zones of its own making are worked out up to until. An icsError says what is wrong.
func readICS(body []byte, until time.Time) (_ *icsFile, err error) {
	defer unreadable(&err)
	kept, err := relevant(body)
	if err != nil {
		return nil, err
	}
	cal, err := ical.ParseCalendarWithOptions(bytes.NewReader(kept), ical.WithUnknownPropertyHandler(ical.AcceptUnknownPropertyHandler))
	if err != nil {
		return nil, errICSUnreadable
	}
	f := &icsFile{zones: map[string]*time.Location{}}
	w := icsWork{within: span{time.Unix(0, 0).UTC(), until.AddDate(1, 0, 0)}, deadline: time.Now().Add(maxICSWork)} // the machine's time: it bounds work
	for _, c := range cal.Components {
		if z, ok := c.(*ical.VTimezone); ok {
			if err := f.addZone(z, &w); err != nil {
				return nil, err
			}
		}
	}
	for _, e := range cal.Events() {
		event, err := f.event(e)
		if err != nil {
			return nil, err
		}
		if !event.free || event.replaces != nil {
			f.events = append(f.events, event)
		}
	}
	return f, nil
}

// unreadable makes a panic of the libraries that read calendars an error: rrule-go looks beyond its tables for a rule such as BYDAY=-53MO of a month, and
// whoever serves such a calendar must not end the process that reads it.
func unreadable(err *error) {
	if p := recover(); p != nil {
		slog.Warn("A calendar was beyond the libraries that read it.", "panic", p)
		*err = errICSUnreadable
	}
}

// wanted are the properties that say when somebody is busy. Everything else is dropped before it is parsed, which is where hostile files are costly.
var wanted = map[string][]string{
	"VEVENT":    {"UID", "DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE", "RECURRENCE-ID", "STATUS", "TRANSP"},
	"VTIMEZONE": {"TZID", "X-LIC-LOCATION"},
	"STANDARD":  {"DTSTART", "TZOFFSETFROM", "TZOFFSETTO", "RRULE", "RDATE"},
	"DAYLIGHT":  {"DTSTART", "TZOFFSETFROM", "TZOFFSETTO", "RRULE", "RDATE"},
}

var homes = map[string]string{"VEVENT": "VCALENDAR", "VTIMEZONE": "VCALENDAR", "STANDARD": "VTIMEZONE", "DAYLIGHT": "VTIMEZONE"}

// relevant is one calendar with the wanted properties of the file's, lines unfolded and names in capitals.
func relevant(body []byte) ([]byte, error) {
	if bytes.IndexByte(body, 0) >= 0 {
		return nil, errICSUnreadable
	}
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	var out bytes.Buffer
	out.WriteString("BEGIN:VCALENDAR\r\n")
	var stack []string
	lines, events, calendars := 0, 0, 0
	for len(body) > 0 {
		var line []byte
		for first := true; first || len(body) > 0 && (body[0] == ' ' || body[0] == '\t'); first = false {
			if lines++; lines > maxICSLines {
				return nil, errICSTooMuch
			}
			if !first {
				body = body[1:]
			}
			part, rest, _ := bytes.Cut(body, []byte{'\n'})
			line, body = append(line, bytes.TrimRight(part, "\r")...), rest
		}
		at := bytes.IndexAny(line, ";:")
		if at <= 0 {
			continue
		}
		name := strings.ToUpper(string(line[:at]))
		switch value := strings.ToUpper(strings.TrimSpace(string(line[at+1 : min(len(line), at+64)]))); name {
		case "BEGIN":
			if len(stack) >= maxICSDepth || len(stack) == 0 && value != "VCALENDAR" {
				return nil, errICSUnreadable
			}
			parent := ""
			if len(stack) > 0 {
				parent = stack[len(stack)-1]
			}
			if home, ok := homes[value]; ok && home != parent {
				value = "X-" + value
			}
			switch value {
			case "VCALENDAR":
				calendars++
			case "VEVENT":
				if events++; events > maxICSEvents {
					return nil, errICSTooMuch
				}
			}
			if stack = append(stack, value); wanted[value] != nil {
				fmt.Fprintf(&out, "BEGIN:%s\r\n", value)
			}
		case "END":
			if len(stack) == 0 || strings.TrimPrefix(stack[len(stack)-1], "X-") != strings.TrimPrefix(value, "X-") {
				return nil, errICSUnreadable
			}
			value = stack[len(stack)-1]
			if stack = stack[:len(stack)-1]; wanted[value] != nil {
				fmt.Fprintf(&out, "END:%s\r\n", value)
			}
		default:
			if len(stack) == 0 || !slices.Contains(wanted[stack[len(stack)-1]], name) {
				continue
			}
			if !shortParameters(line[at:]) {
				return nil, errICSUnreadable
			}
			out.WriteString(name)
			out.Write(line[at:])
			out.WriteString("\r\n")
		}
	}
	if len(stack) > 0 || calendars == 0 {
		return nil, errICSUnreadable // cut off, perhaps in the middle
	}
	out.WriteString("END:VCALENDAR\r\n")
	return out.Bytes(), nil
}

// shortParameters looks for the colon that ends the parameters where it can be expected: reading parameters takes the parser a copy of the line for each.
func shortParameters(line []byte) bool {
	quoted := false
	for _, c := range line[:min(len(line), maxICSParameters)] {
		switch {
		case c == '"':
			quoted = !quoted
		case c == ':' && !quoted:
			return true
		}
	}
	return false
}

// event reads one; of one that says that nobody is busy, only which it replaces.
func (f *icsFile) event(e *ical.VEvent) (out icsEvent, err error) {
	text := func(p ical.ComponentProperty) string {
		if v := e.GetProperty(p); v != nil {
			return strings.ToUpper(strings.TrimSpace(v.Value))
		}
		return ""
	}
	if uid := e.GetProperty(ical.ComponentPropertyUniqueId); uid != nil {
		out.uid = uid.Value
	}
	out.free = text(ical.ComponentPropertyStatus) == "CANCELLED" || text(ical.ComponentPropertyTransp) == "TRANSPARENT"
	if p := e.GetProperty(ical.ComponentPropertyRecurrenceId); p != nil {
		at, err := f.time(p.Value, p.ICalParameters)
		if err != nil {
			return out, err
		}
		out.replaces = &at
	}
	if out.free {
		return out, nil
	}
	start := e.GetProperty(ical.ComponentPropertyDtStart)
	if start == nil {
		return out, errICSTime
	}
	if out.start, err = f.time(start.Value, start.ICalParameters); err != nil {
		return out, err
	}
	if out.length, err = f.length(e, out.start); err != nil {
		return out, err
	}
	if rule := text(ical.ComponentPropertyRrule); rule != "" && out.replaces == nil {
		if out.rule, err = readRule(rule, out.start.loc); err != nil {
			return out, err
		}
	}
	for _, p := range e.GetProperties(ical.ComponentPropertyExdate) {
		for v := range strings.SplitSeq(p.Value, ",") {
			at, err := f.time(v, p.ICalParameters)
			if err != nil {
				return out, err
			}
			out.exdates = append(out.exdates, at)
		}
	}
	for _, p := range e.GetProperties(ical.ComponentPropertyRdate) {
		for v := range strings.SplitSeq(p.Value, ",") {
			period, err := f.period(v, p.ICalParameters)
			if err != nil {
				return out, err
			}
			out.rdates = append(out.rdates, period)
		}
	}
	return out, nil
}

// length is that of DTEND or DURATION: a day for a date that has neither, nothing for a time.
func (f *icsFile) length(e *ical.VEvent, start icsTime) (icsLength, error) {
	if p := e.GetProperty(ical.ComponentPropertyDtEnd); p != nil {
		end, err := f.time(p.Value, p.ICalParameters)
		if err != nil {
			return icsLength{}, err
		}
		return start.until(end), nil
	}
	if p := e.GetProperty(ical.ComponentPropertyDuration); p != nil {
		return readDuration(p.Value)
	}
	if start.date {
		return icsLength{days: 1}, nil
	}
	return icsLength{}, nil
}

func (t icsTime) until(end icsTime) icsLength {
	if t.date && end.date {
		return icsLength{days: int(end.wall.Sub(t.wall) / (24 * time.Hour))}
	}
	return icsLength{rest: end.at(time.UTC).Sub(t.at(time.UTC))}
}

func (f *icsFile) period(v string, params map[string][]string) (icsPeriod, error) {
	from, to, isPeriod := strings.Cut(v, "/")
	start, err := f.time(from, params)
	if err != nil || !isPeriod {
		return icsPeriod{start: start}, err
	}
	if strings.HasPrefix(strings.TrimSpace(strings.ToUpper(to)), "P") {
		length, err := readDuration(to)
		return icsPeriod{start, &length}, err
	}
	end, err := f.time(to, params)
	length := start.until(end)
	return icsPeriod{start, &length}, err
}

// time reads 20260302, 20260302T090000 or 20260302T080000Z.
func (f *icsFile) time(v string, params map[string][]string) (icsTime, error) {
	v = strings.ToUpper(strings.TrimSpace(v))
	if t, err := time.Parse("20060102", v); err == nil {
		return icsTime{wall: t, date: true}, nil
	}
	local, utc := strings.CutSuffix(v, "Z")
	t, err := time.Parse("20060102T150405", local)
	if err != nil {
		return icsTime{}, errICSTime
	}
	out := icsTime{wall: t}
	if utc {
		out.loc = time.UTC
	} else if id := params["TZID"]; len(id) > 0 {
		out.loc = f.zone(id[0])
	}
	return out, nil
}

var durationForm = regexp.MustCompile(`^\+?P(?:(\d{1,4})W)?(?:(\d{1,5})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,7})M)?(?:(\d{1,8})S)?)?$`)

func readDuration(v string) (icsLength, error) {
	m := durationForm.FindStringSubmatch(strings.ToUpper(strings.TrimSpace(v)))
	if m == nil {
		return icsLength{}, errICSTime
	}
	n := make([]int, len(m))
	for i, digits := range m[1:] {
		n[i+1], _ = strconv.Atoi(digits) // the form has only digits; none is zero
	}
	return icsLength{days: 7*n[1] + n[2], rest: time.Duration(n[3])*time.Hour + time.Duration(n[4])*time.Minute + time.Duration(n[5])*time.Second}, nil
}

// readRule reads an RRULE that comes back daily or more rarely. Its UNTIL becomes a reading of the wall clock of loc, as the rule's other times.
func readRule(v string, loc *time.Location) (*rrule.ROption, error) {
	rule, err := rrule.StrToROptionInLocation(strings.Trim(v, "; "), time.UTC)
	if err != nil || rule.Freq > rrule.DAILY || rule.Interval < 0 || rule.Interval > 10_000 || rule.Count < 0 || len(rule.Byeaster) > 0 {
		return nil, errICSRule
	}
	for _, list := range [][]int{rule.Bymonth, rule.Bymonthday, rule.Byyearday, rule.Byweekno, rule.Byhour, rule.Byminute, rule.Bysecond, rule.Bysetpos} {
		if len(list) > 366 {
			return nil, errICSRule
		}
	}
	times := max(1, len(rule.Byhour)) * max(1, len(rule.Byminute)) * max(1, len(rule.Bysecond))
	if times > 288 || len(rule.Bysetpos) > 12 || len(rule.Byweekday) > 53*7 {
		return nil, errICSRule
	}
	if _, err := rrule.NewRRule(*rule); err != nil {
		return nil, errICSRule
	}
	if _, until, ok := strings.Cut(v, "UNTIL="); ok {
		until, _, _ = strings.Cut(until, ";")
		switch {
		case len(until) == len("20060102"):
			rule.Until = rule.Until.Add(24*time.Hour - time.Second)
		case strings.HasSuffix(until, "Z") && loc != nil:
			_, offset := rule.Until.In(loc).Zone()
			rule.Until = rule.Until.Add(time.Duration(offset) * time.Second)
		}
	}
	return rule, nil
}

// sayICS is what is wrong with a calendar, for people; any other error is not for them.
func sayICS(err error) (string, bool) {
	e, ok := errors.AsType[icsError](err)
	return string(e), ok
}
