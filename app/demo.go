package app

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/clock"
	"tulifo/platform/outbox"
	"tulifo/platform/timer"
	"tulifo/services/auth"
)

const (
	demoStride = 5 * 24 * time.Hour
)

// demoSize is how much life a demo has.
type demoSize struct {
	past             time.Duration // how long before now its business begins
	workers, clients int
	deals            int // that are tried in a stride
	stars            int // workers who get two thirds of them
}

var demoFull = demoSize{past: 60 * 24 * time.Hour, workers: 200, clients: 60, deals: 36, stars: 12}

// demo fills an empty platform with the life of two months: people, calendars, bookings in every state, money, reviews. All of it goes
// through the services' own routes, on a business clock that runs from the past to now. One seed makes one story, names and prices alike;
// ids differ.
type demo struct {
	demoSize
	m       *machine
	clock   *clock.Virtual
	r       *mathrand.Rand
	http    *http.Client
	workers []demoPerson
	clients []demoPerson
	agenda  []appointment
	counts  map[string]int
}

type demoPerson struct {
	id    uuid.UUID
	name  string
	role  string
	token string
	since time.Time // when the token was issued, system time
	trade int
	place int
	paid  bool // has an account to be paid out to
}

// appointment is something that somebody will do at a business time.
type appointment struct {
	at time.Time
	do func(context.Context) error
}

// seed runs the demo. It refuses a platform that has users, and money that is real.
func (m *machine) seed(ctx context.Context, past *clock.Virtual, seed uint64, size demoSize) error {
	if m.stripe == nil {
		return errors.New("--demo pays with test cards and is refused with a Stripe key in the environment")
	}
	d := &demo{demoSize: size, m: m, clock: past, r: mathrand.New(mathrand.NewPCG(seed, 60)), http: &http.Client{Timeout: 30 * time.Second}, counts: map[string]int{}}
	began := time.Now()
	password, err := d.people(ctx)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if err := d.live(ctx); err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	fmt.Fprintf(m.out, "\nThe demo has %d workers in %d zones, %d clients and %d bookings (%s).\n", len(d.workers), len(demoPlaces), len(d.clients), d.counts["booked"], time.Since(began).Round(time.Second))
	fmt.Fprintf(m.out, "Sign in as %s or %s with the password %s\n", demoEmail("worker", 0), demoEmail("client", 0), password)
	return nil
}

func (d *demo) room(name string) *room {
	for _, r := range d.m.node.rooms {
		if r.name == name {
			return r
		}
	}
	return nil
}

// people makes the accounts, which share one hash of a password that is made now, and their profiles and calendars.
func (d *demo) people(ctx context.Context) (password string, err error) {
	users := d.room("auth").service.(*auth.Service)
	var raw [9]byte
	rand.Read(raw[:])
	password = "demo-" + base64.RawURLEncoding.EncodeToString(raw[:])
	hash, err := users.Hash(ctx, password)
	if err != nil {
		return "", err
	}
	order := demoOrder(d.r)
	var accounts []auth.SeedUser
	for n := range d.demoSize.workers + d.demoSize.clients {
		p := demoPerson{id: uuid.Must(uuid.NewV7()), name: demoName(order, n), role: "worker", trade: d.r.IntN(len(demoTrades)), place: n % len(demoPlaces)}
		email := demoEmail("worker", n)
		if n >= d.demoSize.workers {
			p.role, email = "client", demoEmail("client", n-d.demoSize.workers)
			d.clients = append(d.clients, p)
		} else {
			d.workers = append(d.workers, p)
		}
		accounts = append(accounts, auth.SeedUser{ID: p.id, Email: email, Name: p.name, Role: p.role, Verified: true})
	}
	if err := users.Seed(ctx, accounts, hash); err != nil {
		return "", fmt.Errorf("the demo fills an empty data directory only (%w); choose another with --data", sentence(err))
	}
	if err := d.settle(ctx); err != nil {
		return "", err
	}
	bar := progress(d.m.out, "People ")
	for i := range d.workers {
		if err := d.introduce(ctx, &d.workers[i]); err != nil {
			return "", err
		}
		bar(int64(i+1), int64(len(d.workers)))
	}
	for i := range d.clients {
		if err := d.profile(ctx, &d.clients[i], "We book people who know their trade."); err != nil {
			return "", err
		}
	}
	return password, d.settle(ctx)
}

func (d *demo) profile(ctx context.Context, p *demoPerson, bio string) error {
	place := demoPlaces[p.place]
	return d.call(ctx, http.MethodPut, "/api/users/me", p, map[string]any{
		"bio": bio, "timezone": place.zone, "location": map[string]any{"city": place.city, "country": place.country},
	}, http.StatusOK, nil)
}

