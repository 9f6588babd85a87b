package stripesim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85"
	"github.com/stripe/stripe-go/v85/webhook"

	"tulifo/platform/stripesim"
)

const (
	secretKey = "sk_test_simulator"
	publicKey = "pk_test_simulator"
	hookKey   = "whsec_simulator"
	patience  = 20 * time.Second
)

// world is a running simulator, the real client in front of it, and a receiver of its webhooks.
type world struct {
	*testing.T
	sim    *stripesim.Simulator
	client *stripe.Client
	url    string // every request and answer is compared with Stripe's description
	raw    string // without that comparison, for requests that are wrong on purpose
	hooks  *receiver
	stop   func()
}

func options(dir string) stripesim.Options {
	return stripesim.Options{Dir: dir, SecretKey: secretKey, PublishableKey: publicKey, WebhookSecret: hookKey, Log: slog.New(slog.DiscardHandler)}
}

func start(t *testing.T) *world { return startIn(t, options(t.TempDir()), newReceiver(t)) }

func startIn(t *testing.T, o stripesim.Options, hooks *receiver) *world {
	t.Helper()
	o.WebhookURL = hooks.url
	sim, err := stripesim.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := loadReference()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, sim: sim, hooks: hooks}
	plain := httptest.NewServer(sim.Handler())
	judged := httptest.NewServer(w.judge(ref, sim.Handler()))
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- sim.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		judged.Close()
		plain.Close()
		cancel()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		if err := sim.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.stop)
	w.url, w.raw = judged.URL, plain.URL
	w.client = client(judged.URL, 2)
	return w
}

func client(base string, retries int64) *stripe.Client {
	config := &stripe.BackendConfig{URL: &base, MaxNetworkRetries: &retries, LeveledLogger: &stripe.LeveledLogger{}, EnableTelemetry: stripe.Bool(false), HTTPClient: &http.Client{Timeout: patience}}
	return stripe.NewClient(secretKey, stripe.WithBackends(stripe.NewBackendsWithConfig(config)))
}

type capture struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (c *capture) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *capture) Write(b []byte) (int, error) {
	c.body.Write(b)
	return c.ResponseWriter.Write(b)
}

func (c *capture) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (w *world) judge(ref *reference, next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/v1/") {
			next.ServeHTTP(rw, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.Error(err)
			return
		}
		twin := r.Clone(context.Background())
		twin.Body = io.NopCloser(bytes.NewReader(body))
		if wrong := ref.request(twin); wrong != "" {
			w.Errorf("stripe-mock refuses %s %s %s: %s", r.Method, r.URL, body, wrong)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		c := &capture{ResponseWriter: rw, status: http.StatusOK}
		next.ServeHTTP(c, r)
		if c.status == http.StatusOK && c.Header().Get("Content-Type") == "application/json" {
			for _, wrong := range ref.answer(c.body.Bytes()) {
				w.Errorf("%s %s answers what Stripe does not: %s", r.Method, r.URL.Path, wrong)
			}
		}
	})
}

// receiver takes webhooks as payment-service does: only with a good signature.
type receiver struct {
	url    string
	mu     sync.Mutex
	events []stripe.Event
	refuse func(stripe.Event) int // status to answer; 0: 200
	came   chan struct{}
	t      *testing.T
}

func newReceiver(t *testing.T) *receiver {
	rc := &receiver{t: t, came: make(chan struct{}, 1)}
	srv := httptest.NewServer(rc)
	t.Cleanup(srv.Close)
	rc.url = srv.URL
	return rc
}

func (rc *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	e, err := webhook.ConstructEvent(body, r.Header.Get("Stripe-Signature"), hookKey)
	if err != nil {
		rc.t.Errorf("webhook: %v", err)
		return
	}
	ref, err := loadReference()
	if err != nil {
		rc.t.Error(err)
		return
	}
	for _, wrong := range ref.answer(body) {
		rc.t.Errorf("event %s is not as Stripe sends it: %s", e.Type, wrong)
	}
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if rc.refuse != nil {
		if status := rc.refuse(e); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	rc.events = append(rc.events, e)
	select {
	case rc.came <- struct{}{}:
	default:
	}
}

func (rc *receiver) set(refuse func(stripe.Event) int) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.refuse = refuse
}

func (rc *receiver) seen() []stripe.Event {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return append([]stripe.Event(nil), rc.events...)
}

// until waits for the events to satisfy ok.
func (rc *receiver) until(ok func([]stripe.Event) bool) []stripe.Event {
	rc.t.Helper()
	limit := time.After(patience)
	for {
		events := rc.seen()
		if ok(events) {
			return events
		}
		select {
		case <-rc.came:
		case <-limit:
			rc.t.Fatalf("the expected webhooks did not come; these did: %v", kinds(events))
		}
	}
}

func kinds(events []stripe.Event) []string {
	out := []string{}
	for _, e := range events {
		out = append(out, string(e.Type))
	}
	return out
}

