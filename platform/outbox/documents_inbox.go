package outbox

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/bus"
	"tulifo/platform/docdb"
	"tulifo/platform/errs"
)

// handled are the events that were taken, whatever became of them.
var handled = docdb.NewCollection[handledEvent]("inbox",
	docdb.Index{Name: "inbox_at", Fields: []string{"at"}, Expire: true},
)

type handledEvent struct {
	ID uuid.UUID `json:"id"`
	At time.Time `json:"at"` // system time, for pruning
}

// parked are events that failed and are tried again, and those of the same subject behind them, in the order of their places. Only one that
// nothing of its subject is before has a next try. Whoever changes what is held of a subject moves its place first, so that they come one after the other.
var parked = docdb.NewCollection[parkedDoc]("parked",
	docdb.Index{Name: "parked_subject", Fields: []string{"subject", "place"}},
	docdb.Index{Name: "parked_next_try_at", Fields: []string{"nextTryAt"}, Where: inTurn},
)

// inTurn holds for parked events that nothing of their subject is before.
var inTurn = docdb.Exists("nextTryAt")

type parkedDoc struct {
	ID        uuid.UUID  `json:"id"`
	Subject   uuid.UUID  `json:"subject"`
	Place     int64      `json:"place"`
	Envelope  string     `json:"envelope"`
	Attempts  int        `json:"attempts"`
	NextTryAt *time.Time `json:"nextTryAt,omitempty"` // system time
	Reason    string     `json:"reason"`
}

// deadDocs are events that were given up until somebody replays them; they hold back those of their subject in parked.
var deadDocs = docdb.NewCollection[deadDoc]("dead_letters",
	docdb.Index{Name: "dead_letters_subject", Fields: []string{"subject"}},
)

type deadDoc struct {
	ID       uuid.UUID `json:"id"`
	Subject  uuid.UUID `json:"subject"`
	Place    int64     `json:"place"` // as it was in parked
	Envelope string    `json:"envelope"`
	Attempts int       `json:"attempts"`
	Reason   string    `json:"reason"`
	DiedAt   time.Time `json:"diedAt"` // system time
}

// system is system time as documents keep it.
func system() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

func (d documents) remember(ctx context.Context, tx Tx, events []taken) (fresh, held map[uuid.UUID]bool, err error) {
	q := tx.(docdb.Tx)
	ids, subjects := make([]uuid.UUID, len(events)), make([]uuid.UUID, len(events))
	fresh = make(map[uuid.UUID]bool, len(events))
	for i, e := range events {
		ids[i], subjects[i] = e.envelope.ID, e.envelope.Subject
		fresh[ids[i]] = true
	}
	known, err := handled.Find(ctx, q, docdb.Query{Where: docdb.In("id", ids...), Limit: docdb.MaxLimit})
	if err != nil {
		return nil, nil, fmt.Errorf("remember events: %w", err)
	}
	for _, h := range known.Docs {
		delete(fresh, h.ID)
	}
	now, news := system(), make([]handledEvent, 0, len(fresh))
	for id := range fresh {
		news = append(news, handledEvent{id, now})
	}
	if err := handled.Insert(ctx, q, news...); err != nil {
		return nil, nil, fmt.Errorf("remember events: %w", err)
	}
	held = map[uuid.UUID]bool{}
	if err = holding(ctx, q, parked, subjects, held, func(p parkedDoc) uuid.UUID { return p.Subject }); err == nil {
		err = holding(ctx, q, deadDocs, subjects, held, func(p deadDoc) uuid.UUID { return p.Subject })
	}
	if err != nil {
		return nil, nil, fmt.Errorf("look for held subjects: %w", err)
	}
	return fresh, held, nil
}

