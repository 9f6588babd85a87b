package mail_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/smtp"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tulifo/platform/mail"
)

// box is an inbox with its SMTP port open.
type box struct {
	*mail.Inbox
	t    *testing.T
	port int
	http *httptest.Server
	stop func()
}

func inbox(t *testing.T, dir string) *box {
	t.Helper()
	in, err := mail.NewInbox(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- in.ServeSMTP(ctx, l) }()
	b := &box{Inbox: in, t: t, port: l.Addr().(*net.TCPAddr).Port, http: httptest.NewServer(in.Handler())}
	b.stop = func() {
		cancel()
		if err, ok := <-done; ok && err != nil {
			t.Error(err)
		}
		close(done)
		b.http.Close()
		b.stop = func() {}
	}
	t.Cleanup(func() { b.stop() })
	return b
}

// raw sends bytes as they are, as a foreign program would.
func (b *box) raw(to, body string) {
	b.t.Helper()
	if err := smtp.SendMail(fmt.Sprintf("127.0.0.1:%d", b.port), nil, "from@example.com", []string{to}, []byte(body)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *box) get(path string, into any) *http.Response {
	b.t.Helper()
	r, err := http.Get(b.http.URL + path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Body.Close()
	switch into := into.(type) {
	case *string:
		var buf bytes.Buffer
		_, err = buf.ReadFrom(r.Body)
		*into = buf.String()
	default:
		err = json.NewDecoder(r.Body).Decode(into)
	}
	if err != nil {
		b.t.Fatalf("%s: %v", path, err)
	}
	return r
}

type list struct {
	Messages []mail.Received
	Total    int
}

func TestInboxShowsWhatWasSent(t *testing.T) {
	b := inbox(t, t.TempDir())
	s := sender(t, config(b.port))
	m := message("Ann@Example.com")
	m.Subject, m.Text, m.HTML = "Grüße", "Your code:\n\n123456\n", "<p>Your code: <b>123456</b> <a href='https://tulifo.test/x'>open</a></p>"
	for _, to := range []string{"Ann@Example.com", "bob@example.com"} {
		m.To = to
		if err := s.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	var all, anns list
	b.get("/api/messages", &all)
	b.get("/api/messages?to=ann@example.com", &anns)
	if all.Total != 2 || len(all.Messages) != 2 || all.Messages[0].To[0] != "bob@example.com" || len(anns.Messages) != 1 {
		t.Fatalf("%+v, %+v", all, anns)
	}
	r := anns.Messages[0]
	if r.Subject != "Grüße" || r.Preview != "Your code: 123456" || r.From != "no-reply@tulifo.test" || time.Since(r.Received) > time.Minute {
		t.Errorf("%+v", r)
	}
	var one struct {
		Subject, Text string
		HasHTML       bool
		Headers       [][2]string
	}
	b.get("/api/messages/"+r.ID, &one)
	if one.Subject != "Grüße" || strings.ReplaceAll(one.Text, "\r", "") != m.Text || !one.HasHTML || len(one.Headers) < 5 {
		t.Errorf("%+v", one)
	}
	var text, html, raw string
	if h := b.get("/api/messages/"+r.ID+"/text", &text).Header; h.Get("Content-Type") != "text/plain; charset=utf-8" || !strings.Contains(text, "123456") {
		t.Errorf("%v %s", h, text)
	}
	h := b.get("/api/messages/"+r.ID+"/html", &html).Header
	if csp := h.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "sandbox allow-popups") || strings.Contains(csp, "allow-scripts") || !strings.Contains(csp, "default-src 'none'") || !strings.Contains(html, "<b>123456</b>") {
		t.Errorf("%v %s", h, html)
	}
	if h := b.get("/api/messages/"+r.ID+"/raw", &raw).Header; !strings.Contains(raw, "Message-ID: <0190-1@tulifo.test>") || h.Get("Content-Type") != "message/rfc822" {
		t.Errorf("%v %s", h, raw)
	}
}

func TestInboxSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	b := inbox(t, dir)
	for i := range 3 {
		b.raw(fmt.Sprintf("p%d@example.com", i), fmt.Sprintf("Subject: %d\r\n\r\nbody %d\r\n", i, i))
	}
	b.stop()
	for name, body := range map[string]string{"new-crashed": "half", "0190a0b0-0000-7000-8000-000000000000.mail": "garbage", "notes.txt": "not ours"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again := inbox(t, dir)
	got := again.Messages("", "", 10)
	if len(got) != 3 || got[0].Subject != "2" || got[2].To[0] != "p0@example.com" {
		t.Fatalf("%+v", got)
	}
	var text string
	again.get("/api/messages/"+got[0].ID+"/text", &text)
	if !strings.Contains(text, "body 2") {
		t.Errorf("%q", text)
	}
	if _, err := os.Stat(filepath.Join(dir, "new-crashed")); err == nil {
		t.Error("an unfinished file is still there")
	}
	if err := again.Delete(got[0].ID); err != nil {
		t.Fatal(err)
	}
	again.stop()
	if got := inbox(t, dir).Messages("", "", 10); len(got) != 2 {
		t.Errorf("a deleted one came back: %+v", got)
	}
}

func TestInboxKeepsTheNewest(t *testing.T) {
	dir := t.TempDir()
	b := inbox(t, dir)
	s := sender(t, config(b.port))
	for i := range mail.InboxKeeps + 5 {
		m := message("ann@example.com")
		m.Subject = fmt.Sprint(i)
		if err := s.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	got := b.Messages("", "", 2*mail.InboxKeeps)
	if len(got) != mail.InboxKeeps || got[0].Subject != fmt.Sprint(mail.InboxKeeps+4) || got[len(got)-1].Subject != "5" {
		t.Errorf("%d messages, from %s to %s", len(got), got[0].Subject, got[len(got)-1].Subject)
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != mail.InboxKeeps {
		t.Errorf("%d files, %v", len(files), err)
	}
}

func TestInboxWaitsForNews(t *testing.T) {
	b := inbox(t, t.TempDir())
	b.raw("ann@example.com", "Subject: first\r\n\r\nx\r\n")
	first := b.Messages("", "", 1)[0]
	got := make(chan list, 1)
	go func() {
		r, err := http.Get(b.http.URL + "/api/messages?wait=20&to=ann@example.com&after=" + first.ID)
		if err != nil {
			t.Error(err)
			close(got)
			return
		}
		defer r.Body.Close()
		var l list
		if err := json.NewDecoder(r.Body).Decode(&l); err != nil {
			t.Error(err)
		}
		got <- l
	}()
	b.raw("bob@example.com", "Subject: another's\r\n\r\nx\r\n")
	b.raw("ann@example.com", "Subject: second\r\n\r\nx\r\n")
	select {
	case l := <-got:
		if len(l.Messages) != 1 || l.Messages[0].Subject != "second" {
			t.Errorf("%+v", l)
		}
	case <-time.After(15 * time.Second):
		t.Error("nothing came")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if l := b.Wait(ctx, "nobody@example.com", "", 5); len(l) != 0 {
		t.Errorf("%+v", l)
	}
}

func TestInboxDeletes(t *testing.T) {
	dir := t.TempDir()
	b := inbox(t, dir)
	for range 3 {
		b.raw("ann@example.com", "Subject: x\r\n\r\nx\r\n")
	}
	del := func(path string, header http.Header) int {
		r, err := http.NewRequest(http.MethodDelete, b.http.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = header
		w, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = w.Body.Close()
		return w.StatusCode
	}
	id := b.Messages("", "", 1)[0].ID
	for i, c := range []struct {
		path   string
		header http.Header
		want   int
	}{
		{"/api/messages", http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403},
		{"/api/messages", http.Header{"Origin": {"https://evil.example"}}, 403},
		{"/api/messages/" + id, nil, 204},
		{"/api/messages/" + id, nil, 404},
		{"/api/messages/..%2f..%2fetc", nil, 404},
		{"/api/messages", nil, 204},
		{"/api/messages", nil, 204},
	} {
		if got := del(c.path, c.header); got != c.want {
			t.Errorf("%d: DELETE %s: %d", i, c.path, got)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("%v, %v", files, err)
	}
}

func TestInboxTakesHostileMessages(t *testing.T) {
	b := inbox(t, t.TempDir())
	deep := "Subject: deep\r\n"
	for i := range 3000 {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	many := "Subject: many\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\nContent-Type: application/x\r\n\r\nx\r\n", 5000) + "--b--\r\n"
	for what, body := range map[string]string{
		"no headers":        "just text\r\n",
		"empty":             "\r\n",
		"deep":              deep,
		"many parts":        many,
		"unknown charset":   "Subject: x\r\nContent-Type: text/plain; charset=klingon\r\n\r\nqapla\r\n",
		"bad encoding":      "Subject: x\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!!\r\n",
		"bad content type":  "Subject: x\r\nContent-Type: ;;;\r\n\r\nx\r\n",
		"latin":             "Subject: =?iso-8859-1?q?Gr=FC=DFe?=\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\nGr\xfc\xdfe\r\n",
		"script in subject": "Subject: <script>alert(1)</script>\r\nContent-Type: text/html\r\n\r\n<script>alert(1)</script>\r\n",
		"a broken boundary": "Content-Type: multipart/mixed\r\n\r\nx\r\n",
	} {
		b.raw(url.PathEscape(what)+"@example.com", body)
		r := b.Messages("", "", 1)[0]
		var one map[string]any
		if got := b.get("/api/messages/"+r.ID, &one); got.StatusCode != 200 {
			t.Errorf("%s: %d", what, got.StatusCode)
		}
		var part string
		for _, p := range []string{"/text", "/raw", "/html"} {
			if got := b.get("/api/messages/"+r.ID+p, &part); got.StatusCode != 200 && p != "/html" {
				t.Errorf("%s%s: %d", what, p, got.StatusCode)
			}
		}
		if what == "latin" && (r.Subject != "Grüße" || one["text"] != "Grüße\r\n") {
			t.Errorf("%q, %q", r.Subject, one["text"])
		}
		if what == "many parts" && len(one["attachments"].([]any)) > 200 {
			t.Errorf("%d attachments", len(one["attachments"].([]any)))
		}
	}
	err := smtp.SendMail(fmt.Sprintf("127.0.0.1:%d", b.port), nil, "a@example.com", []string{"b@example.com"}, bytes.Repeat([]byte("0123456789abcdef\r\n"), mail.InboxMaxBytes/17))
	if err == nil {
		t.Error("a message over the bound was taken")
	}
}

func TestInboxPage(t *testing.T) {
	b := inbox(t, t.TempDir())
	for path, want := range map[string]string{"/": "text/html; charset=utf-8", "/inbox.js": "text/javascript; charset=utf-8", "/inbox.css": "text/css; charset=utf-8"} {
		var body string
		r := b.get(path, &body)
		if r.StatusCode != 200 || r.Header.Get("Content-Type") != want || !strings.Contains(r.Header.Get("Content-Security-Policy"), "script-src 'self'") {
			t.Errorf("%s: %d %v", path, r.StatusCode, r.Header)
		}
		if strings.Contains(strings.ReplaceAll(body, "http://www.w3.org/2000/svg", ""), "http://") {
			t.Errorf("%s needs another machine", path)
		}
	}
	for host, want := range map[string]int{
		"evil.example": 403, "evil.example:8025": 403, "localhost:8025": 200, "127.0.0.1": 200, "[::1]:8025": 200, "inbox:8025": 200, "mail.localhost": 200,
	} {
		r := httptest.NewRequest("GET", "/api/messages", nil)
		r.Host = host
		w := httptest.NewRecorder()
		b.Handler().ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("Host %s: %d", host, w.Code)
		}
	}
	for path, want := range map[string]int{"/api/messages?limit=abc": 400, "/api/messages?limit=-1": 400, "/api/messages?limit=1000000000": 400, "/api/messages?wait=99999": 400, "/api/messages/nope": 404, "/api/messages/nope/html": 404, "/../inbox.go": 404} {
		w := httptest.NewRecorder()
		b.Handler().ServeHTTP(w, httptest.NewRequest("GET", "http://localhost"+path, nil))
		if w.Code != want && !(want == 404 && w.Code == 307) {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}
