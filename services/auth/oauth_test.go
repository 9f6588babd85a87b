package auth_test

import (
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
	"tulifo/services/auth"
)

// browser is one that signs in with a provider.
type browser struct {
	w    *world
	flow string // its cookie of the sign-in that is under way
	at   string // where the provider is
}

// begin starts a sign-in and answers where the browser is sent.
func (w *world) begin(provider, query string) browser {
	w.t.Helper()
	a := w.Call(apitest.Call{What: "begin", Path: "/api/auth/oauth/" + provider + "?" + query, Status: 302})
	b := browser{w: w, at: a.Header.Get("Location")}
	if c := cookie(a.Header, "tulifo_oauth"); c != nil && c.HttpOnly && c.SameSite == http.SameSiteLaxMode {
		b.flow = c.Value
	} else {
		w.t.Errorf("the sign-in is not bound to the browser: %v", a.Header)
	}
	return b
}

// back comes back from the provider; header is added.
func (b browser) back(provider string, q url.Values, header map[string]string) apitest.Answer {
	h := map[string]string{"Cookie": "tulifo_oauth=" + b.flow}
	for k, v := range header {
		h[k] = v
	}
	return b.w.Do(apitest.Call{What: "come back", Path: "/api/auth/oauth/" + provider + "/callback?" + q.Encode(), Header: h})
}

var asJSON = map[string]string{"Accept": "application/json"}

// with signs subject in with the provider, as a client that reads JSON.
func (w *world) with(p *idp, subject, role string) apitest.Answer {
	w.t.Helper()
	b := w.begin("google", "role="+role)
	return b.back("google", p.visit(b.at, subject), asJSON)
}

func TestSignInWithGoogle(t *testing.T) {
	w, p, _ := withProviders(t)
	p.has(account{"g-1", "Ada@Example.com", "Ada Lovelace", true})
	w.Call(apitest.Call{What: "with whom", Path: "/api/auth/oauth", Status: 200, Has: `{"providers":["google","github"]}`})
	if a := w.with(p, "g-1", ""); a.Status != 422 || a.Code() != "role_needed" {
		t.Errorf("nobody's account without a role: %v", a)
	}
	b := w.begin("google", "role=worker&next=/worker/jobs?tab=new")
	a := b.back("google", p.visit(b.at, "g-1"), nil)
	if a.Status != 302 || a.Header.Get("Location") != "http://tulifo.test/worker/jobs?tab=new" {
		t.Fatalf("%v %v", a, a.Header)
	}
	if strings.Contains(string(a.Body), "oken") || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("tokens in a browser's answer: %v %v", a, a.Header)
	}
	access, gone := cookie(a.Header, api.AccessCookie), cookie(a.Header, "tulifo_oauth")
	if access == nil || !access.HttpOnly || access.Secure || cookie(a.Header, api.RefreshCookie) == nil || cookie(a.Header, "tulifo_device") == nil || gone == nil || gone.MaxAge >= 0 {
		t.Fatalf("cookies %v", a.Header.Values("Set-Cookie"))
	}
	w.Call(apitest.Call{What: "signed in", Path: "/api/auth/me", Header: map[string]string{"Cookie": api.AccessCookie + "=" + access.Value}, Status: 200, Has: `"email":"Ada@Example.com"`})
	if e := w.events("user.created"); len(e) != 1 || e[0]["role"] != "worker" || e[0]["verified"] != true || e[0]["name"] != "Ada Lovelace" {
		t.Errorf("events %v", e)
	}
	p.has(account{"g-1", "other@example.com", "Another Name", false})
	s := w.session(w.with(p, "g-1", "client"))
	if s.User.Email != "Ada@Example.com" || s.User.Role != "worker" || !s.User.EmailVerified || s.RefreshToken == "" {
		t.Errorf("the same account, whatever the provider says now: %+v", s)
	}
	var list struct{ Identities []auth.Identity }
	w.Call(apitest.Call{What: "my providers", As: s.AccessToken, Path: "/api/auth/identities", Status: 200, HasNot: "g-1"}).Data(&list)
	if len(list.Identities) != 1 || list.Identities[0].Provider != "google" || list.Identities[0].Email != "Ada@Example.com" {
		t.Errorf("identities %+v", list)
	}
	w.Call(apitest.Call{What: "the last way in stays", As: s.AccessToken, Method: "DELETE", Path: "/api/auth/identities/google", Status: 409, Has: "last_sign_in"})
	for range 2 {
		for _, pass := range []string{"", password} {
			if a := w.login("ada@example.com", pass, ""); a.Status != 401 || a.Code() != "invalid_credentials" {
				t.Errorf("a password where there is none: %v", a)
			}
		}
	}
	if n := w.count(`SELECT count(*) FROM users`); n != 1 {
		t.Errorf("%d accounts", n)
	}
	w.clean()
}

