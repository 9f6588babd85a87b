package stripesim

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// request is what an endpoint sees of an HTTP request.
type request struct {
	*form
	id      string // Request-Id
	key     string // Idempotency-Key, empty when none counts
	account string // Stripe-Account, empty: the platform
	browser bool   // came with the publishable key
	base    string // the simulator's own address as the caller sees it
	now     int64  // unix seconds
	path    func(name string) string
	wake    bool // something became due that the loops should look at
}

// endpoint answers with an object or a list. It runs inside a transaction; on GET nothing it changes is kept.
type endpoint func(t *tx, r *request) (any, error)

// replay is the answer kept under an idempotency key.
type replay struct {
	Hash   string          `json:"hash"`
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`
	At     int64           `json:"at"`
}

const (
	keepReplays = 24 * time.Hour
	maxBody     = 1 << 20
)

// serve makes an endpoint a handler. A browser may call it only when browsers says so.
func (s *Simulator) serve(ep endpoint, browsers bool) http.HandlerFunc {
	return func(w http.ResponseWriter, hr *http.Request) {
		r := &request{id: newID("req_"), path: hr.PathValue, now: s.now().Unix(), base: base(hr)}
		h := w.Header()
		h.Set("Request-Id", r.id)
		h.Set("Stripe-Version", APIVersion)
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Expose-Headers", "Request-Id, Idempotent-Replayed")
		after, over := s.misbehave(w, hr)
		if over {
			return
		}
		status, body := s.answer(w, hr, r, ep, browsers)
		s.log.DebugContext(hr.Context(), "stripe simulator answered", "method", hr.Method, "path", hr.URL.Path, "status", status, "request", r.id)
		if after {
			hangUp(w)
			return
		}
		h.Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(body) // a caller that has gone needs no answer
	}
}

func (s *Simulator) answer(w http.ResponseWriter, hr *http.Request, r *request, ep endpoint, browsers bool) (int, []byte) {
	values, err := parse(w, hr)
	if err != nil {
		return s.encode(r, nil, err)
	}
	r.form = newForm(values)
	if err := s.authorize(hr, r, browsers); err != nil {
		return s.encode(r, nil, err)
	}
	r.account = hr.Header.Get("Stripe-Account")
	if hr.Method == http.MethodGet {
		status, body := 0, []byte(nil)
		err := s.store.view(func(t *tx) error {
			out, err := s.run(t, r, ep)
			status, body = s.encode(r, out, err)
			return nil
		})
		if err != nil {
			return s.encode(r, nil, err)
		}
		return status, body
	}
	r.key = hr.Header.Get("Idempotency-Key")
	if len(r.key) > 255 {
		return s.encode(r, nil, invalid("", "", "Idempotency keys have at most 255 characters."))
	}
	return s.change(w, hr, r, ep, values)
}

// change runs an endpoint that writes, once per idempotency key.
func (s *Simulator) change(w http.ResponseWriter, hr *http.Request, r *request, ep endpoint, values url.Values) (int, []byte) {
	slot := keyReplay + r.account + "\x00" + r.key
	if r.key != "" {
		w.Header().Set("Idempotency-Key", r.key)
		if !s.enter(slot) {
			f := newFault(http.StatusConflict, "idempotency_error", "idempotency_key_in_use", "There is currently another in-progress request using this Idempotent Key. Please try again later.")
			return s.encode(r, nil, f)
		}
		defer s.leave(slot)
	}
	sum := sha256.Sum256([]byte(hr.Method + " " + hr.URL.Path + "\n" + values.Encode()))
	hash := hex.EncodeToString(sum[:])
	var status int
	var body []byte
	err := s.store.write(hr.Context(), func(t *tx) error {
		if old, ok := t.replay(slot, r.now); r.key != "" && ok {
			if old.Hash != hash {
				f := newFault(http.StatusBadRequest, "idempotency_error", "", "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key other than '"+clip(r.key)+"' if you meant to execute a different request.")
				status, body = s.encode(r, nil, f)
				return nil
			}
			w.Header().Set("Idempotent-Replayed", "true")
			status, body = old.Status, old.Body
			return nil
		}
		out, err := s.run(t, r, ep)
		f, isFault := errors.AsType[*fault](err)
		if err != nil && (!isFault || !f.kept) {
			t.discard()
		}
		status, body = s.encode(r, out, err)
		if r.key != "" && (err == nil || isFault && f.stored) {
			return t.remember(slot, replay{Hash: hash, Status: status, Body: body, At: r.now})
		}
		return nil
	})
	if err != nil {
		return s.encode(r, nil, err)
	}
	if r.wake {
		s.poke()
	}
	return status, body
}

// run calls ep and expands its answer while the transaction is open.
func (s *Simulator) run(t *tx, r *request, ep endpoint) (any, error) {
	if r.account != "" {
		if _, err := fetch[account](t, "", "account", r.account); err != nil {
			return nil, newFault(http.StatusForbidden, "invalid_request_error", "account_invalid", "The provided key does not have access to account '"+clip(r.account)+"' (or that account does not exist).")
		}
	}
	expand := r.list("expand")
	out, err := ep(t, r)
	if err != nil {
		return nil, err
	}
	tree, err := t.render(out, expand)
	if err != nil {
		return nil, err
	}
	if r.browser {
		tree = forBrowser(tree)
	}
	return tree, nil
}

func (s *Simulator) encode(r *request, out any, err error) (int, []byte) {
	status := http.StatusOK
	if err != nil {
		f, ok := errors.AsType[*fault](err)
		if !ok {
			s.log.Error("stripe simulator failed", "request", r.id, "error", err)
			f = newFault(http.StatusInternalServerError, "api_error", "", "An unknown error occurred.")
		}
		status, out = f.status, map[string]any{"error": f.body}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(out); err != nil {
		return http.StatusInternalServerError, []byte(`{"error":{"type":"api_error","message":"An unknown error occurred."}}`)
	}
	return status, bytes.TrimSpace(b.Bytes())
}

func (s *Simulator) enter(slot string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy[slot] {
		return false
	}
	s.busy[slot] = true
	return true
}

func (s *Simulator) leave(slot string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, slot)
}

// authorize wants the secret key, or the publishable one where browsers may call.
func (s *Simulator) authorize(hr *http.Request, r *request, browsers bool) error {
	key := bearer(hr)
	if key == "" {
		key = r.str("key")
	}
	r.seen["key"] = true
	switch {
	case same(key, s.o.SecretKey):
		return nil
	case same(key, s.o.PublishableKey) && browsers:
		r.browser = true
		return nil
	case same(key, s.o.PublishableKey):
		return newFault(http.StatusForbidden, "invalid_request_error", "secret_key_required", "This API call cannot be made with a publishable API key. Please use a secret API key.")
	case key == "":
		return newFault(http.StatusUnauthorized, "invalid_request_error", "", "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth.")
	}
	return newFault(http.StatusUnauthorized, "invalid_request_error", "", "Invalid API Key provided.")
}

func bearer(r *http.Request) string {
	if user, _, ok := r.BasicAuth(); ok {
		return user
	}
	kind, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(kind, "Bearer") {
		return ""
	}
	return key
}

func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func parse(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if err := r.ParseForm(); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, newFault(http.StatusRequestEntityTooLarge, "invalid_request_error", "", "The request is too large.")
		}
		return nil, invalid("", "", "The request's parameters could not be parsed.")
	}
	return r.Form, nil
}

func base(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

func (t *tx) replay(slot string, now int64) (replay, bool) {
	var old replay
	b := t.get(slot)
	if b == nil || json.Unmarshal(b, &old) != nil {
		return old, false
	}
	return old, now-old.At < int64(keepReplays/time.Second)
}

func (t *tx) remember(slot string, a replay) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	t.put(slot, b)
	t.put(keyReplayAt+ordered(uint64(a.At))+slot, []byte{})
	return nil
}
