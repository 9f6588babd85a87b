package token_test

import (
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"tulifo/platform/errs"
	"tulifo/platform/token"
)

// A verified token is remembered for the question it answered, and for no other, whatever the services are called.
func TestServiceTokenNeverPassesForAPersons(t *testing.T) {
	k, err := token.NewKeys(token.Config{Secret: strings.Repeat("test-access-", 3), ServiceSecret: strings.Repeat("test-service-", 3)})
	if err != nil {
		t.Fatal(err)
	}
	for _, me := range []string{"user", "service", "auth"} {
		raw, err := k.ServiceToken("payment", me)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.VerifyService(raw, me); err != nil {
			t.Fatal(err)
		}
		if c, err := k.Verify(raw); errs.KindOf(err) != errs.Unauthorized {
			t.Errorf("a token for the service %q passes for that of %v", me, c)
		}
	}
}

// Machines' clocks differ a little: a token that auth has just signed must be good on one that is behind. When it ends is what counts.
func TestTokenOfAClockAhead(t *testing.T) {
	secret := strings.Repeat("test-access-", 3)
	k, err := token.NewKeys(token.Config{Secret: secret, ServiceSecret: strings.Repeat("test-service-", 3)})
	if err != nil {
		t.Fatal(err)
	}
	for what, claims := range map[string]jwt.MapClaims{
		"ahead":        {"iat": time.Now().Add(5 * time.Second).Unix()},
		"without one":  {},
		"huge":         {"iat": time.Now().Unix(), "more": strings.Repeat("x", 20_000)},
		"alien header": {"iat": time.Now().Unix()},
	} {
		for name, v := range map[string]any{"sub": uuid.NewString(), "role": token.Client, "sid": uuid.NewString(), "iss": "tulifo-auth", "aud": "tulifo", "exp": time.Now().Add(time.Minute).Unix()} {
			claims[name] = v
		}
		unsigned := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
		unsigned.Header["jku"], unsigned.Header["kid"] = "https://evil.example/keys", "../../dev/null"
		raw, err := unsigned.SignedString([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Verify(raw); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
