package page_test

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"

	"tulifo/platform/page"
)

func TestPage(t *testing.T) {
	f, err := page.Page{Title: "Set a <new> password", Text: "It has 8 characters.", Problem: "Too short.", Button: "Set it", Password: true, Home: "https://tulifo.example"}.File(422)
	if err != nil {
		t.Fatal(err)
	}
	body := string(f.Body)
	for _, want := range []string{"Set a &lt;new&gt; password", `role="alert">Too short.`, `type="password"`, `<form method="post">`, ">Set it</button>"} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is not in %s", want, body)
		}
	}
	for _, not := range []string{"<script", "http://", "src=", "Go to Tulifo"} {
		if strings.Contains(body, not) {
			t.Errorf("%q is in %s", not, body)
		}
	}
	_, sheet, _ := strings.Cut(body, "<style>")
	sheet, _, _ = strings.Cut(sheet, "</style>")
	h := sha256.Sum256([]byte(sheet))
	if p := f.Headers.Get("Content-Security-Policy"); !strings.Contains(p, base64.StdEncoding.EncodeToString(h[:])) || !strings.HasPrefix(p, "default-src 'none'") || f.Status != 422 {
		t.Errorf("the browser would not take the sheet: %s", p)
	}
	for name, want := range map[string]string{"Cache-Control": "private, no-store", "Referrer-Policy": "same-origin", "X-Robots-Tag": "noindex"} {
		if got := f.Headers.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	f, err = page.Page{Title: "Done", Home: "https://tulifo.example"}.File(200)
	if err != nil || strings.Contains(string(f.Body), "<form") || !strings.Contains(string(f.Body), `href="https://tulifo.example"`) {
		t.Errorf("%v: %s", err, f.Body)
	}
}

// A page without a form sends none, and says nothing of where it is.
func TestKindWithoutForm(t *testing.T) {
	f, err := page.New(`<title>{{.}}</title><style>{{style}}</style>`, "p{color:red}").File(0, "<b>")
	if err != nil || string(f.Body) != "<title>&lt;b&gt;</title><style>p{color:red}</style>" || f.Status != 0 {
		t.Errorf("%s, %v", f.Body, err)
	}
	if p := f.Headers.Get("Content-Security-Policy"); !strings.Contains(p, "form-action 'none'") || f.Headers.Get("Referrer-Policy") != "no-referrer" {
		t.Errorf("%s, %v", p, f.Headers)
	}
}
