package docdbtest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/docdb"
	"tulifo/platform/errs"
	"tulifo/platform/soak"
)

// model is what the collection has to hold, as the doc comments say it.
type model struct {
	r    *rand.Rand
	docs map[uuid.UUID]Note
	ids  []uuid.UUID // that are drawn from
}

// predicate is a filter and what it means.
type predicate struct {
	filter docdb.Filter
	holds  func(Note) bool
}

// edit is a change and what it does.
type edit struct {
	change docdb.Change
	make   func(*Note)
	slug   bool // it may be refused
}

var (
	rooms  = []string{"a", "B", "ä"}
	states = []string{"new", "", "$gt", "{}"}
)

// random runs operations drawn at random, alone and in transactions that commit or do not, and compares every answer with the model.
func random(t *testing.T, db docdb.DB) {
	m := &model{r: soak.Rand(t)}
	for range soak.N(4, 200) {
		if _, err := notes.DeleteAll(t.Context(), db, docdb.Filter{}); err != nil {
			t.Fatal(err)
		}
		m.docs, m.ids = map[uuid.UUID]Note{}, nil
		for range 6 {
			m.ids = append(m.ids, uuid.Must(uuid.NewV7()))
		}
		for range 30 {
			if m.r.IntN(5) > 0 {
				m.step(t, db)
				continue
			}
			before, no := maps.Clone(m.docs), errors.New("no")
			err := db.InTx(t.Context(), func(tx docdb.Tx) error {
				m.docs = maps.Clone(before) // it may be run again
				for range 1 + m.r.IntN(3) {
					if refused := m.step(t, tx); refused != nil {
						return refused
					}
				}
				if m.r.IntN(2) == 0 {
					return no
				}
				return nil
			})
			if err != nil {
				m.docs = before
				if kind := errs.KindOf(err); !errors.Is(err, no) && kind != errs.Conflict {
					t.Fatal(err)
				}
			}
			m.compare(t, db)
		}
		if t.Failed() {
			return
		}
	}
}

// step is one operation. It answers the refusal after which a transaction has to end.
func (m *model) step(t *testing.T, q docdb.Querier) (refused error) {
	ctx := t.Context()
	switch m.r.IntN(9) {
	case 0:
		fresh := []Note{m.note(), m.note()}[:1+m.r.IntN(2)]
		err := notes.Insert(ctx, q, fresh...)
		after := maps.Clone(m.docs)
		ok := true
		for _, n := range fresh {
			_, taken := after[n.ID]
			ok = ok && !taken && m.free(after, n)
			after[n.ID] = n
		}
		return m.settle(t, "insert", err, ok, after)
	case 1:
		n := m.note()
		_, there := m.docs[n.ID]
		did, err := notes.InsertIfAbsent(ctx, q, n)
		if there {
			if did || err != nil {
				t.Errorf("insert if absent of one that is there: %v, %v", did, err)
			}
			return nil
		}
		after := maps.Clone(m.docs)
		after[n.ID] = n
		return m.settle(t, "insert if absent", err, m.free(m.docs, n), after)
	case 2:
		n, edits := m.note(), m.edits(m.r.IntN(3))
		becomes := n
		if old, there := m.docs[n.ID]; there && len(edits) > 0 {
			becomes = edited(old, edits)
		}
		got, err := notes.Upsert(ctx, q, n, changesOf(edits)...)
		return m.changed(t, "upsert", err, got, becomes)
	case 3:
		id, when, edits := m.id(), m.predicate(1), m.edits(1+m.r.IntN(3))
		got, err := notes.Update(ctx, q, id, when.filter, changesOf(edits)...)
		old, there := m.docs[id]
		switch {
		case !there:
			is(t, err, errs.NotFound)
			return nil
		case !when.holds(old):
			is(t, err, errs.Conflict)
			return err
		}
		return m.changed(t, "update", err, got, edited(old, edits))
	case 4:
		where, edits, by := m.predicate(2), m.edits(1+m.r.IntN(2)), m.sorting()
		got, err := notes.FindOneAndUpdate(ctx, q, where.filter, by.order, changesOf(edits)...)
		found := m.found(where, by)
		if len(found) == 0 {
			is(t, err, errs.NotFound)
			return nil
		}
		return m.changed(t, "claim", err, got, edited(found[0], edits))
	case 5:
		where, edits := m.predicate(2), m.edits(1)
		for edits[0].slug {
			edits = m.edits(1) // which of several would be first to have it is nobody's to say
		}
		n, err := notes.UpdateAll(ctx, q, where.filter, changesOf(edits)...)
		after, want := maps.Clone(m.docs), 0
		for id, old := range m.docs {
			if where.holds(old) {
				after[id] = edited(old, edits)
				want++
			}
		}
		if err == nil && n != want {
			t.Errorf("update all: %d of %d", n, want)
		}
		return m.settle(t, "update all", err, true, after)
	case 6:
		where := m.predicate(1)
		if m.r.IntN(2) == 0 {
			id := m.id()
			where = predicate{docdb.Eq("id", id), func(n Note) bool { return n.ID == id }}
		}
		n, err := notes.DeleteAll(ctx, q, where.filter)
		had := len(m.docs)
		maps.DeleteFunc(m.docs, func(_ uuid.UUID, n Note) bool { return where.holds(n) })
		if err != nil || n != had-len(m.docs) {
			t.Errorf("delete all: %d of %d, %v", n, had-len(m.docs), err)
		}
	case 7:
		where, most := m.predicate(2), m.r.IntN(5)
		n, err := notes.Count(ctx, q, where.filter, most)
		if want := min(most, len(m.found(where, sorting{}))); err != nil || n != want {
			t.Errorf("count: %d, wanted %d, %v", n, want, err)
		}
	default:
		m.page(t, q, m.predicate(2), m.sorting(), 1+m.r.IntN(4))
	}
	return nil
}

