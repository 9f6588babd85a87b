package booking

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	ical "github.com/arran4/golang-ical"
	"github.com/teambition/rrule-go"
)

// windowsZones are the names that Outlook and Exchange use, from Unicode CLDR's windowsZones, for where most people live.
var windowsZones = map[string]string{
	"utc": "UTC", "gmt standard time": "Europe/London", "greenwich standard time": "Atlantic/Reykjavik", "w. europe standard time": "Europe/Berlin",
	"central europe standard time": "Europe/Budapest", "romance standard time": "Europe/Paris", "central european standard time": "Europe/Warsaw", "e. europe standard time": "Europe/Chisinau",
	"fle standard time": "Europe/Kiev", "gtb standard time": "Europe/Bucharest", "turkey standard time": "Europe/Istanbul", "russian standard time": "Europe/Moscow",
	"belarus standard time": "Europe/Minsk", "israel standard time": "Asia/Jerusalem", "egypt standard time": "Africa/Cairo", "south africa standard time": "Africa/Johannesburg",
	"w. central africa standard time": "Africa/Lagos", "e. africa standard time": "Africa/Nairobi", "morocco standard time": "Africa/Casablanca", "arab standard time": "Asia/Riyadh",
	"arabian standard time": "Asia/Dubai", "arabic standard time": "Asia/Baghdad", "jordan standard time": "Asia/Amman", "middle east standard time": "Asia/Beirut", "iran standard time": "Asia/Tehran",
	"afghanistan standard time": "Asia/Kabul", "pakistan standard time": "Asia/Karachi", "west asia standard time": "Asia/Tashkent", "india standard time": "Asia/Calcutta",
	"sri lanka standard time": "Asia/Colombo", "nepal standard time": "Asia/Katmandu", "bangladesh standard time": "Asia/Dhaka", "central asia standard time": "Asia/Almaty",
	"myanmar standard time": "Asia/Rangoon", "se asia standard time": "Asia/Bangkok", "china standard time": "Asia/Shanghai", "singapore standard time": "Asia/Singapore",
	"taipei standard time": "Asia/Taipei", "w. australia standard time": "Australia/Perth", "korea standard time": "Asia/Seoul", "tokyo standard time": "Asia/Tokyo",
	"cen. australia standard time": "Australia/Adelaide", "aus central standard time": "Australia/Darwin", "aus eastern standard time": "Australia/Sydney", "e. australia standard time": "Australia/Brisbane",
	"tasmania standard time": "Australia/Hobart", "new zealand standard time": "Pacific/Auckland", "fiji standard time": "Pacific/Fiji", "tonga standard time": "Pacific/Tongatapu",
	"hawaiian standard time": "Pacific/Honolulu", "alaskan standard time": "America/Anchorage", "pacific standard time": "America/Los_Angeles", "us mountain standard time": "America/Phoenix",
	"mountain standard time": "America/Denver", "central standard time": "America/Chicago", "canada central standard time": "America/Regina", "central america standard time": "America/Guatemala",
	"central standard time (mexico)": "America/Mexico_City", "eastern standard time": "America/New_York", "us eastern standard time": "America/Indianapolis", "sa pacific standard time": "America/Bogota",
	"venezuela standard time": "America/Caracas", "atlantic standard time": "America/Halifax", "sa western standard time": "America/La_Paz", "pacific sa standard time": "America/Santiago",
	"newfoundland standard time": "America/St_Johns", "e. south america standard time": "America/Sao_Paulo", "argentina standard time": "America/Buenos_Aires", "sa eastern standard time": "America/Cayenne",
	"greenland standard time": "America/Godthab", "montevideo standard time": "America/Montevideo", "azores standard time": "Atlantic/Azores", "cape verde standard time": "Atlantic/Cape_Verde",
}

// zone is what TZID stands for: an IANA zone by its name or at the end of a path, a Windows zone, or one that the file describes. nil: nobody knows,
// and the time is read in the zone of the worker's calendar.
func (f *icsFile) zone(id string) *time.Location {
	if loc, ok := f.zones[id]; ok {
		return loc
	}
	if len(f.zones) > 1000 {
		return nil
	}
	loc := namedZone(id)
	f.zones[id] = loc
	return loc
}

func namedZone(id string) *time.Location {
	id = strings.Trim(strings.TrimSpace(id), `"`)
	if iana, ok := windowsZones[strings.ToLower(id)]; ok {
		id = iana
	}
	// Some programs put their own name before it, as in /citadel.org/20250101_1/Europe/Berlin.
	for range 8 {
		if loc, err := zone(id); err == nil {
			return loc
		}
		_, rest, ok := strings.Cut(id, "/")
		if !ok {
			return nil
		}
		id = rest
	}
	return nil
}

// onset is when a zone's clocks are set to another offset, in seconds east of UTC.
type onset struct {
	at       int64 // Unix seconds
	from, to int
}

