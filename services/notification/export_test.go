package notification

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/outbox"
)

// Words is an event as one of its audiences reads it, for tests of the wording.
func Words(e outbox.Event, as, locale, zone string) (subject string, paragraphs []string, button string, err error) {
	raw, err := json.Marshal(e)
	if err != nil {
		return "", nil, "", err
	}
	w, err := word(table()[e.Type()], raw, as, person{Locale: locale, Timezone: zone})
	return w.subject, w.paragraphs, w.button, err
}

// Readers are whom an event is told, and for whom it is worded.
func Readers(e outbox.Event) map[uuid.UUID]string {
	out := map[uuid.UUID]string{}
	for _, t := range table()[e.Type()].readers(e) {
		out[t.user] = t.as
	}
	return out
}

// Until is when the quiet hours end that now is in.
func Until(q *QuietHours, now time.Time, zone *time.Location) (time.Time, bool) {
	return q.until(now, zone)
}

// Greeting is how somebody of that name is addressed.
func Greeting(name string) string { return greeting(name) }

// UnsubscribeToken is the token under mails to a user.
func (s *Service) UnsubscribeToken(user uuid.UUID, c Category) string {
	return s.unsubscribeToken(user, c)
}
