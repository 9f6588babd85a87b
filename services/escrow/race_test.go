package escrow_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/bus"
	"tulifo/platform/money"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/services/escrow"
)

// contender is one of those who reach for an account at the same time; it says whether it got what it wanted.
type contender struct {
	name string
	do   func(w *world, b event.Booking, a escrow.Answer) bool
}

// post is a call that may be answered 200 or refused with 409 or 422, and nothing else.
func (w *world) post(as, path, body string) bool {
	a := w.Do(apitest.Call{As: as, Method: "POST", Path: path, Body: body})
	if a.Status != 200 && a.Status != 409 && a.Status != 422 {
		w.t.Errorf("%s", a)
	}
	return a.Status == 200
}

var contenders = []contender{
	{"release", func(w *world, _ event.Booking, a escrow.Answer) bool {
		return w.post(w.asClient, w.path(a, "release"), `{}`)
	}},
	{"partial release", func(w *world, _ event.Booking, a escrow.Answer) bool {
		return w.post(w.asClient, w.path(a, "release"), `{"amount":100}`)
	}},
	{"freeze", func(w *world, _ event.Booking, a escrow.Answer) bool {
		return w.post(w.asDispute, w.path(a, "freeze"), `{"reason":"quarrel"}`)
	}},
	{"auto-release", func(w *world, _ event.Booking, _ escrow.Answer) bool {
		if err := w.service.Fire(context.Background(), w.clock.Now()); err != nil {
			w.t.Errorf("fire: %v", err)
		}
		return true
	}},
	{"refund", func(w *world, _ event.Booking, a escrow.Answer) bool {
		return w.post(w.asAdmin, w.path(a, "refund"), `{}`)
	}},
	{"partial refund", func(w *world, _ event.Booking, a escrow.Answer) bool {
		return w.post(w.asPayment, w.path(a, "refund"), `{"amount":100}`)
	}},
	{"cancel", func(w *world, b event.Booking, _ escrow.Answer) bool {
		e := w.envelope(b.BookingID, event.BookingCancelled{Booking: b, Cause: "client", Shares: shares(8000, 8000, "USD")})
		if err := w.bus.Publish(context.Background(), []bus.Envelope{e}); err != nil {
			w.t.Errorf("publish: %v", err)
		}
		return true
	}},
}

func TestEachPairRaced(t *testing.T) {
	w := start(t)
	const rounds = 12
	for i, first := range contenders {
		for _, second := range contenders[i:] {
			for range rounds {
				w.raced(first, second)
			}
		}
	}
}

// raced lets two reach for one account whose auto-release is due, and sees that the money is all there.
func (w *world) raced(first, second contender) {
	w.t.Helper()
	b, a := w.held(16000, "USD")
	w.hear(b.BookingID, event.BookingCompleted{Booking: b, CompletedAt: w.clock.Now(), ReleaseAt: w.clock.Now()})
	var all sync.WaitGroup
	gate := make(chan struct{})
	got := make([]bool, 2)
	for i, c := range []contender{first, second} {
		all.Go(func() {
			<-gate
			got[i] = c.do(w, b, a)
		})
	}
	close(gate)
	all.Wait()
	w.deliver()
	what := fmt.Sprintf("%s × %s", first.name, second.name)
	after := w.account(b)
	held, released, refunded, remaining := minor(w, after.Held), minor(w, after.Released), minor(w, after.Refunded), minor(w, after.Remaining)
	if held != 16000 || released+refunded+remaining != held || released < 0 || refunded < 0 || remaining < 0 {
		w.t.Errorf("%s: %+v", what, after)
	}
	if (first.name == "release" && second.name == "refund") && got[0] == got[1] {
		w.t.Errorf("%s: both or neither went through: %v", what, got)
	}
	if first.name == "freeze" && second.name == "auto-release" && got[0] && after.Status != escrow.Frozen {
		w.t.Errorf("%s: frozen, and yet %s", what, after.Status)
	}
	last, err := postgres.One[int64](w.t.Context(), w.db, `SELECT count(*) FROM moves WHERE escrow_id = $1 AND remaining = 0`, a.ID)
	if err != nil || last > 1 || (last == 1) != (remaining == 0) {
		w.t.Errorf("%s: %d last moves with %d remaining, %v", what, last, remaining, err)
	}
}

func minor(w *world, d money.Decimal) int64 {
	a, err := d.In("USD")
	if err != nil {
		w.t.Error(err)
	}
	return a.Minor
}

func TestManyPartialReleasesAtOnce(t *testing.T) {
	w := start(t)
	b, a := w.held(1000, "USD")
	var all sync.WaitGroup
	var mu sync.Mutex
	got := 0
	for range 32 {
		all.Go(func() {
			if w.post(w.asClient, w.path(a, "release"), `{"amount":0.75}`) {
				mu.Lock()
				got++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if got != 13 {
		t.Errorf("%d releases of 0.75 went through from 10.00, want 13", got)
	}
	w.want(b, escrow.PartiallyReleased, "9.75", "0.00")
}

func TestOneKeyManyTimesAtOnce(t *testing.T) {
	w := start(t)
	b, a := w.held(16000, "USD")
	answers := make(chan string, 16)
	var all sync.WaitGroup
	for range cap(answers) {
		all.Go(func() {
			r := w.Do(apitest.Call{As: w.asClient, Path: w.path(a, "release"), Body: `{"amount":40}`, Key: "once"})
			answers <- fmt.Sprint(r.Status, string(r.Body))
		})
	}
	all.Wait()
	close(answers)
	seen := map[string]int{}
	for r := range answers {
		seen[r]++
	}
	if len(seen) != 1 {
		t.Errorf("%d different answers: %v", len(seen), seen)
	}
	w.want(b, escrow.PartiallyReleased, "40.00", "0.00")
}

// Two processes fire the same due accounts: each is released once.
func TestAutoReleaseInManyProcesses(t *testing.T) {
	w := start(t)
	at := w.clock.Now().Add(time.Hour)
	var bookings []event.Booking
	for range 150 {
		b := w.booking(100, "USD")
		w.hear(b.BookingID, w.paid(b), event.BookingCompleted{Booking: b, ReleaseAt: at})
		bookings = append(bookings, b)
	}
	other := escrow.New(w.db, w.clock, peer.New("escrow", w.Keys, w.near.handlers(t), nil))
	w.clock.Set(at)
	var all sync.WaitGroup
	for _, s := range []*escrow.Service{w.service, other, w.service, other} {
		all.Go(func() {
			if err := s.Fire(context.Background(), at); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	w.until(at)
	for _, b := range bookings {
		w.tells(b, "escrow.held", "escrow.released")
	}
}

// The account and a directive for it arrive in different transactions at once: neither misses the other.
func TestAccountAndDirectiveAtOnce(t *testing.T) {
	w := start(t)
	for range 30 {
		b := w.booking(16000, "USD")
		p := w.paid(b)
		var all sync.WaitGroup
		all.Go(func() {
			if a := w.Do(apitest.Call{As: w.asClient, Path: "/api/v1/escrow", Body: map[string]any{"paymentId": p.PaymentID}}); a.Status != 201 {
				t.Errorf("%s", a)
			}
		})
		all.Go(func() {
			w.hear(b.BookingID, event.BookingCancelled{Booking: b, Cause: "unpaid", Shares: shares(16000, 0, "USD")})
		})
		all.Wait()
		w.want(b, escrow.Refunded, "0.00", "160.00")
	}
}
