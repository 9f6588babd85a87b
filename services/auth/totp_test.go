package auth_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"image/png"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/pquerna/otp/totp"

	"tulifo/platform/api/apitest"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/token"
	"tulifo/services/auth"
)

// app is an authenticator app, with the recovery codes that its owner wrote down.
type app struct {
	w        *world
	secret   string
	recovery []string
}

// code is what the app shows that many steps from now.
func (a *app) code(steps int) string {
	a.w.t.Helper()
	c, err := totp.GenerateCode(a.secret, time.Now().Add(time.Duration(a.w.ahead.Load())+time.Duration(steps)*30*time.Second))
	if err != nil {
		a.w.t.Fatal(err)
	}
	return c
}

// wrong is a code that is none of those around now.
func (a *app) wrong() string {
	good := []string{a.code(-2), a.code(-1), a.code(0), a.code(1), a.code(2)}
	for c := 100000; ; c++ {
		if s := []byte{byte('0' + c/100000%10), byte('0' + c/10000%10), byte('0' + c/1000%10), byte('0' + c/100%10), byte('0' + c/10%10), byte('0' + c%10)}; !slices.Contains(good, string(s)) {
			return string(s)
		}
	}
}

// vouch proves the address of an account.
func (w *world) vouch(s session) {
	w.t.Helper()
	if _, err := w.db.Exec(w.t.Context(), `UPDATE users SET email_verified = true WHERE id = $1`, s.User.ID); err != nil {
		w.t.Fatal(err)
	}
}

// withApp puts an authenticator app in force; its code of now is still unused.
func (w *world) withApp(s session) *app {
	w.t.Helper()
	w.vouch(s)
	a := &app{w: w}
	// A step has just begun, so that it does not end between a code's making and its use.
	now := time.Now().Add(time.Duration(w.ahead.Load()))
	w.pass(now.Truncate(30 * time.Second).Add(31 * time.Second).Sub(now))
	var setup auth.TOTPSetup
	w.Call(apitest.Call{What: "set an app up", As: s.AccessToken, Method: "POST", Path: "/api/auth/totp", Status: 200}).Data(&setup)
	a.secret = setup.Secret
	var shown auth.RecoveryCodes
	w.Call(apitest.Call{What: "confirm it", As: s.AccessToken, Path: "/api/auth/totp/confirm", Status: 200, Body: map[string]string{"code": a.code(-1)}}).Data(&shown)
	a.recovery = shown.Codes
	return a
}

func (w *world) loginWith(email, pass, code string) apitest.Answer {
	return w.Do(apitest.Call{What: "login", Path: "/api/auth/login", Body: map[string]string{"email": email, "password": pass, "totp": code}})
}

func (w *world) stepUp(tok string, body map[string]string) apitest.Answer {
	return w.Do(apitest.Call{What: "step up", As: tok, Path: "/api/auth/step-up", Body: body})
}

// is fails the test unless the answer has that status and holds the text.
func (w *world) is(what string, a apitest.Answer, status int, has string) {
	w.t.Helper()
	if a.Status != status || !strings.Contains(string(a.Body), has) {
		w.t.Errorf("%s: %d %s, want %d with %q", what, a.Status, a.Body, status, has)
	}
}

