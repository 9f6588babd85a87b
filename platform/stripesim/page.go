package stripesim

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"
	"time"
)

// html is parsed when somebody first looks, so that an idle simulator does not carry it.
var html = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("").Parse(`{{define "top"}}<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.}}</title><style>:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #8884}code{font-size:.9em}
button,input{font:inherit;padding:.4rem .8rem}form{display:flex;gap:.6rem;flex-wrap:wrap}</style><h1>{{.}}</h1>{{end}}
{{define "text"}}{{template "top" .Title}}<p>{{.Text}}</p>{{end}}
{{define "setup"}}{{template "top" "Get paid"}}<p>This is the Stripe simulator. It believes every name but one that holds “Refuse Me”.</p>
<form method="post"><label>Name <input name="name" value="{{.}}" maxlength="80" autofocus></label><button>Submit</button></form>{{end}}
{{define "bank"}}{{template "top" "Your bank asks: is it you?"}}<p>Pay {{.}}</p>
<form method="post"><button name="answer" value="yes" autofocus>Yes, pay</button><button name="answer" value="no">No</button></form>{{end}}
{{define "home"}}{{template "top" "Stripe simulator"}}<p>Test money only. Events go to {{if .URL}}<code>{{.URL}}</code>{{else}}nowhere yet{{end}}.</p>
{{range .Tables}}<h2>{{.Name}}</h2><table><tr>{{range .Head}}<th scope="col">{{.}}</th>{{end}}</tr>
{{range .Rows}}<tr>{{range .}}<td>{{.}}</td>{{end}}</tr>{{else}}<tr><td>none</td></tr>{{end}}</table>{{end}}{{end}}`))
})

type table struct {
	Name string
	Head []string
	Rows [][]string
}

func (s *Simulator) pages(mux *http.ServeMux) {
	mux.HandleFunc("GET /{$}", s.home)
	mux.HandleFunc("GET /connect/setup/{id}", s.onboard)
	mux.HandleFunc("POST /connect/setup/{id}", s.onboard)
	mux.HandleFunc("GET /connect/authenticate/{id}/{secret}", s.askBank)
	mux.HandleFunc("POST /connect/authenticate/{id}/{secret}", s.authenticate)
}

func (s *Simulator) show(w http.ResponseWriter, status int, name string, data any) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	if err := html().ExecuteTemplate(w, name, data); err != nil {
		s.log.Debug("stripe simulator: page not written", "error", err)
	}
}

func (s *Simulator) pageText(w http.ResponseWriter, title, text string) {
	s.show(w, http.StatusOK, "text", struct{ Title, Text string }{title, text})
}

func (s *Simulator) pageOnboarding(w http.ResponseWriter, a *account) {
	s.show(w, http.StatusOK, "setup", deref(a.BusinessProfile.Name))
}

func (s *Simulator) pageFault(w http.ResponseWriter, err error) {
	if f, ok := errors.AsType[*fault](err); ok {
		s.show(w, f.status, "text", struct{ Title, Text string }{"That did not work", f.body.Message})
		return
	}
	s.log.Error("stripe simulator failed", "error", err)
	s.show(w, http.StatusInternalServerError, "text", struct{ Title, Text string }{"That did not work", "Try again."})
}

// home shows the newest payments, payouts and events, and what waits.
func (s *Simulator) home(w http.ResponseWriter, _ *http.Request) {
	const n = 20
	var tables []table
	err := s.store.view(func(t *tx) error {
		for _, k := range []struct{ name, scope string }{
			{"Payments", all("payment_intent", "")}, {"Refunds", all("refund", "")}, {"Transfers", all("transfer", "")},
			{"Payouts", everyPayout}, {"Disputes", all("dispute", "")}, {"Events", all("event", "")},
		} {
			tab := table{Name: k.name, Head: []string{"id", "created", "amount", "status"}}
			var failed error
			t.descend(keyIndex+k.scope+"\x00", "", func(_ string, id []byte) bool {
				rec, _, err := t.record(string(id))
				var i item
				if err == nil {
					err = json.Unmarshal(rec.Body, &i)
				}
				failed = err
				row := []string{i.ID, time.Unix(i.Created, 0).UTC().Format(time.DateTime), sum(i.Amount, i.Currency), cmp.Or(i.Status, i.Type)}
				if i.Currency == "" {
					row[2] = ""
				}
				tab.Rows = append(tab.Rows, row)
				return err == nil && len(tab.Rows) < n
			})
			if failed != nil {
				return failed
			}
			tables = append(tables, tab)
		}
		return nil
	})
	if err != nil {
		s.pageFault(w, err)
		return
	}
	list, err := s.undelivered(n)
	if err != nil {
		s.pageFault(w, err)
		return
	}
	late := table{Name: "Webhooks on their way", Head: []string{"event", "type", "attempts", "last answer"}}
	for _, x := range list {
		late.Rows = append(late.Rows, []string{x.Event, x.Type, fmt.Sprint(x.Attempts), x.Error})
	}
	url, _, _ := s.sending()
	s.show(w, http.StatusOK, "home", struct {
		URL    string
		Tables []table
	}{url, append(tables, late)})
}

// sum is an amount of minor units for people; the simulator shows it undivided, as the API does.
func sum(minor int64, currency string) string {
	return fmt.Sprintf("%d %s (minor units)", minor, strings.ToUpper(currency))
}