// settle takes the operation's effect over, if it was to have one.
func (m *model) settle(t *testing.T, what string, err error, ok bool, after map[uuid.UUID]Note) error {
	t.Helper()
	if !ok {
		is(t, err, errs.Conflict)
		return err
	}
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return err
	}
	m.docs = after
	return nil
}

func (m *model) changed(t *testing.T, what string, err error, got, becomes Note) error {
	t.Helper()
	after := maps.Clone(m.docs)
	after[becomes.ID] = becomes
	ok := m.free(m.docs, becomes)
	if ok && err == nil {
		same(t, got, becomes)
	}
	return m.settle(t, what, err, ok, after)
}

// free says whether no other document has a unique key of n.
func (m *model) free(among map[uuid.UUID]Note, n Note) bool {
	for id, other := range among {
		if id != n.ID && (other.Room == n.Room && other.Seq == n.Seq || n.Slug != "" && other.Slug == n.Slug) {
			return false
		}
	}
	return true
}

func (m *model) id() uuid.UUID { return m.ids[m.r.IntN(len(m.ids))] }

func (m *model) time() time.Time {
	return start.Add(time.Duration(m.r.IntN(4)) * time.Microsecond)
}

func (m *model) note() Note {
	n := Note{ID: m.id(), Room: rooms[m.r.IntN(3)], Seq: int64(m.r.IntN(4)) - 1, State: states[m.r.IntN(4)], Rate: float64(m.r.IntN(3)) / 2, Pinned: m.r.IntN(2) == 0, At: m.time()}
	if m.r.IntN(2) == 0 {
		n.Slug = fmt.Sprint("s", m.r.IntN(4))
	}
	if m.r.IntN(2) == 0 {
		until := m.time()
		n.Until = &until
	}
	for range m.r.IntN(3) {
		n.Marks = append(n.Marks, m.r.IntN(3))
	}
	return n
}

func (m *model) predicate(depth int) predicate {
	if depth > 0 && m.r.IntN(2) == 0 {
		a, b := m.predicate(depth-1), m.predicate(depth-1)
		if m.r.IntN(2) == 0 {
			return predicate{docdb.And(a.filter, b.filter), func(n Note) bool { return a.holds(n) && b.holds(n) }}
		}
		return predicate{docdb.Or(a.filter, b.filter), func(n Note) bool { return a.holds(n) || b.holds(n) }}
	}
	state, room, rate, seq, at, mark := states[m.r.IntN(4)], rooms[m.r.IntN(3)], float64(m.r.IntN(3))/2, int64(m.r.IntN(3)), m.time(), m.r.IntN(3)
	return []predicate{
		{docdb.Filter{}, func(Note) bool { return true }},
		{docdb.Eq("state", state), func(n Note) bool { return n.State == state }},
		{docdb.Lt("room", room), func(n Note) bool { return n.Room < room }},
		{docdb.Gte("seq", seq), func(n Note) bool { return n.Seq >= seq }},
		{docdb.Lte("rate", rate), func(n Note) bool { return n.Rate <= rate }},
		{docdb.Eq("pinned", true), func(n Note) bool { return n.Pinned }},
		{docdb.Gt("at", at), func(n Note) bool { return n.At.After(at) }},
		{docdb.Lte("until", at), func(n Note) bool { return n.Until != nil && !n.Until.After(at) }},
		{docdb.Exists("until"), func(n Note) bool { return n.Until != nil }},
		{docdb.Missing("slug"), func(n Note) bool { return n.Slug == "" }},
		{docdb.Missing("marks"), func(n Note) bool { return n.Marks == nil }},
		{docdb.Has("marks", mark), func(n Note) bool { return slices.Contains(n.Marks, mark) }},
		{docdb.In("room", "a", room), func(n Note) bool { return n.Room == "a" || n.Room == room }},
	}[m.r.IntN(13)]
}

