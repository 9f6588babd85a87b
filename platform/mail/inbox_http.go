package mail

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"tulifo/platform/errs"
)

//go:embed page
var page embed.FS

const (
	maxList = 200
	maxWait = 30 * time.Second

	pageCSP = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	// A message must neither run anything, nor fetch anything, nor pass for a part of the page; its links open on their own.
	messageCSP = "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)

// Handler is the page at / and under /api:
//
//	GET    /api/messages?to=&after=&limit=&wait=  the newest first; wait (seconds, at most 30) waits for one that is newer than after
//	DELETE /api/messages                          forgets all
//	GET    /api/messages/{id}                     headers, text, attachments' names
//	DELETE /api/messages/{id}
//	GET    /api/messages/{id}/text, /html, /raw   its parts, as they are
func (in *Inbox) Handler() http.Handler {
	m := http.NewServeMux()
	files, err := fs.Sub(page, "page")
	if err != nil {
		// The folder is part of the program; without it the API still works.
		in.log.Error("the inbox has no page", "error", err)
		files = page
	}
	m.Handle("GET /", http.FileServerFS(files))
	m.HandleFunc("GET /api/messages", in.listMessages)
	m.HandleFunc("DELETE /api/messages", in.delete)
	m.HandleFunc("GET /api/messages/{id}", in.message)
	m.HandleFunc("DELETE /api/messages/{id}", in.delete)
	m.HandleFunc("GET /api/messages/{id}/text", in.part)
	m.HandleFunc("GET /api/messages/{id}/html", in.part)
	m.HandleFunc("GET /api/messages/{id}/raw", in.part)
	m.HandleFunc("GET /health", func(w http.ResponseWriter, r *http.Request) { in.answer(w, map[string]string{"status": "ok"}) })
	return in.guard(http.NewCrossOriginProtection().Handler(m))
}

func (in *Inbox) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", pageCSP)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		if !in.known(r.Host) {
			in.fail(w, errs.New(errs.Forbidden, "The inbox does not answer under this host name."))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// known says whether a request's host cannot be another site's name that was pointed here.
func (in *Inbox) known(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	_, err := netip.ParseAddr(host)
	return err == nil || !strings.Contains(host, ".") || strings.HasSuffix(host, ".localhost") || slices.Contains(in.hosts, host)
}

func (in *Inbox) listMessages(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	limit, err := number(q.Get("limit"), 50, maxList)
	if err != nil {
		in.fail(w, err)
		return
	}
	wait, err := number(q.Get("wait"), 0, int(maxWait/time.Second))
	if err != nil {
		in.fail(w, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(wait)*time.Second)
	defer cancel()
	in.answer(w, map[string]any{"messages": in.Wait(ctx, q.Get("to"), q.Get("after"), limit), "total": in.Total()})
}

func (in *Inbox) message(w http.ResponseWriter, r *http.Request) {
	got, raw, err := in.raw(r.PathValue("id"))
	if err != nil {
		in.fail(w, err)
		return
	}
	in.answer(w, struct {
		Received
		opened
	}{got, open(bytes.NewReader(raw))})
}

func (in *Inbox) part(w http.ResponseWriter, r *http.Request) {
	_, raw, err := in.raw(r.PathValue("id"))
	if err != nil {
		in.fail(w, err)
		return
	}
	h := w.Header()
	h.Set("Content-Security-Policy", messageCSP)
	switch what := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]; what {
	case "html":
		m := open(bytes.NewReader(raw))
		if !m.HasHTML {
			in.fail(w, errs.New(errs.NotFound, "The message has no rich form."))
			return
		}
		h.Set("Content-Type", "text/html; charset=utf-8")
		raw = []byte(`<!doctype html><base target="_blank">` + m.HTML)
	case "text":
		h.Set("Content-Type", "text/plain; charset=utf-8")
		raw = []byte(open(bytes.NewReader(raw)).Text)
	default:
		h.Set("Content-Type", "message/rfc822")
		h.Set("Content-Disposition", `attachment; filename="`+r.PathValue("id")+`.eml"`)
	}
	_, _ = w.Write(raw)
}

func (in *Inbox) delete(w http.ResponseWriter, r *http.Request) {
	if err := in.Delete(r.PathValue("id")); err != nil {
		in.fail(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (in *Inbox) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		in.log.Debug("an answer of the inbox was not read to its end", "error", err)
	}
}

func (in *Inbox) fail(w http.ResponseWriter, err error) {
	kind, message := errs.KindOf(err), "Something went wrong."
	if kind == errs.Internal {
		in.log.Error("the inbox failed", slog.Any("error", err))
	} else if e, ok := errors.AsType[*errs.Error](err); ok {
		message = e.Message
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(kind.Status())
	_ = json.NewEncoder(w).Encode(map[string]any{"success": false, "error": map[string]string{"code": string(kind), "message": message}})
}

// number is a query parameter between 0 and most; absent: its default.
func number(s string, absent, most int) (int, error) {
	if s == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > most {
		return 0, errs.New(errs.Malformed, "A number in the address is not one, or too large.")
	}
	return n, nil
}
