package api_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
	"tulifo/platform/errs"
	"tulifo/platform/obs"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/token"
)

type inner struct {
	Line string `json:"line,omitempty" maxLength:"5"`
	City string `json:"city,omitempty" maxLength:"5"`
}

type hostileIn struct {
	Body struct {
		Title  string               `json:"title,omitempty" maxLength:"5"`
		N      int                  `json:"n,omitempty"`
		Bio    api.Optional[string] `json:"bio" required:"false" maxLength:"5"`
		Inner  inner                `json:"inner,omitempty"`
		List   []inner              `json:"list,omitempty"`
		When   time.Time            `json:"when,omitzero"`
		Site   string               `json:"site,omitempty" format:"uri"`
		Mail   string               `json:"mail,omitempty" format:"email"`
		Person uuid.UUID            `json:"person,omitzero"`
	}
}

// echo answers what the handler was given, so that a value that slipped past the check shows.
func echo(t *testing.T) *apitest.Server {
	return apitest.New(t, apitest.Options{Service: "shop", Register: func(r *api.Router) {
		api.Post(r, "/echo", func(_ context.Context, in *hostileIn) (string, error) {
			return in.Body.Title + in.Body.Bio.Value + in.Body.Inner.Line + in.Body.Inner.City, nil
		}, api.For(token.Client), api.Of(api.NoOne))
	}})
}

func TestNothingSlipsPastTheCheck(t *testing.T) {
	s := echo(t)
	me := s.Token(token.Client, uuid.New())
	const long = "much-too-long"
	for what, body := range map[string]string{
		"another case beside the name":        `{"title":"ok","TITLE":"` + long + `"}`,
		"another case alone":                  `{"TITLE":"ok"}`,
		"a name twice, the last clears it":    `{"title":"` + long + `","title":null}`,
		"a name twice in an optional":         `{"bio":"` + long + `","bio":null}`,
		"an object twice, whose fields merge": `{"inner":{"line":"` + long + `"},"inner":{"city":"a"}}`,
		"a list twice, whose items merge":     `{"list":[{"line":"` + long + `"}],"list":[{"city":"a"}]}`,
		"a name twice, once escaped":          `{"title":"` + long + `","\u0074itle":"ok"}`,
		"an inner name twice":                 `{"inner":{"line":"` + long + `","line":null}}`,
		"another case inside":                 `{"inner":{"line":"a","LINE":"` + long + `"}}`,
		"garbage after the body":              `{"title":"ok"} x`,
		"two bodies":                          `{"title":"ok"}{"title":"ok"}`,
		"a very deep body":                    strings.Repeat("[", 100_000),
		"a very deep balanced body":           strings.Repeat(`{"inner":`, 20_000) + "1" + strings.Repeat("}", 20_000),
	} {
		a := s.Do(apitest.Call{As: me, Path: "/echo", Body: body})
		if a.Status != 400 && a.Status != 422 || strings.Contains(string(a.Body), long) {
			t.Errorf("%s: %v", what, a)
		}
	}
	s.Calls(
		apitest.Call{What: "equal names in different objects", As: me, Path: "/echo", Body: `{"list":[{"line":"a"},{"line":"b"}],"inner":{"line":"c"},"title":"{\"a\":1,"}`, Status: 422},
		apitest.Call{What: "equal names in different objects", As: me, Path: "/echo", Body: `{"list":[{"line":"a"},{"line":"b"}],"inner":{"line":"c"},"title":"{\",\"\\"}`, Status: 200},
	)
}

func TestDetailsNeverEcho(t *testing.T) {
	s := echo(t)
	me := s.Token(token.Client, uuid.New())
	for what, body := range map[string]string{
		"a number beyond int":  `{"n":123456789012345678901234567890}`,
		"a number beyond all":  `{"n":1e999}`,
		"a fraction":           `{"n":4.2424242}`,
		"a URI":                `{"site":"http://4242424242 :/%zz"}`,
		"an e-mail":            `{"mail":"4242424242@@"}`,
		"a UUID with a prefix": `{"person":"4242424242424242-4242-4242-4242-424242424242-"}`,
		"a URN":                `{"person":"urn:4242:42424242-4242-4242-4242-4242424242"}`,
		"a time":               `{"when":"4242-42-42T00:00:00Z"}`,
	} {
		a := s.Do(apitest.Call{As: me, Path: "/echo", Body: body})
		if a.Status != 400 && a.Status != 422 || echoed(a) {
			t.Errorf("%s: %v", what, a)
		}
	}
	s = serve(t)
	if a := s.Do(apitest.Call{Path: "/things/urn:4242:42424242-4242-4242-4242-4242424242"}); a.Status != 422 || echoed(a) {
		t.Errorf("a path: %v", a)
	}
}