func (m *model) edits(n int) []edit {
	out := make([]edit, n)
	for i := range out {
		state, at, mark, last, slug := states[m.r.IntN(4)], m.time(), m.r.IntN(3), m.r.IntN(3), fmt.Sprint("s", m.r.IntN(4))
		out[i] = []edit{
			{change: docdb.Set("state", state), make: func(n *Note) { n.State = state }},
			{change: docdb.Set("until", at), make: func(n *Note) { n.Until = &at }},
			{change: docdb.Unset("until"), make: func(n *Note) { n.Until = nil }},
			{change: docdb.Inc("version", int64(mark)), make: func(n *Note) { n.Version += mark }},
			{change: docdb.Inc("read.x", 1), make: func(n *Note) {
				n.Read = maps.Clone(n.Read)
				if n.Read == nil {
					n.Read = map[string]int64{}
				}
				n.Read["x"]++
			}},
			{change: docdb.Push("marks", mark, last), make: func(n *Note) {
				n.Marks = append(slices.Clone(n.Marks), mark)
				if last > 0 {
					n.Marks = n.Marks[max(0, len(n.Marks)-last):]
				}
			}},
			{change: docdb.Set("marks", []int{}), make: func(n *Note) { n.Marks = []int{} }},
			{change: docdb.Set("at", at), make: func(n *Note) { n.At = at }},
			{change: docdb.Unset("slug"), make: func(n *Note) { n.Slug = "" }},
			{change: docdb.Set("slug", slug), make: func(n *Note) { n.Slug = slug }, slug: true},
		}[m.r.IntN(10)]
	}
	return out
}

func edited(n Note, edits []edit) Note {
	for _, e := range edits {
		e.make(&n)
	}
	return n
}

func changesOf(edits []edit) []docdb.Change {
	var out []docdb.Change
	for _, e := range edits {
		out = append(out, e.change)
	}
	return out
}

type sorting struct {
	order docdb.Order
	by    func(a, b Note) int
	has   func(Note) bool
}

func (m *model) sorting() sorting {
	field := []string{"id", "seq", "state", "rate", "at", "until"}[m.r.IntN(6)]
	up := map[string]func(a, b Note) int{
		"id":    func(Note, Note) int { return 0 },
		"seq":   func(a, b Note) int { return cmp.Compare(a.Seq, b.Seq) },
		"state": func(a, b Note) int { return strings.Compare(a.State, b.State) },
		"rate":  func(a, b Note) int { return cmp.Compare(a.Rate, b.Rate) },
		"at":    func(a, b Note) int { return a.At.Compare(b.At) },
		"until": func(a, b Note) int { return a.Until.Compare(*b.Until) },
	}[field]
	s := sorting{order: docdb.Asc(field), has: func(n Note) bool { return field != "until" || n.Until != nil }}
	s.by = func(a, b Note) int { return cmp.Or(up(a, b), strings.Compare(a.ID.String(), b.ID.String())) }
	if m.r.IntN(2) == 0 {
		asc := s.by
		s.order, s.by = docdb.Desc(field), func(a, b Note) int { return asc(b, a) }
	}
	return s
}

// found are the documents that where holds for, in order.
func (m *model) found(where predicate, s sorting) []Note {
	out := []Note{}
	for _, n := range m.docs {
		if where.holds(n) && (s.has == nil || s.has(n)) {
			out = append(out, n)
		}
	}
	if s.by != nil {
		slices.SortFunc(out, s.by)
	}
	return out
}

func (m *model) page(t *testing.T, q docdb.Querier, where predicate, s sorting, limit int) {
	t.Helper()
	query, got := docdb.Query{Where: where.filter, Sort: s.order, Limit: limit}, []Note{}
	for {
		p, err := notes.Find(t.Context(), q, query)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, p.Docs...)
		if query.After = p.Next; query.After == "" {
			break
		}
	}
	same(t, got, m.found(where, s))
}

func (m *model) compare(t *testing.T, db docdb.DB) {
	t.Helper()
	all := predicate{holds: func(Note) bool { return true }}
	m.page(t, db, all, sorting{docdb.Asc("id"), func(a, b Note) int { return strings.Compare(a.ID.String(), b.ID.String()) }, nil}, 100)
}
