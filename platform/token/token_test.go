package token_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"tulifo/platform/errs"
	"tulifo/platform/token"
)

const secret, service = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"

func keys(t *testing.T, c token.Config) *token.Keys {
	t.Helper()
	c.ServiceSecret = service
	k, err := token.NewKeys(c)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestIssueAndVerify(t *testing.T) {
	seed := make([]byte, ed25519.SeedSize)
	for name, k := range map[string]*token.Keys{
		"HS256":   keys(t, token.Config{Secret: secret}),
		"Ed25519": keys(t, token.Config{SigningKey: base64.StdEncoding.EncodeToString(seed)}),
	} {
		user, session := uuid.New(), uuid.New()
		raw, until, err := k.Issue(user, token.Worker, session)
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Until(until); d < 14*time.Minute || d > token.AccessLife {
			t.Errorf("%s: good for %v", name, d)
		}
		for range 2 {
			c, err := k.Verify(raw)
			if age := time.Since(c.ProvedAt); age < 0 || age > time.Minute || !c.Proved(time.Now()) {
				t.Errorf("%s: proved %v ago", name, age)
			}
			if c.ProvedAt = (time.Time{}); err != nil || c != (token.Caller{ID: user, Role: token.Worker, Session: session}) {
				t.Errorf("%s: %+v, %v", name, c, err)
			}
		}
	}
}

func TestRenewedTokenKeepsItsProof(t *testing.T) {
	k, now := keys(t, token.Config{Secret: secret}), time.Now()
	for _, c := range []struct {
		proved time.Time
		fresh  bool
	}{{now, true}, {now.Add(-token.ProofLife + time.Minute), true}, {now.Add(-token.ProofLife), false}, {now.AddDate(0, 0, -6), false}, {time.Time{}, false}, {time.Unix(-5, 0), false}} {
		want := token.Caller{ID: uuid.New(), Role: token.Client, Session: uuid.New(), ProvedAt: c.proved}
		raw, _, err := k.Renew(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.Verify(raw)
		if err != nil || got.Proved(now) != c.fresh || got.ProvedAt.After(c.proved) {
			t.Errorf("proved at %v: %+v, %v", c.proved, got, err)
		}
	}
	if !(token.Caller{Role: token.Service, Service: "user"}).Proved(now) {
		t.Error("a service is asked for a proof")
	}
}

func TestRotation(t *testing.T) {
	old := keys(t, token.Config{Secret: secret})
	raw, _, _ := old.Issue(uuid.New(), token.Client, uuid.New())
	if _, err := keys(t, token.Config{Secret: strings.Repeat("n", 32), SecretPrevious: secret}).Verify(raw); err != nil {
		t.Errorf("a token of the previous secret: %v", err)
	}
	if _, err := keys(t, token.Config{Secret: strings.Repeat("n", 32)}).Verify(raw); err == nil {
		t.Error("a token of a forgotten secret is accepted")
	}
}

func TestForgeries(t *testing.T) {
	k := keys(t, token.Config{Secret: secret})
	sign := func(m jwt.SigningMethod, key any, c jwt.MapClaims) string {
		raw, err := jwt.NewWithClaims(m, c).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	good := func(change jwt.MapClaims) jwt.MapClaims {
		c := jwt.MapClaims{"sub": uuid.NewString(), "role": "worker", "sid": uuid.NewString(), "iss": "tulifo-auth", "aud": "tulifo", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix()}
		for name, v := range change {
			if c[name] = v; v == nil {
				delete(c, name)
			}
		}
		return c
	}
	if _, err := k.Verify(sign(jwt.SigningMethodHS256, []byte(secret), good(nil))); err != nil {
		t.Fatalf("the unchanged token: %v", err)
	}
	serviceToken, _ := k.ServiceToken("escrow", "payment")
	for what, raw := range map[string]string{
		"alg none":             sign(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good(nil)),
		"another algorithm":    sign(jwt.SigningMethodHS512, []byte(secret), good(nil)),
		"another secret":       sign(jwt.SigningMethodHS256, []byte(service), good(nil)),
		"another audience":     sign(jwt.SigningMethodHS256, []byte(secret), good(jwt.MapClaims{"aud": "payment"})),
		"another issuer":       sign(jwt.SigningMethodHS256, []byte(secret), good(jwt.MapClaims{"iss": "me"})),
		"expired":              sign(jwt.SigningMethodHS256, []byte(secret), good(jwt.MapClaims{"exp": time.Now().Add(-time.Second).Unix()})),
		"never expires":        sign(jwt.SigningMethodHS256, []byte(secret), good(jwt.MapClaims{"exp": nil})),
		"the role of services": sign(jwt.SigningMethodHS256, []byte(secret), good(jwt.MapClaims{"role": "service"})),
		"no user":              sign(jwt.SigningMethodHS256, []byte(secret), good(jwt.MapClaims{"sub": "admin"})),
		"a service's token":    serviceToken,
		"nothing":              "", "dots": "a.b.c",
	} {
		if _, err := k.Verify(raw); errs.KindOf(err) != errs.Unauthorized {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestServiceTokens(t *testing.T) {
	k := keys(t, token.Config{Secret: secret})
	raw, err := k.ServiceToken("escrow", "payment")
	if err != nil {
		t.Fatal(err)
	}
	if c, err := k.VerifyService(raw, "payment"); err != nil || c.Service != "escrow" || !c.Is(token.Service) {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := k.VerifyService(raw, "auth"); err == nil {
		t.Error("a token for payment opens auth")
	}
	user, _, _ := k.Issue(uuid.New(), token.Admin, uuid.New())
	if _, err := k.VerifyService(user, "payment"); err == nil {
		t.Error("a user passes for a service")
	}
	if !token.ClaimsService(raw) || token.ClaimsService(user) {
		t.Error("the gateway cannot tell a service's token from a user's")
	}
}

func TestWeakSecretsAreRefused(t *testing.T) {
	if _, err := token.NewKeys(token.Config{Secret: "short", ServiceSecret: service}); err == nil {
		t.Error("a short secret")
	}
	if _, err := token.NewKeys(token.Config{Secret: secret}); err == nil {
		t.Error("no service secret")
	}
}

func TestRevocationsFollow(t *testing.T) {
	r, id := token.NewRevocations(), uuid.New()
	ctx, cancel := context.WithCancel(context.Background())
	asked := make(chan time.Time, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Follow(ctx, slog.Default(), func(_ context.Context, since time.Time) ([]token.Revoked, error) {
			asked <- since
			return []token.Revoked{{SessionID: id, Until: time.Now().Add(time.Minute)}}, errors.Join()
		})
	}()
	if since := <-asked; !since.IsZero() {
		t.Errorf("the first question asks since %v", since)
	}
	cancel()
	<-done
	if !r.Has(id) || r.Stale() {
		t.Error("what auth answered was not learnt")
	}
	r.Add(uuid.New(), time.Now())
}
