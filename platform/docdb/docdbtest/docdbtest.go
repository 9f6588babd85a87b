// Package docdbtest is the specification of docdb as tests, for every engine.
package docdbtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"tulifo/platform/docdb"
	"tulifo/platform/errs"
)

// Note is the document that the suite works with; it has a field of every kind.
type Note struct {
	ID      uuid.UUID        `json:"id"`
	Slug    string           `json:"slug,omitempty"`
	Room    string           `json:"room"`
	Seq     int64            `json:"seq"`
	State   string           `json:"state"`
	Rate    float64          `json:"rate"`
	Pinned  bool             `json:"pinned"`
	At      time.Time        `json:"at"`
	Until   *time.Time       `json:"until,omitempty"`
	Members []uuid.UUID      `json:"members"`
	Marks   []int            `json:"marks"`
	Place   *Place           `json:"place,omitempty"`
	Read    map[string]int64 `json:"read,omitempty"`
	Version int              `json:"version"`
}

// Place is an object within a Note.
type Place struct {
	City  string         `json:"city"`
	Marks []int          `json:"marks,omitempty"`
	Any   map[string]any `json:"any,omitempty"`
}

// Event is a document whose id is any text.
type Event struct {
	ID string `json:"id"`
	N  int    `json:"n"`
}

var notes = docdb.NewCollection[Note]("notes",
	docdb.Index{Name: "notes_slug", Fields: []string{"slug"}, Unique: true},
	docdb.Index{Name: "notes_room_seq", Fields: []string{"room", "seq"}, Unique: true},
	docdb.Index{Name: "notes_one_live", Fields: []string{"place.city"}, Unique: true, Where: docdb.Eq("state", "it's live")},
	docdb.Index{Name: "notes_room_at", Fields: []string{"room", "at"}},
	docdb.Index{Name: "notes_rate", Fields: []string{"rate"}},
	docdb.Index{Name: "notes_state", Fields: []string{"state"}},
	docdb.Index{Name: "notes_members", Fields: []string{"members"}},
	docdb.Index{Name: "notes_until", Fields: []string{"until"}, Expire: true},
)

var events = docdb.NewCollection[Event]("events")

// Collections are what open has to open.
func Collections() []docdb.Declared { return []docdb.Declared{notes, events} }

// start is a business time, long past, so that no engine can use its own clock.
var start = time.Date(2020, 2, 29, 23, 59, 59, 123456000, time.UTC)

// Suite runs all of it; open answers an empty database with Collections in it that no other test uses.
func Suite(t *testing.T, open func(t *testing.T) docdb.DB) {
	for name, run := range map[string]func(*testing.T, docdb.DB){
		"a document comes back as it was": roundTrip,
		"unique keys and ids":             unique,
		"a unique index with a condition": partial,
		"insert if absent remembers once": remember,
		"upsert":                          upsert,
		"filters":                         filters,
		"values that are no scalars never reach a filter": operators,
		"hostile text":                        hostile,
		"changes":                             changes,
		"changes that do not fit are refused": misfits,
		"update compares and sets":            compare,
		"100 increments at once are 100":      increments,
		"one of many changes a version":       versions,
		"a claim is one's own":                claims,
		"pages are stable":                    pages,
		"every kind of field can be paged by": pageKinds,
		"a foreign cursor is refused":         cursors,
		"update all, delete, count":           many,
		"documents expire":                    expire,
		"a transaction is all or nothing":     transaction,
		"nested transactions join":            nested,
		"a gapless sequence":                  sequence,
		"many are changed wholly or not":      wholly,
		"random operations, beside a model":   random,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, open(t))
		})
	}
}

func note(seq int64) Note {
	return Note{ID: uuid.Must(uuid.NewV7()), Room: "r", Seq: seq, State: "new", At: start.Add(time.Duration(seq) * time.Minute)}
}

func insert(t *testing.T, db docdb.DB, ns ...Note) {
	t.Helper()
	if err := notes.Insert(t.Context(), db, ns...); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, q docdb.Querier, id uuid.UUID) Note {
	t.Helper()
	n, err := notes.Get(t.Context(), q, id)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func same(t *testing.T, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("wanted -, got +:\n%s", d)
	}
}

func is(t *testing.T, err error, kind errs.Kind) {
	t.Helper()
	if errs.KindOf(err) != kind {
		t.Errorf("wanted %q: %v", kind, err)
	}
}

