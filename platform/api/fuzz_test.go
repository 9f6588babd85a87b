package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/api/apitest"
	"tulifo/platform/errs"
)

// FuzzCursor reads cursors that people send: one that is taken is one that a list could have given out.
func FuzzCursor(f *testing.F) {
	for _, s := range []string{"", "!", "e30", "bnVsbA", api.EncodeCursor(time.Unix(0, 1), uuid.New(), int64(-1), "a\x00b"), "W10", "WyIiXQ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, cursor string) {
		var at, at2 time.Time
		var id, id2 uuid.UUID
		var n, n2 int64
		var s, s2 string
		if err := api.DecodeCursor(cursor, &at, &id, &n, &s); err != nil {
			if errs.KindOf(err) != errs.Malformed {
				t.Errorf("%q: %v", cursor, err)
			}
			return
		}
		if err := api.DecodeCursor(api.EncodeCursor(at, id, n, s), &at2, &id2, &n2, &s2); err != nil || !at.Equal(at2) || id != id2 || n != n2 || s != s2 {
			t.Errorf("%q comes back as %v %v %d %q, %v", cursor, at2, id2, n2, s2, err)
		}
	})
}

type anyIn struct {
	api.IfMatch
	Body struct {
		A string         `json:"a,omitempty"`
		B []int          `json:"b,omitempty"`
		C map[string]int `json:"c,omitempty"`
	}
}

// FuzzBody sends bodies, keys and versions as people do. Nothing of them is a fault of ours, and no body is taken in which a name stands twice.
func FuzzBody(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":"x","b":[1],"c":{"d":1}}`, `{"a":"x","a":"y"}`, `{"a":"x","\u0061":"y"}`, `{"c":{"d":1,"d":2}}`, `{"A":"x"}`, "", "null", "{", "\xff", `{"b":[1e400]}`, `{"a":"\ud800"}`} {
		f.Add([]byte(s), "key", `W/"7"`)
	}
	f.Add([]byte(`{}`), "a\tb", "*")
	f.Add([]byte(`{}`), "é", `"9999999999999999999"`)
	var took *anyIn
	s := apitest.New(f, apitest.Options{Register: func(r *api.Router) {
		api.Put(r, "/any", func(_ context.Context, in *anyIn) (api.Nothing, error) {
			took = in
			_, err := in.Version(nil)
			return api.Nothing{}, err
		}, api.Public)
	}})
	f.Fuzz(func(t *testing.T, body []byte, key, version string) {
		took = nil
		req := httptest.NewRequest(http.MethodPut, "/any", bytes.NewReader(body))
		req.Header = http.Header{"Content-Type": {"application/json"}, "Idempotency-Key": {key}, "If-Match": {version}}
		w := httptest.NewRecorder()
		s.Router.ServeHTTP(w, req)
		if w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%q with the key %q and the version %q answers %d %s", body, key, version, w.Code, w.Body)
		}
		if took != nil && twice(body) {
			t.Errorf("%q is taken", body)
		}
	})
}

// twice says whether a name stands twice in an object.
func twice(body []byte) bool {
	type level struct {
		names  []string
		object bool
		value  bool // the next string of an object is a value
	}
	var open []*level
	d := json.NewDecoder(bytes.NewReader(body))
	for {
		tok, err := d.Token()
		if err != nil {
			return false
		}
		var in *level
		if len(open) > 0 {
			in = open[len(open)-1]
		}
		if name, is := tok.(string); is && in != nil && in.object && !in.value {
			if slices.Contains(in.names, name) {
				return true
			}
			in.names, in.value = append(in.names, name), true
			continue
		}
		if in != nil && tok != json.Delim('}') && tok != json.Delim(']') {
			in.value = false
		}
		switch tok {
		case json.Delim('{'), json.Delim('['):
			open = append(open, &level{object: tok == json.Delim('{')})
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
	}
}
