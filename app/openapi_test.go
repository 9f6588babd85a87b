package app

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	samples "tulifo/platform/soak"
)

// TestOpenAPIFuzz sends every operation requests made from its schemas: as they should be, at the bounds, of other types, with fields missing or too
// many. No answer is a fault of ours, and every one is as its document declares it.
func TestOpenAPIFuzz(t *testing.T) {
	w := openWorld(t, 14)
	f := &fuzz{world: w, judge: newJudge(t, w.p.machine.node), routes: routes(w.p.machine.node), seen: map[string]map[int]int{}, wrongs: map[string]int{}}
	f.populate()
	r := samples.Rand(t)
	const workers = 4
	seeds := make([]uint64, workers)
	for i := range seeds {
		seeds[i] = r.Uint64()
	}
	total := samples.N(20_000, 200_000)
	began := time.Now()
	var wg sync.WaitGroup
	for i, seed := range seeds {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 0))
			for n := range total / workers {
				f.shoot(r, f.routes[(n*workers+i)%len(f.routes)])
			}
		})
	}
	wg.Wait()
	good := 0
	for _, r := range f.routes {
		for status, n := range f.seen[r.String()] {
			if status < 300 {
				good += n
			}
		}
		if !f.succeeded(r) {
			t.Logf("%s never succeeded: %v", r, f.seen[r.String()])
		}
	}
	t.Logf("%d requests to %d operations, %d of them with success, in %v", total, len(f.routes), good, time.Since(began))
	if good < total/20 {
		t.Errorf("only %d of %d requests succeeded: they do not reach the services", good, total)
	}
	w.p.settle(t)
	w.p.intact(t)
}

type fuzz struct {
	*world
	judge  *judge
	routes []route
	ids    []string // of things that exist

	mu     sync.Mutex
	seen   map[string]map[int]int
	wrongs map[string]int
}

func (f *fuzz) succeeded(r route) bool {
	for status := range f.seen[r.String()] {
		if status < 400 {
			return true
		}
	}
	return false
}

// populate makes things in many states and notes their ids.
func (f *fuzz) populate() {
	for _, d := range []sale{f.bookingIn("in_progress"), f.bookingIn("completed"), f.bookingIn("no_show"), f.escrowIn("frozen"), f.escrowIn("partially_released"), f.paymentIn("processing"), f.sold(), f.sold(), f.pending(f.start())} {
		for _, id := range []uuid.UUID{d.booking, d.payment, d.escrow} {
			if id != uuid.Nil {
				f.ids = append(f.ids, id.String())
			}
		}
	}
	for _, people := range []map[string]person{f.mine, f.other} {
		for _, p := range people {
			f.ids = append(f.ids, p.id.String())
		}
	}
	for _, c := range f.clients {
		f.ids = append(f.ids, c.id.String())
	}
	f.p.settle(f.t)
	slices.Sort(f.ids)
}

// who is a token of somebody, mostly of one whom the operation is for.
func (f *fuzz) who(r *rand.Rand, op route) string {
	role := op.roles[r.IntN(len(op.roles))]
	switch {
	case r.IntN(12) == 0:
		return ""
	case r.IntN(12) == 0:
		role = personRoles[r.IntN(len(personRoles))]
	case strings.HasPrefix(role, "service") || role == "anonymous" || op.String() == "DELETE /api/auth/me": // the world keeps its people
		return op.anybody(f.t, f.p.machine.node, role)
	}
	p := f.mine[role]
	if role == "client" && r.IntN(3) > 0 {
		p = f.clients[r.IntN(len(f.clients))]
	}
	return f.fresh(p, role)
}

func (f *fuzz) shoot(r *rand.Rand, op route) {
	req, body := f.request(r, op)
	a := op.do(req, f.who(r, op))
	why := f.judge.wrong(op, a)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen[op.String()] == nil {
		f.seen[op.String()] = map[int]int{}
	}
	f.seen[op.String()][a.Code]++
	if why == "" {
		return
	}
	what := fmt.Sprint(op, a.Code)
	if f.wrongs[what]++; f.wrongs[what] <= 1 {
		f.t.Errorf("%s: %s %.200s with %.300q answered %d %.600s: %s", op, req.Method, req.URL, body, a.Code, a.Body, why)
	}
}

