package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/pause"
)

const (
	crashClients = 8
	crashBound   = 4 * time.Minute // for what is to happen in the end, on a machine that has much else to do
)

// load is a crowd that goes through the main job while the platform is hurt. It repeats what is refused for the moment, under the same
// Idempotency-Key, and fails the test on every answer that the contract does not have.
type load struct {
	t                    *testing.T
	gateway, inbox, rail string
	secret               string // of the rail
	ctx                  context.Context
	rand                 *rand.Rand
	patient              bool // some bookings are waited for until they begin, and take place

	away      atomic.Bool  // the gateway's process is being killed or started
	back      atomic.Int64 // when it ran again
	sick      atomic.Bool  // the rail or the mail misbehaves
	stop      chan struct{}
	clients   sync.WaitGroup
	began     time.Time
	answered  atomic.Int64
	refused   atomic.Int64
	cut       atomic.Int64
	given, ok atomic.Int64 // journeys that did not come in time to their start, and those that ended

	mu       sync.Mutex
	journeys []*journey
	acks     []ack
}

// ack is a request with an Idempotency-Key that was answered well.
type ack struct {
	path   string
	header http.Header
	body   []byte
	status int
	answer []byte
}

// journey is one booking from the registration of both sides to its end.
type journey struct {
	*tour
	status             string // of the booking in the end
	released, refunded int64  // minor units
	payouts, reviewed  int
}

func newLoad(t *testing.T, r *rand.Rand, gateway, inbox, rail, secret string, patient bool) *load {
	ctx, cancel := context.WithTimeout(context.Background(), 2*crashBound)
	t.Cleanup(cancel)
	l := &load{t: t, patient: patient || *soakFor > 0, gateway: gateway, inbox: inbox, rail: rail, secret: secret, ctx: ctx, rand: r, stop: make(chan struct{}), began: time.Now()}
	l.fund()
	for n := range crashClients {
		l.clients.Go(func() { l.client(n) })
	}
	return l
}

// fund has the platform put money of its own at the rail, which keeps its fee of every payment, also of those that go back.
func (l *load) fund() {
	l.t.Helper()
	form := url.Values{"amount": {"1000000"}, "currency": {"usd"}}.Encode()
	req, err := http.NewRequestWithContext(l.ctx, http.MethodPost, l.rail+"/_control/balance", nil)
	if err != nil {
		l.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+l.secret)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if res, answer, err := l.once(req, []byte(form)); err != nil || res.StatusCode != http.StatusOK {
		l.t.Fatalf("fund the rail: %v %s", err, answer)
	}
}