func TestTOTP(t *testing.T) {
	w := start(t, func(c *auth.Config) { c.OthersFailures = 100 })
	s := w.register("ada@example.com")
	w.Call(apitest.Call{What: "none yet", As: s.AccessToken, Path: "/api/auth/totp", Status: 200, Has: `{"active":false,"recoveryCodes":0}`})
	w.Call(apitest.Call{What: "nothing to confirm", As: s.AccessToken, Path: "/api/auth/totp/confirm", Body: map[string]string{"code": "123456"}, Status: 409})
	w.Call(apitest.Call{What: "no recovery codes without an app", As: s.AccessToken, Method: "POST", Path: "/api/auth/totp/recovery-codes", Status: 409, Has: "totp_absent"})
	w.Call(apitest.Call{What: "on an account that may be somebody else's", As: s.AccessToken, Method: "POST", Path: "/api/auth/totp", Status: 403, Has: "email_unverified"})
	w.vouch(s)
	var setup auth.TOTPSetup
	a := w.Call(apitest.Call{What: "set up", As: s.AccessToken, Method: "POST", Path: "/api/auth/totp", Status: 200})
	a.Data(&setup)
	if a.Header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(setup.URI, "otpauth://totp/Tulifo:ada@example.com?") || !strings.Contains(setup.URI, "secret="+setup.Secret) {
		t.Errorf("setup %+v", setup)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(setup.QR, "data:image/png;base64,"))
	if err != nil {
		t.Fatal(err)
	}
	if img, err := png.Decode(bytes.NewReader(raw)); err != nil || img.Bounds().Dx() != 256 {
		t.Errorf("QR code: %v", err)
	}
	w.is("login before it is confirmed", w.login("ada@example.com", password, ""), 200, "")
	phone := w.withApp(s)
	if phone.secret == setup.Secret {
		t.Error("the second set-up has the secret of the first")
	}
	if len(phone.recovery) != 10 {
		t.Errorf("%d recovery codes", len(phone.recovery))
	}
	w.Call(apitest.Call{What: "in force", As: s.AccessToken, Path: "/api/auth/totp", Status: 200, Has: `"recoveryCodes":10`, HasNot: phone.secret})
	w.Call(apitest.Call{What: "a second app", As: s.AccessToken, Method: "POST", Path: "/api/auth/totp", Status: 409, Has: "totp_active"})
	w.Call(apitest.Call{What: "confirming again", As: s.AccessToken, Path: "/api/auth/totp/confirm", Body: map[string]string{"code": phone.code(0)}, Status: 409, Has: "totp_active"})

	w.is("no code", w.login("ada@example.com", password, ""), 401, "totp_required")
	w.is("a wrong password does not ask for a code", w.login("ada@example.com", "something else", ""), 401, "invalid_credentials")
	w.is("a wrong password with the right code", w.loginWith("ada@example.com", "something else", phone.code(0)), 401, "invalid_credentials")
	w.is("a wrong code", w.loginWith("ada@example.com", password, phone.wrong()), 401, "wrong_code")
	w.is("the code that confirmed it", w.loginWith("ada@example.com", password, phone.code(-1)), 401, "wrong_code")
	w.is("the code", w.loginWith("ada@example.com", password, phone.code(0)), 200, "accessToken")
	w.is("the code replayed", w.loginWith("ada@example.com", password, phone.code(0)), 401, "wrong_code")
	w.is("the next one, since clocks differ", w.loginWith("ada@example.com", password, phone.code(1)), 200, "")
	w.is("one from before a used one", w.loginWith("ada@example.com", password, phone.code(0)), 401, "wrong_code")
	w.pass(5 * time.Minute)
	w.is("one too old", w.loginWith("ada@example.com", password, phone.code(-2)), 401, "wrong_code")
	w.is("one too new", w.loginWith("ada@example.com", password, phone.code(2)), 401, "wrong_code")
	w.is("one step old", w.loginWith("ada@example.com", password, phone.code(-1)), 200, "")

	w.is("a recovery code", w.loginWith("ada@example.com", password, phone.recovery[0]), 200, "")
	w.is("the same again", w.loginWith("ada@example.com", password, phone.recovery[0]), 401, "wrong_code")
	w.is("as a person types it", w.loginWith("ada@example.com", password, " "+strings.ToUpper(strings.ReplaceAll(phone.recovery[1], "-", " "))), 200, "")
	if e := w.events("user.recovery_code_used"); len(e) != 2 || e[1]["left"] != 8.0 {
		t.Errorf("events %v", e)
	}
	before := phone.recovery
	var renewed auth.RecoveryCodes
	w.Call(apitest.Call{What: "new codes", As: s.AccessToken, Method: "POST", Path: "/api/auth/totp/recovery-codes", Status: 200}).Data(&renewed)
	w.is("one of the old set", w.loginWith("ada@example.com", password, before[2]), 401, "wrong_code")
	w.is("one of the new set", w.loginWith("ada@example.com", password, renewed.Codes[9]), 200, "")

	remove := func(code string, status int) {
		t.Helper()
		w.Call(apitest.Call{What: "remove it", As: s.AccessToken, Method: "DELETE", Path: "/api/auth/totp", Body: map[string]string{"code": code}, Status: status})
	}
	remove("", 403)
	remove(phone.wrong(), 403)
	remove(phone.code(0), 200)
	remove(phone.code(1), 409)
	w.is("the password alone", w.login("ada@example.com", password, ""), 200, "")
	if n := w.count(`SELECT (SELECT count(*) FROM totps) + (SELECT count(*) FROM recovery_codes)`); n != 0 {
		t.Errorf("%d rows are left of it", n)
	}
	for kind, n := range map[string]int{"user.factor_added": 1, "user.factor_removed": 1, "user.recovery_codes_renewed": 1} {
		if e := w.events(kind); len(e) != n {
			t.Errorf("%s: %v", kind, e)
		}
	}
	w.clean()
}