func TestSignInWithGitHub(t *testing.T) {
	w, _, h := withProviders(t)
	come := func(u hubUser, role string) apitest.Answer {
		t.Helper()
		h.mu.Lock()
		h.as, h.users[u.id] = u.id, u
		h.mu.Unlock()
		b := w.begin("github", "role="+role)
		to := redirected(t, b.at)
		if !strings.HasPrefix(to.String(), "http://tulifo.test/api/auth/oauth/github/callback?") {
			t.Fatal(to)
		}
		return b.back("github", to.Query(), asJSON)
	}
	mail := func(email string, primary, verified bool) map[string]any {
		return map[string]any{"email": email, "primary": primary, "verified": verified, "visibility": nil}
	}
	s := w.session(come(hubUser{42, "ada", "", []map[string]any{mail("old@example.com", false, true), mail("ada@example.com", true, true)}}, "client"))
	if s.User.Email != "ada@example.com" || s.User.Name != "ada" || s.User.Role != "client" {
		t.Errorf("signed in %+v", s.User)
	}
	again := w.session(come(hubUser{42, "renamed", "Ada", nil}, ""))
	if again.User.ID != s.User.ID {
		t.Errorf("another account: %+v", again.User)
	}
	for what, emails := range map[string][]map[string]any{
		"an unverified primary address": {mail("eve@example.com", true, false), mail("second@example.com", false, true)},
		"no primary address":            {mail("second@example.com", false, true)},
		"no address":                    {},
	} {
		if a := come(hubUser{43, "eve", "Eve", emails}, "worker"); a.Status != 403 || a.Code() != "provider_email_unverified" {
			t.Errorf("%s: %v", what, a)
		}
	}
	if n := w.count(`SELECT count(*) FROM users`); n != 1 {
		t.Errorf("%d accounts", n)
	}
	w.clean()
}

func TestSignInIsBoundToItsBrowserAndGoodOnce(t *testing.T) {
	w, p, _ := withProviders(t)
	p.has(account{"g-1", "ada@example.com", "Ada", true})
	b := w.begin("google", "role=client")
	q := p.visit(b.at, "g-1")
	spoilt := func(name, value string) url.Values {
		c := url.Values{}
		for k, v := range q {
			c[k] = v
		}
		if c.Set(name, value); value == "" {
			c.Del(name)
		}
		return c
	}
	other := w.begin("google", "role=client")
	for what, a := range map[string]apitest.Answer{
		"no state":                  b.back("google", spoilt("state", ""), asJSON),
		"another state":             b.back("google", spoilt("state", "x"), asJSON),
		"another browser":           other.back("google", q, asJSON),
		"no cookie":                 browser{w: w}.back("google", q, asJSON),
		"a cookie that was changed": browser{w: w, flow: b.flow[:len(b.flow)-2] + "AA"}.back("google", q, asJSON),
		"a cookie of another place": b.back("github", q, asJSON),
		"the name of the bound one": browser{w: w, flow: "x; __Host-tulifo_oauth=" + b.flow}.back("google", q, asJSON),
	} {
		if a.Status != 403 || a.Code() != "state_invalid" {
			t.Errorf("%s: %v", what, a)
		}
	}
	var ok, used atomic.Int32
	together(8, func(int) {
		switch a := b.back("google", q, asJSON); {
		case a.Status == 200:
			ok.Add(1)
		case a.Status == 409 && a.Code() == "state_used":
			used.Add(1)
		default:
			t.Errorf("%v", a)
		}
	})
	if ok.Load() != 1 || used.Load() != 7 {
		t.Errorf("%d signed in and %d were refused of 8 callbacks at once", ok.Load(), used.Load())
	}
	stolen := other.back("google", url.Values{"state": {mustState(t, other.at)}, "code": q["code"]}, asJSON)
	if stolen.Status != 409 || stolen.Code() != "sign_in_used" {
		t.Errorf("a code of another sign-in: %v", stolen)
	}
	late := w.begin("google", "role=client")
	q = p.visit(late.at, "g-1")
	w.pass(10 * time.Minute)
	if a := late.back("google", q, asJSON); a.Status != 403 || a.Code() != "state_invalid" {
		t.Errorf("too late: %v", a)
	}
	no := w.begin("google", "role=client")
	if a := no.back("google", url.Values{"state": {mustState(t, no.at)}, "error": {"access_denied"}}, nil); a.Status != 403 || !strings.Contains(string(a.Body), "You were not signed in there") || !strings.Contains(a.Header.Get("Content-Type"), "text/html") {
		t.Errorf("who says no gets a page: %v", a)
	}
	w.clean()
}

