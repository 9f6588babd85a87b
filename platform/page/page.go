// Package page makes the pages that people see outside the app: those that they reach by a link in a mail, some words and at most one form; and
// those of other packages, each a Kind with markup and a sheet of its own.
//
// Always: a page loads nothing and runs no script, is framed by nobody, gives its address to no other site, is kept by no cache and is not to be
// indexed. What it shows is text, never markup.
package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"tulifo/platform/api"
)

// Kind is how pages of one kind look.
type Kind struct {
	markup           *template.Template
	policy, referrer string
}

// New is the kind of that markup, a template of html/template which has the sheet as {{style}} in the one style element that it may have. Its forms
// are sent to our own addresses; a page without any sends none. It panics when the markup is no template: both are part of the program.
func New(markup, style string) Kind {
	sum := sha256.Sum256([]byte(style))
	// The address may hold a token: it must not travel on to other sites. With a form same-origin rather than no-referrer, which makes its Origin null.
	action, referrer := "'none'", "no-referrer"
	if strings.Contains(markup, "<form") {
		action, referrer = "'self'", "same-origin"
	}
	return Kind{
		markup:   template.Must(template.New("page").Funcs(template.FuncMap{"style": func() template.CSS { return template.CSS(style) }}).Parse(markup)),
		policy:   "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; form-action " + action + "; base-uri 'none'; frame-ancestors 'none'",
		referrer: referrer,
	}
}

// File is a page of the kind that shows data, as an answer with the status; 0 is the operation's.
func (k Kind) File(status int, data any) (api.File, error) {
	var body bytes.Buffer
	if err := k.markup.Execute(&body, data); err != nil {
		return api.File{}, fmt.Errorf("make a page: %w", err)
	}
	return api.File{ContentType: "text/html; charset=utf-8", Status: status, Body: body.Bytes(), Headers: http.Header{
		"Cache-Control":           {"private, no-store"},
		"Content-Security-Policy": {k.policy},
		"Referrer-Policy":         {k.referrer},
		"X-Robots-Tag":            {"noindex"},
	}}, nil
}

//go:embed page.html
var markup string

//go:embed page.css
var style string

var look = New(markup, style)

// Page is what somebody sees who followed a link in a mail.
type Page struct {
	Title, Text string
	Button      string // sends the form to the page's own address, with press=yes; empty: there is nothing to press
	Password    bool   // the form asks for a new password too, as password
	Problem     string // what was wrong with the last try
	Home        string // where the page leads when there is nothing to press
}

// File is the page as an answer with the status.
func (p Page) File(status int) (api.File, error) { return look.File(status, p) }