// Wrong codes count as wrong passwords do, however many come at once, and a right password does not forgive them.
func TestParallelWrongCodes(t *testing.T) {
	w := start(t, func(c *auth.Config) { c.IPFailures = 100 })
	s := w.register("ada@example.com")
	phone := w.withApp(s)
	wrong := phone.wrong()
	if got := statuses(20, func(int) apitest.Answer { return w.loginWith("ada@example.com", password, wrong) }); !maps.Equal(got, map[int]int{401: 10, 429: 10}) {
		t.Errorf("at sign-in: %v, want 10 codes evaluated", got)
	}
	w.is("the right code of a locked device", w.loginWith("ada@example.com", password, phone.code(0)), 429, "")
	w.is("the password alone of a locked device", w.login("ada@example.com", password, ""), 429, "")
	w.pass(15 * time.Minute)
	if got := statuses(20, func(int) apitest.Answer { return w.stepUp(s.AccessToken, map[string]string{"totp": wrong}) }); !maps.Equal(got, map[int]int{403: 5, 429: 15}) {
		t.Errorf("at step-up: %v, want 5 codes evaluated", got)
	}
	if got := statuses(20, func(int) apitest.Answer {
		return w.Do(apitest.Call{As: s.AccessToken, Method: "DELETE", Path: "/api/auth/totp", Body: map[string]string{"code": wrong}})
	}); !maps.Equal(got, map[int]int{429: 20}) {
		t.Errorf("at removal: %v, want no code more evaluated", got)
	}
	w.is("step-up with the right code, locked", w.stepUp(s.AccessToken, map[string]string{"totp": phone.code(0)}), 429, "")
	w.is("somebody's own device is not locked by a stolen sign-in", w.loginWith("ada@example.com", password, phone.code(0)), 200, "")
	w.clean()
}

// Of many uses of one code at once, one gets in.
func TestOneCodeUsedAtOnce(t *testing.T) {
	w := start(t, func(c *auth.Config) { c.OthersFailures, c.IPFailures = 100, 100 })
	phone := w.withApp(w.register("ada@example.com"))
	for what, code := range map[string]string{"code": phone.code(0), "recovery code": phone.recovery[0]} {
		got := statuses(16, func(int) apitest.Answer { return w.loginWith("ada@example.com", password, code) })
		if !maps.Equal(got, map[int]int{200: 1, 401: 15}) {
			t.Errorf("one %s: %v", what, got)
		}
	}
	if n := w.count(`SELECT count(*) FROM recovery_codes`); n != 9 {
		t.Errorf("%d recovery codes are left", n)
	}
	w.clean()
}

