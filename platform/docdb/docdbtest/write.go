package docdbtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/docdb"
	"tulifo/platform/errs"
)

func changes(t *testing.T, db docdb.DB) {
	ctx := t.Context()
	n := note(1)
	n.Place = &Place{City: "Köln"}
	insert(t, db, n)
	me := uuid.New()
	until := start.Add(time.Hour)
	got, err := notes.Update(ctx, db, n.ID, docdb.Filter{},
		docdb.Set("state", "new'\"\\ state"), docdb.Set("rate", 2), docdb.Set("pinned", true), docdb.Set("at", until), docdb.Set("until", &until),
		docdb.Inc("version", 2), docdb.Inc("version", 3), docdb.Inc("seq", -11),
		docdb.Push("members", me, 0), docdb.Push("marks", 1, 0), docdb.Push("marks", 2, 0), docdb.Push("marks", 3, 2),
		docdb.Set("place.city", "Bonn"), docdb.Push("place.marks", 9, 0), docdb.Inc("read."+me.String(), 7), docdb.Set("read.x", int64(1)))
	if err != nil {
		t.Fatal(err)
	}
	n.State, n.Rate, n.Pinned, n.At, n.Until, n.Version, n.Seq = "new'\"\\ state", 2, true, until, &until, 5, -10
	n.Members, n.Marks, n.Place, n.Read = []uuid.UUID{me}, []int{2, 3}, &Place{City: "Bonn", Marks: []int{9}}, map[string]int64{me.String(): 7, "x": 1}
	same(t, got, n)
	same(t, get(t, db, n.ID), n)

	got, err = notes.Update(ctx, db, n.ID, docdb.Filter{}, docdb.Unset("until"), docdb.Unset("place.city"), docdb.Unset("read.x"), docdb.Unset("read.never"), docdb.Set("marks", []int{}))
	if err != nil {
		t.Fatal(err)
	}
	n.Until, n.Place.City, n.Marks = nil, "", []int{}
	delete(n.Read, "x")
	same(t, got, n)

	got, err = notes.Update(ctx, db, n.ID, docdb.Filter{}, docdb.Unset("place"), docdb.Unset("read"), docdb.Set("place.city", "Ulm"))
	if err != nil {
		t.Fatal(err)
	}
	n.Place, n.Read = &Place{City: "Ulm"}, nil
	same(t, got, n)

	got, err = notes.Update(ctx, db, n.ID, docdb.Filter{}, docdb.Set("place", Place{City: "Jena", Any: map[string]any{"$inc": map[string]any{"n": "x"}}}))
	if err != nil {
		t.Fatal(err)
	}
	n.Place = &Place{City: "Jena", Any: map[string]any{"$inc": map[string]any{"n": "x"}}}
	same(t, got, n)
}

func misfits(t *testing.T, db docdb.DB) {
	n := note(1)
	insert(t, db, n)
	for _, c := range []docdb.Change{
		{}, docdb.Set("nope", 1), docdb.Set("id", uuid.New()), docdb.Unset("id"), docdb.Set("seq", "1"), docdb.Set("seq", 1.5), docdb.Set("state", 1), docdb.Set("state", nil),
		docdb.Set("state", map[string]any{"$set": 1}), docdb.Set("at", "2020-01-01"), docdb.Set("place", map[string]any{"city": 1}), docdb.Set("members", []string{"x"}), docdb.Set("until", (*time.Time)(nil)),
		docdb.Inc("state", 1), docdb.Inc("rate", 1), docdb.Push("state", "x", 0), docdb.Push("members", "x", -1), docdb.Push("marks", "x", 0), docdb.Set("read.it's", int64(1)), docdb.Set("read.x", "y"),
	} {
		if _, err := notes.Update(t.Context(), db, n.ID, docdb.Filter{}, c); err == nil {
			t.Errorf("%+v is done", c)
		}
		if _, err := notes.Upsert(t.Context(), db, n, c); err == nil {
			t.Errorf("%+v is done by an upsert", c)
		}
	}
	if _, err := notes.Update(t.Context(), db, n.ID, docdb.Filter{}); err == nil {
		t.Error("an update that changes nothing")
	}
	_, err := notes.Update(t.Context(), db, n.ID, docdb.Filter{}, docdb.Set("seq", int64(1<<62)), docdb.Inc("seq", 1<<62))
	is(t, err, errs.Invalid)
	_, err = notes.Update(t.Context(), db, n.ID, docdb.Filter{}, docdb.Set("state", "\x00"))
	is(t, err, errs.Invalid)
	same(t, get(t, db, n.ID), n)
}

