package auth_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api/apitest"
	"tulifo/platform/audit"
	"tulifo/platform/clock"
	"tulifo/platform/errs"
	"tulifo/platform/kv"
	"tulifo/platform/outbox"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/token"
	"tulifo/services/auth"
)

const (
	password = "a long walk in the rain"
	patience = 30 * time.Second // with an outcome
)

// world is the service on a database of its own, with a system time that the test moves.
type world struct {
	*apitest.Server
	t      *testing.T
	db     *postgres.DB
	auth   *auth.Service
	shared *kv.Memory
	cfg    auth.Config
	ahead  atomic.Int64
}

func start(t *testing.T, change ...func(*auth.Config)) *world {
	t.Helper()
	t.Parallel()
	return startAlone(t, change...)
}

func startAlone(t *testing.T, change ...func(*auth.Config)) *world {
	t.Helper()
	w := &world{t: t}
	url := pgtest.Database(t, auth.Migration(), outbox.Migration("tulifo_auth"), audit.Migration("tulifo_auth"))
	w.db = pgtest.Open(t, url, "tulifo_auth")
	cfg := auth.Config{
		PublicURL: "http://tulifo.test", RefreshSecret: strings.Repeat("test-refresh-", 3), BcryptCost: 4,
		HashQueue: 64, DeviceFailures: 5, OthersFailures: 10, IPFailures: 30, ProviderTimeout: 5 * time.Second,
		Now: func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) },
	}
	for _, c := range change {
		c(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	w.cfg = cfg
	keys, revoked := apitest.Keys(t), token.NewRevocations()
	w.shared = kv.NewMemory(1000)
	w.auth = auth.New(w.db, clock.System, keys, revoked, w.shared, peer.New("auth", keys, nil, nil), cfg)
	w.Server = apitest.New(t, apitest.Options{Service: "auth", Register: w.auth.Routes, DB: w.db, Keys: keys, Revocations: revoked})
	return w
}

func (w *world) pass(d time.Duration) { w.ahead.Add(int64(d)) }

type session struct {
	User         auth.User
	AccessToken  string
	RefreshToken string
	ExpiresIn    int
	cookies      http.Header
}

func (w *world) register(email string) session {
	w.t.Helper()
	return w.session(w.Call(apitest.Call{What: "register", Path: "/api/auth/register", Status: 201, Body: map[string]string{
		"email": email, "password": password, "name": "Ada Lovelace", "role": "worker",
	}}))
}

func (w *world) session(a apitest.Answer) session {
	w.t.Helper()
	s := session{cookies: a.Header}
	a.Data(&s)
	return s
}

// login signs in and answers whatever comes; device is a device cookie or empty.
func (w *world) login(email, pass, device string) apitest.Answer {
	h := map[string]string{}
	if device != "" {
		h["Cookie"] = "tulifo_device=" + device
	}
	return w.Do(apitest.Call{What: "login", Path: "/api/auth/login", Header: h, Body: map[string]string{"email": email, "password": pass}})
}

func (w *world) refresh(tok string) apitest.Answer {
	return w.Do(apitest.Call{What: "refresh", Path: "/api/auth/refresh", Body: map[string]string{"refreshToken": tok}})
}

func (w *world) service(what, method, path string, body any, status int) apitest.Answer {
	w.t.Helper()
	by := "user"
	if strings.HasSuffix(path, "/url") {
		by = "notification"
	}
	return w.Call(apitest.Call{What: what, As: w.ServiceToken(by, "auth"), Method: method, Path: path, Body: body, Status: status})
}

// events are the data of what was told of a type, in order.
func (w *world) events(kind string) []map[string]any {
	w.t.Helper()
	rows, err := postgres.All[string](w.t.Context(), w.db, `SELECT data::text FROM outbox WHERE type = $1 ORDER BY seq`, kind)
	if err != nil {
		w.t.Fatal(err)
	}
	out := make([]map[string]any, len(rows))
	for i, raw := range rows {
		if err := json.Unmarshal([]byte(raw), &out[i]); err != nil {
			w.t.Fatal(err)
		}
	}
	return out
}

func (w *world) count(sql string, args ...any) int64 {
	w.t.Helper()
	n, err := postgres.One[int64](w.t.Context(), w.db, sql, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// link is the path of the newest link of a purpose, as notification would ask for it.
func (w *world) link(purpose string) string {
	w.t.Helper()
	id, err := postgres.One[uuid.UUID](w.t.Context(), w.db, `SELECT id FROM links WHERE purpose = $1 ORDER BY id DESC LIMIT 1`, purpose)
	if err != nil {
		w.t.Fatal(err)
	}
	var l auth.LinkURL
	w.service("the link of a mail", "GET", "/api/auth/links/"+id.String()+"/url", nil, 200).Data(&l)
	path, ok := strings.CutPrefix(l.URL, "http://tulifo.test")
	if !ok || l.Purpose != purpose {
		w.t.Fatalf("link %+v, want one of %s at PUBLIC_URL", l, purpose)
	}
	return path
}

// wait returns when something has become so.
func wait(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick, end := time.NewTicker(2*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for !so() {
		select {
		case <-end:
			t.Fatalf("%s: not so", what)
		case <-tick.C:
		}
	}
}

// clean fails the test when an invariant does not hold.
func (w *world) clean() {
	w.t.Helper()
	if err := audit.Flush(w.t.Context(), w.db); err != nil {
		w.t.Error(err)
	}
	if broken, err := audit.Verify(w.t.Context(), w.db); err != nil || len(broken) > 0 {
		w.t.Errorf("the audit log: %v %v", broken, err)
	}
	breaches, err := w.auth.Check(w.t.Context())
	if err != nil || len(breaches) > 0 {
		w.t.Errorf("check: %v %v", breaches, err)
	}
}

// together runs fn n times at once.
func together(n int, fn func(i int)) {
	var ready, all sync.WaitGroup
	ready.Add(1)
	for i := range n {
		all.Go(func() {
			ready.Wait()
			fn(i)
		})
	}
	ready.Done()
	all.Wait()
}

// statuses are how many of n requests at once were answered with which status.
func statuses(n int, fn func(i int) apitest.Answer) map[int]int {
	var mu sync.Mutex
	out := map[int]int{}
	together(n, func(i int) {
		a := fn(i)
		mu.Lock()
		defer mu.Unlock()
		out[a.Status]++
	})
	return out
}

func cookie(h http.Header, name string) *http.Cookie {
	for _, line := range h.Values("Set-Cookie") {
		if c, err := http.ParseSetCookie(line); err == nil && c.Name == name {
			return c
		}
	}
	return nil
}

func TestRegister(t *testing.T) {
	w := start(t)
	s := w.register("Ada@Example.com")
	if s.User.Email != "Ada@Example.com" || s.User.Role != "worker" || s.User.EmailVerified || s.ExpiresIn != 900 {
		t.Errorf("registered %+v", s)
	}
	w.Call(apitest.Call{What: "me", As: s.AccessToken, Path: "/api/auth/me", Status: 200, Has: `"email":"Ada@Example.com"`, HasNot: "$2a$"})
	if e := w.events("user.created"); len(e) != 1 || e[0]["userId"] != s.User.ID.String() || e[0]["linkId"] == uuid.Nil.String() {
		t.Errorf("events %v", e)
	}
	with := func(change map[string]any) map[string]any {
		body := map[string]any{"email": "new@example.com", "password": password, "name": "New", "role": "client"}
		for k, v := range change {
			if body[k] = v; v == nil {
				delete(body, k)
			}
		}
		return body
	}
	for _, c := range []apitest.Call{
		{What: "the same address in another case", Body: with(map[string]any{"email": "ada@EXAMPLE.com"}), Status: 409, Has: "email_taken"},
		{What: "admin cannot be registered", Body: with(map[string]any{"role": "admin"}), Status: 422, Has: "role"},
		{What: "nor support", Body: with(map[string]any{"role": "support"}), Status: 422},
		{What: "a role is needed", Body: with(map[string]any{"role": nil}), Status: 422},
		{What: "no field of the server's", Body: with(map[string]any{"emailVerified": true}), Status: 422},
		{What: "no address", Body: with(map[string]any{"email": "ada"}), Status: 422, Has: "email", HasNot: `"ada"`},
		{What: "an address with a line break", Body: with(map[string]any{"email": "a@b.example\r\nBcc: c@d.example"}), Status: 422},
		{What: "an address with a zero byte", Body: with(map[string]any{"email": "a\x00@b.example"}), Status: 422},
		{What: "an address that looks like another", Body: with(map[string]any{"email": "\u212a@b.example"}), Status: 422},
		{What: "a name with a zero byte", Body: with(map[string]any{"name": "a\x00b"}), Status: 422},
		{What: "a name that shows as another", Body: with(map[string]any{"name": "Ada\u202etroppus"}), Status: 422, Has: "readable"},
		{What: "a name of signs", Body: with(map[string]any{"name": "\u200b..."}), Status: 422, Has: "must have a letter"},
		{What: "a blank name", Body: with(map[string]any{"name": "   "}), Status: 422},
		{What: "seven characters", Body: with(map[string]any{"password": "äöüäöü1"}), Status: 422, Has: "at least 8 characters"},
		{What: "73 bytes", Body: with(map[string]any{"password": strings.Repeat("x1", 36) + "y"}), Status: 422, Has: "at most 72 bytes", HasNot: "x1x1"},
		{What: "37 characters of 74 bytes", Body: with(map[string]any{"password": strings.Repeat("äß", 18) + "ö"}), Status: 422, Has: "at most 72 bytes"},
		{What: "a zero byte, after which bcrypt begins again", Body: with(map[string]any{"password": "a long walk\x00a long walk"}), Status: 422},
		{What: "bytes that are not UTF-8", Body: `{"email":"new@example.com","name":"New","role":"client","password":"abcdefgh` + "\xff" + `"}`, Status: 422},
		{What: "a common password", Body: with(map[string]any{"password": "PassWord1"}), Status: 422, Has: "first that anybody"},
		{What: "the address", Body: with(map[string]any{"password": "NEW@example.com"}), Status: 422, Has: "first that anybody"},
		{What: "no JSON", Body: "{", Status: 400},
		{What: "not an object", Body: "[]", Status: 422},
		{What: "72 bytes are fine", Body: with(map[string]any{"password": strings.Repeat("x1", 36)}), Status: 201},
		{What: "spaces are part of it", Body: with(map[string]any{"email": "sp@example.com", "password": "  spaced out  "}), Status: 201},
	} {
		c.Path = "/api/auth/register"
		w.Call(c)
	}
	if a := w.login("sp@example.com", "spaced out", ""); a.Status != 401 {
		t.Errorf("trimmed password: %d", a.Status)
	}
	if a := w.login("SP@example.com", "  spaced out  ", ""); a.Status != 200 {
		t.Errorf("its own password, address in another case: %d", a.Status)
	}
	w.clean()
}

func TestRegisterOneAddressAtOnce(t *testing.T) {
	w := start(t)
	got := statuses(16, func(int) apitest.Answer {
		return w.Do(apitest.Call{Path: "/api/auth/register", Body: map[string]string{"email": "one@example.com", "password": password, "name": "One", "role": "client"}})
	})
	if !maps.Equal(got, map[int]int{201: 1, 409: 15}) {
		t.Errorf("answered %v", got)
	}
	w.clean()
}

func TestLogin(t *testing.T) {
	w := start(t)
	s := w.register("ada@example.com")
	for _, c := range []struct {
		what, email, pass string
		status            int
	}{
		{"the right one", "ada@example.com", password, 200},
		{"a wrong one", "ada@example.com", "something else", 401},
		{"nobody's address", "eve@example.com", password, 401},
		{"an empty one", "ada@example.com", "", 401},
		{"more than bcrypt reads", "ada@example.com", strings.Repeat("x", 73), 422},
		{"not an address", "' OR 1=1 --", password, 422},
		{"an empty one of nobody", "eve@example.com", "", 401},
	} {
		if a := w.login(c.email, c.pass, ""); a.Status != c.status {
			t.Errorf("%s: %d, want %d: %s", c.what, a.Status, c.status, a.Body)
		}
	}
	for _, tok := range []string{s.RefreshToken, "e30.e30.", "eyJhbGciOiJub25lIn0." + strings.Split(s.AccessToken, ".")[1] + ".", w.ServiceToken("user", "auth"), w.ServiceToken("user", "booking")} {
		if a := w.Do(apitest.Call{Path: "/api/auth/me", As: tok}); a.Status != 401 && a.Status != 403 {
			t.Errorf("token %.12s… let in: %d", tok, a.Status)
		}
	}
	if a := w.refresh(s.AccessToken); a.Status != 401 {
		t.Errorf("access token as refresh token: %d", a.Status)
	}
	w.clean()
}

// Known and unknown addresses must not be told apart by what is answered or by the work that is done.
func TestEnumeration(t *testing.T) {
	w := start(t, func(c *auth.Config) { c.IPFailures = 1000 })
	w.register("ada@example.com")
	ask := func(path, email string, body map[string]string) (apitest.Answer, int64) {
		body["email"] = email
		var a apitest.Answer
		n := pgtest.Trips(w.db, func() { a = w.Do(apitest.Call{Path: path, Body: body}) })
		return a, n
	}
	for _, path := range []string{"/api/auth/login", "/api/auth/forgot-password", "/api/auth/verify-email"} {
		body := map[string]string{}
		if path == "/api/auth/login" {
			body["password"] = "not the right one"
		}
		for range 14 { // beyond the limits of login and mail
			known, n := ask(path, "ada@example.com", body)
			unknown, m := ask(path, "eve@example.com", body)
			if known.Status != unknown.Status || n != m || n > 2 {
				t.Errorf("%s: %d in %d trips for a known address, %d in %d for an unknown one", path, known.Status, n, unknown.Status, m)
			}
			strip := func(a apitest.Answer) string {
				var v map[string]any
				json.Unmarshal(a.Body, &v)
				delete(v, "requestId")
				raw, _ := json.Marshal(v)
				return string(raw)
			}
			if strip(known) != strip(unknown) {
				t.Errorf("%s: %s and %s", path, known.Body, unknown.Body)
			}
		}
	}
}

func TestLoginTrips(t *testing.T) {
	w := start(t)
	s := w.register("ada@example.com")
	for _, c := range []struct {
		what string
		most int64
		fn   func()
	}{
		{"a login", 2, func() { w.login("ada@example.com", password, "") }},
		{"a failed login", 2, func() { w.login("ada@example.com", "wrong", "") }},
		{"a refresh", 1, func() { s = w.session(w.refresh(s.RefreshToken)) }},
		{"me", 1, func() { w.Do(apitest.Call{As: s.AccessToken, Path: "/api/auth/me"}) }},
		{"devices", 1, func() { w.Do(apitest.Call{As: s.AccessToken, Path: "/api/auth/sessions"}) }},
		{"logout", 2, func() { w.Do(apitest.Call{As: s.AccessToken, Method: "POST", Path: "/api/auth/logout"}) }},
	} {
		if n := pgtest.Trips(w.db, c.fn); n > c.most {
			t.Errorf("%s: %d round trips, want at most %d", c.what, n, c.most)
		}
	}
}

func TestOperator(t *testing.T) {
	w := start(t)
	ctx := t.Context()
	admin, err := w.auth.CreateAdmin(ctx, "root@example.com", "Root", "admin", password)
	if err != nil || !admin.EmailVerified {
		t.Fatalf("%+v %v", admin, err)
	}
	for what, create := range map[string]func() error{
		"the address again": func() error {
			_, err := w.auth.CreateAdmin(ctx, "ROOT@example.com", "Root", "admin", password)
			return err
		},
		"a worker": func() error { _, err := w.auth.CreateAdmin(ctx, "w@example.com", "W", "worker", password); return err },
		"a weak password": func() error {
			_, err := w.auth.CreateAdmin(ctx, "w@example.com", "W", "admin", "password1")
			return err
		},
		"role service":  func() error { return w.auth.ChangeRole(ctx, admin.ID, "service") },
		"nobody's role": func() error { return w.auth.ChangeRole(ctx, uuid.New(), "admin") },
	} {
		if create() == nil {
			t.Errorf("%s was accepted", what)
		}
	}
	s := w.session(w.login("root@example.com", password, ""))
	if s.User.Role != "admin" {
		t.Errorf("signed in as %+v", s.User)
	}
	if err := w.auth.ChangeRole(ctx, admin.ID, "support"); errs.KindOf(err) != errs.Conflict {
		t.Errorf("the only administrator's role was taken: %v", err)
	}
	if _, err := w.auth.CreateAdmin(ctx, "next@example.com", "Next", "admin", password); err != nil {
		t.Fatal(err)
	}
	if err := w.auth.ChangeRole(ctx, admin.ID, "support"); err != nil {
		t.Fatal(err)
	}
	w.Call(apitest.Call{What: "a token of the old role", As: s.AccessToken, Path: "/api/auth/me", Status: 401})
	if s := w.session(w.login("root@example.com", password, "")); s.User.Role != "support" {
		t.Errorf("signed in as %+v", s.User)
	}
	if e := w.events("user.role_changed"); len(e) != 1 || e[0]["role"] != "support" {
		t.Errorf("events %v", e)
	}
	w.clean()
}

// The accounts of a demo go into an empty platform only.
func TestSeed(t *testing.T) {
	w, ctx := start(t), t.Context()
	hash, err := w.auth.Hash(ctx, "for all of the demo")
	if err != nil {
		t.Fatal(err)
	}
	var crowd []auth.SeedUser
	for range 450 {
		id := uuid.New()
		crowd = append(crowd, auth.SeedUser{ID: id, Email: id.String() + "@demo.example", Name: "Somebody", Role: "worker", Verified: true})
	}
	if err := w.auth.Seed(ctx, crowd, hash); err != nil {
		t.Fatal(err)
	}
	if s := w.session(w.login(crowd[449].Email, "for all of the demo", "")); s.User.ID != crowd[449].ID {
		t.Errorf("signed in as %+v", s.User)
	}
	if n := len(w.events("user.created")); n != 450 {
		t.Errorf("user.created told %d times", n)
	}
	other := []auth.SeedUser{{ID: uuid.New(), Email: "late@demo.example", Name: "Late", Role: "client", Verified: true}}
	if err := w.auth.Seed(ctx, other, hash); errs.KindOf(err) != errs.Conflict {
		t.Errorf("seeded where there were accounts: %v", err)
	}
	w.clean()
}

// Run sweeps what is long over, and nothing else, and ends with its context.
func TestRun(t *testing.T) {
	w := start(t)
	s := w.register("ada@example.com")
	w.login("ada@example.com", "wrong one", "")
	w.Call(apitest.Call{What: "logout", As: s.AccessToken, Method: "POST", Path: "/api/auth/logout", Status: 200})
	left := func() int64 {
		return w.count(`SELECT (SELECT count(*) FROM sessions) + (SELECT count(*) FROM links) + (SELECT count(*) FROM attempts) + (SELECT count(*) FROM revoked_sessions)`)
	}
	run := func(want int64) {
		t.Helper()
		// One more, which is over: the sweep is one transaction, so when this is gone, all is that goes.
		if _, err := w.db.Exec(t.Context(), `INSERT INTO attempts (key, n, until) VALUES ('over', 1, $1)`, w.cfg.Now().Add(-time.Minute)); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- w.auth.Run(ctx) }()
		wait(t, "the sweep", func() bool { return w.count(`SELECT count(*) FROM attempts WHERE key = 'over'`) == 0 })
		if n := left(); n != want {
			t.Errorf("%d rows left, want %d", n, want)
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	run(5) // session, link, the counters of an address and an account, revocation
	w.pass(time.Hour)
	run(2)
	w.pass(40 * 24 * time.Hour)
	run(0)
	w.clean()
}

// What is revoked is copied at once to where other processes look.
func TestRevocationsAreCopied(t *testing.T) {
	w := start(t)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.auth.Run(ctx) }()
	elsewhere := token.NewRevocations()
	go elsewhere.Look(ctx, slog.New(slog.DiscardHandler), w.shared)
	s := w.register("ada@example.com")
	for range 3 {
		caller, err := apitest.Keys(t).Verify(s.AccessToken)
		if err != nil {
			t.Fatal(err)
		}
		if elsewhere.Has(caller.Session) {
			t.Fatal("somebody who is signed in is signed out elsewhere")
		}
		w.Call(apitest.Call{What: "logout", As: s.AccessToken, Method: "POST", Path: "/api/auth/logout", Status: 200})
		wait(t, "a sign-out is copied", func() bool { return elsewhere.Has(caller.Session) })
		w.login("ada@example.com", password, "").Data(&s)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	w.clean()
}

// Whatever comes as a token, it is refused before anything is asked of the database, of which there is none here.
func FuzzTokens(f *testing.F) {
	s := alone(f)
	for _, seed := range []string{"", "x", strings.Repeat("A", 64), strings.Repeat("A", 86), strings.Repeat("_", 86), "..", "\x00", "%00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if _, err := s.Refresh(t.Context(), auth.Visitor{}, raw); errs.KindOf(err) != errs.Unauthorized {
			t.Errorf("refresh token %q: %v", raw, err)
		}
		if _, err := s.Press(t.Context(), raw, password); errs.KindOf(err) != errs.NotFound {
			t.Errorf("link %q: %v", raw, err)
		}
	})
}

func TestOpenAPI(t *testing.T) {
	w := start(t)
	var doc struct {
		Paths map[string]map[string]map[string]any
	}
	a := w.Call(apitest.Call{What: "the document", Path: "/openapi.json", Status: 200})
	if err := json.Unmarshal(a.Body, &doc); err != nil {
		t.Fatal(err)
	}
	n := 0
	for path, methods := range doc.Paths {
		for method, op := range methods {
			n++
			if op["x-authz"] == nil || op["summary"] == "" {
				t.Errorf("%s %s does not say who may call it or what it does", method, path)
			}
		}
	}
	if n < 25 {
		t.Errorf("%d operations, want 25 and more", n)
	}
}
