package payment_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/bus"
	"tulifo/platform/money"
	"tulifo/platform/postgres"
	"tulifo/platform/soak"
)

// sequences are all orders of n things: each by itself, and with each thing once more in each later place.
func sequences(n int) [][]int {
	var out [][]int
	var walk func(done, left []int)
	walk = func(done, left []int) {
		if len(left) == 0 {
			out = append(out, slices.Clone(done))
			for i, twice := range done {
				for at := i + 1; at <= n; at++ {
					out = append(out, slices.Insert(slices.Clone(done), at, twice))
				}
			}
			return
		}
		for i := range left {
			walk(append(slices.Clone(done), left[i]), slices.Delete(slices.Clone(left), i, i+1))
		}
	}
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	walk(nil, all)
	return out
}

// life is what the rail told of one payment, in the order in which it happened there.
type life struct {
	name    string
	attempt int // of its last PaymentIntent
	payment string
	events  []string
}

// lives are three that go through everything that a PaymentIntent and a dispute can: six events each, of the real rail.
func (w *world) lives() []life {
	w.t.Helper()
	if err := w.sim.SetControl(hold("*")); err != nil {
		w.t.Fatal(err)
	}
	ask := func(path string, form url.Values) map[string]any {
		w.t.Helper()
		status, out := w.rail(secretKey, "POST", path, form, "")
		if status != 200 {
			w.t.Fatalf("%s is answered %d %v", path, status, out)
		}
		return out
	}
	dispute := func(c checkout, how string) {
		d := ask("/_control/disputes", url.Values{"payment_intent": {c.intent()}})
		ask("/_control/disputes/"+d["id"].(string)+"/"+how, nil)
	}
	record := func(name string, attempt int, c checkout, types ...string) life {
		w.t.Helper()
		_, list := w.rail(secretKey, "GET", "/v1/events?limit=100", nil, "")
		l := life{name: name, attempt: attempt, payment: c.Payment.ID.String()}
		for _, e := range list["data"].([]any) {
			raw, err := json.Marshal(e)
			if err != nil {
				w.t.Fatal(err)
			}
			of := string(raw)
			if slices.Contains(types, e.(map[string]any)["type"].(string)) && (strings.Contains(of, c.intent()) || strings.Contains(of, l.payment)) {
				l.events = append(l.events, of)
			}
		}
		slices.Reverse(l.events)
		if len(l.events) != 6 {
			w.t.Fatalf("%s has %d events: %v", name, len(l.events), l.events)
		}
		return l
	}
	won := w.checkout(w.booking(16000, "USD"))
	w.card(won, "pm_card_chargeDeclined")
	w.card(won, "pm_card_authenticationRequired")
	w.card(won, "pm_card_visa")
	dispute(won, "win")

	lost := w.checkout(w.booking(16000, "USD"))
	w.card(lost, "pm_card_chargeDeclinedInsufficientFunds")
	w.card(lost, "pm_card_visa")
	ask("/v1/refunds", url.Values{"payment_intent": {lost.intent()}, "amount": {"1000"}})
	dispute(lost, "lose")

	b := w.booking(16000, "USD")
	first := w.checkout(b)
	ask("/v1/payment_intents/"+first.intent()+"/cancel", nil)
	w.later(time.Hour)
	again := w.checkout(b)
	if again.intent() == first.intent() {
		w.t.Fatal("the second PaymentIntent is the first")
	}
	w.card(again, "pm_card_chargeDeclined")
	w.card(again, "pm_card_visa")
	dispute(again, "win")
	return []life{
		record("won", 1, won, "payment_intent.created", "payment_intent.payment_failed", "payment_intent.requires_action", "payment_intent.succeeded", "charge.dispute.created", "charge.dispute.closed"),
		record("lost", 1, lost, "payment_intent.created", "payment_intent.payment_failed", "payment_intent.succeeded", "charge.refunded", "charge.dispute.created", "charge.dispute.closed"),
		record("second intent", 2, again, "payment_intent.canceled", "payment_intent.payment_failed", "payment_intent.succeeded", "charge.dispute.created", "charge.dispute.funds_withdrawn", "charge.dispute.closed"),
	}
}

