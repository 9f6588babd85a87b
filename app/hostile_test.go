package app

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
)

// TestHostileInput sends every operation what it must not choke on, as everybody who may call it.
func TestHostileInput(t *testing.T) {
	n := everything(t)
	n.ready(true)
	deep := strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000)
	bodies := []string{``, `{`, `null`, `[]`, `"x"`, `1`, `{"a":1,"a":2}`, `{"$ne":null}`, deep, `{"title":"` + strings.Repeat("x", 200_000) + `"}`,
		"{\"title\":\"\\u0000\"}", "\xff\xfe", `{"id":null,"startTime":"0000-00-00","amount":1e999,"limit":-1}`}
	ids := []string{"x", "00000000-0000-0000-0000-000000000000", "%00", "..%2f..%2fetc", strings.Repeat("9", 3000), "me", "%F0%9F%92%A5", "'%20OR%201=1--"}
	queries := []string{"?limit=-1", "?limit=abc", "?limit=99999999999999999999", "?cursor=!", "?cursor=" + strings.Repeat("A", 600), "?from=x&to=y&tz=Nowhere%2FLand&duration=0&date=0000-00-00", "?offset=-1&status=%00"}
	for _, r := range routes(n) {
		var who []string
		for _, role := range append(r.roles, "") {
			who = append(who, r.anybody(t, n, role))
		}
		for _, token := range who {
			for _, id := range ids {
				r.survives(t, token, r.address(id), r.body(uuid.New()))
			}
			sane := r.address(uuid.NewString())
			for _, query := range queries {
				if strings.Contains(sane, "?") {
					query = "&" + query[1:]
				}
				r.survives(t, token, sane+query, r.body(uuid.New()))
			}
			if r.op.RequestBody == nil {
				continue
			}
			for _, body := range bodies {
				r.survives(t, token, sane, []byte(body))
			}
		}
	}
}

// survives fails the test when the answer is a fault of ours, or an error that is not in the envelope.
func (r route) survives(t *testing.T, token, address string, body []byte) {
	t.Helper()
	w := r.call(token, address, body)
	if w.Code < 400 {
		return
	}
	var p struct {
		Success *bool
		Error   struct{ Code, Message string }
	}
	html := strings.HasPrefix(w.Header().Get("Content-Type"), "text/html")
	if err := json.Unmarshal(w.Body.Bytes(), &p); !html && (err != nil || p.Success == nil || *p.Success || p.Error.Code == "" || p.Error.Message == "") {
		t.Errorf("%s %.100s with %.60q answered %d outside of the envelope: %.200s", r.method, address, body, w.Code, w.Body)
	}
	// A neighbour that is not asked here is away; everything else of the 5xx is ours.
	if w.Code >= 500 && w.Code != http.StatusServiceUnavailable {
		t.Errorf("%s %.100s with %.60q answered %d: %.200s", r.method, address, body, w.Code, w.Body)
	}
}
