package token_test

import (
	"strings"
	"testing"

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
