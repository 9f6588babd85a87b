package auth_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/descope/virtualwebauthn"

	"tulifo/platform/api/apitest"
	"tulifo/platform/audit"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/services/auth"
)

// device is an authenticator with one passkey, behind a browser that shows it the site.
type device struct {
	w    *world
	site virtualwebauthn.RelyingParty
	auth virtualwebauthn.Authenticator
	key  virtualwebauthn.Credential
}

func (w *world) device() *device {
	return &device{
		w: w, site: virtualwebauthn.RelyingParty{ID: "tulifo.test", Name: "Tulifo", Origin: "http://tulifo.test"},
		auth: virtualwebauthn.NewAuthenticator(), key: newKey(),
	}
}

// newKey is a key whose coordinates have no leading zero, which the library would leave out.
func newKey() virtualwebauthn.Credential {
	for {
		if k := virtualwebauthn.NewCredential(virtualwebauthn.KeyTypeEC2); len(k.Key.AttestationData()) == 77 {
			return k
		}
	}
}

// options asks a route for what the browser is to do.
func (w *world) options(tok, path string) string {
	w.t.Helper()
	var o auth.PasskeyOptions
	w.Call(apitest.Call{What: path, As: tok, Method: "POST", Path: path, Status: 200}).Data(&o)
	return string(o.PublicKey)
}

// made is what the device answers when it is to make its passkey.
func (d *device) made(options string) json.RawMessage {
	d.w.t.Helper()
	o, err := virtualwebauthn.ParseAttestationOptions(options)
	if err != nil {
		d.w.t.Fatal(err)
	}
	d.auth.Options.UserHandle = []byte(o.UserID)
	return json.RawMessage(virtualwebauthn.CreateAttestationResponse(d.site, d.auth, d.key, *o))
}

// signed is what the device answers when it is to sign in; its counter moves on when it has one.
func (d *device) signed(options string) json.RawMessage {
	d.w.t.Helper()
	o, err := virtualwebauthn.ParseAssertionOptions(options)
	if err != nil {
		d.w.t.Fatal(err)
	}
	if d.key.Counter > 0 {
		d.key.Counter++
	}
	return json.RawMessage(virtualwebauthn.CreateAssertionResponse(d.site, d.auth, d.key, *o))
}

func (w *world) addPasskey(tok, name string, credential json.RawMessage) apitest.Answer {
	return w.Do(apitest.Call{What: "add a passkey", As: tok, Path: "/api/auth/passkeys", Body: map[string]any{"name": name, "credential": credential}})
}

// withPasskey adds the device's passkey to an account.
func (w *world) withPasskey(s session, d *device) auth.Passkey {
	w.t.Helper()
	w.vouch(s)
	var p auth.Passkey
	a := w.addPasskey(s.AccessToken, "Phone", d.made(w.options(s.AccessToken, "/api/auth/passkeys/options")))
	if a.Status != 201 {
		w.t.Fatalf("add a passkey: %d %s", a.Status, a.Body)
	}
	a.Data(&p)
	return p
}

func (w *world) passkeyLogin(credential json.RawMessage) apitest.Answer {
	return w.Do(apitest.Call{What: "login with a passkey", Path: "/api/auth/passkeys/login", Body: map[string]any{"credential": credential}})
}

const loginOptions, stepUpOptions, newOptions = "/api/auth/passkeys/login/options", "/api/auth/step-up/options", "/api/auth/passkeys/options"

func (w *world) signIn(d *device) apitest.Answer {
	return w.passkeyLogin(d.signed(w.options("", loginOptions)))
}