// TestEveryOrderOfWebhooks has the six events of a life arrive in each order, each also with each of them twice: the row, the ledger, the
// chargebacks, the audit log and the events told are the same in the end.
func TestEveryOrderOfWebhooks(t *testing.T) {
	w := start(t)
	lives := w.lives()
	// What the rail would be asked is not looked at here: it knows nothing of these copies.
	if _, err := w.db.Exec(t.Context(), `CREATE FUNCTION asleep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.next_try_at := NULL; RETURN NEW; END $$`); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{`UPDATE payments SET next_try_at = NULL`, `CREATE TRIGGER asleep BEFORE INSERT OR UPDATE ON payments FOR EACH ROW EXECUTE FUNCTION asleep()`} {
		if _, err := w.db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	r := soak.Rand(t)
	for _, l := range lives {
		all := sequences(len(l.events))
		if len(all) != 720*22 {
			t.Fatalf("%d sequences", len(all))
		}
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		all = all[:soak.N(80, len(all))]
		var want ending
		for from, batch := 0, 240; from < len(all); from += batch {
			some := all[from:min(from+batch, len(all))]
			for i, got := range w.live(l, from, some) {
				if from+i == 0 {
					want = got
					if got.Completed != 1 || got.Charged != 1 || len(got.Transfers) < 2 {
						t.Fatalf("%s in the order %v ends in %+v", l.name, some[i], got)
					}
				} else if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("%s in the order %v ends differently from %v:\n%s", l.name, some[i], all[0], diff)
				}
			}
		}
		t.Logf("%s: %d orders", l.name, len(all))
	}
	if waiting, err := postgres.One[int](t.Context(), w.db, `SELECT count(*)::int FROM webhook_events WHERE outcome NOT IN ('applied', 'ignored') AND id LIKE 'evt_x%'`); err != nil || waiting != 0 {
		t.Errorf("%d webhooks still wait, %v", waiting, err)
	}
	w.sound()
}

// ending is all that is left of a life, without the ids of its own.
type ending struct {
	Row         map[string]any
	Transfers   []string
	Chargebacks []string
	Told        []string // in order, but what is told of a card that was declined before the money came
	Audited     []string
	Completed   int
	Charged     int
}

// live has copies of a life happen to payments of their own, one for each order, some at a time, and answers how each ends.
func (w *world) live(l life, from int, orders [][]int) []ending {
	w.t.Helper()
	bookings := make([]event.Booking, len(orders))
	var batch []bus.Envelope
	for i := range orders {
		b := w.unheard(16000, "USD")
		b.ClientID, b.WorkerID = uuid.New(), uuid.New()
		bookings[i] = b
		batch = append(batch, w.envelope(b.BookingID, event.BookingConfirmed{Booking: b, PayBy: monday.Add(24 * time.Hour)}))
	}
	if err := w.bus.Publish(w.t.Context(), batch); err != nil {
		w.t.Fatal(err)
	}
	w.heard(w.t.Context())
	if l.attempt > 1 {
		if _, err := w.db.Exec(w.t.Context(), `UPDATE payments SET intent_no = $1 WHERE status = 'created' AND intent_id IS NULL`, l.attempt); err != nil {
			w.t.Fatal(err)
		}
	}
	ids := make([]uuid.UUID, len(orders))
	next := make(chan int)
	var hooks, loop sync.WaitGroup
	for range 8 {
		hooks.Go(func() {
			for i := range next {
				id, err := postgres.One[uuid.UUID](w.t.Context(), w.db, `SELECT id FROM payments WHERE booking_id = $1`, bookings[i].BookingID)
				if err != nil {
					w.t.Error(err)
					continue
				}
				ids[i] = id
				mark := fmt.Sprintf("x%s%d", strings.ReplaceAll(l.name, " ", ""), from+i)
				own := strings.NewReplacer(l.payment, id.String(), `"pi_`, `"pi_`+mark, `"evt_`, `"evt_`+mark, `"ch_`, `"ch_`+mark, `"du_`, `"du_`+mark, `"dp_`, `"dp_`+mark)
				for _, one := range orders[i] {
					if status := w.hook([]byte(own.Replace(l.events[one]))); status != 200 {
						w.t.Errorf("order %v: a webhook is answered %d", orders[i], status)
					}
				}
			}
		})
	}
	// What waits is applied as soon as what it waits for is there, while the rest arrives.
	ended := make(chan struct{})
	loop.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				w.later(0)
			}
		}
	})
	for i := range orders {
		next <- i
	}
	close(next)
	hooks.Wait()
	close(ended)
	loop.Wait()
	w.webhooks()
	var out []ending
	for i := range orders {
		out = append(out, w.ending(bookings[i], ids[i]))
	}
	return out
}

