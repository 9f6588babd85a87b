package api_test

import (
	"context"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/token"
)

// keeper serves POST /notes with a handler that is given one connection only.
func keeper(t *testing.T, conns int, h func(context.Context, *postgres.DB, string) (string, error)) (*apitest.Server, *postgres.DB) {
	url := pgtest.Database(t, api.Migration("tulifo_notes"))
	db, err := postgres.Open(t.Context(), postgres.Config{URL: url, Schema: "tulifo_notes", MaxConns: conns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	if _, err := db.Exec(t.Context(), `CREATE TABLE notes (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), text text CONSTRAINT notes_once UNIQUE)`); err != nil {
		t.Fatal(err)
	}
	return apitest.New(t, apitest.Options{Service: "notes", DB: db, Register: func(r *api.Router) {
		api.Post(r, "/notes", func(ctx context.Context, in *noteIn) (string, error) { return h(ctx, db, in.Body.Text) }, api.For(token.Client), api.Of(api.NoOne), api.Created, api.Once)
	}}), db
}

func insert(ctx context.Context, db *postgres.DB, text string) error {
	return db.InTx(ctx, func(tx postgres.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO notes (text) VALUES ($1)`, text)
		return err
	})
}

func read(ctx context.Context, db *postgres.DB, text string) (string, error) {
	return postgres.One[string](ctx, db, `SELECT text FROM notes WHERE text = $1`, text)
}

// A key changes nothing but that a repetition is answered alike: each way through a handler ends as it does without one.
func TestOnceChangesNothingElse(t *testing.T) {
	errTaken := errs.New(errs.Conflict, "That is noted already.")
	for what, h := range map[string]func(context.Context, *postgres.DB, string) (string, error){
		"reads what it wrote": func(ctx context.Context, db *postgres.DB, text string) (string, error) {
			if err := insert(ctx, db, text); err != nil {
				return "", err
			}
			return read(ctx, db, text)
		},
		"has two transactions": func(ctx context.Context, db *postgres.DB, text string) (string, error) {
			if err := insert(ctx, db, text); err != nil {
				return "", err
			}
			if err := insert(ctx, db, text+"!"); err != nil {
				return "", err
			}
			return read(ctx, db, text+"!")
		},
		"tries another name when one is taken": func(ctx context.Context, db *postgres.DB, text string) (string, error) {
			if err := insert(ctx, db, "taken"); !postgres.Violates(err, "notes_once") {
				return "", err
			}
			if err := insert(ctx, db, text); err != nil {
				return "", err
			}
			return read(ctx, db, text)
		},
		"answers what is there already": func(ctx context.Context, db *postgres.DB, _ string) (string, error) {
			if err := insert(ctx, db, "taken"); !postgres.Violates(err, "notes_once") {
				return "", err
			}
			return read(ctx, db, "taken")
		},
		"refuses after a failure": func(ctx context.Context, db *postgres.DB, _ string) (string, error) {
			if err := insert(ctx, db, "taken"); !postgres.Violates(err, "notes_once") {
				return "", err
			}
			if _, err := read(ctx, db, "taken"); err != nil {
				return "", err
			}
			return "", errTaken
		},
		"writes nothing": func(context.Context, *postgres.DB, string) (string, error) { return "nothing", nil },
	} {
		t.Run(what, func(t *testing.T) {
			s, db := keeper(t, 1, h)
			if err := insert(t.Context(), db, "taken"); err != nil {
				t.Fatal(err)
			}
			me := s.Token(token.Client, uuid.New())
			keyed := s.Do(apitest.Call{As: me, Path: "/notes", Body: `{"text":"a"}`, Key: "k"})
			again := s.Do(apitest.Call{As: me, Path: "/notes", Body: `{"text":"a"}`, Key: "k"})
			plain := s.Do(apitest.Call{As: me, Path: "/notes", Body: `{"text":"b"}`})
			if keyed.Status != plain.Status || again.Status != plain.Status || keyed.Status == 201 && string(again.Body) != string(keyed.Body) {
				t.Errorf("with a key %v, again %v, without %v", keyed, again, plain)
			}
		})
	}
}

func TestOnceRepeatsTheTransactionNotTheHandler(t *testing.T) {
	var handled, tried atomic.Int64
	s, db := keeper(t, 2, func(ctx context.Context, db *postgres.DB, text string) (string, error) {
		handled.Add(1)
		return text, db.InTx(ctx, func(tx postgres.Tx) error {
			if _, err := tx.Exec(ctx, `INSERT INTO notes (text) VALUES ($1)`, text); err != nil {
				return err
			}
			if tried.Add(1) < 3 {
				_, err := tx.Exec(ctx, `DO $$ BEGIN RAISE serialization_failure; END $$`)
				return err
			}
			return nil
		})
	})
	s.Call(apitest.Call{What: "a transaction that fits the third time", As: s.Token(token.Client, uuid.New()), Path: "/notes", Body: `{"text":"a"}`, Key: "k", Status: 201})
	if handled.Load() != 1 || tried.Load() != 3 || count(t, db) != 1 {
		t.Errorf("%d handlers, %d transactions, %d notes", handled.Load(), tried.Load(), count(t, db))
	}
}

func TestOnceSurvivesPanicsAndHangUps(t *testing.T) {
	var calls atomic.Int64
	var hangUp context.CancelFunc
	s, db := keeper(t, 3, func(ctx context.Context, db *postgres.DB, text string) (string, error) {
		err := db.InTx(ctx, func(tx postgres.Tx) error {
			if calls.Load() == 1 {
				tx.Later(`SELECT pg_sleep(0.05)`)
			}
			_, err := tx.Exec(ctx, `INSERT INTO notes (text) VALUES ($1)`, text)
			return err
		})
		switch calls.Add(1) {
		case 1:
			panic("after the claim")
		case 2:
			hangUp()
		}
		return text, err
	})
	me := s.Token(token.Client, uuid.New())
	s.Call(apitest.Call{What: "a panic after the claim", As: me, Path: "/notes", Body: `{"text":"a"}`, Key: "k", Status: 500})
	ctx, cancel := context.WithCancel(t.Context())
	hangUp = cancel
	req := httptest.NewRequestWithContext(ctx, "POST", "/notes", strings.NewReader(`{"text":"a"}`))
	req.Header.Set("Authorization", "Bearer "+me)
	req.Header.Set("Idempotency-Key", "k")
	s.Router.ServeHTTP(httptest.NewRecorder(), req)
	for range 2 {
		s.Call(apitest.Call{What: "after who hung up", As: me, Path: "/notes", Body: `{"text":"a"}`, Key: "k", Status: 201, Has: `"data":"a"`})
	}
	if n := count(t, db); n != 1 {
		t.Errorf("%d notes", n)
	}
}

func TestOnceTwinsWithOtherBodies(t *testing.T) {
	s, db := keeper(t, 6, func(ctx context.Context, db *postgres.DB, text string) (string, error) {
		if err := insert(ctx, db, text); err != nil {
			return "", err
		}
		return read(ctx, db, text)
	})
	me := s.Token(token.Client, uuid.New())
	answers := make([]apitest.Answer, 24)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			answers[i] = s.Do(apitest.Call{As: me, Path: "/notes", Body: `{"text":"` + string(rune('a'+i%3)) + `"}`, Key: "twin"})
		})
	}
	wg.Wait()
	by := map[int]int{}
	for _, a := range answers {
		by[a.Status]++
	}
	if by[201] != 8 || by[422] != 16 || count(t, db) != 1 {
		t.Errorf("%v, %d notes", by, count(t, db))
	}
}

func TestTextThatCannotBeKept(t *testing.T) {
	s, db := notes(t)
	me := s.Token(token.Client, uuid.New())
	for _, key := range []string{"", "k"} {
		s.Call(apitest.Call{What: "a null character", As: me, Path: "/notes", Body: `{"text":"a\u0000b"}`, Key: key, Status: 422})
		s.Call(apitest.Call{What: "half a surrogate pair", As: me, Path: "/notes", Body: `{"text":"\ud800` + key + `"}`, Key: key, Status: 201})
	}
	if n := count(t, db); n != 2 {
		t.Errorf("%d notes", n)
	}
}

func TestOnceIsNotForStrangersOrSecrets(t *testing.T) {
	for what, opts := range map[string][]api.Option{"strangers": {api.Public, api.Once}, "secrets": {api.Anyone, api.Of(api.NoOne), api.Secret, api.Once}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("an operation for %s was registered", what)
				}
			}()
			apitest.New(t, apitest.Options{Register: func(r *api.Router) {
				api.Post(r, "/open", func(context.Context, *struct{}) (thing, error) { return thing{}, nil }, opts...)
			}})
		}()
	}
}