func compare(t *testing.T, db docdb.DB) {
	n := note(1)
	insert(t, db, n)
	ctx := t.Context()
	if got, err := notes.Update(ctx, db, n.ID, docdb.Eq("version", 0), docdb.Inc("version", 1), docdb.Set("state", "a")); err != nil || got.Version != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	_, err := notes.Update(ctx, db, n.ID, docdb.Eq("version", 0), docdb.Inc("version", 1), docdb.Set("state", "b"))
	is(t, err, errs.Conflict)
	_, err = notes.Update(ctx, db, uuid.New(), docdb.Eq("version", 0), docdb.Inc("version", 1))
	is(t, err, errs.NotFound)
	_, err = notes.Update(ctx, db, uuid.New(), docdb.Filter{}, docdb.Inc("version", 1))
	is(t, err, errs.NotFound)
	if got := get(t, db, n.ID); got.State != "a" || got.Version != 1 {
		t.Errorf("%+v", got)
	}
}

func increments(t *testing.T, db docdb.DB) {
	n := note(1)
	insert(t, db, n)
	together(100, func(int) {
		if _, err := notes.Update(context.WithoutCancel(t.Context()), db, n.ID, docdb.Filter{}, docdb.Inc("version", 1)); err != nil {
			t.Error(err)
		}
	})
	if got := get(t, db, n.ID); got.Version != 100 {
		t.Errorf("%d", got.Version)
	}
}

func versions(t *testing.T, db docdb.DB) {
	n := note(1)
	insert(t, db, n)
	var mu sync.Mutex
	won := []int{}
	together(32, func(i int) {
		_, err := notes.Update(context.WithoutCancel(t.Context()), db, n.ID, docdb.Eq("version", 0), docdb.Set("version", i+1))
		if err == nil {
			mu.Lock()
			won = append(won, i+1)
			mu.Unlock()
		} else if errs.KindOf(err) != errs.Conflict {
			t.Error(err)
		}
	})
	if got := get(t, db, n.ID); len(won) != 1 || got.Version != won[0] {
		t.Errorf("won %v, it is %d", won, got.Version)
	}
}

func claims(t *testing.T, db docdb.DB) {
	const queue = 60
	for i := range queue {
		insert(t, db, note(int64(i)))
	}
	ctx := context.WithoutCancel(t.Context())
	first, err := notes.FindOneAndUpdate(ctx, db, docdb.Eq("state", "new"), docdb.Asc("at"), docdb.Set("state", "taken"), docdb.Inc("version", 1))
	if err != nil || first.Seq != 0 || first.State != "taken" {
		t.Fatalf("%+v, %v", first, err)
	}
	last, err := notes.FindOneAndUpdate(ctx, db, docdb.Eq("state", "new"), docdb.Desc("at"), docdb.Set("state", "taken"), docdb.Inc("version", 1))
	if err != nil || last.Seq != queue-1 {
		t.Fatalf("%+v, %v", last, err)
	}
	var mu sync.Mutex
	taken := map[uuid.UUID]int{}
	together(8, func(int) {
		for {
			n, err := notes.FindOneAndUpdate(ctx, db, docdb.Eq("state", "new"), docdb.Asc("at"), docdb.Set("state", "taken"), docdb.Inc("version", 1))
			if errs.KindOf(err) == errs.NotFound {
				return
			}
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			taken[n.ID]++
			mu.Unlock()
		}
	})
	// Somebody may have given up while the last ones were being changed by others, but those others had them.
	if left, err := notes.Count(ctx, db, docdb.Eq("state", "new"), 100); left != 0 || err != nil {
		t.Errorf("%d are left, %v", left, err)
	}
	if len(taken) != queue-2 {
		t.Errorf("%d were taken", len(taken))
	}
	for id, times := range taken {
		if got := get(t, db, id); times != 1 || got.Version != 1 {
			t.Errorf("%s was taken %d times, changed %d times", id, times, got.Version)
		}
	}
}

