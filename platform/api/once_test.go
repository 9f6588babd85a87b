package api_test

import (
	"context"
	"sync"
	"testing"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/token"
)

type note struct {
	ID   uuid.UUID `json:"id"`
	Text string    `json:"text"`
}

type noteIn struct {
	Body struct {
		Text string `json:"text" minLength:"1"`
	}
}

// notes is a service whose only rule is that a text can be kept once.
func notes(t *testing.T) (*apitest.Server, *postgres.DB) {
	url := pgtest.Database(t, api.Migration("tulifo_notes"))
	db := pgtest.Open(t, url, "tulifo_notes")
	if _, err := db.Exec(t.Context(), `CREATE TABLE notes (id uuid PRIMARY KEY, text text CONSTRAINT notes_once UNIQUE)`); err != nil {
		t.Fatal(err)
	}
	keep := func(ctx context.Context, in *noteIn) (note, error) {
		taken, err := postgres.One[bool](ctx, db, `SELECT EXISTS (SELECT FROM notes WHERE text = $1)`, in.Body.Text)
		if err != nil {
			return note{}, err
		}
		if taken {
			return note{}, errs.New(errs.Conflict, "That is noted already.")
		}
		n := note{uuid.New(), in.Body.Text}
		err = db.InTx(ctx, func(tx postgres.Tx) error {
			_, err := tx.Exec(ctx, `INSERT INTO notes (id, text) VALUES ($1, $2)`, n.ID, n.Text)
			return err
		})
		if postgres.Violates(err, "notes_once") {
			return note{}, errs.New(errs.Conflict, "That is noted already.")
		}
		return n, err
	}
	return apitest.New(t, apitest.Options{Service: "notes", DB: db, Register: func(r *api.Router) {
		api.Post(r, "/notes", keep, api.For(token.Client), api.Of(api.NoOne), api.Created, api.Once)
	}}), db
}

func count(t *testing.T, db *postgres.DB) int {
	n, err := postgres.One[int](t.Context(), db, `SELECT count(*)::int FROM notes`)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestOnceReplays(t *testing.T) {
	s, db := notes(t)
	me, other := s.Token(token.Client, uuid.New()), s.Token(token.Client, uuid.New())
	first := s.Call(apitest.Call{What: "the first", As: me, Path: "/notes", Body: `{"text":"a"}`, Key: "k", Status: 201})
	again := s.Call(apitest.Call{What: "a replay, though the text is taken now", As: me, Path: "/notes", Body: `{"text":"a"}`, Key: "k", Status: 201})
	if string(first.Body) != string(again.Body) {
		t.Errorf("the replay differs: %s, %s", first.Body, again.Body)
	}
	s.Calls(
		apitest.Call{What: "the key with another body", As: me, Path: "/notes", Body: `{"text":"b"}`, Key: "k", Status: 422, Has: "idempotency_key_reused"},
		apitest.Call{What: "somebody else's key is another key", As: other, Path: "/notes", Body: `{"text":"c"}`, Key: "k", Status: 201},
		apitest.Call{What: "a refusal is not stored", As: me, Path: "/notes", Body: `{"text":"a"}`, Key: "k2", Status: 409},
		apitest.Call{What: "a key that is no key", As: me, Path: "/notes", Body: `{"text":"d"}`, Key: "a b", Status: 400},
	)
	if n := count(t, db); n != 2 {
		t.Errorf("%d notes", n)
	}
	if broken, err := api.CheckKeys(t.Context(), db); err != nil || len(broken) != 0 {
		t.Errorf("check: %q, %v", broken, err)
	}
	if _, err := db.Exec(t.Context(), `UPDATE idempotency_keys SET answer = NULL WHERE key = 'k' AND route = 'POST /notes'`); err != nil {
		t.Fatal(err)
	}
	if broken, err := api.CheckKeys(t.Context(), db); err != nil || len(broken) != 1 {
		t.Errorf("check of keys without their answer: %q, %v", broken, err)
	}
}

func TestOnceTwinsWait(t *testing.T) {
	s, db := notes(t)
	me := s.Token(token.Client, uuid.New())
	answers := make([]apitest.Answer, 32)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = s.Do(apitest.Call{As: me, Path: "/notes", Body: `{"text":"x"}`, Key: "twin"}) })
	}
	wg.Wait()
	for _, a := range answers {
		if a.Status != 201 || string(a.Body) != string(answers[0].Body) {
			t.Fatalf("a twin got %v, the first %v", a, answers[0])
		}
	}
	if n := count(t, db); n != 1 {
		t.Errorf("%d notes of 32 twins", n)
	}
}

func TestOnceCostsNoRoundTrip(t *testing.T) {
	s, db := notes(t)
	me := s.Token(token.Client, uuid.New())
	keyed := pgtest.Trips(db, func() {
		s.Call(apitest.Call{As: me, Path: "/notes", Body: `{"text":"keyed"}`, Key: "k", Status: 201})
	})
	plain := pgtest.Trips(db, func() {
		s.Call(apitest.Call{As: me, Path: "/notes", Body: `{"text":"plain"}`, Status: 201})
	})
	if keyed != 3 || plain != 3 {
		t.Errorf("%d round trips with a key, %d without; both are the read, BEGIN with the row, COMMIT", keyed, plain)
	}
}
