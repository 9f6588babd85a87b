package stripesim_test

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85"
	"github.com/stripe/stripe-go/v85/webhook"

	"tulifo/platform/stripesim"
)

func TestWebhookIsRetriedInOrder(t *testing.T) {
	w := start(t)
	refusals, accounts := 0, 0
	w.hooks.set(func(e stripe.Event) int {
		switch {
		case e.Type == "account.updated":
			accounts++
		case e.Type == "payment_intent.created" && (refusals < 3 || accounts == 0):
			refusals++
			return http.StatusServiceUnavailable
		}
		return 0
	})
	pi := w.paid(5000)
	other := w.worker("Ada")
	events := w.hooks.until(func(e []stripe.Event) bool { return len(e) == 4 })
	if got := kinds(about(events, pi.ID)); !slices.Equal(got, []string{"payment_intent.created", "charge.succeeded", "payment_intent.succeeded"}) {
		t.Fatal(got)
	}
	if events[0].Account != other.ID {
		t.Fatal("another object's event waited for the failing one")
	}
	w.idle()
	e := must(w.client.V1Events.Retrieve(t.Context(), about(events, pi.ID)[0].ID, nil))(w)
	if e.PendingWebhooks != 0 || e.APIVersion != stripe.APIVersion || e.Request.IdempotencyKey == "" {
		t.Fatalf("%+v", e)
	}
	listed := []string{}
	for e, err := range w.client.V1Events.List(t.Context(), &stripe.EventListParams{Type: stripe.String("charge.succeeded")}).All(t.Context()) {
		listed = append(listed, must(e, err)(w).ID)
	}
	if len(listed) != 1 {
		t.Fatal(listed)
	}
}

func TestWebhookMischief(t *testing.T) {
	w := start(t)
	t.Run("repeat", func(t *testing.T) {
		for _, together := range []bool{false, true} {
			w.control(stripesim.Control{Repeat: 3, Together: together})
			pi := w.paid(5000)
			events := about(w.hooks.until(func(e []stripe.Event) bool { return len(about(e, pi.ID)) == 9 }), pi.ID)
			if events[0].ID != events[2].ID || events[0].ID == events[3].ID {
				t.Fatal(kinds(events))
			}
		}
	})
	t.Run("reorder", func(t *testing.T) {
		order := map[uint64]string{}
		for _, seed := range []uint64{1, 2, 3, 4, 5, 1} {
			w.control(stripesim.Control{Reorder: 3, Seed: seed})
			pi := w.paid(5000)
			events := about(w.hooks.until(func(e []stripe.Event) bool { return len(about(e, pi.ID)) == 3 }), pi.ID)
			w.idle()
			got := strings.Join(kinds(events), " ")
			if before, ok := order[seed]; ok && before != got {
				t.Fatalf("seed %d: %s, then %s", seed, before, got)
			}
			order[seed] = got
		}
		if different := slices.Compact(slices.Sorted(maps.Values(order))); len(different) == 1 {
			t.Fatal("nothing was reordered")
		}
	})
	t.Run("hold", func(t *testing.T) {
		w.control(stripesim.Control{Hold: []string{"payment_intent.payment_failed"}})
		pi := must(w.client.V1PaymentIntents.Create(t.Context(), &stripe.PaymentIntentCreateParams{Amount: stripe.Int64(5000), Currency: stripe.String("usd")}))(w)
		_, err := w.client.V1PaymentIntents.Confirm(t.Context(), pi.ID, &stripe.PaymentIntentConfirmParams{PaymentMethod: stripe.String("pm_card_chargeDeclined")})
		w.fails(err, 402, "card_declined")
		must(w.client.V1PaymentIntents.Confirm(t.Context(), pi.ID, &stripe.PaymentIntentConfirmParams{PaymentMethod: stripe.String("pm_card_visa")}))(w)
		w.idle()
		if got := kinds(about(w.hooks.seen(), pi.ID)); slices.Contains(got, "payment_intent.payment_failed") || !slices.Contains(got, "payment_intent.succeeded") {
			t.Fatal(got)
		}
		_, waiting, _ := w.call("GET", "/_control/undelivered", nil)
		if list := waiting["data"].([]any); len(list) != 1 || list[0].(map[string]any)["held"] != true {
			t.Fatal(waiting)
		}
		w.control(stripesim.Control{})
		w.idle()
		if got := kinds(about(w.hooks.seen(), pi.ID)); got[len(got)-1] != "payment_intent.payment_failed" {
			t.Fatal(got)
		}
	})
	t.Run("delay", func(t *testing.T) {
		w.control(stripesim.Control{DelayMS: 60})
		began := time.Now()
		pi := w.paid(5000)
		w.hooks.until(func(e []stripe.Event) bool { return len(about(e, pi.ID)) == 3 })
		if time.Since(began) < 60*time.Millisecond {
			t.Fatal("not delayed")
		}
		w.control(stripesim.Control{})
	})
	t.Run("resend", func(t *testing.T) {
		e := w.hooks.seen()[0]
		before := len(w.hooks.seen())
		if status, out, _ := w.call("POST", "/_control/events/"+e.ID+"/resend", nil); status != 200 {
			t.Fatal(out)
		}
		events := w.hooks.until(func(e []stripe.Event) bool { return len(e) == before+1 })
		if events[before].ID != e.ID {
			t.Fatal(events[before].ID)
		}
	})
}

