package gateway

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"tulifo/platform/errs"
)

//go:embed docs.html
var docsPage []byte

//go:embed landing.html
var landingPage string

var landingTemplate = template.Must(template.New("landing").Parse(landingPage))

// ownPage answers what the gateway itself has to say, and reports whether it did.
func (g *Gateway) ownPage(x *exchange) bool {
	var answer func(*exchange)
	switch x.r.URL.Path {
	case "/health":
		x.page, answer = "health", g.health
	case "/readyz":
		x.page, answer = "health", g.readiness
	case "/docs", "/docs/":
		x.page, answer = "docs", func(x *exchange) { writePage(x, docsPage, docsPolicy) }
	case "/openapi.json":
		x.page, answer = "openapi", g.docs.serve
	default:
		return false
	}
	if x.r.Method != http.MethodGet && x.r.Method != http.MethodHead {
		x.w.Header()["Allow"] = []string{"GET, HEAD"}
		x.fail(errs.New(errs.NotAllowed, "This page can only be read."))
		return true
	}
	answer(x)
	return true
}

// health tells how every service is reached. Those of this process are asked whether their stores answer, at once and with a bound.
func (g *Gateway) health(x *exchange) {
	states, status := g.asked(x.r.Context()), "ok"
	for _, s := range states {
		if s == "not_ready" || s == "stores_away" {
			status = "degraded"
		}
	}
	writeJSON(x, map[string]any{"status": status, "service": "gateway", "services": states})
}

func (g *Gateway) readiness(x *exchange) {
	if !g.Ready() {
		x.fail(errs.New(errs.Unavailable, "The gateway is shutting down."))
		return
	}
	writeJSON(x, map[string]any{"status": "ready"})
}

// landing stands in for the web app where there is none.
func (g *Gateway) landing(x *exchange) {
	if x.r.URL.Path != "/" || x.r.Method != http.MethodGet && x.r.Method != http.MethodHead {
		x.fail(errs.New(errs.NotFound, "There is nothing at this address."))
		return
	}
	type row struct{ Name, State, Paths string }
	var rows []row
	for _, s := range g.config.services {
		if s.name == "web" {
			continue
		}
		var all, paths []string
		for _, r := range s.routes {
			all = append(all, r.prefixes...)
		}
		for _, p := range all {
			if !slices.ContainsFunc(all, func(q string) bool { return q != p && under(p, q) }) {
				paths = append(paths, p) // a path below another one has only a limit of its own
			}
		}
		rows = append(rows, row{s.name, strings.ReplaceAll(s.state(), "_", " "), strings.Join(paths, "  ")})
	}
	var b bytes.Buffer
	if err := landingTemplate.Execute(&b, rows); err != nil {
		x.fail(err)
		return
	}
	writePage(x, b.Bytes(), landingPolicy)
}

func writePage(x *exchange, page []byte, policy string) {
	h := x.Header()
	h["Content-Type"] = []string{"text/html; charset=utf-8"}
	h["Content-Length"] = []string{strconv.Itoa(len(page))}
	h["Content-Security-Policy"] = []string{policy}
	h["Cache-Control"] = []string{"no-cache"}
	secure(h)
	_, _ = x.Write(page) // a client that is gone needs no answer
}

var (
	docsPolicy    = policy(string(docsPage), "connect-src 'self'; ")
	landingPolicy = policy(landingPage, "")
)

// policy lets a page run the style and script that stand in it, by their hashes, and nothing else.
func policy(page, more string) string {
	p := "default-src 'none'; " + more + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	for tag, directive := range map[string]string{"style": "style-src", "script": "script-src"} {
		_, rest, ok := strings.Cut(page, "<"+tag+">")
		if !ok {
			continue
		}
		text, _, _ := strings.Cut(rest, "</"+tag+">")
		sum := sha256.Sum256([]byte(text))
		p += "; " + directive + " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return p
}