// holding notes which subjects have a document in c.
func holding[T any](ctx context.Context, q docdb.Tx, c *docdb.Collection[T], subjects []uuid.UUID, held map[uuid.UUID]bool, subject func(T) uuid.UUID) error {
	for {
		page, err := c.Find(ctx, q, docdb.Query{Where: docdb.In("subject", subjects...), Limit: docdb.MaxLimit})
		if err != nil {
			return err
		}
		for _, doc := range page.Docs {
			held[subject(doc)] = true
		}
		if page.Next == "" {
			return nil
		}
		// One subject alone may fill a page.
		subjects = slices.DeleteFunc(slices.Clone(subjects), func(id uuid.UUID) bool { return held[id] })
	}
}

// put parks p: for its turn when something of its subject is before it, else for now or after a pause.
func put(ctx context.Context, tx docdb.Tx, p parkedDoc, pause time.Duration) (err error) {
	if p.Place, err = move(ctx, tx, p.Subject); err != nil {
		return err
	}
	// Asked after the move: what held the subject may have gone meanwhile.
	before, err := parked.Count(ctx, tx, docdb.Eq("subject", p.Subject), 1)
	if err == nil && before == 0 {
		before, err = deadDocs.Count(ctx, tx, docdb.Eq("subject", p.Subject), 1)
	}
	if err != nil {
		return err
	}
	if before == 0 {
		at := system().Add(pause)
		p.NextTryAt = &at
	}
	return parked.Insert(ctx, tx, p)
}

func (d documents) park(ctx context.Context, tx Tx, e bus.Envelope) error {
	body, err := encode(e)
	if err != nil {
		return err
	}
	return put(ctx, tx.(docdb.Tx), parkedDoc{ID: e.ID, Subject: e.Subject, Envelope: body}, 0)
}

func (d documents) bury(ctx context.Context, tx Tx, e bus.Envelope, reason string) error {
	q := tx.(docdb.Tx)
	body, err := encode(e)
	if err != nil {
		return err
	}
	at, err := move(ctx, q, e.Subject)
	if err != nil {
		return err
	}
	return deadDocs.Insert(ctx, q, deadDoc{ID: e.ID, Subject: e.Subject, Place: at, Envelope: body, Attempts: 1, Reason: reason, DiedAt: system()})
}

func (d documents) setAside(ctx context.Context, e bus.Envelope, pause time.Duration, reason string) error {
	body, err := encode(e)
	if err != nil {
		return err
	}
	return d.db.InTx(ctx, func(tx docdb.Tx) error {
		fresh, err := handled.InsertIfAbsent(ctx, tx, handledEvent{e.ID, system()})
		if err != nil || !fresh {
			return err
		}
		return put(ctx, tx, parkedDoc{ID: e.ID, Subject: e.Subject, Envelope: body, Attempts: 1, Reason: reason}, pause)
	})
}

func (d documents) due(ctx context.Context) ([]parkedEvent, error) {
	page, err := parked.Find(ctx, d.db, docdb.Query{Where: docdb.And(inTurn, docdb.Lte("nextTryAt", system())), Sort: docdb.Asc("nextTryAt"), Limit: retryChunk})
	all := make([]parkedEvent, len(page.Docs))
	for i, p := range page.Docs {
		all[i] = p.event(system())
	}
	return all, err
}

func (p parkedDoc) event(now time.Time) parkedEvent {
	return parkedEvent{ID: p.ID, Subject: p.Subject, Attempts: p.Attempts, Envelope: p.Envelope, Left: p.NextTryAt != nil && p.NextTryAt.Before(now.Add(-time.Hour))}
}

func (d documents) wait(ctx context.Context) (time.Duration, error) {
	page, err := parked.Find(ctx, d.db, docdb.Query{Where: inTurn, Sort: docdb.Asc("nextTryAt"), Limit: 1})
	if err != nil || len(page.Docs) == 0 {
		return time.Hour, err
	}
	return time.Until(*page.Docs[0].NextTryAt), nil
}