func roundTrip(t *testing.T, db docdb.DB) {
	until := start.Add(time.Hour)
	n := Note{
		ID: uuid.Must(uuid.NewV7()), Slug: "schön's \"\\{}$ne", Room: "r", Seq: 1<<53 + 1, State: "новый", Rate: 0.1, Pinned: true, At: start, Until: &until,
		Members: []uuid.UUID{uuid.New(), uuid.New()}, Marks: []int{3, 1}, Place: &Place{City: "Köln", Any: map[string]any{"$gt": "", "a.b": []any{nil, "x"}}},
		Read: map[string]int64{uuid.NewString(): 5}, Version: 1,
	}
	insert(t, db, n)
	same(t, get(t, db, n.ID), n)
	if _, err := notes.Get(t.Context(), db, uuid.New()); true {
		is(t, err, errs.NotFound)
	}
	insert(t, db)
	var ns []Note
	for i := range 50 {
		ns = append(ns, note(int64(i)))
	}
	insert(t, db, ns...)
	for _, n := range ns {
		same(t, get(t, db, n.ID), n)
	}
	if err := notes.Insert(t.Context(), db, Note{Room: "without id"}); err == nil {
		t.Error("a document without an id is stored")
	}
	big := note(1000)
	big.State = string(make([]byte, docdb.MaxDocument))
	is(t, notes.Insert(t.Context(), db, big), errs.TooLarge)
	if err := db.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func unique(t *testing.T, db docdb.DB) {
	a, b := note(1), note(2)
	a.Slug = "a"
	insert(t, db, a, b)
	again := note(3)
	again.ID = a.ID
	err := notes.Insert(t.Context(), db, again)
	is(t, err, errs.Conflict)
	if !docdb.Violates(err, "notes_pkey") || docdb.Violates(err, "notes_slug") {
		t.Errorf("the id: %v", err)
	}
	c := note(3)
	c.Slug = "a"
	if err := notes.Insert(t.Context(), db, note(4), c); !docdb.Violates(err, "notes_slug") {
		t.Errorf("the slug: %v", err)
	}
	if n, err := notes.Count(t.Context(), db, docdb.Filter{}, 10); n != 2 || err != nil {
		t.Errorf("an insert of two was half done: %d, %v", n, err)
	}
	if err := notes.Insert(t.Context(), db, note(2)); !docdb.Violates(err, "notes_room_seq") {
		t.Errorf("room and seq: %v", err)
	}
	_, err = notes.Update(t.Context(), db, b.ID, docdb.Filter{}, docdb.Set("slug", "a"))
	is(t, err, errs.Conflict)
	if !docdb.Violates(err, "notes_slug") {
		t.Errorf("an update: %v", err)
	}
	// Documents without the field are not bound by it.
	insert(t, db, note(5), note(6))
	var won atomic.Int64
	together(16, func(int) {
		n := note(7)
		n.Slug = "race"
		err := notes.Insert(context.WithoutCancel(t.Context()), db, n)
		if err == nil {
			won.Add(1)
		} else if errs.KindOf(err) != errs.Conflict {
			t.Error(err)
		}
	})
	if won.Load() != 1 {
		t.Errorf("%d of 16 won", won.Load())
	}
	if docdb.Violates(nil, "notes_slug") || docdb.Violates(errors.New("notes_slug"), "notes_slug") {
		t.Error("no violation at all")
	}
}

func partial(t *testing.T, db docdb.DB) {
	live := func(seq int64, state string) Note {
		n := note(seq)
		n.State, n.Place = state, &Place{City: "Köln"}
		return n
	}
	a := live(1, "it's live")
	insert(t, db, a, live(2, "done"), live(3, "done"))
	if err := notes.Insert(t.Context(), db, live(4, "it's live")); !docdb.Violates(err, "notes_one_live") {
		t.Errorf("a second live one: %v", err)
	}
	if _, err := notes.Update(t.Context(), db, a.ID, docdb.Eq("state", "it's live"), docdb.Set("state", "done")); err != nil {
		t.Fatal(err)
	}
	insert(t, db, live(4, "it's live"))
}

func remember(t *testing.T, db docdb.DB) {
	var first atomic.Int64
	together(16, func(int) {
		did, err := events.InsertIfAbsent(context.WithoutCancel(t.Context()), db, Event{ID: "booking.created:1"})
		if err != nil {
			t.Error(err)
		}
		if did {
			first.Add(1)
		}
	})
	if first.Load() != 1 {
		t.Errorf("%d were first", first.Load())
	}
	// It does not spoil a transaction.
	err := db.InTx(t.Context(), func(tx docdb.Tx) error {
		if did, err := events.InsertIfAbsent(t.Context(), tx, Event{ID: "booking.created:1", N: 9}); did || err != nil {
			t.Errorf("%v, %v", did, err)
		}
		return events.Insert(t.Context(), tx, Event{ID: "other"})
	})
	if err != nil {
		t.Fatal(err)
	}
	if e, err := events.Get(t.Context(), db, "booking.created:1"); e.N != 0 || err != nil {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := events.Get(t.Context(), db, "other"); err != nil {
		t.Error(err)
	}
	err = db.InTx(t.Context(), func(tx docdb.Tx) error { return events.Insert(t.Context(), tx, Event{ID: "other"}) })
	if !docdb.Violates(err, "events_pkey") {
		t.Errorf("insert of a known id in a transaction: %v", err)
	}
}

func upsert(t *testing.T, db docdb.DB) {
	ctx := t.Context()
	for i, want := range []int{10, 11, 12} {
		e, err := events.Upsert(ctx, db, Event{ID: "e", N: 10}, docdb.Inc("n", 1))
		if err != nil || e.N != want {
			t.Fatalf("%d: %+v, %v", i, e, err)
		}
	}
	if e, err := events.Upsert(ctx, db, Event{ID: "e", N: 1}); e.N != 1 || err != nil {
		t.Errorf("replaced: %+v, %v", e, err)
	}
	together(20, func(int) {
		if _, err := events.Upsert(context.WithoutCancel(ctx), db, Event{ID: "fresh", N: 1}, docdb.Inc("n", 1)); err != nil {
			t.Error(err)
		}
	})
	if e, err := events.Get(ctx, db, "fresh"); e.N != 20 || err != nil {
		t.Errorf("20 at once: %+v, %v", e, err)
	}
}

func filters(t *testing.T, db docdb.DB) {
	me, you := uuid.New(), uuid.New()
	a, b, c := note(1), note(2), note(3)
	a.Slug, a.Rate, a.Pinned, a.Members, a.Marks = "a", 1.5, true, []uuid.UUID{me, you}, []int{7}
	b.Slug, b.Place, b.Members, b.Read = "B", &Place{City: "Köln", Marks: []int{1}}, []uuid.UUID{you}, map[string]int64{me.String(): 4}
	c.At = start.Add(500 * time.Millisecond)
	insert(t, db, a, b, c)
	for what, test := range map[string]struct {
		where docdb.Filter
		want  string
	}{
		"all":                            {docdb.Filter{}, "123"},
		"text":                           {docdb.Eq("slug", "a"), "1"},
		"text compares by bytes":         {docdb.Lt("slug", "a"), "2"},
		"integer":                        {docdb.Eq("seq", 2), "2"},
		"another integer type":           {docdb.Gte("seq", uint8(2)), "23"},
		"float":                          {docdb.Gt("rate", 1.25), "1"},
		"float and integer":              {docdb.Lte("rate", 1), "23"},
		"boolean":                        {docdb.Eq("pinned", true), "1"},
		"time":                           {docdb.Gt("at", start.Add(time.Minute)), "2"},
		"time in another zone":           {docdb.Lte("at", start.Add(500*time.Millisecond).In(time.FixedZone("", 7*3600))), "3"},
		"id":                             {docdb.Eq("id", b.ID), "2"},
		"id as text":                     {docdb.Eq("id", b.ID.String()), "2"},
		"ids":                            {docdb.In("id", a.ID, c.ID), "13"},
		"in texts":                       {docdb.In("slug", "B", "x"), "2"},
		"in integers":                    {docdb.In("seq", 1, 3, 9), "13"},
		"in times":                       {docdb.In("at", c.At), "3"},
		"in floats":                      {docdb.In("rate", 1.5), "1"},
		"in booleans":                    {docdb.In("pinned", true), "1"},
		"in nothing":                     {docdb.In[string]("slug"), ""},
		"nested":                         {docdb.Eq("place.city", "Köln"), "2"},
		"inside a map":                   {docdb.Gt("read."+me.String(), 3), "2"},
		"a list has":                     {docdb.Has("members", me), "1"},
		"a list has, as text":            {docdb.Has("members", you.String()), "12"},
		"a list of integers":             {docdb.Has("marks", 7), "1"},
		"a nested list":                  {docdb.Has("place.marks", 1), "2"},
		"exists":                         {docdb.Exists("slug"), "12"},
		"missing":                        {docdb.Missing("slug"), "3"},
		"exists, object":                 {docdb.Exists("place"), "2"},
		"missing, list is null":          {docdb.Missing("members"), "3"},
		"and":                            {docdb.And(docdb.Gte("seq", 2), docdb.Exists("slug")), "2"},
		"or":                             {docdb.Or(docdb.Eq("seq", 1), docdb.Eq("seq", 3)), "13"},
		"or of nothing":                  {docdb.Or(), ""},
		"and of nothing":                 {docdb.And(), "123"},
		"mixed":                          {docdb.And(docdb.Or(docdb.Eq("seq", 1), docdb.Eq("seq", 2)), docdb.Has("members", you), docdb.Eq("pinned", false)), "2"},
		"an absent field equals nothing": {docdb.Lt("until", start.Add(100*time.Hour)), ""},
	} {
		page, err := notes.Find(t.Context(), db, docdb.Query{Where: test.where})
		got := ""
		for _, n := range page.Docs {
			got += fmt.Sprint(n.Seq)
		}
		if got != test.want || err != nil || page.Docs == nil || page.Next != "" {
			t.Errorf("%s: %q, wanted %q, %v", what, got, test.want, err)
		}
		if n, err := notes.Count(t.Context(), db, test.where, 10); n != len(test.want) || err != nil {
			t.Errorf("%s: counted %d, %v", what, n, err)
		}
		one, err := notes.FindOne(t.Context(), db, test.where)
		if test.want == "" {
			is(t, err, errs.NotFound)
		} else if err != nil || fmt.Sprint(one.Seq) != test.want[:1] {
			t.Errorf("%s: found %d first, %v", what, one.Seq, err)
		}
	}
	for _, where := range []docdb.Filter{
		docdb.Eq("nope", 1), docdb.Eq("place.nope", 1), docdb.Eq("read.a.b", 1), docdb.Eq("read.it's", 1), docdb.Eq("read.", 1), docdb.Eq("seq' OR true --", 1), docdb.Eq("", 1),
		docdb.Has("slug", "a"), docdb.Eq("members", "x"), docdb.Eq("place", "x"), docdb.And(docdb.Eq("nope", 1)),
	} {
		if _, err := notes.Find(t.Context(), db, docdb.Query{Where: where}); err == nil {
			t.Errorf("%v is answered", where)
		}
	}
	for _, q := range []docdb.Query{{Limit: -1}, {Limit: docdb.MaxLimit + 1}, {Sort: docdb.Asc("version")}, {Sort: docdb.Asc("members")}, {Sort: docdb.Asc("nope")}} {
		if _, err := notes.Find(t.Context(), db, q); err == nil {
			t.Errorf("%+v is answered", q)
		}
	}
}

func operators(t *testing.T, db docdb.DB) {
	insert(t, db, note(1))
	for _, v := range []any{
		map[string]any{"$ne": nil}, map[string]string{"$gt": ""}, []any{"new"}, []string{"new"}, nil, struct{}{}, (*string)(nil), 1, true, start, "a\x00", "\xff", func() {},
	} {
		for what, where := range map[string]docdb.Filter{"eq": docdb.Eq("state", v), "in": docdb.In("state", v), "gt": docdb.Gt("state", v), "id": docdb.Eq("id", v), "has": docdb.Has("members", v)} {
			if _, err := notes.FindOne(t.Context(), db, where); errs.KindOf(err) != errs.Invalid {
				t.Errorf("%s %v: %v", what, v, err)
			}
			if n, err := notes.DeleteAll(t.Context(), db, where); n != 0 || err == nil {
				t.Errorf("%s %v deletes %d, %v", what, v, n, err)
			}
		}
		if _, err := notes.Get(t.Context(), db, v); errs.KindOf(err) != errs.Invalid {
			t.Errorf("get %v: %v", v, err)
		}
	}
}

func hostile(t *testing.T, db docdb.DB) {
	for i, s := range []string{`'; DROP TABLE notes; --`, `{"$ne":null}`, `$where`, `\`, `"`, `%s%d`, `$1`, "line\nbreak", "\u202e", "💥", `\u0000`} {
		n := note(int64(i))
		n.Slug, n.Read = s, map[string]int64{"k": 1}
		insert(t, db, n)
		got, err := notes.FindOne(t.Context(), db, docdb.And(docdb.Eq("slug", s), docdb.In("slug", s, "x")))
		if err != nil || got.ID != n.ID {
			t.Errorf("%q: %v", s, err)
		}
		if got, err = notes.Update(t.Context(), db, n.ID, docdb.Eq("slug", s), docdb.Set("state", s)); err != nil || got.State != s {
			t.Errorf("%q: %v", s, err)
		}
	}
	n := note(100)
	n.State = "a\x00b"
	is(t, notes.Insert(t.Context(), db, n), errs.Invalid)
	if _, err := events.Get(t.Context(), db, "'"); true {
		is(t, err, errs.NotFound)
	}
}

func together(n int, fn func(n int)) {
	var wg sync.WaitGroup
	gate := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-gate
			fn(i)
		})
	}
	close(gate)
	wg.Wait()
}