func many(t *testing.T, db docdb.DB) {
	ctx := t.Context()
	for i := range 10 {
		insert(t, db, note(int64(i)))
	}
	if n, err := notes.UpdateAll(ctx, db, docdb.Lt("seq", 6), docdb.Set("state", "read")); n != 6 || err != nil {
		t.Errorf("updated %d, %v", n, err)
	}
	if n, err := notes.UpdateAll(ctx, db, docdb.And(docdb.Lt("seq", 6), docdb.Eq("state", "new")), docdb.Set("state", "read")); n != 0 || err != nil {
		t.Errorf("updated %d again, %v", n, err)
	}
	for most, want := range map[int]int{-1: 0, 0: 0, 3: 3, 6: 6, 100: 6} {
		if n, err := notes.Count(ctx, db, docdb.Eq("state", "read"), most); n != want || err != nil {
			t.Errorf("counted %d of at most %d, %v", n, most, err)
		}
	}
	if n, err := notes.DeleteAll(ctx, db, docdb.Eq("state", "read")); n != 6 || err != nil {
		t.Errorf("deleted %d, %v", n, err)
	}
	one, err := notes.FindOne(ctx, db, docdb.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	if err := notes.Delete(ctx, db, one.ID); err != nil {
		t.Error(err)
	}
	is(t, notes.Delete(ctx, db, one.ID), errs.NotFound)
	if n, err := notes.Count(ctx, db, docdb.Filter{}, 100); n != 3 || err != nil {
		t.Errorf("%d are left, %v", n, err)
	}
}

func expire(t *testing.T, db docdb.DB) {
	for i := range 4 {
		n := note(int64(i))
		if i > 0 {
			until := start.Add(time.Duration(i) * time.Hour)
			n.Until = &until
		}
		insert(t, db, n)
	}
	for i, c := range []struct {
		now  time.Time
		want int
	}{{start, 0}, {start.Add(time.Hour - time.Microsecond), 0}, {start.Add(time.Hour), 1}, {start.Add(time.Hour), 0}, {start.Add(1000 * time.Hour), 2}} {
		if n, err := notes.Expire(t.Context(), db, c.now); n != c.want || err != nil {
			t.Errorf("%d: %d expired, %v", i, n, err)
		}
	}
	if n, err := notes.Count(t.Context(), db, docdb.Filter{}, 10); n != 1 || err != nil {
		t.Errorf("%d are left, %v", n, err)
	}
	if _, err := events.Expire(t.Context(), db, start); err == nil {
		t.Error("a collection that does not expire")
	}
}

func transaction(t *testing.T, db docdb.DB) {
	ctx := t.Context()
	a := note(1)
	committed := 0
	no := errors.New("no")
	err := db.InTx(ctx, func(tx docdb.Tx) error {
		tx.Committed(func() { committed++ })
		if err := notes.Insert(ctx, tx, a); err != nil {
			return err
		}
		if err := events.Insert(ctx, tx, Event{ID: "a"}); err != nil {
			return err
		}
		if got, err := notes.Get(ctx, tx, a.ID); err != nil || got.ID != a.ID {
			t.Errorf("the transaction does not see its own: %v", err)
		}
		return no
	})
	if !errors.Is(err, no) || committed != 0 {
		t.Errorf("%v, committed %d", err, committed)
	}
	if _, err := notes.Get(ctx, db, a.ID); true {
		is(t, err, errs.NotFound)
	}
	if _, err := events.Get(ctx, db, "a"); true {
		is(t, err, errs.NotFound)
	}
	if err := db.InTx(ctx, func(tx docdb.Tx) error {
		tx.Committed(func() { committed++ })
		if err := notes.Insert(ctx, tx, a); err != nil {
			return err
		}
		if _, err := notes.Get(ctx, tx, uuid.New()); errs.KindOf(err) != errs.NotFound {
			t.Errorf("%v", err)
		}
		if _, err := notes.Update(ctx, tx, a.ID, docdb.Eq("version", 0), docdb.Inc("version", 1)); err != nil {
			return err
		}
		return events.Insert(ctx, tx, Event{ID: "a"})
	}); err != nil || committed != 1 {
		t.Fatalf("%v, committed %d", err, committed)
	}
	if got := get(t, db, a.ID); got.Version != 1 {
		t.Errorf("%+v", got)
	}
	func() {
		defer func() { _ = recover() }()
		_ = db.InTx(ctx, func(tx docdb.Tx) error {
			if err := notes.Insert(ctx, tx, note(2)); err != nil {
				t.Error(err)
			}
			panic("in the middle")
		})
	}()
	if n, err := notes.Count(ctx, db, docdb.Filter{}, 10); n != 1 || err != nil {
		t.Errorf("after a panic there are %d, %v", n, err)
	}
}

func nested(t *testing.T, db docdb.DB) {
	ctx := t.Context()
	a, b := note(1), note(2)
	committed := []string{}
	outer := func(result error) error {
		return db.InTx(ctx, func(tx docdb.Tx) error {
			tx.Committed(func() { committed = append(committed, "outer") })
			if err := notes.Insert(ctx, tx, a); err != nil {
				return err
			}
			if err := db.InTx(docdb.With(ctx, tx), func(inner docdb.Tx) error {
				inner.Committed(func() { committed = append(committed, "inner") })
				if _, err := notes.Get(ctx, inner, a.ID); err != nil {
					t.Errorf("the inner one is another transaction: %v", err)
				}
				return notes.Insert(ctx, inner, b)
			}); err != nil {
				return err
			}
			if len(committed) != 0 {
				t.Errorf("committed too early: %v", committed)
			}
			return result
		})
	}
	no := errors.New("no")
	if err := outer(no); !errors.Is(err, no) {
		t.Errorf("%v", err)
	}
	if n, err := notes.Count(ctx, db, docdb.Filter{}, 10); n != 0 || err != nil {
		t.Errorf("the inner one was committed: %d, %v", n, err)
	}
	if err := outer(nil); err != nil {
		t.Fatal(err)
	}
	same(t, committed, []string{"outer", "inner"})
	if n, err := notes.Count(ctx, db, docdb.Filter{}, 10); n != 2 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
}

// sequence is how messages of a conversation get their numbers.
func sequence(t *testing.T, db docdb.DB) {
	ctx := context.WithoutCancel(t.Context())
	if err := events.Insert(ctx, db, Event{ID: "conversation"}); err != nil {
		t.Fatal(err)
	}
	together(8, func(w int) {
		for i := range 10 {
			fail := (w+i)%4 == 0
			err := db.InTx(ctx, func(tx docdb.Tx) error {
				c, err := events.Update(ctx, tx, "conversation", docdb.Filter{}, docdb.Inc("n", 1))
				if err != nil {
					return err
				}
				if err := notes.Insert(ctx, tx, note(int64(c.N))); err != nil {
					return err
				}
				if fail {
					return errs.New(errs.Invalid, "no")
				}
				return nil
			})
			if (err != nil) != fail {
				t.Error(err)
			}
		}
	})
	page, err := notes.Find(ctx, db, docdb.Query{Where: docdb.Eq("room", "r"), Sort: docdb.Asc("seq"), Limit: 100})
	if err != nil || len(page.Docs) != 60 {
		t.Fatalf("%d, %v", len(page.Docs), err)
	}
	for i, n := range page.Docs {
		if n.Seq != int64(i+1) {
			t.Fatalf("number %d is at %d", n.Seq, i+1)
		}
	}
}

func pages(t *testing.T, db docdb.DB) {
	ctx := t.Context()
	var all []Note
	for i := range 53 {
		n := note(int64(i))
		n.At = start.Add(time.Duration(i/7) * time.Second) // seven of each, so that ids have to break ties
		all = append(all, n)
	}
	insert(t, db, all...)
	slices.SortFunc(all, func(a, b Note) int {
		if c := b.At.Compare(a.At); c != 0 {
			return c
		}
		return slices.Compare(b.ID[:], a.ID[:])
	})
	q := docdb.Query{Where: docdb.Eq("room", "r"), Sort: docdb.Desc("at"), Limit: 10}
	var got []Note
	for page := range 10 {
		p, err := notes.Find(ctx, db, q)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p.Docs...)
		if q.After = p.Next; q.After == "" {
			break
		}
		// What is newer does not shift what comes.
		newer := note(int64(1000 + page))
		newer.At = start.Add(time.Hour)
		insert(t, db, newer)
		// Nor does it matter that the one the page ended with is gone.
		if err := notes.Delete(ctx, db, got[len(got)-1].ID); err != nil {
			t.Fatal(err)
		}
	}
	same(t, got, all)
	exact, err := notes.Find(ctx, db, docdb.Query{Where: docdb.Lt("seq", 10), Limit: 10})
	if err != nil || exact.Next != "" && len(exact.Docs) < 10 {
		t.Errorf("%d, next %q, %v", len(exact.Docs), exact.Next, err)
	}
}

