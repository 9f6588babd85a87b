package auth_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api/apitest"
	"tulifo/platform/clock"
	"tulifo/platform/errs"
	"tulifo/platform/kv"
	"tulifo/platform/token"
	"tulifo/services/auth"
)

// alone is the service without a database.
func alone(f *testing.F) *auth.Service {
	return auth.New(nil, clock.System, apitest.Keys(f), token.NewRevocations(), kv.NewMemory(1000), nil,
		auth.Config{PublicURL: "http://tulifo.test", RefreshSecret: strings.Repeat("test-refresh-", 3), BcryptCost: 4, HashQueue: 1})
}

// oneLine is the text without line ends, which base64 leaves out wherever they stand.
var oneLine = strings.NewReplacer("\r", "", "\n", "")

// altered are the texts that differ from one of base64 in one of the bytes that it stands for.
func altered(text string) (out []string) {
	raw, _ := base64.RawURLEncoding.DecodeString(text)
	for i := range raw {
		raw[i] ^= 1
		out = append(out, base64.RawURLEncoding.EncodeToString(raw))
		raw[i] ^= 1
	}
	return out
}

// A token is taken as a link's only when it is the one that is made for that link.
func FuzzLink(f *testing.F) {
	s := alone(f)
	good := s.LinkToken(uuid.UUID{15: 7})
	if id, ok := s.LinkOf(good); !ok || id != (uuid.UUID{15: 7}) {
		f.Fatalf("%q is not taken", good)
	}
	for _, seed := range []string{good, good[:len(good)-1], good + "A", good + "=", good[:30] + "\n" + good[30:], strings.ToUpper(good), "A" + good[1:], strings.Repeat("A", 64), "", "\x00", "%00", "é"} {
		f.Add(seed)
	}
	for _, seed := range altered(good) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, tok string) {
		if id, ok := s.LinkOf(tok); ok && s.LinkToken(id) != oneLine.Replace(tok) {
			t.Errorf("%q is taken for a link of %s", tok, id)
		} else if !ok {
			if _, err := s.Press(t.Context(), tok, password); errs.KindOf(err) != errs.NotFound {
				t.Errorf("pressing %q: %v", tok, err)
			}
		}
	})
}

// No cookie makes a device known to an account that has not introduced it, and none keeps a device from being introduced.
// The cookie of a sign-in that is under way is taken only as it was sealed, for its provider and state.
func FuzzCookies(f *testing.F) {
	s := alone(f)
	const ada, bob = "ada@example.com", "bob@example.com"
	until := time.Now().Add(time.Hour).UTC()
	device, flow := s.Introduce("", ada), s.Flow("google", "state", until)
	if _, err := s.ArrivedFlow(flow, "google", "state"); err != nil || !s.KnownDevice(device, ada) {
		f.Fatalf("our own cookies are not taken: %v", err)
	}
	for _, seed := range []string{device, device + ".", device + "." + device, strings.Repeat(device+".", 9), device[1:], strings.Repeat(".", 99), flow, flow[1:], flow + "A",
		flow + "=", s.Flow("github", "state", until), s.Flow("google", "", until), s.Flow("google", "state", time.Unix(0, 0)), strings.Repeat("A", 64), "", "\x00", "\"", ";", "é"} {
		f.Add(seed, "google", "state")
	}
	for _, seed := range append(altered(device), altered(flow)...) {
		f.Add(seed, "google", "state")
	}
	f.Add(flow, "github", "state")
	f.Add(flow, "google", "")
	f.Fuzz(func(t *testing.T, cookie, provider, state string) {
		if s.KnownDevice(cookie, bob) {
			t.Errorf("%q is a known device of an account that knows none", cookie)
		}
		if s.KnownDevice(cookie, ada) && !strings.Contains(oneLine.Replace(cookie), device[:63]) {
			t.Errorf("%q is a known device", cookie)
		}
		set := (&http.Cookie{Name: "tulifo_device", Value: s.Introduce(cookie, bob)}).String()
		back, err := http.ParseSetCookie(set)
		if err != nil || !s.KnownDevice(back.Value, bob) || strings.Count(back.Value, ".") > 3 {
			t.Errorf("a device with %q is introduced by %q: %v", cookie, set, err)
		}
		switch expires, err := s.ArrivedFlow(cookie, provider, state); {
		case err != nil && errs.KindOf(err) != errs.Forbidden:
			t.Errorf("%q for %q and %q: %v", cookie, provider, state, err)
		case err == nil && s.Flow(provider, state, expires) != oneLine.Replace(cookie):
			t.Errorf("%q is taken for %q and %q", cookie, provider, state)
		}
	})
}
