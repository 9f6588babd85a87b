package stripesim

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Control makes the simulator misbehave as Stripe and the network do on bad days. It is not kept over a restart.
type Control struct {
	DelayMS     int64    `json:"delayMs"`     // a webhook is sent no sooner than this after its event
	Repeat      int      `json:"repeat"`      // each webhook is sent so many times; 0 and 1: once
	Together    bool     `json:"together"`    // the repeats are sent at the same moment
	Reorder     int      `json:"reorder"`     // webhooks are shuffled within windows of this many; 0 and 1: in order
	Seed        uint64   `json:"seed"`        // of the shuffle
	Hold        []string `json:"hold"`        // event types not sent until they are no longer named: "payout.paid", "payout.*", "*"
	HoldPayouts bool     `json:"holdPayouts"` // payouts stay pending
	SlowMS      int64    `json:"slowMs"`      // every answer of the API takes so much longer
	Fail        *Failure `json:"fail"`        // what happens to the next calls of the API
	Clock       int64    `json:"clock"`       // seconds by which the simulator's clock is ahead
}

// Failure befalls the next Times calls that match.
type Failure struct {
	Times  int    `json:"times"`
	Mode   string `json:"mode"`   // "status"; "drop": connection cut, nothing done; "drop_after": done, but the answer is lost; "garbage": 200 with no JSON
	Status int    `json:"status"` // of mode status; 500 when 0
	Method string `json:"method"` // empty: any
	Path   string `json:"path"`   // prefix, such as /v1/transfers; empty: any
}

func (c Control) clock() time.Duration { return time.Duration(c.Clock) * time.Second }

func (c Control) holds(kind string) bool {
	return slices.ContainsFunc(c.Hold, func(pattern string) bool {
		prefix, open := strings.CutSuffix(pattern, "*")
		return pattern == kind || open && strings.HasPrefix(kind, prefix)
	})
}

func (c Control) check() error {
	switch {
	case c.DelayMS < 0 || c.SlowMS < 0 || c.DelayMS > 3_600_000 || c.SlowMS > 600_000:
		return fmt.Errorf("delayMs is 0 to 3600000, slowMs 0 to 600000")
	case c.Repeat < 0 || c.Repeat > 100 || c.Reorder < 0 || c.Reorder > 1000:
		return fmt.Errorf("repeat is 0 to 100, reorder 0 to 1000")
	case c.Clock < 0 || c.Clock > math.MaxInt32:
		return fmt.Errorf("clock is a number of seconds ahead")
	case c.Fail != nil && !slices.Contains([]string{"", "status", "drop", "drop_after", "garbage"}, c.Fail.Mode):
		return fmt.Errorf("fail.mode is status, drop, drop_after or garbage")
	case c.Fail != nil && c.Fail.Status != 0 && (c.Fail.Status < 400 || c.Fail.Status > 599):
		return fmt.Errorf("fail.status is 400 to 599")
	}
	return nil
}

// Control is what is set now.
func (s *Simulator) Control() Control {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.control.clone()
}

func (c Control) clone() Control {
	c.Hold = slices.Clone(c.Hold)
	if c.Fail != nil {
		f := *c.Fail
		c.Fail = &f
	}
	return c
}

// SetControl replaces all settings; the zero Control is good behavior.
func (s *Simulator) SetControl(c Control) error {
	if err := c.check(); err != nil {
		return err
	}
	s.mu.Lock()
	s.control = c.clone()
	s.mu.Unlock()
	s.poke()
	return nil
}

// misbehave does what Control has for this call. over: nothing more is to be done; after: the answer must get lost.
func (s *Simulator) misbehave(w http.ResponseWriter, r *http.Request) (after, over bool) {
	s.mu.Lock()
	slow := time.Duration(s.control.SlowMS) * time.Millisecond
	if !strings.HasPrefix(r.URL.Path, "/v1/") {
		slow = 0
	}
	var f Failure
	if p := s.control.Fail; p != nil && p.Times > 0 && strings.HasPrefix(r.URL.Path, "/v1/") && (p.Method == "" || p.Method == r.Method) && strings.HasPrefix(r.URL.Path, p.Path) {
		p.Times--
		f = *p
		f.Mode = cmp.Or(f.Mode, "status")
	}
	s.mu.Unlock()
	if slow > 0 {
		select {
		case <-time.After(slow):
		case <-r.Context().Done():
		}
	}
	switch f.Mode {
	case "drop":
		hangUp(w)
	case "garbage":
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<html><body>502 Bad Gateway"))
	case "status":
		f.Status = cmp.Or(f.Status, http.StatusInternalServerError)
		kind := "api_error"
		if f.Status == http.StatusTooManyRequests {
			kind = "invalid_request_error"
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(f.Status)
		_, _ = fmt.Fprintf(w, `{"error":{"type":%q,"message":"The simulator was told to fail this call."}}`, kind)
	case "drop_after":
		return true, false
	}
	return false, f.Mode != ""
}

// hangUp cuts the connection without an answer.
func hangUp(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = conn.Close()
		return
	}
	panic(http.ErrAbortHandler)
}