func mustState(t *testing.T, at string) string {
	u, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get("state")
}

// A code that was made for another sign-in has another verifier, so that one who slips his own code to somebody gets nowhere.
func TestCodeOfAnotherSignIn(t *testing.T) {
	w, p, _ := withProviders(t)
	p.has(account{"eve", "eve@example.com", "Eve", true})
	mine, his := w.begin("google", "role=client"), w.begin("google", "role=client")
	code := p.visit(his.at, "eve").Get("code")
	if a := mine.back("google", url.Values{"state": {mustState(t, mine.at)}, "code": {code}}, asJSON); a.Status != 409 || a.Code() != "sign_in_used" {
		t.Errorf("answered %v", a)
	}
}

func TestForgedIDTokens(t *testing.T) {
	w, p, _ := withProviders(t)
	p.has(account{"g-1", "ada@example.com", "Ada", true})
	claim := func(name string, value any) func() {
		return func() { p.claims = func(c map[string]any) { c[name] = value } }
	}
	foreign, confused := foreignKey(), confusedKey(t)
	for what, change := range map[string]func(){
		"another nonce":        claim("nonce", "x"),
		"no nonce":             claim("nonce", nil),
		"another audience":     claim("aud", "somebody-else"),
		"a second audience":    func() { p.claims = func(c map[string]any) { c["aud"] = []string{clientID, "x"}; delete(c, "azp") } },
		"another party":        claim("azp", "somebody-else"),
		"another issuer":       claim("iss", "https://accounts.example"),
		"expired":              claim("exp", time.Now().Add(-time.Minute).Unix()),
		"not valid yet":        claim("nbf", time.Now().Add(time.Hour).Unix()),
		"no subject":           claim("sub", ""),
		"an endless subject":   claim("sub", strings.Repeat("x", 256)),
		"alg none":             func() { p.forge = unsigned },
		"another's key":        func() { p.forge = func(_ jose.SigningKey, b []byte) string { return p.sign(foreign, b) } },
		"key confusion (HMAC)": func() { p.forge = func(_ jose.SigningKey, b []byte) string { return p.sign(confused, b) } },
		"not a token":          func() { p.forge = func(jose.SigningKey, []byte) string { return "x.y.z" } },
	} {
		p.with(change, func() {
			if a := w.with(p, "g-1", "client"); a.Status != 403 || a.Code() != "provider_untrusted" {
				t.Errorf("%s: %v", what, a)
			}
		})
	}
	p.with(claim("email_verified", "true"), func() {
		if a := w.with(p, "g-1", "client"); a.Status != 200 {
			t.Errorf("a boolean that is a text: %v", a)
		}
	})
	if n := w.count(`SELECT count(*) FROM users`); n != 1 {
		t.Errorf("%d accounts", n)
	}
}