func TestPasskeys(t *testing.T) {
	w := start(t)
	s, d := w.register("ada@example.com"), w.device()
	w.Call(apitest.Call{What: "on an account that may be somebody else's", As: s.AccessToken, Method: "POST", Path: newOptions, Status: 403, Has: "email_unverified"})
	w.vouch(s)
	options := w.options(s.AccessToken, newOptions)
	for _, has := range []string{`"rp":{"name":"Tulifo","id":"tulifo.test"}`, `"userVerification":"required"`, `"residentKey":"required"`, `"attestation":"none"`} {
		if !strings.Contains(options, has) {
			t.Errorf("no %s in %s", has, options)
		}
	}
	w.is("a name that shows as another", w.addPasskey(s.AccessToken, "Phone\u202etroppus", d.made(options)), 422, "name")
	p := w.withPasskey(s, d)
	w.is("the same one again", w.addPasskey(s.AccessToken, "Phone", d.made(w.options(s.AccessToken, newOptions))), 409, "passkey_taken")
	w.Call(apitest.Call{What: "the list", As: s.AccessToken, Path: "/api/auth/passkeys", Status: 200, Has: `"name":"Phone","synced":false`})
	path := "/api/auth/passkeys/" + p.ID.String()
	w.Call(apitest.Call{What: "another name", As: s.AccessToken, Method: "PATCH", Path: path, Body: map[string]string{"name": "Old phone"}, Status: 200, Has: "Old phone"})
	w.withApp(s)
	a := w.signIn(d)
	in := w.session(a)
	if a.Status != 200 || in.User.ID != s.User.ID || in.RefreshToken == "" || cookie(a.Header, "tulifo_device") == nil || time.Since(w.proof(in.AccessToken)) > time.Minute {
		t.Fatalf("sign in without address, password or code: %d %s", a.Status, a.Body)
	}
	w.Call(apitest.Call{What: "it signs in", As: in.AccessToken, Path: "/api/auth/me", Status: 200, Has: "ada@example.com"})
	w.Call(apitest.Call{What: "when it was used", As: in.AccessToken, Path: "/api/auth/passkeys", Status: 200, Has: `"lastUsedAt"`})

	eve := w.register("eve@example.com")
	w.Call(apitest.Call{What: "another's passkeys are not shown", As: eve.AccessToken, Path: "/api/auth/passkeys", Status: 200, Has: `"passkeys":[]`})
	w.Call(apitest.Call{What: "another's passkey cannot be renamed", As: eve.AccessToken, Method: "PATCH", Path: path, Body: map[string]string{"name": "Mine"}, Status: 404})
	w.Call(apitest.Call{What: "or removed", As: eve.AccessToken, Method: "DELETE", Path: path, Status: 404})
	w.vouch(eve)
	w.is("or added", w.addPasskey(eve.AccessToken, "Mine", d.made(w.options(eve.AccessToken, newOptions))), 409, "passkey_taken")
	d.auth.Options.UserHandle = s.User.ID[:]

	w.Call(apitest.Call{What: "remove it", As: s.AccessToken, Method: "DELETE", Path: path, Status: 200})
	w.Call(apitest.Call{What: "once", As: s.AccessToken, Method: "DELETE", Path: path, Status: 404})
	w.is("it is no longer good", w.signIn(d), 401, "passkey_refused")
	if added, removed := w.events("user.factor_added"), w.events("user.factor_removed"); len(added) != 2 || added[0]["name"] != "Phone" || len(removed) != 1 || removed[0]["name"] != "Old phone" {
		t.Errorf("events %v %v", added, removed)
	}
	w.clean()
}