func pageKinds(t *testing.T, db docdb.DB) {
	ctx := t.Context()
	for i := range 12 {
		n := note(int64(i % 4))
		n.Room, n.Slug, n.State, n.Rate = fmt.Sprint("room", i), fmt.Sprint("s", i), []string{"ä", "Z", "a", "'"}[i%4], float64(i%4)/3
		if i%2 == 0 {
			until := start.Add(time.Duration(i%4) * time.Microsecond)
			n.Until = &until
		}
		insert(t, db, n)
	}
	for name, want := range map[string]int{"id": 12, "seq": 12, "state": 12, "rate": 12, "at": 12, "slug": 12, "room": 12, "until": 6} {
		for _, o := range []docdb.Order{docdb.Asc(name), docdb.Desc(name)} {
			seen := map[uuid.UUID]bool{}
			q := docdb.Query{Sort: o, Limit: 5}
			for range 10 {
				p, err := notes.Find(ctx, db, q)
				if err != nil {
					t.Fatalf("%v: %v", o, err)
				}
				for _, n := range p.Docs {
					if seen[n.ID] {
						t.Errorf("%v: %s twice", o, n.ID)
					}
					seen[n.ID] = true
				}
				if q.After = p.Next; q.After == "" {
					break
				}
			}
			if len(seen) != want {
				t.Errorf("%v: %d of %d", o, len(seen), want)
			}
		}
	}
	p, err := notes.Find(ctx, db, docdb.Query{Sort: docdb.Asc("state"), Limit: 12})
	if err != nil || p.Docs[0].State != "'" || p.Docs[3].State != "Z" || p.Docs[6].State != "a" || p.Docs[9].State != "ä" {
		t.Errorf("text does not sort by its bytes: %v", err)
	}
}