// RoundTrip repeats a request until it has an answer that is not "later".
func (l *load) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
	}
	origin := "http://" + req.URL.Host
	req = req.Clone(req.Context())
	if req.Method == http.MethodPost && origin == l.rail {
		req.Header.Set("Idempotency-Key", uuid.NewString())
	}
	for {
		began := time.Now()
		res, answer, err := l.once(req, body)
		switch {
		case req.Context().Err() != nil:
			return nil, req.Context().Err()
		case err != nil && (origin != l.gateway && l.sick.Load() || l.away.Load() || began.UnixNano() < l.back.Load()):
			l.cut.Add(1)
		case err != nil:
			l.t.Errorf("%s %s: %v", req.Method, req.URL.Path, err)
			return nil, err
		case origin == l.rail && (res.StatusCode >= 500 || !json.Valid(answer)) && l.sick.Load():
			l.cut.Add(1)
		case res.StatusCode == http.StatusServiceUnavailable:
			if origin == l.gateway {
				l.answered.Add(1)
				l.refused.Add(1)
			}
			if res.Header.Get("Retry-After") == "" {
				l.t.Errorf("%s %s: 503 without Retry-After: %s", req.Method, req.URL.Path, answer)
			}
		default:
			if origin == l.gateway {
				l.answered.Add(1)
				l.note(req, body, res.StatusCode, answer)
			}
			res.Body = io.NopCloser(bytes.NewReader(answer))
			return res, nil
		}
		if err := pause.For(req.Context(), 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func (l *load) once(req *http.Request, body []byte) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(req.Context(), 45*time.Second)
	defer cancel()
	one := req.Clone(ctx)
	one.Body, one.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	res, err := quick.Transport.RoundTrip(one)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	return res, answer, err
}

func (l *load) note(req *http.Request, body []byte, status int, answer []byte) {
	if status >= 500 {
		l.t.Errorf("%s %s: %d %s", req.Method, req.URL.Path, status, answer)
	}
	// Who asks for a payment is told where it stands, and a payout account's page is another each time.
	if req.Header.Get("Idempotency-Key") == "" || status/100 != 2 || req.URL.Path == "/api/payments" || req.URL.Path == "/api/payments/payout-account" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acks = append(l.acks, ack{req.URL.Path, req.Header, body, status, answer})
}

// walker is a tour that does not give up.
func (l *load) walker(now func() time.Time) *journey {
	t := newTour(l.gateway, l.inbox, l.rail, io.Discard)
	t.http = &http.Client{Transport: l}
	t.now, t.bound = now, crashBound
	return &journey{tour: t}
}

// client sells and buys until the load stops: a booking that takes place, when there is patience for it, and others that are cancelled.
func (l *load) client(n int) {
	var j *journey
	var err error
	if l.patient {
		j, err = l.soonToBegin()
	}
	for k := n; err == nil; k++ {
		if err = l.cancelled(k%2 == 0); err != nil {
			break
		}
		select {
		case <-l.stop:
		case <-l.ctx.Done():
			err = l.ctx.Err()
		default:
			continue
		}
		break
	}
	if err == nil && j != nil {
		err = l.takesPlace(j)
	}
	if err != nil {
		l.t.Errorf("client %d: %v", n, err)
	}
}

// soonToBegin is a paid booking that begins at one of the next full minutes.
func (l *load) soonToBegin() (*journey, error) {
	for margin := 6 * time.Second; ; margin *= 2 {
		var start time.Time
		j := l.walker(func() time.Time {
			start = time.Now().Add(margin).Truncate(time.Minute).Add(time.Minute)
			return start.Add(-90 * time.Second)
		})
		err := l.steps(j, j.offers, j.finds, j.reserve, j.confirms, j.pays)
		if err == nil || l.ctx.Err() != nil || start.IsZero() || time.Now().Before(start) {
			return j, err
		}
		l.given.Add(1) // the hour has come before it was paid
	}
}

func (l *load) takesPlace(j *journey) error {
	err := l.steps(j, j.works, j.releases, j.withdraws, j.reviews, j.statement)
	j.status, j.released, j.payouts, j.reviewed = "completed", j.price, 1, 2
	return l.ended(j, err)
}

// cancelled is a booking that one of the sides cancels after it was paid: late enough for half, or the worker for nothing.
func (l *load) cancelled(byClient bool) error {
	j := l.walker(func() time.Time { return time.Now().Add(time.Hour) })
	err := l.steps(j, j.offers, j.finds, j.reserve, j.confirms, j.pays, func(ctx context.Context) error {
		by := j.worker
		if byClient {
			by = j.client
		}
		return j.call(ctx, http.MethodPost, bookingPath(j.booking)+"/cancel", by.token, map[string]any{"reason": "changed my mind"}, http.StatusOK, nil)
	})
	j.status, j.refunded = "cancelled", j.price
	if byClient {
		j.released, j.refunded, j.payouts = j.price/2, j.price/2, 1
		if err == nil {
			err = j.wallet(l.ctx, "72.00")
		}
		if err == nil {
			err = j.withdraws(l.ctx)
		}
	}
	return l.ended(j, err)
}

func (l *load) ended(j *journey, err error) error {
	if err != nil {
		return fmt.Errorf("%s of booking %s: %w", j.status, j.booking, err)
	}
	l.ok.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.journeys = append(l.journeys, j)
	return nil
}

// steps takes each; one that makes an account or a calendar is taken anew when an answer got lost: the address is then taken, the link used,
// or the calendar another.
func (l *load) steps(j *journey, steps ...func(context.Context) error) error {
	for _, step := range steps {
		err := step(l.ctx)
		for err != nil && (strings.Contains(err.Error(), "/api/auth/") || strings.Contains(err.Error(), "version_conflict")) && strings.Contains(err.Error(), " answered 4") && l.cut.Load()+l.refused.Load() > 0 {
			err = step(l.ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// grow waits until n more requests are answered.
func (l *load) grow(n int64) {
	l.t.Helper()
	from := l.answered.Load()
	soon(l.t, fmt.Sprint(n, " answers"), crashBound, func() bool { return l.t.Failed() || l.answered.Load() >= from+n })
}

// finish lets every journey come to its end and looks at what is left of them.
func (l *load) finish() {
	l.t.Helper()
	close(l.stop)
	l.clients.Wait()
	took := time.Since(l.began)
	l.t.Logf("%d journeys in %v, %.1f a second; %d answers, of them %d 503; %d connections cut; %d journeys too late for their start",
		l.ok.Load(), took.Round(time.Second), float64(l.ok.Load())/took.Seconds(), l.answered.Load(), l.refused.Load(), l.cut.Load(), l.given.Load())
	if l.t.Failed() {
		return
	}
	charges, transfers := l.atRail("/v1/charges"), l.atRail("/v1/transfers")
	for _, j := range l.journeys {
		if err := l.whole(j, charges, transfers); err != nil {
			l.t.Errorf("booking %s, which is %s: %v", j.booking, j.status, err)
		}
	}
	l.rand.Shuffle(len(l.acks), func(i, k int) { l.acks[i], l.acks[k] = l.acks[k], l.acks[i] })
	for _, a := range l.acks[:min(len(l.acks), 100)] {
		req, err := http.NewRequestWithContext(l.ctx, http.MethodPost, l.gateway+a.path, bytes.NewReader(a.body))
		if err != nil {
			l.t.Fatal(err)
		}
		req.Header = a.header
		res, answer, err := l.once(req, a.body)
		if err != nil || res.StatusCode != a.status || !bytes.Equal(answer, a.answer) {
			l.t.Errorf("%s repeated: %v %v\n%s\ninstead of %d\n%s", a.path, res, err, answer, a.status, a.answer)
		}
	}
}

// whole says what of a journey is lost, or there twice.
func (l *load) whole(j *journey, charges, transfers map[string]int64) error {
	var b struct{ Status string }
	if err := j.call(l.ctx, http.MethodGet, bookingPath(j.booking), j.client.token, nil, http.StatusOK, &b); err != nil {
		return err
	}
	type account struct{ ReleasedAmount, RefundedAmount, RemainingAmount json.Number }
	_, err := until(l.ctx, j.tour, "/api/v1/escrow/"+j.escrow.String(), j.client.token, func(a account) bool { return a.RemainingAmount == "0.00" })
	if err != nil {
		return err
	}
	if err := j.holders(l.ctx); err != nil {
		return err
	}
	p, err := j.purse(l.ctx)
	if err != nil {
		return err
	}
	if released := p.wallet + p.bank + p.platform; b.Status != j.status || released != j.released || p.client != j.refunded || p.escrow != 0 {
		return fmt.Errorf("it is %s, %d released, %+v", b.Status, released, p)
	}
	if got := charges[j.payment.String()]; got != j.price {
		return fmt.Errorf("the rail has charged %d for payment %s", got, j.payment)
	}
	var payouts []struct{ ID uuid.UUID }
	if err := j.call(l.ctx, http.MethodGet, "/api/payments/payouts", j.worker.token, nil, http.StatusOK, &payouts); err != nil {
		return err
	}
	if len(payouts) != j.payouts {
		return fmt.Errorf("there are %d payouts", len(payouts))
	}
	for _, o := range payouts {
		if got := transfers[o.ID.String()]; got != p.bank {
			return fmt.Errorf("the rail has transferred %d for payout %s of %d", got, o.ID, p.bank)
		}
	}
	var stats struct{ TotalReviews int }
	for _, side := range []person{j.worker, j.client} {
		if err := j.call(l.ctx, http.MethodGet, "/api/v1/reviews/stats/"+side.id.String(), "", nil, http.StatusOK, &stats); err != nil {
			return err
		}
		if stats.TotalReviews*2 != j.reviewed {
			return fmt.Errorf("%s has %d reviews", side.email, stats.TotalReviews)
		}
	}
	return nil
}

// atRail sums what the rail has by our id.
func (l *load) atRail(path string) map[string]int64 {
	sums := map[string]int64{}
	for after := ""; ; {
		query := url.Values{"limit": {"100"}}
		if after != "" {
			query.Set("starting_after", after)
		}
		req, err := http.NewRequestWithContext(l.ctx, http.MethodGet, l.rail+path+"?"+query.Encode(), nil)
		if err != nil {
			l.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+l.secret)
		res, answer, err := l.once(req, nil)
		var list struct {
			HasMore bool `json:"has_more"`
			Data    []struct {
				ID       string
				Amount   int64
				Status   string
				Metadata map[string]string
			}
		}
		if err == nil {
			err = json.Unmarshal(answer, &list)
		}
		if err != nil || res.StatusCode != http.StatusOK {
			l.t.Fatalf("%s: %v %s", path, err, answer)
		}
		for _, o := range list.Data {
			after = o.ID
			if o.Status == "" || o.Status == "succeeded" {
				sums[o.Metadata["tulifo_id"]] += o.Amount
			}
		}
		if !list.HasMore {
			return sums
		}
	}
}