// What a browser or an authenticator may lie about must not get in.
func TestForgedPasskeys(t *testing.T) {
	w := start(t)
	ada, eve := w.register("ada@example.com"), w.register("eve@example.com")
	good, hers := w.device(), w.device()
	w.withPasskey(ada, good)
	w.withPasskey(eve, hers)
	liar := func(lie func(*device)) *device {
		d := *good
		lie(&d)
		return &d
	}
	lies := map[string]*device{
		"another origin":               liar(func(d *device) { d.site.Origin = "http://tulifo.test.evil.example" }),
		"another scheme":               liar(func(d *device) { d.site.Origin = "https://tulifo.test" }),
		"another port":                 liar(func(d *device) { d.site.Origin = "http://tulifo.test:8080" }),
		"another relying party":        liar(func(d *device) { d.site.ID = "evil.example" }),
		"its parent domain":            liar(func(d *device) { d.site.ID = "test" }),
		"nobody verified":              liar(func(d *device) { d.auth.Options.UserNotVerified = true }),
		"nobody there":                 liar(func(d *device) { d.auth.Options.UserNotPresent = true }),
		"another key under its id":     liar(func(d *device) { d.key.Key = hers.key.Key }),
		"an id that is not there":      liar(func(d *device) { d.key.ID = []byte("unknown unknown unknown unknown ") }),
		"another's account":            liar(func(d *device) { d.auth.Options.UserHandle = eve.User.ID[:] }),
		"nobody's account":             liar(func(d *device) { d.auth.Options.UserHandle = []byte("nobody") }),
		"no account":                   liar(func(d *device) { d.auth.Options.UserHandle = nil }),
		"a device that became several": liar(func(d *device) { d.auth.Options.BackupEligible = true }),
	}
	for what, d := range lies {
		w.is(what, w.signIn(d), 401, "passkey_refused")
	}
	// The same lies cannot put a passkey on an account, as far as they are about one.
	for _, what := range []string{"another origin", "another scheme", "another port", "another relying party", "its parent domain", "nobody verified", "nobody there"} {
		d := *lies[what]
		d.key = newKey()
		w.is("a new one with "+what, w.addPasskey(ada.AccessToken, "Phone", d.made(w.options(ada.AccessToken, newOptions))), 422, "credential")
	}

	answer := good.signed(w.options("", loginOptions))
	w.is("an answer", w.passkeyLogin(answer), 200, "")
	w.is("the same answer", w.passkeyLogin(answer), 401, "passkey_refused")
	late := good.signed(w.options("", loginOptions))
	w.pass(5 * time.Minute)
	w.is("an answer too late", w.passkeyLogin(late), 401, "passkey_refused")
	w.is("a challenge to step up", w.passkeyLogin(good.signed(w.options(ada.AccessToken, stepUpOptions))), 401, "passkey_refused")
	invented := `{"challenge":"` + strings.Repeat("A", 43) + `","rpId":"tulifo.test"}`
	w.is("a challenge of its own", w.passkeyLogin(good.signed(invented)), 401, "passkey_refused")
	w.is("a new passkey for a sign-in", w.passkeyLogin(w.device().made(w.options(ada.AccessToken, newOptions))), 422, "")
	failed := good.signed(w.options("", loginOptions))
	broken := json.RawMessage(strings.Replace(string(failed), `"signature":"`, `"signature":"AAAA`, 1))
	w.is("a signature that is none", w.passkeyLogin(broken), 401, "")
	w.is("a challenge that an attempt has used up", w.passkeyLogin(failed), 401, "")

	// A challenge belongs to the sign-in that asked.
	other := w.session(w.Call(apitest.Call{Path: "/api/auth/login", Body: map[string]string{"email": "eve@example.com", "password": password}, Status: 200}))
	fresh := w.device()
	w.is("a passkey made for another account", w.addPasskey(ada.AccessToken, "Phone", fresh.made(w.options(eve.AccessToken, newOptions))), 422, "credential")
	again := fresh.made(w.options(eve.AccessToken, newOptions))
	second := w.Do(apitest.Call{As: other.AccessToken, Path: "/api/auth/passkeys", Body: map[string]any{"name": "Phone", "credential": again}})
	w.is("a sign-in that has not used the passkey", second, 403, "step_up_required")
	w.is("the one that asked", w.addPasskey(eve.AccessToken, "Second", again), 201, "")
	w.is("twice", w.addPasskey(eve.AccessToken, "Second", again), 422, "credential")

	for _, body := range []string{`{}`, `{"credential":null}`, `{"credential":"x"}`, `{"credential":[]}`, `{"credential":{}}`, `{"credential":{"id":"AAAA","rawId":"AAAA","type":"public-key","response":{}}}`,
		`{"credential":{"id":"AAAA","rawId":"AAAA","type":"public-key","response":{"clientDataJSON":"e30","authenticatorData":"AAAA","signature":"AA","userHandle":"AA"}}}`,
		`{"credential":` + strings.Repeat(`{"a":`, 9000) + `1` + strings.Repeat(`}`, 9000) + `}`, `{"credential":{"id":"` + strings.Repeat("A", 70_000) + `"}}`, `{"credential":{"$ne":null}}`, `[]`, `{`, ``} {
		for _, c := range []apitest.Call{{Path: "/api/auth/passkeys/login", Body: body}, {As: ada.AccessToken, Path: "/api/auth/step-up", Body: body},
			{As: ada.AccessToken, Path: "/api/auth/passkeys", Body: strings.Replace(body, "{", `{"name":"x",`, 1)}} {
			if a := w.Do(c); a.Status < 400 || a.Status >= 500 {
				t.Errorf("%s with %.80s: %d %s", c.Path, body, a.Status, a.Body)
			}
		}
	}
	w.clean()
}