// introduce makes a worker's offer and calendar.
func (d *demo) introduce(ctx context.Context, p *demoPerson) error {
	trade := demoTrades[p.trade]
	if err := d.profile(ctx, p, trade.title+" in "+demoPlaces[p.place].city+"."); err != nil {
		return err
	}
	skills := []map[string]any{}
	for _, i := range d.r.Perm(len(trade.skills))[:2+d.r.IntN(len(trade.skills)-1)] {
		skills = append(skills, map[string]any{"name": trade.skills[i], "proficiency": 2 + d.r.IntN(4)})
	}
	rate, currency := trade.low+d.r.IntN((trade.high-trade.low)/5+1)*5, demoPlaces[p.place].currency
	if currency == "JPY" {
		rate *= 150
	}
	err := d.call(ctx, http.MethodPut, "/api/workers/me", p, map[string]any{
		"title": trade.title, "hourlyRate": rate, "currency": currency, "skills": skills, "categories": []string{trade.category}, "instantBooking": d.r.IntN(4) == 0,
	}, http.StatusOK, nil)
	if err != nil {
		return err
	}
	from, hours := 7+d.r.IntN(4), 6+d.r.IntN(4)
	weekly := []map[string]any{}
	for day := range 7 {
		if day >= 1 && day <= 5 || d.r.IntN(5) == 0 {
			weekly = append(weekly, map[string]any{"dayOfWeek": day, "startTime": fmt.Sprintf("%02d:00", from), "endTime": fmt.Sprintf("%02d:00", from+hours)})
		}
	}
	var current struct{ Version int64 }
	if err := d.call(ctx, http.MethodGet, "/api/availability/worker/"+p.id.String(), p, nil, http.StatusOK, &current); err != nil {
		return err
	}
	return d.call(ctx, http.MethodPut, "/api/availability/worker/me", p, map[string]any{
		"timezone": demoPlaces[p.place].zone, "weekly": weekly, "bufferBefore": 0, "bufferAfter": []int{0, 10, 15}[d.r.IntN(3)], "minNotice": 60, "horizonDays": 90, "version": current.Version,
	}, http.StatusOK, nil)
}

// demoEve is how long before now people trade last: what they leave unanswered and unpaid then is still open now.
const demoEve = 20 * time.Hour

// live walks from the past to now in strides: people book, answer and pay at the beginning of each, and then its days go by.
func (d *demo) live(ctx context.Context) error {
	began := d.clock.Now()
	end := began.Add(d.past)
	eve := end.Add(-demoEve)
	bar := progress(d.m.out, "Business")
	for at := began; at.Before(eve); {
		if err := d.trade(ctx, false); err != nil {
			return err
		}
		if at = at.Add(demoStride); at.After(eve) {
			at = eve
		}
		if err := d.pass(ctx, at); err != nil {
			return err
		}
		bar(int64(at.Sub(began)), int64(d.past))
	}
	if err := d.trade(ctx, true); err != nil {
		return err
	}
	if err := d.pass(ctx, end); err != nil {
		return err
	}
	bar(1, 1)
	return d.settle(ctx)
}

// pass lets the days go by until to, with every appointment kept at its time.
func (d *demo) pass(ctx context.Context, to time.Time) error {
	for {
		slices.SortStableFunc(d.agenda, func(a, b appointment) int { return a.at.Compare(b.at) })
		if len(d.agenda) == 0 || d.agenda[0].at.After(to) {
			return d.advance(ctx, to)
		}
		next := d.agenda[0]
		d.agenda = d.agenda[1:]
		if err := d.advance(ctx, next.at); err != nil {
			return err
		}
		if err := next.do(ctx); err != nil {
			return err
		}
	}
}

// advance moves the clock to a time, with everything that is due before it.
func (d *demo) advance(ctx context.Context, to time.Time) error {
	if !to.After(d.clock.Now()) {
		return nil
	}
	var timed []timer.Timed
	for _, r := range d.m.node.rooms {
		if t, ok := r.service.(timer.Timed); ok {
			timed = append(timed, t)
		}
	}
	return timer.Drain(ctx, timer.Advance{To: to, Set: func(_ context.Context, t time.Time) error { d.clock.Set(t); return nil }}, timed...)
}

func (d *demo) later(at time.Time, do func(context.Context) error) {
	d.agenda = append(d.agenda, appointment{at, do})
}

// settle waits until everybody has heard of everything, the rail included.
func (d *demo) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var inboxes []*outbox.Inbox
	for _, r := range d.m.node.rooms {
		inboxes = append(inboxes, r.inbox)
	}
	if err := outbox.Settle(ctx, d.m.node.bus, inboxes...); err != nil {
		return err
	}
	if err := d.m.stripe.Idle(ctx); err != nil {
		return err
	}
	return outbox.Settle(ctx, d.m.node.bus, inboxes...)
}

// demoPrefixes say which service's port answers a path; the demo passes by the gateway, whose limits are for people.
var demoPrefixes = []struct{ prefix, service string }{
	{"/api/users", "user"}, {"/api/workers", "user"}, {"/api/availability", "booking"}, {"/api/bookings", "booking"},
	{"/api/payments", "payment"}, {"/api/v1/escrow", "escrow"}, {"/api/v1/reviews", "review"},
}

// refused is an answer other than the one wanted.
type refused struct {
	status int
	text   string
}

func (r refused) Error() string { return r.text }

func (d *demo) call(ctx context.Context, method, path string, as *demoPerson, body any, want int, out any) error {
	if time.Since(as.since) > 5*time.Minute {
		signed, _, err := d.m.node.keys.Issue(as.id, as.role, as.id)
		if err != nil {
			return err
		}
		as.token, as.since = signed, time.Now()
	}
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return err
		}
	}
	i := slices.IndexFunc(demoPrefixes, func(p struct{ prefix, service string }) bool { return strings.HasPrefix(path, p.prefix) })
	req, err := http.NewRequestWithContext(ctx, method, d.m.rooms[demoPrefixes[i].service].url()+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+as.token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := d.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != cmp.Or(want, res.StatusCode) {
		return refused{res.StatusCode, fmt.Sprintf("%s %s answered %d instead of %d: %s", method, path, res.StatusCode, want, answer)}
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, &struct{ Data any }{out})
}