func (d documents) claim(ctx context.Context, tx Tx, p parkedEvent) (parkedEvent, bool, error) {
	q := tx.(docdb.Tx)
	if _, err := move(ctx, q, p.Subject); err != nil {
		return p, false, err
	}
	now := system()
	doc, err := parked.FindOne(ctx, q, docdb.And(docdb.Eq("id", p.ID), docdb.Lte("nextTryAt", now)))
	if errs.KindOf(err) == errs.NotFound {
		return p, false, nil
	}
	return doc.event(now), err == nil, err
}

// unpark has the next of the subject tried.
func (d documents) unpark(ctx context.Context, tx Tx, p parkedEvent) error {
	q := tx.(docdb.Tx)
	if err := parked.Delete(ctx, q, p.ID); err != nil {
		return err
	}
	next, err := parked.Find(ctx, q, docdb.Query{Where: docdb.Eq("subject", p.Subject), Sort: docdb.Asc("place"), Limit: 1})
	if err != nil || len(next.Docs) == 0 {
		return err
	}
	_, err = parked.UpdateAll(ctx, q, docdb.Eq("id", next.Docs[0].ID), docdb.Set("nextTryAt", system()))
	return err
}

func (d documents) again(ctx context.Context, p parkedEvent, failures int, pause time.Duration, reason string) error {
	_, err := parked.UpdateAll(ctx, d.db, docdb.And(docdb.Eq("id", p.ID), docdb.Eq("attempts", p.Attempts)),
		docdb.Set("attempts", failures), docdb.Set("nextTryAt", system().Add(pause)), docdb.Set("reason", reason))
	return err
}

func (d documents) giveUp(ctx context.Context, p parkedEvent, failures int, reason string) error {
	return d.db.InTx(ctx, func(tx docdb.Tx) error {
		if _, err := move(ctx, tx, p.Subject); err != nil {
			return err
		}
		doc, err := parked.FindOne(ctx, tx, docdb.And(docdb.Eq("id", p.ID), docdb.Eq("attempts", p.Attempts)))
		if errs.KindOf(err) == errs.NotFound {
			return nil
		}
		if err != nil {
			return err
		}
		if err := parked.Delete(ctx, tx, p.ID); err != nil {
			return err
		}
		return deadDocs.Insert(ctx, tx, deadDoc{ID: doc.ID, Subject: doc.Subject, Place: doc.Place, Envelope: doc.Envelope, Attempts: failures, Reason: reason, DiedAt: system()})
	})
}

func (d documents) replay(ctx context.Context) (int, error) {
	back, after := 0, ""
	for {
		page, err := deadDocs.Find(ctx, d.db, docdb.Query{After: after, Limit: 100})
		if err != nil {
			return back, err
		}
		for _, letter := range page.Docs {
			n, err := d.revive(ctx, letter)
			if err != nil {
				return back, err
			}
			back += n
		}
		if after = page.Next; after == "" {
			return back, nil
		}
	}
}

// revive has one dead letter tried again; 0: somebody else did.
func (d documents) revive(ctx context.Context, letter deadDoc) (n int, err error) {
	err = d.db.InTx(ctx, func(tx docdb.Tx) error {
		if _, err := move(ctx, tx, letter.Subject); err != nil {
			return err
		}
		if n, err = deadDocs.DeleteAll(ctx, tx, docdb.Eq("id", letter.ID)); err != nil || n == 0 {
			return err
		}
		now := system()
		return parked.Insert(ctx, tx, parkedDoc{ID: letter.ID, Subject: letter.Subject, Place: letter.Place, Envelope: letter.Envelope, NextTryAt: &now})
	})
	return n, err
}