// echoed says whether an answer repeats what was sent, or speaks of Go. Each piece is longer than what a random request id may have by chance.
func echoed(a apitest.Answer) bool {
	return slices.ContainsFunc([]string{"424242", "4242-42", "12345678", "1e999", "Go "}, func(piece string) bool { return strings.Contains(string(a.Body), piece) })
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

func TestABodyThatBreaksOffIsNotOurFault(t *testing.T) {
	s := echo(t)
	me := s.Token(token.Client, uuid.New())
	for what, c := range map[string]struct {
		body   io.Reader
		key    string
		status int
	}{
		"cut off":                         {broken{io.ErrUnexpectedEOF}, "", 400},
		"cut off, with a key":             {broken{io.ErrUnexpectedEOF}, "k", 400},
		"over a limit before us":          {broken{&http.MaxBytesError{Limit: 1}}, "", 413},
		"over a limit before us, keyed":   {broken{&http.MaxBytesError{Limit: 1}}, "k", 413},
		"unlimited and without a length":  {strings.NewReader(`{"title":"` + strings.Repeat("a", 3<<20)), "", 413},
		"unlimited and keyed, no length":  {strings.NewReader(`{"title":"` + strings.Repeat("a", 3<<20)), "k", 413},
		"compressed":                      {bytes.NewReader([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}), "", 400},
		"bytes that are not UTF-8, a key": {strings.NewReader("{\"title\":\"a\xff\xfe\"}"), "k", 200},
	} {
		req := httptest.NewRequest("POST", "/echo", c.body)
		req.ContentLength = -1
		req.Header.Set("Authorization", "Bearer "+me)
		req.Header.Set("Content-Type", "application/json")
		if c.key != "" {
			req.Header.Set("Idempotency-Key", c.key)
		}
		w := httptest.NewRecorder()
		s.Router.ServeHTTP(w, req)
		if w.Code != c.status {
			t.Errorf("%s: %d %s, want %d", what, w.Code, w.Body, c.status)
		}
	}
}

func TestCookieWithoutBearerIsCheckedForItsOrigin(t *testing.T) {
	s := serve(t)
	tok := s.Token(token.Client, uuid.New())
	for _, authorization := range []string{"Basic YTpi", "bearer x", "x"} {
		s.Call(apitest.Call{What: "by cookie from another site, with " + authorization, Path: "/things", Body: `{"title":"book"}`, Status: 403, Has: "cross_origin",
			Header: map[string]string{"Cookie": api.AccessCookie + "=" + tok, "Sec-Fetch-Site": "cross-site", "Authorization": authorization}})
	}
}

func TestStrangeMethodsMakeNoSeries(t *testing.T) {
	s := serve(t)
	for _, method := range []string{"AAA", "BBB", "CCC"} {
		s.Call(apitest.Call{What: "a method of somebody's own", Method: method, Path: "/nowhere", Status: 404})
	}
	s.Call(apitest.Call{What: "the series", Path: "/metrics", Status: 200, Has: `method="other"`, HasNot: "AAA"})
}

// logged is a router whose log can be read.
func logged(t *testing.T, db *postgres.DB, register func(*api.Router)) (*apitest.Server, *bytes.Buffer) {
	s := apitest.New(t, apitest.Options{Register: func(*api.Router) {}})
	var out bytes.Buffer
	s.Router = api.NewRouter(api.Options{Service: "shop", Keys: s.Keys, DB: db, Metrics: obs.NewMetrics("shop"), Log: slog.New(slog.NewTextHandler(&out, nil))})
	register(s.Router)
	return s, &out
}

func TestWhoHangsUpIsNoFault(t *testing.T) {
	db := pgtest.Open(t, pgtest.Database(t, api.Migration("tulifo_notes")), "tulifo_notes")
	began := make(chan struct{}, 1)
	for what, fn := range map[string]func(context.Context) error{
		"in a statement": func(ctx context.Context) error {
			began <- struct{}{}
			_, err := db.Exec(ctx, "SELECT pg_sleep(20)")
			return err
		},
		"in a transaction": func(ctx context.Context) error {
			return db.InTx(ctx, func(tx postgres.Tx) error {
				if _, err := tx.Exec(ctx, "SELECT 1"); err != nil {
					return err
				}
				began <- struct{}{}
				_, err := tx.Exec(ctx, "SELECT pg_sleep(20)")
				return errors.Join(errors.New("could not be done"), err)
			})
		},
		"before COMMIT": func(ctx context.Context) error {
			return db.InTx(ctx, func(tx postgres.Tx) error {
				_, err := tx.Exec(ctx, "SELECT 1")
				began <- struct{}{}
				<-ctx.Done()
				return err
			})
		},
		"while a neighbour is away": func(ctx context.Context) error {
			began <- struct{}{}
			<-ctx.Done()
			return errs.New(errs.Unavailable, "away").Because(ctx.Err())
		},
	} {
		for _, key := range []string{"", "k"} {
			s, out := logged(t, db, func(r *api.Router) {
				api.Post(r, "/slow", func(ctx context.Context, _ *struct{}) (api.Nothing, error) { return api.Nothing{}, fn(ctx) }, api.For(token.Client), api.Of(api.NoOne), api.Once)
			})
			ctx, hangUp := context.WithCancel(t.Context())
			go func() { <-began; hangUp() }()
			req := httptest.NewRequestWithContext(ctx, "POST", "/slow", nil)
			req.Header.Set("Authorization", "Bearer "+s.Token(token.Client, uuid.New()))
			if key != "" {
				req.Header.Set("Idempotency-Key", key)
			}
			w := httptest.NewRecorder()
			s.Router.ServeHTTP(w, req)
			if w.Code != 503 || out.Len() > 0 {
				t.Errorf("%s, key %q: %d, logged %s", what, key, w.Code, out)
			}
		}
	}
}