// addZone learns a zone that the file describes, unless its name says more. All zones of a file are worked out with one w, so that many rules, each
// bounded, do not come to more than can be borne.
func (f *icsFile) addZone(z *ical.VTimezone, w *icsWork) error {
	id := z.GetProperty(ical.ComponentPropertyTzid)
	if id == nil || len(f.zones) > 1000 {
		return nil
	}
	if loc := namedZone(id.Value); loc != nil {
		f.zones[id.Value] = loc
		return nil
	}
	if p := z.GetProperty(ical.ComponentProperty("X-LIC-LOCATION")); p != nil {
		if loc := namedZone(p.Value); loc != nil {
			f.zones[id.Value] = loc
			return nil
		}
	}
	var all []onset
	for _, c := range z.SubComponents() {
		var base *ical.ComponentBase
		switch c := c.(type) {
		case *ical.Standard:
			base = &c.ComponentBase
		case *ical.Daylight:
			base = &c.ComponentBase
		default:
			continue
		}
		found, err := onsets(base, w)
		if err != nil {
			return err
		}
		all = append(all, found...)
	}
	f.zones[id.Value] = described(all)
	return nil
}

// onsets are when one observance begins, from 1970 on and the last one before.
func onsets(c *ical.ComponentBase, w *icsWork) ([]onset, error) {
	value := func(p ical.ComponentProperty) string {
		if v := c.GetProperty(p); v != nil {
			return strings.ToUpper(strings.TrimSpace(v.Value))
		}
		return ""
	}
	start, err := time.Parse("20060102T150405", value(ical.ComponentPropertyDtStart))
	from, okFrom := offset(value("TZOFFSETFROM"))
	to, okTo := offset(value("TZOFFSETTO"))
	if err != nil || !okFrom || !okTo {
		return nil, nil
	}
	walls := []time.Time{start}
	for _, p := range c.GetProperties(ical.ComponentPropertyRdate) {
		for v := range strings.SplitSeq(p.Value, ",") {
			if t, err := time.Parse("20060102T150405", strings.TrimSuffix(v, "Z")); err == nil {
				walls = append(walls, t)
			}
		}
	}
	if text := value(ical.ComponentPropertyRrule); text != "" {
		if rule, err := readRule(text, time.FixedZone("", from)); err == nil && rule.Freq == rrule.YEARLY {
			err := w.repeat(icsEvent{start: icsTime{wall: start}, rule: rule}, func(t time.Time) error {
				walls = append(walls, t)
				return nil
			})
			if errors.Is(err, errICSTooMuch) {
				return nil, err
			}
			// An observance that cannot be worked out otherwise keeps what has been found of it.
		}
	}
	var out []onset
	for _, t := range walls {
		out = append(out, onset{t.Unix() - int64(from), from, to})
	}
	return out, nil
}

// offset reads +0100, -0330 or +013015 as seconds.
func offset(v string) (int, bool) {
	if len(v) != 5 && len(v) != 7 || v[0] != '+' && v[0] != '-' {
		return 0, false
	}
	n, err := strconv.ParseUint(v[1:]+"00"[:7-len(v)], 10, 32)
	seconds := int(n/10000)*3600 + int(n/100%100)*60 + int(n%100)
	if err != nil || seconds > 15*3600 {
		return 0, false
	}
	if v[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

// described is a zone with these changes, by way of the file format of RFC 8536, which the standard library reads. nil: there are none.
func described(all []onset) *time.Location {
	slices.SortStableFunc(all, func(a, b onset) int { return cmp.Compare(a.at, b.at) })
	all = slices.CompactFunc(all, func(a, b onset) bool { return a.at == b.at })
	if len(all) == 0 || len(all) > 2000 {
		return nil
	}
	offsets := []int{all[0].from}
	var times, kinds []byte
	for _, o := range all {
		i := slices.Index(offsets, o.to)
		if i < 0 {
			i, offsets = len(offsets), append(offsets, o.to)
		}
		times, kinds = binary.BigEndian.AppendUint64(times, uint64(o.at)), append(kinds, byte(i))
	}
	if len(offsets) > 200 {
		return nil
	}
	header := func(changes, types, chars int) []byte {
		h := append([]byte("TZif2"), make([]byte, 15)...)
		for _, n := range []int{0, 0, 0, changes, types, chars} {
			h = binary.BigEndian.AppendUint32(h, uint32(n))
		}
		return h
	}
	data := append(header(0, 1, 1), make([]byte, 7)...)
	data = append(data, header(len(all), len(offsets), 2)...)
	data = append(append(data, times...), kinds...)
	for _, o := range offsets {
		data = append(binary.BigEndian.AppendUint32(data, uint32(int32(o))), 0, 0)
	}
	data = append(data, "X\x00\n\n"...)
	loc, err := time.LoadLocationFromTZData("described", data)
	if err != nil {
		return nil
	}
	return loc
}
