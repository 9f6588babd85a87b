package payment_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/postgres"
	"tulifo/platform/stripesim"
	"tulifo/services/payment"
)

// orders are all orders of n things, each also with each of them once more at the end and at the beginning.
func orders(n int) [][]int {
	var out [][]int
	var walk func(done []int, left []int)
	walk = func(done, left []int) {
		if len(left) == 0 {
			out = append(out, append([]int{}, done...))
			return
		}
		for i := range left {
			rest := append(append([]int{}, left[:i]...), left[i+1:]...)
			walk(append(done, left[i]), rest)
		}
	}
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	walk(nil, all)
	for i, o := range out {
		twice := o[i%n]
		out[i] = append(append([]int{}, o...), twice)
		if i%2 == 1 {
			out[i] = append([]int{twice}, o...)
		}
	}
	return out
}

// history is what the rail says about one payment from the first click to a dispute that is won.
func (w *world) history() (event.Booking, checkout, [][]byte) {
	w.t.Helper()
	if err := w.sim.SetControl(hold("*")); err != nil {
		w.t.Fatal(err)
	}
	b := w.booking(16000, "USD")
	c := w.checkout(b)
	w.card(c, "pm_card_chargeDeclined")
	w.card(c, "pm_card_visa")
	_, d := w.rail(secretKey, "POST", "/_control/disputes", url.Values{"payment_intent": {c.intent()}}, "")
	w.rail(secretKey, "POST", "/_control/disputes/"+d["id"].(string)+"/win", nil, "")
	_, list := w.rail(secretKey, "GET", "/v1/events?limit=100", nil, "")
	wanted := map[string]bool{"payment_intent.created": true, "payment_intent.payment_failed": true, "payment_intent.succeeded": true,
		"charge.dispute.created": true, "charge.dispute.closed": true}
	var events [][]byte
	for _, e := range list["data"].([]any) {
		if e := e.(map[string]any); wanted[e["type"].(string)] {
			raw, err := json.Marshal(e)
			if err != nil {
				w.t.Fatal(err)
			}
			events = append(events, raw)
		}
	}
	if len(events) != len(wanted) {
		w.t.Fatalf("%d events of %d types", len(events), len(wanted))
	}
	return b, c, events
}

// The events of a payment in each of their 120 orders, with one of them twice: the same end.
func TestWebhooksInAnyOrder(t *testing.T) {
	w := start(t)
	_, c, history := w.history()
	want := map[string]int64{}
	for round, order := range orders(len(history)) {
		b := w.booking(16000, "USD")
		id, err := postgres.One[uuid.UUID](t.Context(), w.db, `SELECT id FROM payments WHERE booking_id = $1`, b.BookingID)
		if err != nil {
			t.Fatal(err)
		}
		before := w.balances()
		for _, i := range order {
			e := string(history[i])
			for from, to := range map[string]string{c.Payment.ID.String(): id.String(), c.intent(): fmt.Sprintf("pi_%d", round), `"evt_`: fmt.Sprintf(`"evt_%d`, round), `"du_`: fmt.Sprintf(`"du_%d`, round), `"dp_`: fmt.Sprintf(`"dp_%d`, round)} {
				e = strings.ReplaceAll(e, from, to)
			}
			if status := w.hook([]byte(e)); status != 200 {
				t.Fatalf("order %v: a webhook answered %d", order, status)
			}
			// What waits is applied as soon as what it waits for is there.
			w.webhooks()
		}
		var p payment.Payment
		w.Call(apitest.Call{As: w.asClient, Path: "/api/payments/" + id.String(), Status: 200}).Data(&p)
		if p.Status != payment.Completed || p.Failure != "" || p.ChargedBack != "0.00" {
			t.Fatalf("order %v ends in %+v", order, p)
		}
		after := w.balances()
		for account, minor := range before {
			after[account] -= minor
		}
		maps.DeleteFunc(after, func(_ string, minor int64) bool { return minor == 0 })
		if round == 0 {
			want = after
		} else if diff := cmp.Diff(want, after); diff != "" {
			t.Fatalf("order %v: %s", order, diff)
		}
	}
	w.told(map[string]int{"payment.completed": 120, "payment.charged_back": 120, "payment.chargeback_won": 120})
	w.sound()
}

// webhooks applies what waits, without asking the rail.
func (w *world) webhooks() {
	w.t.Helper()
	if _, err := w.db.Exec(w.t.Context(), `UPDATE payments SET next_try_at = NULL`); err != nil {
		w.t.Fatal(err)
	}
	for {
		due, err := postgres.One[bool](w.t.Context(), w.db, `SELECT EXISTS (SELECT FROM webhook_events WHERE next_try_at <= clock_timestamp())`)
		if err != nil {
			w.t.Fatal(err)
		}
		if !due {
			return
		}
		w.later(0)
	}
}

// The simulator itself repeats, shuffles and delays.
func TestUnrulyRail(t *testing.T) {
	w := start(t)
	if err := w.sim.SetControl(stripesim.Control{Repeat: 3, Together: true, Reorder: 5, Seed: 7}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		b := w.booking(16000, "USD")
		c := w.checkout(b)
		w.card(c, "pm_card_chargeDeclined")
		w.card(c, "pm_card_visa")
		w.settle()
		w.status(c, payment.Completed)
	}
	w.told(map[string]int{"payment.completed": 5})
	w.has("five payments", map[string]int64{"escrow USD": 80000})
	w.sound()
}

