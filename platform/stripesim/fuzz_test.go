package stripesim_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"tulifo/platform/stripesim"
)

// FuzzRequest: no parameters, however wrong, end in a server error or stop the next request.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{"amount=500&currency=usd", "metadata[a]=b&metadata[a]=c", "expand[]=latest_charge&expand[0]=x", "query=metadata['a']:'b' AND amount>5", "limit=%zz", "metadata[[]]=1",
		"payment_method_data[type]=card&payment_method_data[card][number]=4242", "created[gte]=9999999999999999999", "starting_after=%00", "amount=500&currency=usd&confirm=true&payment_method=pm_card_visa&metadata[\x00]=\xff"} {
		f.Add(uint8(0), seed)
		f.Add(uint8(3), seed)
	}
	sim, err := stripesim.New(options(f.TempDir()))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := sim.Close(); err != nil {
			f.Error(err)
		}
	})
	targets := []string{"POST /v1/payment_intents", "POST /v1/accounts", "POST /v1/refunds", "GET /v1/payment_intents/search", "GET /v1/events", "POST /v1/payment_methods", "POST /v1/account_links", "POST /v1/transfers"}
	f.Fuzz(func(t *testing.T, which uint8, parameters string) {
		method, path, _ := strings.Cut(targets[int(which)%len(targets)], " ")
		body := strings.NewReader(parameters)
		r := httptest.NewRequest(method, path, body)
		if method == "GET" {
			r.URL.RawQuery = parameters
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Authorization", "Bearer "+secretKey)
		w := httptest.NewRecorder()
		sim.Handler().ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Fatalf("%s %s %q: %d %s", method, path, parameters, w.Code, w.Body)
		}
	})
}

func TestNothingIsLeftRunning(t *testing.T) {
	before := goleak.IgnoreCurrent()
	sim, err := stripesim.New(options(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- sim.Run(ctx) }()
	if err := sim.SetWebhookURL(ctx, "http://127.0.0.1:1/nobody"); err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest("POST", "/v1/payment_intents", strings.NewReader(payment().Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Authorization", "Bearer "+secretKey)
	w := httptest.NewRecorder()
	sim.Handler().ServeHTTP(w, r)
	cancel()
	if err := <-ran; err != nil || w.Code != 200 {
		t.Fatal(err, w.Body)
	}
	if err := sim.Close(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
}
