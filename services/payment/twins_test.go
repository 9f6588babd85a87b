package payment_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/postgres"
)

// line is the way to the rail, on which an answer can be late.
type line struct {
	rail http.Handler
	mu   sync.Mutex
	late *late
}

// late is one answer of the rail that is under way until come is closed.
type late struct {
	method, path string
	left, come   chan struct{}
	lost         bool // it never comes, and the connection ends
	broken       bool // it says that the rail has a fault
}

// hold keeps the next answer to such a request.
func (l *line) hold(method, path string) *late {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late = &late{method: method, path: path, left: make(chan struct{}), come: make(chan struct{})}
	return l.late
}

func (l *line) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	a := l.late
	if a != nil && r.Method == a.method && r.URL.Path == a.path {
		l.late = nil
	} else {
		a = nil
	}
	l.mu.Unlock()
	if a == nil {
		l.rail.ServeHTTP(w, r)
		return
	}
	said := httptest.NewRecorder()
	l.rail.ServeHTTP(said, r)
	close(a.left)
	<-a.come
	if a.lost {
		panic(http.ErrAbortHandler)
	}
	if a.broken {
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	for name, values := range said.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(said.Code)
	_, _ = w.Write(said.Body.Bytes())
}

// step has another process make what steps are due, and waits until the answer that is held has left the rail. finish lets it come.
func (w *world) step(l *late) (finish func()) {
	w.t.Helper()
	var step sync.WaitGroup
	step.Go(func() {
		if err := w.pay.Retry(w.t.Context(), time.Now()); err != nil {
			w.t.Error(err)
		}
	})
	select {
	case <-l.left:
	case <-time.After(patience):
		w.t.Errorf("nobody asks %s %s", l.method, l.path)
	}
	return func() { close(l.come); step.Wait() }
}

// transferred takes a withdrawal to the worker's account at the rail.
func (w *world) transferred() {
	w.t.Helper()
	w.later(0)
	w.idle()
}

func (w *world) idle() {
	w.t.Helper()
	if err := w.sim.Idle(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// Two processes ask about one withdrawal, because the news that it has been paid comes while the first still waits for its answer. Whoever stores
// first, nobody waits for what has been told.
func TestTwinsAskAboutOnePayout(t *testing.T) {
	for _, order := range []string{"the first stores first", "the second stores first"} {
		t.Run(order, func(t *testing.T) {
			w, _ := funded(t)
			w.Call(apitest.Call{What: "withdraw", As: w.asWorker, Path: "/api/payments/payouts", Body: `{}`, Status: 201})
			w.transferred()
			first := w.step(w.line.hold("POST", "/v1/payouts"))
			w.idle()
			second := w.step(w.line.hold("POST", "/v1/payouts"))
			if order == "the first stores first" {
				first()
				second()
			} else {
				second()
				first()
			}
			w.settle()
			w.Call(apitest.Call{What: "paid", As: w.asWorker, Path: "/api/payments/payouts", Status: 200, Has: `"status":"paid"`})
			w.has("paid once", map[string]int64{"wallet USD": 0, "payout_clearing USD": 0})
			w.told(map[string]int{"payout.paid": 1, "payout.failed": 0})
			w.sound()
		})
	}
}

// The process that dies while it asks has taken the news with it; the other one, whose older answer comes then, leaves the row to be asked about again.
func TestTwinDiesWithTheNews(t *testing.T) {
	w, _ := funded(t)
	w.Call(apitest.Call{What: "withdraw", As: w.asWorker, Path: "/api/payments/payouts", Body: `{}`, Status: 201})
	w.transferred()
	first := w.step(w.line.hold("POST", "/v1/payouts"))
	w.idle()
	if _, err := w.db.Exec(t.Context(), `UPDATE payouts SET next_try_at = clock_timestamp() + interval '30 seconds', turn = turn + 1`); err != nil {
		t.Fatal(err)
	}
	first()
	due, err := w.pay.RetryDue(t.Context())
	if err != nil || due.After(time.Now().Add(30*time.Second)) {
		t.Errorf("the rail is asked again at %v: %v", due, err)
	}
}

// An answer about a refund that was overtaken by a newer one changes nothing.
func TestTwinsAskAboutOneRefund(t *testing.T) {
	w := start(t)
	b := w.booking(16000, "USD")
	c := w.checkout(b)
	w.card(c, "pm_card_pendingRefund")
	w.settle()
	w.tell(b.BookingID, w.refunded(b, 16000))
	w.heard(t.Context())
	first := w.step(w.line.hold("POST", "/v1/refunds"))
	w.idle()
	w.later(0)
	status := func() string {
		s, err := postgres.One[string](t.Context(), w.db, `SELECT status FROM refunds`)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := status(); s != "succeeded" {
		t.Errorf("the refund is %s", s)
	}
	first()
	w.settle()
	if s := status(); s != "succeeded" {
		t.Errorf("after the older answer the refund is %s", s)
	}
	w.sound()
}

// How an account stands is not told from an answer that the news of its completion has overtaken.
func TestTwinsAskAboutOneAccount(t *testing.T) {
	w := start(t)
	late := uuid.New()
	w.tell(late, event.UserCreated{UserID: late, Email: "verify.later@example.com", Role: "worker", Verified: true})
	w.settle()
	w.Call(apitest.Call{What: "to be completed", As: w.Token("worker", late), Path: "/api/payments/payout-account", Body: `{}`, Status: 201, Has: `"status":"pending"`})
	w.settle()
	id, err := postgres.One[string](t.Context(), w.db, `UPDATE payout_accounts SET next_try_at = clock_timestamp() RETURNING account_id`)
	if err != nil {
		t.Fatal(err)
	}
	first := w.step(w.line.hold("GET", "/v1/accounts/"+id))
	w.rail(secretKey, "POST", "/_control/accounts/"+id, url.Values{"verification": {"verified"}}, "")
	w.idle()
	w.later(0)
	first()
	w.settle()
	status, err := postgres.One[string](t.Context(), w.db, `SELECT status FROM payout_accounts`)
	if err != nil || status != "verified" {
		t.Errorf("the account is %s, %v", status, err)
	}
}

// A step that fails leaves alone what somebody has claimed since.
func TestFailedStepLeavesTheTwinsClaim(t *testing.T) {
	w, _ := funded(t)
	w.Call(apitest.Call{What: "withdraw", As: w.asWorker, Path: "/api/payments/payouts", Body: `{}`, Status: 201})
	w.transferred()
	broken := w.line.hold("POST", "/v1/payouts")
	broken.broken = true
	first := w.step(broken)
	w.idle()
	second := w.step(w.line.hold("POST", "/v1/payouts"))
	claimed, err := w.pay.RetryDue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	first()
	if due, err := w.pay.RetryDue(t.Context()); err != nil || !due.Equal(claimed) {
		t.Errorf("the rail is asked again at %v instead of %v: %v", due, claimed, err)
	}
	second()
	w.settle()
	w.told(map[string]int{"payout.paid": 1})
	w.sound()
}
