package stripesim_test

import (
	"maps"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85"

	"tulifo/platform/stripesim"
)

func TestIdempotency(t *testing.T) {
	w := start(t)
	form := url.Values{"amount": {"5000"}, "currency": {"usd"}, "metadata[tulifo_id]": {"1"}}
	post := func(path string, form url.Values, key string, more ...string) (int, map[string]any, bool) {
		status, out, h := w.call("POST", path, form, append(more, "Idempotency-Key", key)...)
		return status, out, h.Get("Idempotent-Replayed") == "true"
	}
	with := func(change map[string]string) url.Values {
		f := maps.Clone(form)
		for k, v := range change {
			f[k] = []string{v}
		}
		return f
	}
	_, first, replayed := post("/v1/payment_intents", form, "one")
	if replayed {
		t.Fatal("a first answer is a replay")
	}
	_, second, replayed := post("/v1/payment_intents", form, "one")
	if !replayed || first["id"] != second["id"] || first["client_secret"] != second["client_secret"] {
		t.Fatal(first, second)
	}
	for what, f := range map[string]url.Values{"another amount": with(map[string]string{"amount": "5001"}), "one more field": with(map[string]string{"description": "x"})} {
		if status, out, _ := post("/v1/payment_intents", f, "one"); status != 400 || out["error"].(map[string]any)["type"] != "idempotency_error" {
			t.Errorf("%s: %d %v", what, status, out)
		}
	}
	if status, out, _ := post("/v1/refunds", url.Values{"payment_intent": {first["id"].(string)}}, "one"); status != 400 || out["error"].(map[string]any)["type"] != "idempotency_error" {
		t.Errorf("another path: %d %v", status, out)
	}
	t.Run("a decline is repeated", func(t *testing.T) {
		f := with(map[string]string{"confirm": "true", "payment_method": "pm_card_chargeDeclined"})
		s1, a, _ := post("/v1/payment_intents", f, "two")
		s2, b, replayed := post("/v1/payment_intents", f, "two")
		if s1 != 402 || s2 != 402 || !replayed || a["error"].(map[string]any)["charge"] != b["error"].(map[string]any)["charge"] {
			t.Fatal(s1, a, s2, b)
		}
	})
	t.Run("what the state forbids is repeated", func(t *testing.T) {
		worker := w.worker("Ada").ID
		f := url.Values{"amount": {"100"}, "currency": {"usd"}, "destination": {worker}}
		if status, out, _ := post("/v1/transfers", f, "three"); status != 400 || code(out) != "balance_insufficient" {
			t.Fatal(status, out)
		}
		w.paid(5000)
		if status, out, replayed := post("/v1/transfers", f, "three"); status != 400 || code(out) != "balance_insufficient" || !replayed {
			t.Fatal(status, out)
		}
		if status, out, _ := post("/v1/transfers", f, "three again"); status != 200 {
			t.Fatal(status, out)
		}
	})
	t.Run("a wrong parameter leaves the key free", func(t *testing.T) {
		if status, out, _ := post("/v1/payment_intents", with(map[string]string{"amount": "x"}), "four"); status != 400 || code(out) != "parameter_invalid_integer" {
			t.Fatal(status, out)
		}
		if status, out, _ := post("/v1/payment_intents", form, "four"); status != 200 {
			t.Fatal(status, out)
		}
	})
	t.Run("each account has its own keys", func(t *testing.T) {
		a, b := w.worker("Ada").ID, w.worker("Bob").ID
		f := url.Values{"amount": {"5000"}, "currency": {"usd"}}
		_, x, _ := post("/_control/balance", f, "five", "Stripe-Account", a)
		_, y, replayed := post("/_control/balance", f, "five", "Stripe-Account", b)
		if replayed || w.balance(a) != 5000 || w.balance(b) != 5000 {
			t.Fatal(x, y)
		}
	})
	t.Run("forgotten after a day", func(t *testing.T) {
		w.control(stripesim.Control{Clock: int64((24*time.Hour - time.Minute) / time.Second)})
		if _, again, _ := post("/v1/payment_intents", form, "one"); again["id"] != first["id"] {
			t.Fatal("forgotten too early")
		}
		w.control(stripesim.Control{Clock: int64((24*time.Hour + time.Second*5) / time.Second)})
		if _, again, _ := post("/v1/payment_intents", form, "one"); again["id"] == first["id"] || again["id"] == nil {
			t.Fatal(again)
		}
	})
}

// Sixty-four requests with one key at once make one object; who comes while it is made is told so and may ask again.
func TestOneKeyAtOnce(t *testing.T) {
	w := start(t)
	w.control(stripesim.Control{})
	form := url.Values{"amount": {"5000"}, "currency": {"usd"}, "confirm": {"true"}, "payment_method": {"pm_card_visa"}}
	var mu sync.Mutex
	ids := map[string]int{}
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			for {
				status, out, _ := w.call("POST", "/v1/payment_intents", form, "Idempotency-Key", "k")
				if status == 409 && code(out) == "idempotency_key_in_use" {
					continue
				}
				id, _ := out["id"].(string)
				mu.Lock()
				ids[id]++
				mu.Unlock()
				return
			}
		})
	}
	all.Wait()
	if len(ids) != 1 || slices.Collect(maps.Values(ids))[0] != 64 {
		t.Fatal(ids)
	}
	if got := w.balance(""); got != 5000-145-30 {
		t.Fatal(got)
	}
}

// Whatever befalls a call, asking again with its key ends in one payment. (stripe-go 85 repeats lost connections by itself, and no 5xx.)
func TestLostAnswer(t *testing.T) {
	w := start(t)
	once := client(w.url, 0)
	for _, mode := range []string{"drop_after", "drop", "garbage", "status"} {
		w.control(stripesim.Control{Fail: &stripesim.Failure{Times: 2, Mode: mode, Method: "POST", Path: "/v1/payment_intents", Status: 503}})
		before := w.balance("")
		p := &stripe.PaymentIntentCreateParams{Amount: stripe.Int64(5000), Currency: stripe.String("usd"), Confirm: stripe.Bool(true), PaymentMethod: stripe.String("pm_card_visa")}
		p.SetIdempotencyKey(mode)
		tries := 0
		pi, err := once.V1PaymentIntents.Create(t.Context(), p)
		for ; err != nil && tries < 5; tries++ {
			pi, err = once.V1PaymentIntents.Create(t.Context(), p)
		}
		if err != nil || pi.Status != "succeeded" || w.balance("")-before != 5000-145-30 {
			t.Fatalf("%s: %+v %v, balance %d", mode, pi, err, w.balance("")-before)
		}
	}
	w.control(stripesim.Control{Fail: &stripesim.Failure{Times: 1, Mode: "garbage"}})
	if _, err := once.V1Balance.Retrieve(t.Context(), nil); err == nil {
		t.Fatal("garbage was understood")
	}
	must(once.V1Balance.Retrieve(t.Context(), nil))(w)
	w.control(stripesim.Control{Fail: &stripesim.Failure{Times: 1, Status: 429}})
	_, err := once.V1Balance.Retrieve(t.Context(), nil)
	w.fails(err, 429, "")
	w.control(stripesim.Control{SlowMS: 30})
	began := time.Now()
	must(once.V1Balance.Retrieve(t.Context(), &stripe.BalanceRetrieveParams{}))(w)
	if time.Since(began) < 30*time.Millisecond {
		t.Fatal("not slow")
	}
}