func TestConfirmedOnceAtOnce(t *testing.T) {
	w := start(t)
	s := w.register("ada@example.com")
	w.vouch(s)
	var setup auth.TOTPSetup
	w.Call(apitest.Call{As: s.AccessToken, Method: "POST", Path: "/api/auth/totp", Status: 200}).Data(&setup)
	phone := &app{w: w, secret: setup.Secret}
	code := phone.code(0)
	var kept atomic.Value
	got := statuses(5, func(int) apitest.Answer {
		a := w.Do(apitest.Call{As: s.AccessToken, Path: "/api/auth/totp/confirm", Body: map[string]string{"code": code}})
		if a.Status == 200 {
			var shown auth.RecoveryCodes
			a.Data(&shown)
			kept.Store(shown.Codes[0])
		}
		return a
	})
	if !maps.Equal(got, map[int]int{200: 1, 409: 4}) || w.count(`SELECT count(*) FROM recovery_codes`) != 10 || len(w.events("user.factor_added")) != 1 {
		t.Fatalf("confirmed: %v", got)
	}
	w.is("the codes that were shown are those that count", w.loginWith("ada@example.com", password, kept.Load().(string)), 200, "")
	w.clean()
}

// Codes, secrets and sign-ins of one account are worth nothing on another.
func TestCodesOfAnotherUser(t *testing.T) {
	w := start(t)
	ada, eve := w.register("ada@example.com"), w.register("eve@example.com")
	phone, hers := w.withApp(ada), w.withApp(eve)
	w.is("another's code", w.loginWith("ada@example.com", password, hers.code(0)), 401, "wrong_code")
	w.is("another's recovery code", w.loginWith("ada@example.com", password, hers.recovery[0]), 401, "wrong_code")
	w.is("another's code at step-up", w.stepUp(ada.AccessToken, map[string]string{"totp": hers.recovery[0]}), 403, "wrong_code")
	w.Call(apitest.Call{What: "another's code to remove mine", As: ada.AccessToken, Method: "DELETE", Path: "/api/auth/totp", Body: map[string]string{"code": hers.code(0)}, Status: 403})
	if _, err := w.db.Exec(t.Context(), `UPDATE totps SET secret = (SELECT secret FROM totps WHERE user_id = $2) WHERE user_id = $1`, ada.User.ID, eve.User.ID); err != nil {
		t.Fatal(err)
	}
	w.is("a secret moved in the database", w.loginWith("ada@example.com", password, hers.code(0)), 500, "internal")
	w.is("a recovery code works all the same", w.loginWith("ada@example.com", password, phone.recovery[0]), 200, "")
	if n := w.count(`SELECT count(*) FROM totps WHERE position($1::bytea IN secret) > 0`, []byte(hers.secret)); n != 0 {
		t.Error("a secret is readable at rest")
	}
	w.clean()
}

// Without a second factor a sign-in takes two round trips; with one, those that use it up besides.
func TestLoginTripsWithTOTP(t *testing.T) {
	w := start(t)
	phone := w.withApp(w.register("ada@example.com"))
	w.register("eve@example.com")
	for _, c := range []struct {
		what string
		most int64
		fn   func() apitest.Answer
	}{
		{"none on the account", 2, func() apitest.Answer { return w.login("eve@example.com", password, "") }},
		{"a code wanted", 2, func() apitest.Answer { return w.login("ada@example.com", password, "") }},
		{"a code", 3, func() apitest.Answer { return w.loginWith("ada@example.com", password, phone.code(0)) }},
		{"a recovery code", 4, func() apitest.Answer { return w.loginWith("ada@example.com", password, phone.recovery[0]) }},
	} {
		var a apitest.Answer
		if n := pgtest.Trips(w.db, func() { a = c.fn() }); n > c.most || a.Status != 200 && a.Status != 401 {
			t.Errorf("%s: %d round trips, want at most %d: %d %s", c.what, n, c.most, a.Status, a.Body)
		}
	}
}