// about are the events whose object has the id, or belongs to the PaymentIntent with the id.
func about(events []stripe.Event, id string) []stripe.Event {
	var out []stripe.Event
	for _, e := range events {
		if e.Data.Object["id"] == id || e.Data.Object["payment_intent"] == id {
			out = append(out, e)
		}
	}
	return out
}

func (w *world) idle() {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	if err := w.sim.Idle(ctx); err != nil {
		w.Fatal(err)
	}
}

func (w *world) control(c stripesim.Control) {
	w.Helper()
	if err := w.sim.SetControl(c); err != nil {
		w.Fatal(err)
	}
}

// must fails the test on an error.
func must[T any](v T, err error) func(*world) T {
	return func(w *world) T {
		w.Helper()
		if err != nil {
			w.Fatal(err)
		}
		return v
	}
}

// fails checks that err is Stripe's error with the code.
func (w *world) fails(err error, status int, code stripe.ErrorCode) *stripe.Error {
	w.Helper()
	se, ok := errors.AsType[*stripe.Error](err)
	if !ok {
		w.Fatalf("want error %q, got %v", code, err)
	}
	if se.HTTPStatusCode != status || se.Code != code {
		w.Fatalf("want %d %q, got %d %q: %s", status, code, se.HTTPStatusCode, se.Code, se.Msg)
	}
	return se
}

// pay makes a PaymentIntent and pays it with the payment method.
func (w *world) pay(amount int64, method string) (*stripe.PaymentIntent, error) {
	return w.client.V1PaymentIntents.Create(w.Context(), &stripe.PaymentIntentCreateParams{
		Amount: &amount, Currency: stripe.String("usd"), PaymentMethod: &method, Confirm: stripe.Bool(true), TransferGroup: stripe.String("booking_1"),
		AutomaticPaymentMethods: &stripe.PaymentIntentCreateAutomaticPaymentMethodsParams{Enabled: stripe.Bool(true), AllowRedirects: stripe.String("never")},
		Metadata:                map[string]string{"tulifo_id": "p-" + method},
	})
}

func (w *world) paid(amount int64) *stripe.PaymentIntent {
	w.Helper()
	return must(w.pay(amount, "pm_card_visa"))(w)
}

func (w *world) worker(name string) *stripe.Account {
	w.Helper()
	return must(w.client.V1Accounts.Create(w.Context(), &stripe.AccountCreateParams{
		Type: stripe.String("express"), Country: stripe.String("DE"), Email: stripe.String("ada@example.com"),
		BusinessProfile: &stripe.AccountCreateBusinessProfileParams{Name: &name},
		Capabilities:    &stripe.AccountCreateCapabilitiesParams{Transfers: &stripe.AccountCreateCapabilitiesTransfersParams{Requested: stripe.Bool(true)}},
		Metadata:        map[string]string{"tulifo_id": "worker"},
	}))(w)
}

func (w *world) send(amount int64, to string) (*stripe.Transfer, error) {
	return w.client.V1Transfers.Create(w.Context(), &stripe.TransferCreateParams{Amount: &amount, Currency: stripe.String("usd"), Destination: &to, TransferGroup: stripe.String("payout_1")})
}

func (w *world) withdraw(amount int64, from string) (*stripe.Payout, error) {
	p := &stripe.PayoutCreateParams{Amount: &amount, Currency: stripe.String("usd"), Metadata: map[string]string{"tulifo_id": "payout"}}
	p.SetStripeAccount(from)
	return w.client.V1Payouts.Create(w.Context(), p)
}

func (w *world) balance(account string) int64 {
	w.Helper()
	p := &stripe.BalanceRetrieveParams{}
	if account != "" {
		p.SetStripeAccount(account)
	}
	b := must(w.client.V1Balance.Retrieve(w.Context(), p))(w)
	for _, f := range b.Available {
		if f.Currency == "usd" {
			return f.Amount
		}
	}
	return 0
}

// call sends a form without any client; headers come in pairs.
func (w *world) call(method, path string, form url.Values, headers ...string) (int, map[string]any, http.Header) {
	w.Helper()
	target, body := w.raw+path, io.Reader(nil)
	if method == http.MethodGet {
		target += "?" + form.Encode()
	} else {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(w.Context(), method, target, body)
	if err != nil {
		w.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer "+secretKey)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	var out map[string]any
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.Fatal(err)
	}
	if err := json.Unmarshal(b, &out); err != nil && res.StatusCode != http.StatusNoContent {
		w.Fatalf("%s %s answered %d %s", method, path, res.StatusCode, b)
	}
	return res.StatusCode, out, res.Header
}

func code(answer map[string]any) string {
	e, _ := answer["error"].(map[string]any)
	c, _ := e["code"].(string)
	return c
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func readAll(res *http.Response) (string, error) {
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}