// request is one to the operation, and its body to be told of.
func (f *fuzz) request(r *rand.Rand, op route) (*http.Request, []byte) {
	path := op.path
	for strings.Contains(path, "{") {
		from, to := strings.Index(path, "{"), strings.Index(path, "}")
		path = path[:from] + url.PathEscape(f.param(r, path[from+1:to])) + path[to+1:]
	}
	query := url.Values{}
	header := http.Header{}
	for _, p := range op.op.Parameters {
		if p.In == "path" || !p.Required && r.IntN(3) > 0 {
			continue
		}
		if p.Name == "Idempotency-Key" && r.IntN(6) > 0 {
			header.Set(p.Name, fmt.Sprint("key-", r.IntN(1_000_000)))
			continue
		}
		raw, ok := f.value(r, op, p.Schema, 0).(string)
		if !ok {
			raw = fmt.Sprint(f.value(r, op, p.Schema, 0))
		}
		if p.In == "query" {
			query.Set(p.Name, raw)
		} else if p.In == "header" {
			header.Set(p.Name, strings.Map(func(c rune) rune {
				if c < 32 || c == 127 {
					return -1
				}
				return c
			}, raw))
		}
	}
	if len(query) > 0 {
		path += "?" + query.Encode()
	}
	var body []byte
	if op.op.RequestBody != nil {
		body = f.body(r, op)
	}
	req := httptest.NewRequest(op.method, path, bytes.NewReader(body))
	req.Header = header
	if body != nil {
		req.Header.Set("Content-Type", op.media())
		if r.IntN(50) == 0 {
			req.Header.Set("Content-Type", pick(r, "text/plain", "application/xml", "application/json; charset=utf-16", "x"))
		}
	}
	return req, body
}

