package export_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
	"tulifo/platform/errs"
	"tulifo/platform/export"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
)

// numbers is a part of the first n documents of table numbers.
func numbers(db *postgres.DB, name string, n string) export.Part {
	return export.Part{Name: name, Rows: export.SQL(db, `SELECT key, doc FROM numbers WHERE key <= to_char(`+n+`, 'FM000000') AND $1::uuid IS NOT NULL`)}
}

// A part that is longer than a copy takes is cut and says so, wherever it stands among the parts; the others are whole, in order, and nothing comes twice.
func TestCopySaysWhatIsCutOff(t *testing.T) {
	db := pgtest.Open(t, pgtest.Database(t), "public")
	if _, err := db.Exec(t.Context(), `CREATE TABLE numbers (key text COLLATE "C" PRIMARY KEY, doc jsonb)`); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(t.Context(), `INSERT INTO numbers SELECT to_char(n, 'FM000000'), to_jsonb(n) FROM generate_series(1, 20001) n`); err != nil {
		t.Fatal(err)
	}
	few, none, many, rest := numbers(db, "few", "3"), numbers(db, "none", "0"), numbers(db, "many", "20001"), numbers(db, "rest", "600")
	for _, c := range []struct {
		what  string
		parts []export.Part
	}{{"cut in the middle", []export.Part{few, many, none, rest}}, {"cut at the end", []export.Part{none, rest, few, many}}} {
		keys := apitest.Keys(t)
		s := apitest.New(t, apitest.Options{Service: "there", Keys: keys, Register: func(r *api.Router) { export.Routes(r, "/api/there", c.parts...) }})
		peers := peer.New("user", keys, map[string]http.Handler{"there": s.Router}, nil)
		got, err := export.Collect(t.Context(), peers.To("there"), "/api/there", uuid.New())
		if err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		want := map[string]int{"few": 3, "none": 0, "many": 20_000, "rest": 600}
		if !slices.Equal(got.Truncated, []string{"many"}) || len(got.Parts) != len(c.parts) {
			t.Errorf("%s: %d parts, truncated are %v", c.what, len(got.Parts), got.Truncated)
		}
		for _, p := range c.parts {
			docs := got.Parts[p.Name]
			if docs == nil || len(docs) != want[p.Name] {
				t.Errorf("%s: %s has %d documents, nil: %v", c.what, p.Name, len(docs), docs == nil)
			}
			for i, raw := range docs {
				var n int
				if err := json.Unmarshal(raw, &n); err != nil || n != i+1 {
					t.Fatalf("%s: document %d of %s is %s, %v", c.what, i, p.Name, raw, err)
				}
			}
		}
		for _, role := range []string{"client", "worker", "admin", "support"} {
			s.Call(apitest.Call{What: role, As: s.Token(role, uuid.New()), Path: "/api/there/people/" + uuid.NewString() + "/export", Status: 403})
		}
	}
}

// A service that answers the same page for ever is not read for ever, and nothing of it is passed off as a copy.
func TestAnswerThatGoesNowhere(t *testing.T) {
	stuck := export.Part{Name: "stuck", Rows: func(context.Context, uuid.UUID, string, int) ([]json.RawMessage, string, error) {
		return []json.RawMessage{json.RawMessage(`1`)}, "here", nil
	}}
	if got, err := export.Own(t.Context(), []export.Part{stuck}, uuid.New()); errs.KindOf(err) != errs.Unavailable || got.Parts != nil {
		t.Errorf("%v, %v", got, err)
	}
}