func TestOnePasskeyAnswerUsedAtOnce(t *testing.T) {
	w := start(t)
	d := w.device()
	w.withPasskey(w.register("ada@example.com"), d)
	answer := d.signed(w.options("", loginOptions))
	if got := statuses(16, func(int) apitest.Answer { return w.passkeyLogin(answer) }); !maps.Equal(got, map[int]int{200: 1, 401: 15}) {
		t.Errorf("one answer, sixteen times: %v", got)
	}
	w.clean()
}

// A counter that does not move on means a copy: it is refused and noted, also when both come at once.
func TestClonedPasskey(t *testing.T) {
	w := start(t)
	d := w.device()
	d.key.Counter = 7
	w.withPasskey(w.register("ada@example.com"), d)
	w.is("the counter moves on", w.signIn(d), 200, "")
	w.is("and on", w.signIn(d), 200, "")
	d.key.Counter = 7
	w.is("a copy from before", w.signIn(d), 401, "passkey_refused")
	answers := make([]json.RawMessage, 12)
	for i := range answers {
		d.key.Counter = 20
		answers[i] = d.signed(w.options("", loginOptions))
	}
	if got := statuses(len(answers), func(i int) apitest.Answer { return w.passkeyLogin(answers[i]) }); !maps.Equal(got, map[int]int{200: 1, 401: 11}) {
		t.Errorf("twelve devices with one counter: %v", got)
	}
	if err := audit.Flush(t.Context(), w.db); err != nil {
		t.Fatal(err)
	}
	if n := w.count(`SELECT count(*) FROM audit WHERE action = 'passkey.cloned'`); n != 12 {
		t.Errorf("%d audit rows of a copy, want 12", n)
	}
	w.clean()
}

func TestStepUpWithPasskey(t *testing.T) {
	w := start(t, func(c *auth.Config) { c.OthersFailures = 9 })
	s, eve := w.register("ada@example.com"), w.register("eve@example.com")
	d, hers := w.device(), w.device()
	w.Call(apitest.Call{What: "no passkey", As: s.AccessToken, Method: "POST", Path: stepUpOptions, Status: 409, Has: "passkey_absent"})
	w.withPasskey(s, d)
	w.withPasskey(eve, hers)
	in := w.session(w.login("ada@example.com", password, ""))
	w.Call(apitest.Call{What: "a sign-in with the password alone is no proof", As: in.AccessToken, Method: "POST", Path: newOptions, Status: 403, Has: "step_up_required"})
	up := func(tok string, credential json.RawMessage) apitest.Answer {
		return w.Do(apitest.Call{As: tok, Path: "/api/auth/step-up", Body: map[string]any{"credential": credential}})
	}
	w.is("the password", w.stepUp(in.AccessToken, map[string]string{"password": password}), 403, "second_factor_required")
	w.is("another's passkey", up(in.AccessToken, hers.signed(w.options(in.AccessToken, stepUpOptions))), 403, "passkey_refused")
	w.is("another's passkey and challenge", up(in.AccessToken, hers.signed(w.options(eve.AccessToken, stepUpOptions))), 403, "passkey_refused")
	w.is("the challenge of another sign-in", up(in.AccessToken, d.signed(w.options(s.AccessToken, stepUpOptions))), 403, "passkey_refused")
	w.is("the challenge to sign in", up(in.AccessToken, d.signed(w.options("", loginOptions))), 403, "passkey_refused")
	answer := d.signed(w.options(in.AccessToken, stepUpOptions))
	var a apitest.Answer
	if n := pgtest.Trips(w.db, func() { a = up(in.AccessToken, answer) }); n > 6 {
		t.Errorf("%d round trips, want at most 6", n)
	}
	w.is("the passkey", a, 200, "accessToken")
	if proved := w.session(a); time.Since(w.proof(proved.AccessToken)) > time.Minute || proved.RefreshToken != "" {
		t.Errorf("proved %+v", proved)
	}
	w.is("its answer replayed", up(in.AccessToken, answer), 403, "passkey_refused")
	for range 4 {
		w.is("garbage", up(in.AccessToken, json.RawMessage(`{}`)), 403, "passkey_refused")
	}
	w.is("after too many", up(in.AccessToken, d.signed(w.options(in.AccessToken, stepUpOptions))), 429, "too_many_attempts")
	w.clean()
}