func (f *fuzz) param(r *rand.Rand, name string) string {
	switch n := r.IntN(20); {
	case n == 0:
		return pick(r, "x", "0", "%00", "..", "é", strings.Repeat("9", 300), "' OR 1=1--", uuid.Nil.String())
	case n == 1:
		return uuid.NewString()
	case n < 7 && (name == "id" || name == "userId"):
		return "me"
	case name == "document":
		return "ics"
	case name == "provider":
		return pick(r, "google", "github")
	}
	return f.ids[r.IntN(len(f.ids))]
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

func (f *fuzz) body(r *rand.Rand, op route) []byte {
	s := op.input()
	if s == nil {
		return []byte(pick(r, "", "password=x", "a=b&a=c", "%zz", "\xff\xd8\xff", strings.Repeat("x", 4000)))
	}
	v := f.value(r, op, s, 0)
	if object, ok := v.(map[string]any); ok && r.IntN(25) == 0 {
		object[pick(r, "extra", "id", "status", "$ne", "__proto__")] = pick[any](r, 1, "x", nil, []any{}, map[string]any{})
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return []byte("{}")
	}
	if r.IntN(40) == 0 {
		raw = []byte(pick(r, "", "null", "[]", "{", string(raw)+"}", `{"a":1,"a":2}`, strings.Repeat("[", 2000), "\xff", string(raw[:len(raw)/2])))
	}
	return raw
}

// value is something for the schema: mostly what it accepts, and now and then at its bounds, of another type, or too much.
func (f *fuzz) value(r *rand.Rand, op route, s *huma.Schema, depth int) any {
	if s = op.schema(s); s == nil || depth > 5 {
		return nil
	}
	if r.IntN(60) == 0 {
		return pick[any](r, nil, true, -1, 1e300, "", []any{}, map[string]any{}, "\x00", 0.1, json.Number("1e999"))
	}
	if len(s.Enum) > 0 {
		return s.Enum[r.IntN(len(s.Enum))]
	}
	switch s.Type {
	case "object":
		out := map[string]any{}
		names := make([]string, 0, len(s.Properties))
		for name := range s.Properties {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if required := slices.Contains(s.Required, name); required && r.IntN(50) > 0 || !required && r.IntN(3) == 0 {
				out[name] = f.named(r, op, name, s.Properties[name], depth)
			}
		}
		return out
	case "array":
		out := []any{}
		for range pick(r, 0, 1, 1, 2, 3) {
			out = append(out, f.value(r, op, s.Items, depth+1))
		}
		return out
	case "boolean":
		return r.IntN(2) == 0
	case "integer":
		return f.number(r, s, true)
	case "number":
		return f.number(r, s, false)
	}
	return f.text(r, s)
}

// named knows what fields of some names are good for, so that requests get further than the check.
func (f *fuzz) named(r *rand.Rand, op route, name string, s *huma.Schema, depth int) any {
	if r.IntN(8) > 0 {
		switch name {
		case "workerId":
			return f.worker.id
		case "startTime", "endTime":
			if op.schema(s).Format == "date-time" {
				at := matrixNow.Add(time.Duration(40+r.IntN(200)) * time.Hour)
				if name == "endTime" {
					at = at.Add(100 * time.Hour)
				}
				return at
			}
			return pick(r, "09:00", "17:30", "24:00", "00:00")
		case "timezone", "tz":
			return pick(r, "UTC", "Europe/Berlin", "Asia/Kathmandu", "America/New_York")
		case "password", "currentPassword":
			return tourPassword
		case "email", "newEmail":
			return fmt.Sprintf("fuzz%d@matrix.example", r.IntN(1000))
		case "currency":
			return pick(r, "USD", "JPY", "KWD", "EUR")
		case "date":
			return "2026-03-12"
		}
	}
	return f.value(r, op, s, depth+1)
}

func (f *fuzz) number(r *rand.Rand, s *huma.Schema, whole bool) any {
	low, high := 0.0, 100.0
	if s.Minimum != nil {
		low = *s.Minimum
	}
	if s.Maximum != nil {
		high = *s.Maximum
	}
	switch r.IntN(12) {
	case 0:
		return pick(r, low, low-1, high, high+1)
	case 1:
		return pick[any](r, int64(1)<<53, -(int64(1) << 53), int64(1)<<62, json.Number("99999999999999999999"), 0)
	}
	if whole {
		return int64(low) + r.Int64N(int64(max(high-low, 1)))
	}
	return json.Number(fmt.Sprintf("%d.%s", r.IntN(200), pick(r, "0", "5", "25", "01", "999", "1234")))
}

func (f *fuzz) text(r *rand.Rand, s *huma.Schema) string {
	switch s.Format {
	case "uuid":
		return pick(r, f.ids[r.IntN(len(f.ids))], f.ids[r.IntN(len(f.ids))], f.ids[r.IntN(len(f.ids))], uuid.NewString(), "x")
	case "date-time":
		return pick(r, matrixNow.Add(time.Duration(r.IntN(400)-100)*time.Hour).Format(time.RFC3339), "0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-03-29T02:30:00+02:00", "soon")
	}
	longest := 40
	if s.MaxLength != nil {
		longest = *s.MaxLength
	}
	switch r.IntN(14) {
	case 0:
		return strings.Repeat("x", longest)
	case 1:
		return strings.Repeat("é", cmp.Or(longest/2, 1))
	case 2:
		return strings.Repeat("y", longest+1)
	case 3:
		return pick(r, "", " ", "\x00", "\u202e", "a\nb", "<script>alert(1)</script>", "=1+1", "👩‍🚀", "\u0130", "a\u0301", "%00", "../..")
	case 4:
		return pick(r, "2026-03-12", "2026-02-30", "100", "-5", "USD", "DE", "https://example.com/a.ics", "http://127.0.0.1/", "javascript:alert(1)")
	case 5:
		return fmt.Sprint(r.IntN(5000))
	}
	return "Words " + fmt.Sprint(r.IntN(1000))
}
