package app

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/postgres"
	"tulifo/services/auth"
)

// world is a market in which there is a thing of every kind in every state, made by journeys that people really take, and somebody in every role:
// a party to the things, and a stranger.
type world struct {
	*market
	mine, other map[string]person // by role; the others are strangers to all that is mine
	suspended   person
	expired     sale // a booking that nobody answered

	signedOut, refreshToken string
	clients                 []person // who book; each of them holds few unpaid bookings

	mu     sync.Mutex
	pool   []sale // paid, confirmed, and their time is over
	of     map[uuid.UUID]person
	future time.Time // the start that was booked last, far ahead
	near   time.Time // and one before which a booking cannot be moved without the other side's word
	kept   map[string]sale
	reuse  bool // a sale in a state is made once; for what is refused
	booked int
	loose  []sale // bookings of which nothing more will be wanted
}

var matrixNow = time.Date(2026, 3, 5, 0, 0, 0, 0, time.UTC)

// openWorld has n paid bookings in store whose time is over.
func openWorld(t *testing.T, n int) *world {
	t.Helper()
	w := &world{market: openMarket(t, "80", "USD", false), mine: map[string]person{}, other: map[string]person{}, of: map[uuid.UUID]person{}, kept: map[string]sale{},
		future: matrixNow.Add(48 * time.Hour), near: matrixNow.Add(time.Hour)}
	var wg sync.WaitGroup
	people := make([]person, 16)
	for i := range people {
		wg.Go(func() {
			role := "client"
			if i < 2 {
				role = "worker"
			}
			p, err := w.register(t.Context(), fmt.Sprintf("Pat%d", i), role)
			if err != nil {
				t.Error(err)
			}
			people[i] = p
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	w.mine["worker"], w.mine["client"] = w.worker, w.client
	w.other["worker"], w.suspended, w.other["client"], w.clients = people[0], people[1], people[2], people[3:]
	for _, role := range []string{"admin", "support"} {
		w.mine[role], w.other[role] = w.staff(role, "mine"), w.staff(role, "other")
	}
	w.admin = w.mine["admin"]
	w.stock(n)
	w.expired = w.pending(w.start())
	w.to(matrixNow)
	w.put(w.admin, "/api/users/"+w.suspended.id.String()+"/status", map[string]any{"status": "suspended", "reason": "looking into it"}, http.StatusOK, nil)
	w.leave()
	for _, people := range []map[string]person{w.mine, w.other} {
		for role, p := range people {
			p.token = w.fresh(p, role)
			people[role] = p
		}
	}
	w.worker, w.client, w.admin = w.mine["worker"], w.mine["client"], w.mine["admin"]
	for i, c := range w.clients {
		w.clients[i].token = w.fresh(c, "client")
	}
	for id, c := range w.of {
		c.token = w.fresh(c, "client")
		w.of[id] = c
	}
	w.p.settle(t)
	return w
}

// staff is an account that an operator makes.
func (w *world) staff(role, name string) person {
	w.t.Helper()
	p := person{email: role + "." + name + "@matrix.example"}
	for _, r := range w.p.machine.node.rooms {
		if s, ok := r.service.(*auth.Service); ok {
			made, err := s.CreateAdmin(w.t.Context(), p.email, name, role, tourPassword)
			w.must(err)
			p.id = made.ID
		}
	}
	p.token = w.fresh(p, role)
	w.must(w.until("/api/users/me", p, `"id"`))
	return p
}

// fresh is a token of a sign-in of its own, so that ending it ends nobody else's.
func (w *world) fresh(p person, role string) string {
	w.t.Helper()
	raw, _, err := w.p.machine.node.keys.Issue(p.id, role, uuid.New())
	w.must(err)
	return raw
}

// stock books and pays n bookings of the day before matrixNow, the clients side by side.
func (w *world) stock(n int) {
	w.t.Helper()
	if n > 94 {
		w.t.Fatalf("a day has no %d quarters of an hour", n)
	}
	var wg sync.WaitGroup
	for i, c := range w.clients {
		by := w.as(c)
		wg.Go(func() {
			for k := i; k < n && !w.t.Failed(); k += len(w.clients) {
				d, err := by.sell(matrixNow.Add(time.Duration(k-n)*15*time.Minute), 15*time.Minute, "pm_card_visa")
				if err == nil {
					err = by.until(bookingPath(d.booking), c, `"paid":true`)
				}
				if err != nil {
					w.t.Error(err)
					return
				}
				w.mu.Lock()
				w.pool, w.of[d.booking] = append(w.pool, d), c
				w.mu.Unlock()
			}
		})
	}
	wg.Wait()
	if w.t.Failed() {
		w.t.FailNow()
	}
}

// as is the market with another client.
func (w *world) as(c person) *market {
	m, walk := *w.market, *w.tour
	walk.client = c
	m.tour = &walk
	return &m
}

// thing is what an operation is about.
type thing struct {
	params map[string]string // in the path
	body   map[string]any    // laid over the sample
	sides  map[string]person // whose it is, by role
	raw    []byte            // the body, when it is not JSON
	asker  string            // the role of who has asked or accused the other side

	lacking bool // there is none: 404 for whom it would be
}

// sold is a paid booking whose time is over.
func (w *world) sold() sale {
	w.t.Helper()
	if len(w.pool) == 0 {
		w.t.Fatal("the stock of paid bookings is too small")
	}
	d := w.pool[0]
	w.pool = w.pool[1:]
	return d
}

func (w *world) sides(d sale) map[string]person {
	return map[string]person{"worker": w.worker, "client": w.of[d.booking]}
}

// start is a time in the future that nobody has booked, hours ahead.
func (w *world) start() time.Time {
	w.future = w.future.Add(time.Hour)
	return w.future
}

// weekly is such a time that is free a week later too.
func (w *world) weekly() time.Time {
	w.booked++
	return matrixNow.Add(40*24*time.Hour + time.Duration(w.booked)*time.Hour)
}

// pending is a booking that waits for the worker's word. Older ones are cancelled, since a client may hold few.
func (w *world) pending(start time.Time) sale {
	w.t.Helper()
	if len(w.loose) > 3 {
		w.drop(w.loose[0])
		w.loose = w.loose[1:]
	}
	c := w.clients[w.booked%len(w.clients)]
	w.booked++
	var b struct{ ID uuid.UUID }
	w.post(c, "/api/bookings", w.wants(start, time.Hour), http.StatusCreated, &b)
	d := sale{booking: b.ID}
	w.of[b.ID] = c
	if !w.reuse {
		w.loose = append(w.loose, d)
	}
	return d
}

// drop cancels a booking of which nothing more is wanted, so that its client may hold another.
func (w *world) drop(d sale) {
	w.call(w.t.Context(), http.MethodPost, bookingPath(d.booking)+"/cancel", w.admin.token, map[string]any{}, http.StatusOK, nil)
}

// order is a POST that moves something which is there already.
func (w *world) order(by person, path string, body map[string]any) {
	w.t.Helper()
	w.post(by, path, body, http.StatusOK, nil)
}

// bookingIn is a booking in the state; paid, and over, unless it cannot be.
func (w *world) bookingIn(state string) sale {
	return w.keep("booking "+state, func() sale { return w.newBooking(state) })
}

func (w *world) newBooking(state string) sale {
	w.t.Helper()
	switch state {
	case "pending":
		return w.pending(w.start())
	case "expired":
		return w.expired
	}
	d := w.sold()
	switch path := bookingPath(d.booking); state {
	case "in_progress":
		w.order(w.worker, path+"/start", map[string]any{})
	case "completed":
		w.order(w.worker, path+"/complete", map[string]any{})
	case "cancelled":
		w.order(w.admin, path+"/cancel", map[string]any{})
	case "no_show":
		w.order(w.worker, path+"/no-show", map[string]any{})
	}
	return d
}

// escrowIn is a sale whose escrow account is in the state.
func (w *world) escrowIn(state string) sale {
	return w.keep("escrow "+state, func() sale { return w.newEscrow(state) })
}

func (w *world) newEscrow(state string) sale {
	w.t.Helper()
	d := w.sold()
	path, some := "/api/v1/escrow/"+d.escrow.String(), map[string]any{"amount": 1}
	switch state {
	case "partially_released":
		w.order(w.admin, path+"/release", some)
	case "frozen":
		w.order(w.admin, path+"/freeze", map[string]any{"reason": "looking into it"})
	case "released":
		w.order(w.admin, path+"/release", map[string]any{})
	case "refunded":
		w.order(w.admin, path+"/refund", map[string]any{})
	case "split":
		w.order(w.admin, path+"/release", some)
		w.order(w.admin, path+"/refund", map[string]any{})
	}
	return d
}

// paymentIn is a sale whose payment is in the state.
func (w *world) paymentIn(state string) sale {
	return w.keep("payment "+state, func() sale { return w.newPayment(state) })
}

func (w *world) newPayment(state string) sale {
	w.t.Helper()
	at := func(d sale) string { return "/api/payments/" + d.payment.String() }
	switch state {
	case "completed":
		return w.sold()
	case "charged_back":
		d := w.sold()
		w.market.dispute(d)
		w.sees(w.admin, at(d), `"status":"charged_back"`)
		return d
	case "refunded":
		d := w.escrowIn("refunded")
		w.sees(w.admin, at(d), `"status":"refunded"`)
		return d
	}
	d := w.pending(w.start())
	w.order(w.worker, bookingPath(d.booking)+"/confirm", map[string]any{})
	w.p.settle(w.t)
	var err error
	d.payment, err = postgres.One[uuid.UUID](w.t.Context(), w.db("payment"), `SELECT id FROM payments WHERE booking_id = $1`, d.booking)
	w.must(err)
	if state == "created" {
		return d
	}
	w.as(w.of[d.booking]).ask(d.booking)
	switch state {
	case "cancelled":
		w.drop(d)
		w.sees(w.admin, at(d), `"status":"cancelled"`)
	case "needs_review":
		// Money for it that we have not asked for.
		var pi struct{ ID string }
		w.rail(http.MethodPost, "/v1/payment_intents", url.Values{"amount": {"8000"}, "currency": {"usd"}, "metadata[tulifo_id]": {d.payment.String()}, "metadata[attempt]": {"9"},
			"confirm": {"true"}, "payment_method": {"pm_card_visa"}, "automatic_payment_methods[enabled]": {"true"}}, &pi)
		w.sees(w.admin, at(d), `"status":"needs_review"`)
	}
	return d
}

// keep is the sale that make makes, made once where nothing changes it.
func (w *world) keep(name string, make func() sale) sale {
	if d, ok := w.kept[name]; ok && w.reuse {
		return d
	}
	d := make()
	if w.reuse {
		w.kept[name] = d
	}
	return d
}

var (
	bookingStates = []string{"pending", "confirmed", "in_progress", "completed", "cancelled", "expired", "no_show"}
	escrowStates  = []string{"active", "partially_released", "frozen", "released", "refunded", "split"}
	paymentStates = []string{"created", "processing", "completed", "refunded", "charged_back", "cancelled", "needs_review"}
)

// outside are the states of a machine in which an operation is refused.
func outside(all, in []string) []string {
	return slices.DeleteFunc(slices.Clone(all), func(s string) bool { return slices.Contains(in, s) })
}

// tables are a hash of each of the tables.
func (w *world) tables(of map[string][]string) string {
	w.t.Helper()
	var out []string
	for service, names := range of {
		for _, name := range names {
			h, err := postgres.One[string](w.t.Context(), w.db(service), `SELECT coalesce(md5(string_agg(t::text, '' ORDER BY t::text)), '') FROM `+name+` t`)
			w.must(err)
			out = append(out, service+"."+name+" "+h)
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}
