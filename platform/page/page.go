// Package page makes the small pages that people reach by a link in a mail: some words, at most one form, the same look everywhere.
//
// Always: a page loads nothing and runs no script, is framed by nobody, gives its address to no other site and is not to be indexed. What it
// shows is text, never markup.
package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"

	"tulifo/platform/api"
)

//go:embed page.html
var markup string

//go:embed page.css
var style string

var (
	look   = template.Must(template.New("page").Parse(markup))
	policy = "default-src 'none'; style-src 'sha256-" + hash(style) + "'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

func hash(text string) string {
	h := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(h[:])
}

// Page is what somebody sees.
type Page struct {
	Title, Text string
	Button      string // sends the form to the page's own address, with press=yes; empty: there is nothing to press
	Password    bool   // the form asks for a new password too, as password
	Problem     string // what was wrong with the last try
	Home        string // where the page leads when there is nothing to press
}

// Style is the sheet that all pages share.
func (Page) Style() template.CSS { return template.CSS(style) }

// File is the page as an answer with the status.
func (p Page) File(status int) (api.File, error) {
	var body bytes.Buffer
	if err := look.Execute(&body, p); err != nil {
		return api.File{}, fmt.Errorf("make the page %q: %w", p.Title, err)
	}
	return api.File{ContentType: "text/html; charset=utf-8", Status: status, Body: body.Bytes(), Headers: http.Header{
		"Content-Security-Policy": {policy},
		// The address may hold a token: it must not travel on to other sites. same-origin rather than no-referrer, which makes the form's Origin null.
		"Referrer-Policy": {"same-origin"},
		"X-Robots-Tag":    {"noindex"},
	}}, nil
}