func unsigned(_ jose.SigningKey, payload []byte) string {
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload) + "."
}

func TestProviderAway(t *testing.T) {
	t.Parallel()
	w := startAlone(t, func(c *auth.Config) {
		c.GoogleID, c.GoogleSecret, c.GoogleIssuer = clientID, clientSecret, "http://127.0.0.1:1"
		c.GithubID, c.GithubSecret, c.GithubURL, c.GithubAPIURL = clientID, clientSecret, "http://127.0.0.1:1", "http://127.0.0.1:1"
	})
	w.Call(apitest.Call{What: "Google is away", Path: "/api/auth/oauth/google", Status: 503, Has: "Google does not answer"})
	b := w.begin("github", "role=client")
	if a := b.back("github", url.Values{"state": {mustState(t, b.at)}, "code": {"x"}}, asJSON); a.Status != 503 || a.Header.Get("Retry-After") == "" || !strings.Contains(string(a.Body), "GitHub does not answer") {
		t.Errorf("GitHub is away: %v", a)
	}
	w.Call(apitest.Call{What: "unknown", Path: "/api/auth/oauth/facebook", Status: 404, Has: "provider_unknown"})
	w.Call(apitest.Call{What: "unknown on the way back", Path: "/api/auth/oauth/facebook/callback?state=x&code=y", Header: asJSON, Status: 404, Has: "provider_unknown"})
	none := startAlone(t)
	none.Call(apitest.Call{What: "none is configured", Path: "/api/auth/oauth/google", Status: 404, Has: "provider_unknown"})
	none.Call(apitest.Call{What: "and none is listed", Path: "/api/auth/oauth", Status: 200, Has: `"providers":[]`})
}

func TestProviderAnswersGarbage(t *testing.T) {
	w, p, h := withProviders(t, func(c *auth.Config) { c.ProviderTimeout = 3 * time.Second })
	p.has(account{"g-1", "ada@example.com", "Ada", true})
	says := func(path string, status int, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(rw http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != path {
				return false
			}
			rw.Header().Set("Location", "http://127.0.0.1:1/elsewhere")
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(status)
			io.WriteString(rw, body)
			return true
		}
	}
	discovery := "/.well-known/openid-configuration"
	for what, spoil := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"not JSON":       says(discovery, 200, "<html>"),
		"another issuer": says(discovery, 200, `{"issuer":"https://x.example"}`),
		"an error":       says(discovery, 500, "oops"),
		"a redirect":     says(discovery, 302, ""),
	} {
		p.with(func() { p.spoil = spoil }, func() {
			w.Call(apitest.Call{What: "discovery: " + what, Path: "/api/auth/oauth/google", Status: 503, Has: "in a way that cannot be read"})
		})
	}
	for what, spoil := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"no ID token":         says("/oauth/token", 200, `{"access_token":"x","token_type":"Bearer"}`),
		"not JSON":            says("/oauth/token", 200, "{"),
		"an endless answer":   says("/oauth/token", 200, `{"access_token":"`+strings.Repeat("x", 2<<20)+`"}`),
		"an error":            says("/oauth/token", 500, "oops"),
		"a redirect":          says("/oauth/token", 307, ""),
		"our secret is wrong": says("/oauth/token", 401, `{"error":"invalid_client"}`),
		"no keys":             says("/keys", 500, "oops"),
		"keys not JSON":       says("/keys", 200, "["),
	} {
		b := w.begin("google", "role=client")
		q := p.visit(b.at, "g-1")
		p.with(func() { p.spoil = spoil }, func() {
			if a := b.back("google", q, asJSON); a.Status != 503 || !strings.Contains(string(a.Body), "Google answered in a way that cannot be read") || strings.Contains(string(a.Body), q.Get("code")) {
				t.Errorf("%s: %v", what, a)
			}
		})
	}
	gone := make(chan struct{})
	hang := func(rw http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/user" {
			<-gone
			return true
		}
		return false
	}
	t.Cleanup(func() { close(gone) })
	h.mu.Lock()
	h.as, h.users[1] = 1, hubUser{1, "ada", "Ada", nil}
	h.mu.Unlock()
	for what, c := range map[string]struct {
		spoil func(http.ResponseWriter, *http.Request) bool
		has   string
	}{
		"no id":          {says("/user", 200, `{"login":"ada"}`), "cannot be read"},
		"a text id":      {says("/user", 200, `{"id":"1"}`), "cannot be read"},
		"an error":       {says("/user/emails", 502, ""), "cannot be read"},
		"a list of none": {says("/user/emails", 200, `{}`), "cannot be read"},
		"over its limit": {says("/user", 403, `{"message":"API rate limit exceeded"}`), "cannot be read"},
		"slow":           {hang, "does not answer"},
	} {
		b := w.begin("github", "role=client")
		to := redirected(t, b.at)
		h.mu.Lock()
		h.spoil = c.spoil
		h.mu.Unlock()
		a := b.back("github", to.Query(), asJSON)
		h.mu.Lock()
		h.spoil = nil
		h.mu.Unlock()
		if a.Status != 503 || !strings.Contains(string(a.Body), c.has) {
			t.Errorf("GitHub, %s: %v", what, a)
		}
	}
	if n := w.count(`SELECT count(*) FROM users`); n != 0 {
		t.Errorf("%d accounts", n)
	}
}

