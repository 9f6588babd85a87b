package booking_test

import (
	"encoding/json"
	"testing"
	"time"

	"tulifo/services/booking"
)

// What writes itself says what encoding/json would have said.
func TestSlotsOnTheWire(t *testing.T) {
	start := time.Date(2026, 3, 2, 9, 0, 0, 123_000, time.FixedZone("", 3600))
	plain := []booking.Slot{
		{Start: start, End: start.Add(time.Hour), Local: "2026-03-02T09:00:00+01:00", IsAvailable: true},
		{Start: start.UTC(), End: start.UTC(), Local: "2026-03-02T08:00:00Z", Reason: "busy", Explanation: "\"Lunch\" <b>&\u2028 blocks it."},
	}
	for i := range plain {
		plain[i].Start, plain[i].End = plain[i].Start.UTC(), plain[i].End.UTC()
	}
	for n := range len(plain) + 1 {
		want, err := json.Marshal(plain[:n])
		if err != nil {
			t.Fatal(err)
		}
		got, err := booking.SlotList(plain[:n]).MarshalJSON()
		if err != nil || string(got) != string(want) {
			t.Errorf("%s (%v), not %s", got, err, want)
		}
	}
}