func (d documents) dead(ctx context.Context) ([]deadLetters, error) {
	byType, after := map[string]deadLetters{}, ""
	for {
		page, err := deadDocs.Find(ctx, d.db, docdb.Query{After: after, Limit: docdb.MaxLimit})
		if err != nil {
			return nil, err
		}
		for _, letter := range page.Docs {
			var e bus.Envelope
			// What cannot be read counts too, under no type.
			_ = json.Unmarshal([]byte(letter.Envelope), &e)
			of, seen := byType[e.Type]
			if !seen || letter.Reason < of.Reason {
				of.Reason = letter.Reason
			}
			of.Type, of.Events = e.Type, of.Events+1
			byType[e.Type] = of
		}
		if after = page.Next; after == "" {
			break
		}
	}
	var all []deadLetters
	for _, of := range byType {
		all = append(all, of)
	}
	slices.SortFunc(all, func(a, b deadLetters) int { return strings.Compare(a.Type, b.Type) })
	return all, nil
}

func (d documents) held(ctx context.Context) ([]heldEvent, error) {
	type placed struct {
		heldEvent
		place int64
	}
	var all []placed
	for after := ""; ; {
		page, err := parked.Find(ctx, d.db, docdb.Query{After: after, Limit: docdb.MaxLimit})
		if err != nil {
			return nil, err
		}
		for _, p := range page.Docs {
			all = append(all, placed{heldEvent{ID: p.ID, Subject: p.Subject, Envelope: p.Envelope, Reason: p.Reason, Attempts: p.Attempts}, p.Place})
		}
		if after = page.Next; after == "" {
			break
		}
	}
	for after := ""; ; {
		page, err := deadDocs.Find(ctx, d.db, docdb.Query{After: after, Limit: docdb.MaxLimit})
		if err != nil {
			return nil, err
		}
		for _, l := range page.Docs {
			all = append(all, placed{heldEvent{ID: l.ID, Subject: l.Subject, Envelope: l.Envelope, Reason: l.Reason, Attempts: l.Attempts, Dead: true}, l.Place})
		}
		if after = page.Next; after == "" {
			break
		}
	}
	slices.SortFunc(all, func(a, b placed) int { return cmp.Compare(a.place, b.place) })
	held := make([]heldEvent, len(all))
	for i, p := range all {
		held[i] = p.heldEvent
	}
	return held, nil
}

func (d documents) hold(ctx context.Context, all []heldEvent) error {
	if _, err := parked.DeleteAll(ctx, d.db, docdb.Filter{}); err != nil {
		return err
	}
	if _, err := deadDocs.DeleteAll(ctx, d.db, docdb.Filter{}); err != nil {
		return err
	}
	for _, h := range all {
		err := d.db.InTx(ctx, func(tx docdb.Tx) error {
			if !h.Dead {
				return put(ctx, tx, parkedDoc{ID: h.ID, Subject: h.Subject, Envelope: h.Envelope, Attempts: h.Attempts, Reason: h.Reason}, 0)
			}
			at, err := move(ctx, tx, h.Subject)
			if err != nil {
				return err
			}
			return deadDocs.Insert(ctx, tx, deadDoc{ID: h.ID, Subject: h.Subject, Place: at, Envelope: h.Envelope, Attempts: h.Attempts, Reason: h.Reason, DiedAt: system()})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// prune removes a part at a time: what a busy hour brings is more than MongoDB removes in one transaction.
func (d documents) prune(ctx context.Context, keep time.Duration) error {
	for n := 1; n > 0; {
		var err error
		if n, err = handled.Expire(ctx, d.db, system().Add(-keep)); err != nil {
			return err
		}
	}
	silent := docdb.Lt("latest", time.Now().Add(-forgetPlaces).UnixMicro())
	for {
		page, err := places.Find(ctx, d.db, docdb.Query{Where: silent, Sort: docdb.Asc("latest"), Limit: docdb.MaxLimit})
		if err != nil || len(page.Docs) == 0 {
			return err
		}
		ids := make([]uuid.UUID, len(page.Docs))
		for i, p := range page.Docs {
			ids[i] = p.ID
		}
		if _, err := places.DeleteAll(ctx, d.db, docdb.And(docdb.In("id", ids...), silent)); err != nil {
			return err
		}
	}
}