// What proves somebody stays out of logs, events, audit rows and stored answers. The default logger belongs to the process, so this test runs alone.
func TestNoFactorIsTold(t *testing.T) {
	log := logged(t)
	w := startAlone(t)
	s := w.register("ada@example.com")
	phone, d := w.withApp(s), w.device()
	key := w.withPasskey(s, d)
	code, wrong := phone.code(0), phone.wrong()
	w.loginWith("ada@example.com", password, wrong)
	w.loginWith("ada@example.com", password, code)
	w.loginWith("ada@example.com", password, phone.recovery[0])
	w.stepUp(s.AccessToken, map[string]string{"totp": phone.recovery[1]})
	w.Do(apitest.Call{As: s.AccessToken, Path: "/api/auth/step-up", Body: map[string]any{"totp": []string{code}}})
	answer := string(d.signed(w.options("", loginOptions)))
	w.passkeyLogin(json.RawMessage(answer))
	w.passkeyLogin(json.RawMessage(answer))
	if _, err := w.db.Exec(t.Context(), `UPDATE totps SET secret = '\x00'`); err != nil {
		t.Fatal(err)
	}
	w.is("a secret that cannot be read", w.loginWith("ada@example.com", password, phone.code(1)), 500, "")
	a := w.Call(apitest.Call{What: "what is shown later", As: s.AccessToken, Path: "/api/auth/totp", Status: 200})
	b := w.Call(apitest.Call{What: "what is shown later", As: s.AccessToken, Path: "/api/auth/passkeys", Status: 200})
	kept, err := postgres.All[string](t.Context(), w.db, `SELECT data::text FROM outbox UNION ALL SELECT detail::text FROM audit UNION ALL SELECT encode(hash, 'escape') FROM recovery_codes`)
	if err != nil {
		t.Fatal(err)
	}
	told := log.String() + strings.Join(kept, "\n") + string(a.Body) + string(b.Body)
	if !strings.Contains(told, key.ID.String()) || !strings.Contains(told, "not sealed with this") {
		t.Errorf("nothing was told, so nothing is shown: %s", told)
	}
	for _, secret := range append(phone.recovery, phone.secret, `"`+code+`"`, `"`+wrong+`"`, answer[100:200], strings.ReplaceAll(phone.recovery[0], "-", "")) {
		if strings.Contains(strings.ToLower(told), strings.ToLower(secret)) {
			t.Errorf("%q is told: %s", secret, told)
		}
	}
}

func TestHostileCodes(t *testing.T) {
	w := start(t, func(c *auth.Config) { c.OthersFailures, c.DeviceFailures, c.IPFailures = 1000, 1000, 1000 })
	s := w.register("ada@example.com")
	phone := w.withApp(s)
	for _, code := range []string{"0", "12345", "1234567", "١٢٣٤٥٦", "１２３４５６", "-12345", "+12345", "12 456", "1e5000", "0x1234", " ", "\x00\x00\x00\x00\x00\x00", "aaaa-aaaa-aaaa-aaaa", "aaaa-aaaa-aaaa-aaa1",
		strings.Repeat("a", 64), phone.code(0) + "\n", "\t" + phone.code(0), phone.secret[:16], "%' OR 1=1 --", "{\"$ne\":null}", phone.recovery[0][:18], phone.recovery[0] + "a"} {
		w.is("login with "+code, w.loginWith("ada@example.com", password, code), 401, "wrong_code")
		w.is("step-up with "+code, w.stepUp(s.AccessToken, map[string]string{"totp": code}), 403, "wrong_code")
	}
	for _, body := range []string{`{"totp":123456}`, `{"totp":null}`, `{"totp":["123456"]}`, `{"totp":{"$ne":null}}`, `{"TOTP":"123456"}`, `{}`, `[]`, `{"totp":"1","password":"x"}`, `{"totp":"` + strings.Repeat("1", 65) + `"}`, `{"totp":"123456","session":"` + uuid.NewString() + `"}`} {
		if a := w.Do(apitest.Call{As: s.AccessToken, Path: "/api/auth/step-up", Body: body}); a.Status != 422 && a.Status != 400 {
			t.Errorf("%s: %d %s", body, a.Status, a.Body)
		}
	}
	w.Call(apitest.Call{What: "nobody", Method: http.MethodPost, Path: "/api/auth/totp", Status: 401})
	w.Call(apitest.Call{What: "a service", As: w.ServiceToken("user", "auth"), Method: http.MethodPost, Path: "/api/auth/totp", Status: 403})
	w.Call(apitest.Call{What: "a user that is not there", As: w.Token(token.Worker, uuid.New()), Method: http.MethodPost, Path: "/api/auth/totp", Status: 404})
	w.is("none of it used the code up", w.loginWith("ada@example.com", password, phone.code(0)), 200, "")
	w.clean()
}