func (s *Simulator) serveControl(w http.ResponseWriter, r *http.Request) {
	switch r.Method {
	case http.MethodDelete:
		s.answerControl(w, s.SetControl(Control{}))
		return
	case http.MethodPatch, http.MethodPut:
		c := Control{}
		if r.Method == http.MethodPatch {
			c = s.Control()
		}
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		d.DisallowUnknownFields()
		err := d.Decode(&c)
		if err == nil {
			err = s.SetControl(c)
		}
		s.answerControl(w, err)
		return
	}
	s.answerControl(w, nil)
}

func (s *Simulator) answerControl(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	var out any = s.Control()
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		out = map[string]any{"error": faultBody{Type: "invalid_request_error", Message: err.Error()}}
	}
	_ = json.NewEncoder(w).Encode(out)
}

// waiting is an undelivered event as operators see it.
type waiting struct {
	Event    string    `json:"event"`
	Type     string    `json:"type"`
	Subject  string    `json:"subject"`
	Since    time.Time `json:"since"`
	Attempts int       `json:"attempts"`
	Error    string    `json:"error,omitempty"`
	Held     bool      `json:"held"`
}

// undelivered is the oldest n events that have not arrived.
func (s *Simulator) undelivered(n int) ([]waiting, error) {
	out := []waiting{}
	_, c, tries := s.sending()
	err := s.queue(func(q queued) bool {
		t := tries[q.seq]
		out = append(out, waiting{q.Event, q.Type, q.Subject, time.UnixMilli(q.At).UTC(), t.count, t.last, c.holds(q.Type)})
		return len(out) < n
	})
	return out, err
}

func (s *Simulator) serveUndelivered(w http.ResponseWriter, _ *http.Request) {
	list, err := s.undelivered(1000)
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"data": list})
}

func (s *Simulator) serveWebhookURL(w http.ResponseWriter, r *http.Request) {
	var in struct {
		URL string `json:"url"`
	}
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&in)
	if err == nil && in.URL != "" && !strings.HasPrefix(in.URL, "http://") && !strings.HasPrefix(in.URL, "https://") {
		err = fmt.Errorf("url must begin with http:// or https://")
	}
	if err == nil {
		err = s.SetWebhookURL(r.Context(), in.URL)
	}
	s.answerControl(w, err)
}

// serveIdle answers when nothing waits any more, or 504 after ten seconds.
func (s *Simulator) serveIdle(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	if err := s.Idle(ctx); err != nil {
		w.WriteHeader(http.StatusGatewayTimeout)
		return
	}
	s.answerControl(w, nil)
}

// controlPayout ends a payout: paid, failed, also one that was paid before.
func controlPayout(t *tx, r *request) (any, error) {
	fail, code := r.path("how") == "fail", r.str("code")
	if how := r.path("how"); how != "pay" && how != "fail" {
		return nil, newFault(http.StatusNotFound, "invalid_request_error", "", "A payout ends by pay or fail.")
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	if err := t.finishPayout(r, r.path("id"), code, fail); err != nil {
		return nil, err
	}
	return fetch[payout](t, r.account, "payout", r.path("id"))
}

// controlAccount sets what verification says of a connected account.
func controlAccount(t *tx, r *request) (any, error) {
	a, err := fetch[account](t, "", "account", r.path("id"))
	if err != nil {
		return nil, err
	}
	v := r.one("verification", string(verified), string(rejected), string(awaited))
	if err := r.done(); err != nil {
		return nil, err
	}
	a.set(verification(v))
	if err := t.update(a); err != nil {
		return nil, err
	}
	return a, t.emit(r, a.ID, "account.updated", a.ID, a, nil)
}

// controlTopUp adds to a balance from outside.
func controlTopUp(t *tx, r *request) (any, error) {
	amount, currency := r.amount("amount"), r.currency("currency")
	if err := r.done(); err != nil {
		return nil, err
	}
	if _, err := t.move(r, movement{owner: r.account, kind: "topup", category: "topup", source: newID("tu_"), currency: currency, amount: amount}); err != nil {
		return nil, err
	}
	return getBalance(t, r)
}

// controlObject changes an object by hand, as nothing at Stripe would: amount, status, or gone, after which nobody finds it. No money moves and
// no webhook tells of it.
func controlObject(t *tx, r *request) (any, error) {
	amount, changes := r.whole("amount")
	status, gone := r.str("status"), r.flag("gone")
	if err := r.done(); err != nil {
		return nil, err
	}
	rec, ok, err := t.record(r.path("id"))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, missing("object", r.path("id"))
	}
	var body map[string]any
	d := json.NewDecoder(bytes.NewReader(rec.Body))
	d.UseNumber()
	if err := d.Decode(&body); err != nil {
		return nil, err
	}
	if gone {
		t.delete(keyObject + r.path("id"))
		return body, nil
	}
	if changes {
		body["amount"] = amount
		if _, ok := body["amount_received"]; ok {
			body["amount_received"] = amount
		}
	}
	if status != "" {
		body["status"] = status
	}
	if rec.Body, err = json.Marshal(body); err != nil {
		return nil, err
	}
	return body, t.store(r.path("id"), rec)
}