func TestWebhooksWaitForAnAddress(t *testing.T) {
	dir := t.TempDir()
	sim, err := stripesim.New(options(dir))
	if err != nil {
		t.Fatal(err)
	}
	hooks := newReceiver(t)
	hooks.url = ""
	if err := sim.Close(); err != nil {
		t.Fatal(err)
	}
	w := startIn(t, options(dir), hooks)
	w.paid(5000)
	target := newReceiver(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := w.sim.SetWebhookURL(ctx, target.url); err != nil {
		t.Fatal(err)
	}
	target.until(func(e []stripe.Event) bool { return len(e) == 3 })
	w.idle()
	w.stop()
	w = startIn(t, options(dir), hooks) // the address is remembered
	w.paid(5000)
	target.until(func(e []stripe.Event) bool { return len(e) == 6 })
}

func TestSignature(t *testing.T) {
	payload := []byte(`{"id":"evt_1","object":"event","api_version":"` + stripesim.APIVersion + `"}`)
	for what, c := range map[string]struct {
		header string
		ok     bool
	}{
		"right":          {stripesim.Sign(payload, hookKey, time.Now()), true},
		"another secret": {stripesim.Sign(payload, "whsec_other", time.Now()), false},
		"another body":   {stripesim.Sign([]byte(`{}`), hookKey, time.Now()), false},
		"too old":        {stripesim.Sign(payload, hookKey, time.Now().Add(-6*time.Minute)), false},
	} {
		if _, err := webhook.ConstructEvent(payload, c.header, hookKey); (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestControlOverHTTP(t *testing.T) {
	w := start(t)
	do := func(method, path, body, key string) (int, map[string]any) {
		req := must(http.NewRequestWithContext(t.Context(), method, w.raw+path, strings.NewReader(body)))(w)
		req.Header.Set("Authorization", "Bearer "+key)
		res := must(http.DefaultClient.Do(req))(w)
		defer res.Body.Close()
		var out map[string]any
		if err := json.NewDecoder(res.Body).Decode(&out); err != nil && res.StatusCode != 504 {
			t.Fatal(err)
		}
		return res.StatusCode, out
	}
	if status, out := do("PATCH", "/_control/", `{"repeat":2,"hold":["payout.*"]}`, secretKey); status != 200 || out["repeat"] != 2.0 {
		t.Fatal(status, out)
	}
	if status, out := do("PATCH", "/_control/", `{"delayMs":5}`, secretKey); status != 200 || out["repeat"] != 2.0 || out["delayMs"] != 5.0 {
		t.Fatal(status, out)
	}
	for what, body := range map[string]string{"unknown": `{"repeet":2}`, "negative": `{"repeat":-1}`, "mode": `{"fail":{"times":1,"mode":"x"}}`, "status": `{"fail":{"times":1,"status":200}}`, "no JSON": `x`} {
		if status, out := do("PATCH", "/_control/", body, secretKey); status != 400 {
			t.Error(what, status, out)
		}
	}
	for _, path := range []string{"/_control/", "/_control/undelivered", "/_control/idle"} {
		for _, key := range []string{"", publicKey, "sk_test_other"} {
			if status, _ := do("GET", path, "", key); status != 401 {
				t.Error(path, key, status)
			}
		}
		if status, _ := do("GET", path, "", secretKey); status != 200 {
			t.Error(path, status)
		}
	}
	if status, out := do("DELETE", "/_control/", "", secretKey); status != 200 || out["repeat"] != 0.0 {
		t.Fatal(status, out)
	}
	if status, _ := do("PUT", "/_control/webhook", `{"url":"file:///etc/passwd"}`, secretKey); status != 400 {
		t.Fatal(status)
	}
	if status, _, _ := w.call("POST", "/_control/accounts/"+w.worker("Ada").ID, url.Values{"verification": {"refused"}}); status != 200 {
		t.Fatal(status)
	}
}