// Who has no password keeps one way to sign in, whatever is removed at once.
func TestLastPasskeyStays(t *testing.T) {
	w := start(t)
	s := w.register("ada@example.com")
	one, two := w.device(), w.device()
	keys := []auth.Passkey{w.withPasskey(s, one), w.withPasskey(s, two)}
	if _, err := w.db.Exec(t.Context(), `UPDATE users SET password_hash = ''`); err != nil {
		t.Fatal(err)
	}
	got := statuses(2, func(i int) apitest.Answer {
		a := w.Do(apitest.Call{As: s.AccessToken, Method: http.MethodDelete, Path: "/api/auth/passkeys/" + keys[i].ID.String()})
		if a.Status == 409 {
			w.is("the last one", a, 409, "last_sign_in")
		}
		return a
	})
	if !maps.Equal(got, map[int]int{200: 1, 409: 1}) {
		t.Errorf("removing both at once: %v", got)
	}
	w.is("an empty password", w.login("ada@example.com", "", ""), 401, "")
	w.is("an empty password at step-up", w.stepUp(s.AccessToken, map[string]string{"password": " "}), 403, "second_factor_required")
	w.clean()
}

func TestTooManyPasskeysAtOnce(t *testing.T) {
	w := start(t)
	s := w.register("ada@example.com")
	w.withPasskey(s, w.device())
	if _, err := w.db.Exec(t.Context(), `
		INSERT INTO passkeys (id, user_id, name, credential_id, public_key, sign_count, backup_eligible, transports, created_at)
		SELECT gen_random_uuid(), user_id, name, n::text::bytea, public_key, sign_count, backup_eligible, transports, created_at FROM passkeys, generate_series(1, 17) n`); err != nil {
		t.Fatal(err)
	}
	answers := make([]json.RawMessage, 6)
	for i := range answers {
		answers[i] = w.device().made(w.options(s.AccessToken, newOptions))
	}
	got := statuses(len(answers), func(i int) apitest.Answer { return w.addPasskey(s.AccessToken, "Phone", answers[i]) })
	if n := w.count(`SELECT count(*) FROM passkeys`); n != 20 || !maps.Equal(got, map[int]int{201: 2, 409: 4}) {
		t.Errorf("%d passkeys, after %v", n, got)
	}
	w.Call(apitest.Call{What: "one more", As: s.AccessToken, Method: "POST", Path: newOptions, Status: 409, Has: "passkeys_full"})
}

func TestSuspendedUsersPasskey(t *testing.T) {
	w := start(t)
	s, d := w.register("ada@example.com"), w.device()
	w.withPasskey(s, d)
	begun := d.signed(w.options("", loginOptions))
	w.service("suspend", "POST", "/api/auth/users/"+s.User.ID.String()+"/suspend", map[string]string{"reason": "fraud"}, 200)
	w.is("an answer begun before", w.passkeyLogin(begun), 403, "suspended")
	w.is("a new one", w.signIn(d), 403, "suspended")
	w.Call(apitest.Call{What: "a passkey more", As: s.AccessToken, Method: "POST", Path: newOptions, Status: 401})
	w.service("reinstate", "POST", "/api/auth/users/"+s.User.ID.String()+"/reinstate", nil, 200)
	w.is("reinstated", w.signIn(d), 200, "")
	w.clean()
}

// A site that is reached by an IP address has no passkeys, and says so.
func TestPasskeysNeedAHostName(t *testing.T) {
	w := start(t, func(c *auth.Config) { c.PublicURL = "http://127.0.0.1:8000" })
	w.Call(apitest.Call{What: "login", Method: "POST", Path: loginOptions, Status: 409, Has: "passkeys_unavailable"})
}

// What nobody asks for any more is swept, and no challenge is readable in the database.
func TestChallengesAtRest(t *testing.T) {
	w := start(t)
	options := w.options("", loginOptions)
	var o struct{ Challenge string }
	if err := json.Unmarshal([]byte(options), &o); err != nil || len(o.Challenge) < 40 {
		t.Fatalf("%s: %v", options, err)
	}
	rows, err := postgres.All[string](t.Context(), w.db, `SELECT purpose || encode(hash, 'hex') FROM challenges WHERE expires_at > now() + interval '4 minutes' AND expires_at < now() + interval '6 minutes'`)
	if err != nil || len(rows) != 1 || strings.Contains(rows[0], o.Challenge) {
		t.Errorf("kept %v, %v", rows, err)
	}
}
