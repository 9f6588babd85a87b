package api_test

import (
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tulifo/platform/api/apitest"
	"tulifo/platform/postgres"
)

// TestKeysAsAModel sends sequences of few keys and few bodies, and has each answered as a map of keys to answers says.
func TestKeysAsAModel(t *testing.T) {
	s, db := notes(t)
	rapid.Check(t, func(r *rapid.T) {
		run := uuid.NewString()
		me := s.Token("client", uuid.New())
		type kept struct {
			body   string
			answer []byte
		}
		keys, taken := map[string]kept{}, map[string]bool{}
		for range rapid.IntRange(1, 8).Draw(r, "requests") {
			key := rapid.SampledFrom([]string{"", "a", "b"}).Draw(r, "key")
			text := run + rapid.SampledFrom([]string{"x", "y", "z"}).Draw(r, "text")
			call := apitest.Call{As: me, Path: "/notes", Body: map[string]string{"text": text}}
			if key != "" {
				call.Key = run + key
			}
			want := 201
			if taken[text] {
				want = 409
			}
			before, again := keys[key]
			switch {
			case again && before.body == text:
				want = 201
			case again:
				want = 422
			}
			a := s.Do(call)
			if a.Status != want {
				r.Fatalf("key %q with %q answers %d instead of %d: %s", key, text, a.Status, want, a.Body)
			}
			switch {
			case again && want == 201:
				if string(a.Body) != string(before.answer) {
					r.Fatalf("the key %q answers %s, and first %s", key, a.Body, before.answer)
				}
			case want == 201:
				taken[text] = true
				if key != "" {
					keys[key] = kept{text, a.Body}
				}
			}
		}
		n, err := postgres.One[int64](t.Context(), db, `SELECT count(*) FROM notes WHERE text LIKE $1`, run+"%")
		if err != nil || int(n) != len(taken) {
			r.Fatalf("%d notes instead of %d: %v", n, len(taken), err)
		}
	})
}