func TestOpenRedirects(t *testing.T) {
	w, p, _ := withProviders(t)
	for _, next := range []string{
		"//evil.example", "https://evil.example", "/\\evil.example", "\\\\evil.example", "/%5c/../\\evil", "javascript:alert(1)", "evil.example", "/a\r\nSet-Cookie: x=y",
		"/\tx", "\x00/x", "/x y", " /x", "@evil.example", "/\u2028x", "/%zz", "/" + strings.Repeat("x", 512), "http:/x", "?x", ".", "/a\xff",
	} {
		a := w.Do(apitest.Call{Path: "/api/auth/oauth/google?role=client&next=" + url.QueryEscape(next)})
		if a.Status != 422 || a.Header.Get("Location") != "" || a.Header.Get("Set-Cookie") != "" {
			t.Errorf("%q: %v", next, a)
		}
	}
	p.has(account{"g-1", "ada@example.com", "Ada", true})
	for _, next := range []string{"/", "/bookings/1?tab=x#notes", "/..//evil.example", "/@evil.example", "/%2f%2fevil.example"} {
		b := w.begin("google", "role=client&next="+url.QueryEscape(next))
		a := b.back("google", p.visit(b.at, "g-1"), nil)
		to, err := url.Parse(a.Header.Get("Location"))
		if err != nil || to.Host != "tulifo.test" || to.Scheme != "http" || a.Header.Get("Location") != "http://tulifo.test"+next {
			t.Errorf("%q leads to %q: %v", next, a.Header.Get("Location"), a)
		}
	}
	w.Call(apitest.Call{What: "nor a role of the server's", Path: "/api/auth/oauth/google?role=admin", Status: 422, Has: "role"})
}

// Over TLS the cookies are Secure and bound to this very host, and a plain one, which a neighbour can set, does not count.
func TestSignInOverTLS(t *testing.T) {
	w, _, _ := withProviders(t, func(c *auth.Config) { c.PublicURL = "https://tulifo.test" })
	a := w.Call(apitest.Call{What: "begin", Path: "/api/auth/oauth/github?role=client", Status: 302})
	c := cookie(a.Header, "__Host-tulifo_oauth")
	if c == nil || !c.Secure || !c.HttpOnly || c.Path != "/" {
		t.Fatalf("cookie %v", c)
	}
	q := url.Values{"state": {mustState(t, a.Header.Get("Location"))}, "error": {"access_denied"}}
	if a := (browser{w: w, flow: c.Value}).back("github", q, asJSON); a.Code() != "state_invalid" {
		t.Errorf("a plain cookie: %v", a)
	}
	if a := (browser{w: w, flow: "x; __Host-tulifo_oauth=" + c.Value}).back("github", q, asJSON); a.Code() != "provider_refused" {
		t.Errorf("the bound one: %v", a)
	}
}