func (w *world) ending(b event.Booking, id uuid.UUID) (e ending) {
	w.t.Helper()
	own := strings.NewReplacer(b.BookingID.String(), "BOOKING", b.ClientID.String(), "CLIENT", b.WorkerID.String(), "WORKER", id.String(), "PAYMENT")
	list := func(sql string, args ...any) (out []string) {
		w.t.Helper()
		rows, err := postgres.All[string](w.t.Context(), w.db, sql, args...)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, r := range rows {
			out = append(out, own.Replace(r))
		}
		return out
	}
	row := list(`SELECT to_jsonb(p)::text FROM payments p WHERE id = $1`, id)
	if err := json.Unmarshal([]byte(row[0]), &e.Row); err != nil {
		w.t.Fatal(err)
	}
	maps.DeleteFunc(e.Row, func(name string, v any) bool {
		switch name {
		case "intent_id", "charge_id":
			if v == nil || v == "" {
				w.t.Errorf("%s is empty", name)
			}
			return true
		case "created_at", "recorded_at", "completed_at", "version", "failed_event":
			return true
		}
		return false
	})
	e.Transfers = list(`SELECT l.kind || ' ' || t.debit || ' > ' || t.credit || ' ' || t.amount || ' ' || t.currency FROM transfers t JOIN ledger_transactions l ON l.seq = t.transaction
		WHERE l.subject = $1 ORDER BY 1`, b.BookingID)
	e.Chargebacks = list(`SELECT amount || ' ' || from_client || ' ' || from_worker || ' ' || from_fees || ' ' || status FROM chargebacks WHERE payment_id = $1`, id)
	e.Told = list(`SELECT type || ' ' || coalesce(data::jsonb ->> 'paymentId', '') FROM outbox WHERE subject = $1 AND type <> 'payment.failed' ORDER BY seq`, b.BookingID)
	e.Audited = list(`SELECT action || ' ' || detail::text FROM audit WHERE subject = $1 ORDER BY 1`, id)
	for _, one := range e.Told {
		switch {
		case strings.HasPrefix(one, "payment.completed "):
			e.Completed++
		case strings.HasPrefix(one, "payment.charged_back "):
			e.Charged++
		}
	}
	if n := len(list(`SELECT type FROM outbox WHERE subject = $1 AND type = 'payment.failed'`, b.BookingID)); n > 1 {
		w.t.Errorf("one card was declined, and %d times it is told", n)
	}
	if have := w.held(b); have != money.Of(16000, "USD") {
		w.t.Errorf("escrow has %s", have)
	}
	return e
}

// held is what the ledger has in a booking's escrow.
func (w *world) held(b event.Booking) money.Amount {
	w.t.Helper()
	minor, err := postgres.One[int64](w.t.Context(), w.db, `SELECT coalesce(sum(balance), 0)::bigint FROM balances WHERE account = 'escrow:' || $1::uuid AND currency = $2`, b.BookingID, b.Amount.Currency)
	if err != nil {
		w.t.Fatal(err)
	}
	return money.Of(minor, b.Amount.Currency)
}