func cursors(t *testing.T, db docdb.DB) {
	ctx := t.Context()
	for i := range 3 {
		insert(t, db, note(int64(i)))
	}
	p, err := notes.Find(ctx, db, docdb.Query{Sort: docdb.Asc("at"), Limit: 1})
	if err != nil || p.Next == "" {
		t.Fatalf("%v", err)
	}
	for what, q := range map[string]docdb.Query{
		"garbage":           {After: "garbage!"},
		"no JSON":           {After: "AAAA"},
		"another order":     {Sort: docdb.Desc("at"), After: p.Next},
		"another field":     {Sort: docdb.Asc("seq"), After: p.Next},
		"an operator":       {After: "eyIkbmUiOm51bGx9"},                                      // {"$ne":null}
		"no time":           {Sort: docdb.Asc("at"), After: "WyJhdCIsImZhbHNlIiwieCIsIngiXQ"}, // ["at","false","x","x"]
		"an id with a zero": {After: "WyJpZCIsImZhbHNlIiwieCIsIlx1MDAwMCJd"},                  // ["id","false","x","\u0000"]
		"cut off":           {Sort: docdb.Asc("at"), After: p.Next[:len(p.Next)/2]},
	} {
		_, err := notes.Find(ctx, db, q)
		if errs.KindOf(err) != errs.Malformed {
			t.Errorf("%s: %v", what, err)
		}
	}
}
