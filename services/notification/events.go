package notification

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/docdb"
	"tulifo/platform/errs"
	"tulifo/platform/outbox"
)

// rule says what one event is to people.
type rule struct {
	event     string
	category  Category
	path      string
	readers   func(any) []to
	decode    func(json.RawMessage) (any, error)
	end       func(any) time.Time           // business time from which it is not worth a mail any more; nil: after giveUp
	subscribe func(*Service, *outbox.Inbox) // nil: the service makes the event itself
}

func on[E outbox.Event](c Category, path string, readers func(E) []to) rule {
	var zero E
	return rule{
		event: zero.Type(), category: c, path: path, subscribe: hear[E],
		readers: func(e any) []to { return readers(e.(E)) },
		decode: func(raw json.RawMessage) (any, error) {
			var e E
			if err := json.Unmarshal(raw, &e); err != nil {
				return nil, fmt.Errorf("read %s: %w", zero.Type(), err)
			}
			tidy(reflect.ValueOf(&e).Elem())
			return e, nil
		},
	}
}

// own is r for an event that the service makes itself, worth a mail up to end.
func own[E outbox.Event](r rule, end func(E) time.Time) rule {
	r.subscribe, r.end = nil, func(e any) time.Time { return end(e.(E)) }
	return r
}

// over says whether a mail comes too late: after an outage, or a replay of old events. What is about an account's safety never does.
func (r rule) over(d delivery, now time.Time) (bool, error) {
	if r.category.essential() {
		return false, nil
	}
	if r.end == nil {
		return now.Sub(d.Occurred) > giveUp, nil
	}
	e, err := r.decode(d.Data)
	if err != nil {
		return false, err
	}
	return !now.Before(r.end(e)), nil
}

func index(all ...rule) map[string]rule {
	out := map[string]rule{}
	for _, r := range all {
		out[r.event] = r
	}
	return out
}

// Subscribe names what the service listens to.
func (s *Service) Subscribe(in *outbox.Inbox) {
	for _, r := range s.rules {
		if r.subscribe != nil {
			r.subscribe(s, in)
		}
	}
	for _, subscribe := range learned {
		subscribe(s, in)
	}
}

// Types are the types of all events that the service hears, sorted.
func Types() []string {
	types := slices.Collect(maps.Keys(learned))
	for _, r := range table() {
		if r.subscribe != nil {
			types = append(types, r.event)
		}
	}
	slices.Sort(types)
	return types
}

func hear[E outbox.Event](s *Service, in *outbox.Inbox) {
	outbox.OnDoc(in, func(ctx context.Context, tx docdb.Tx, e E) error {
		env := outbox.EnvelopeFrom(ctx)
		if err := learnPerson(ctx, tx, e); err != nil {
			return err
		}
		if err := plan(ctx, tx, e, env.OccurredAt); err != nil {
			return err
		}
		if over, err := moot(ctx, tx, e, env.OccurredAt); err != nil || over {
			return err
		}
		return s.tell(ctx, tx, env.ID, env.OccurredAt, e)
	})
}

// reviewable is longer than both sides may take to write their reviews.
const reviewable = 60 * 24 * time.Hour

// moot says whether an event asks its reader for what is done: who is told of a review is asked for one, and may have written it first.
func moot(ctx context.Context, tx docdb.Tx, e outbox.Event, at time.Time) (bool, error) {
	r, ok := e.(event.ReviewCreated)
	if !ok {
		return false, nil
	}
	if _, err := reviewers.InsertIfAbsent(ctx, tx, reviewer{ID: reviewerID(r.BookingID, r.ReviewerID), ExpiresAt: at.Add(reviewable)}); err != nil {
		return false, err
	}
	n, err := reviewers.Count(ctx, tx, docdb.Eq("id", reviewerID(r.BookingID, r.RevieweeID)), 1)
	return n > 0, err
}

func reviewerID(booking, user uuid.UUID) uuid.UUID {
	return uuid.NewSHA1(booking, append(user[:], "review"...))
}

// tell leaves word of the event with everybody whom its rule names: once for each event, person and channel, however often it is called.
func (s *Service) tell(ctx context.Context, tx docdb.Tx, id uuid.UUID, at time.Time, e outbox.Event) error {
	r, ok := s.rules[e.Type()]
	if !ok {
		return nil
	}
	readers := r.readers(e)
	if len(readers) == 0 {
		return nil
	}
	raw, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("keep %s: %w", r.event, err)
	}
	who, err := reading(ctx, tx, readers)
	if err != nil {
		return err
	}
	for _, t := range readers {
		if t.inApp && who[t.user].wishes.wants(r.category, InApp) {
			n, err := r.notification(raw, t, who[t.user].person, id, at)
			if err == nil {
				_, err = notifications.InsertIfAbsent(ctx, tx, n)
			}
			if err != nil {
				return err
			}
		}
		if t.email {
			if _, err := deliveries.InsertIfAbsent(ctx, tx, s.mailTo(r, raw, t, id, at)); err != nil {
				return err
			}
		}
	}
	tx.Committed(look)
	return nil
}

// known is what tell has to know of a reader; somebody not known yet reads in UTC and wants everything.
type known struct {
	person person
	wishes preferences
}

func reading(ctx context.Context, q docdb.Querier, readers []to) (map[uuid.UUID]known, error) {
	out, ids := map[uuid.UUID]known{}, make([]uuid.UUID, len(readers))
	for i, t := range readers {
		ids[i] = t.user
	}
	found, err := people.Find(ctx, q, docdb.Query{Where: docdb.In("id", ids...)})
	if err != nil {
		return nil, err
	}
	chosen, err := preferred.Find(ctx, q, docdb.Query{Where: docdb.In("id", ids...)})
	if err != nil {
		return nil, err
	}
	for _, p := range found.Docs {
		out[p.ID] = known{person: p}
	}
	for _, p := range chosen.Docs {
		out[p.ID] = known{person: out[p.ID].person, wishes: p}
	}
	return out, nil
}

// keyOf makes the id of what one person gets of one event on one channel, so that a repetition meets the first.
func keyOf(told, user uuid.UUID, ch Channel) uuid.UUID {
	return uuid.NewSHA1(told, append(user[:], ch...))
}

// page is the path of the page that the event is about.
func (r rule) page(raw json.RawMessage) (string, error) {
	before, rest, open := strings.Cut(r.path, "{")
	if !open {
		return r.path, nil
	}
	name, after, _ := strings.Cut(rest, "}")
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return "", fmt.Errorf("read %s: %w", r.event, err)
	}
	id, err := uuid.Parse(fmt.Sprint(fields[name]))
	if err != nil {
		return "", errs.New(errs.Internal, "The event does not say what it is about.").Because(fmt.Errorf("%s of %s: %w", name, r.event, err))
	}
	return before + id.String() + after, nil
}

// longest is how much of a text that somebody wrote stands in a message, in characters.
const longest = 300

// tidy makes every string in v one line of visible text: what people wrote must not look like more than it is.
func tidy(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(line(v.String(), longest))
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				tidy(f)
			}
		}
	}
}

func line(text string, most int) string {
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, ""), func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	const joiners = "\u200c\u200d" // words of some scripts need them
	text = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) && !strings.ContainsRune(joiners, r) {
			return -1
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}
