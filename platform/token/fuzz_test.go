package token_test

import (
	"testing"

	"github.com/google/uuid"

	"tulifo/platform/token"
)

// FuzzVerify looks for a token that lets somebody in though nobody has signed it.
func FuzzVerify(f *testing.F) {
	k, err := token.NewKeys(token.Config{Secret: secret, ServiceSecret: "another secret of more than 32 bytes"})
	if err != nil {
		f.Fatal(err)
	}
	user := uuid.New()
	person, _, err := k.Issue(user, token.Worker, uuid.New())
	if err != nil {
		f.Fatal(err)
	}
	service, err := k.ServiceToken("payment", "escrow")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{"", "a.b.c", "e30.e30.", "eyJhbGciOiJub25lIn0.e30.", person + "A", person[:len(person)-1], service + ".", person + "." + service, person, service} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if c, err := k.Verify(raw); err == nil && c.ID != user {
			t.Errorf("%q lets in %v", raw, c)
		}
		if c, err := k.VerifyService(raw, "escrow"); err == nil && c.Service != "payment" {
			t.Errorf("%q lets in %v", raw, c)
		}
		if _, err := k.VerifyService(raw, "user"); err == nil {
			t.Errorf("%q of another target lets in", raw)
		}
		token.ClaimsService(raw)
	})
}