func TestSameEventAtOnce(t *testing.T) {
	w := start(t)
	b := w.booking(16000, "USD")
	c := w.checkout(b)
	if err := w.sim.SetControl(hold("*")); err != nil {
		t.Fatal(err)
	}
	w.card(c, "pm_card_visa")
	_, list := w.rail(secretKey, "GET", "/v1/events?type=payment_intent.succeeded", nil, "")
	raw, err := json.Marshal(list["data"].([]any)[0])
	if err != nil {
		t.Fatal(err)
	}
	var race sync.WaitGroup
	for range 16 {
		race.Go(func() {
			if status := w.hook(raw); status != 200 {
				t.Errorf("answered %d", status)
			}
		})
	}
	race.Wait()
	w.status(c, payment.Completed)
	w.told(map[string]int{"payment.completed": 1})
	w.has("once", map[string]int64{"escrow USD": 16000})
	w.sound()
}

// The rail tells us of a payment before its row is there.
func TestWebhookBeforeOurRow(t *testing.T) {
	w := start(t)
	_, c, history := w.history()
	b := w.unheard(16000, "USD")
	id := uuid.Must(uuid.NewV7())
	for _, e := range history {
		if !bytes.Contains(e, []byte(`"payment_intent.succeeded"`)) {
			continue
		}
		e = bytes.ReplaceAll(bytes.ReplaceAll(e, []byte(c.Payment.ID.String()), []byte(id.String())), []byte(c.intent()), []byte("pi_early"))
		e = bytes.ReplaceAll(e, []byte(`"evt_`), []byte(`"evt_early`))
		if status := w.hook(e); status != 200 {
			t.Fatalf("answered %d", status)
		}
	}
	outcome := func() string {
		o, err := postgres.One[string](t.Context(), w.db, `SELECT outcome FROM webhook_events WHERE id LIKE 'evt_early%'`)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	if o := outcome(); o != "waiting" {
		t.Fatalf("the webhook is %s", o)
	}
	w.tell(b.BookingID, event.BookingConfirmed{Booking: b, PayBy: monday})
	w.settle()
	// The row gets the id that the rail was told of, as after a restore from a backup.
	if _, err := w.db.Exec(t.Context(), `UPDATE payments SET id = $1 WHERE booking_id = $2`, id, b.BookingID); err != nil {
		t.Fatal(err)
	}
	w.later(2 * 60e9)
	if o := outcome(); o != "applied" {
		t.Fatalf("the webhook is %s", o)
	}
	w.Call(apitest.Call{What: "paid", As: w.asClient, Path: "/api/payments/" + id.String(), Status: 200, Has: `"status":"completed"`})
}

func TestHostileWebhooks(t *testing.T) {
	w := start(t)
	b := w.booking(16000, "USD")
	c := w.checkout(b)
	w.settle()
	forged := func(change string) []byte {
		return []byte(fmt.Sprintf(`{"id":"evt_%s","object":"event","api_version":%q,"created":1,"type":"payment_intent.succeeded","data":{"object":{"id":%q,"object":"payment_intent","status":"succeeded","amount_received":%s,"currency":"usd","metadata":{"tulifo_id":%q,"tulifo_attempt":"1"},"latest_charge":"ch_1"}}}`,
			uuid.NewString(), stripesim.APIVersion, c.intent(), change, c.Payment.ID))
	}
	good := forged("16000")
	sign := func(payload []byte) string { return signed(payload).Get("Stripe-Signature") }
	post := func(what string, body []byte, signature string, status int) {
		t.Helper()
		w.Call(apitest.Call{What: what, Method: "POST", Path: "/api/payments/webhook", Body: body, Header: map[string]string{"Stripe-Signature": signature}, Status: status})
	}
	post("unsigned", good, "", 400)
	post("signed for another body", good, sign(forged("1")), 400)
	post("encoded again", bytes.Replace(good, []byte(`,"object":"event"`), []byte(`, "object": "event"`), 1), sign(good), 400)
	post("a signature of yesterday", good, "t=1,v1="+strings.Repeat("0", 64), 400)
	post("not JSON", []byte(`{`), sign([]byte(`{`)), 400)
	post("nothing", []byte(`{}`), sign([]byte(`{}`)), 400)
	post("another API", bytes.Replace(good, []byte(stripesim.APIVersion), []byte("2019-01-01"), 1), sign(bytes.Replace(good, []byte(stripesim.APIVersion), []byte("2019-01-01"), 1)), 400)
	w.status(c, payment.Processing)
	post("less money", forged("15999"), "", 400)
	if less := forged("15999"); w.hook(less) != 200 {
		t.Error("a signed event is not taken")
	}
	w.status(c, payment.NeedsReview)
	w.has("nothing is held", map[string]int64{"escrow USD": 0})
	post("a type we do not know", []byte(`{"id":"evt_x","object":"event","api_version":"`+stripesim.APIVersion+`","type":"customer.created","data":{"object":{"id":"cus_1"}}}`),
		sign([]byte(`{"id":"evt_x","object":"event","api_version":"`+stripesim.APIVersion+`","type":"customer.created","data":{"object":{"id":"cus_1"}}}`)), 200)
	if w.hook(good) != 200 {
		t.Error("the good one is not taken")
	}
	w.status(c, payment.Completed)
	w.told(map[string]int{"payment.completed": 1})
}
