package stripesim

import (
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// page is a list of objects, newest first.
type page struct {
	Object  string            `json:"object"`
	URL     string            `json:"url"`
	HasMore bool              `json:"has_more"`
	Data    []json.RawMessage `json:"data"`
}

// search is what a search answers.
type search struct {
	page
	NextPage *string `json:"next_page"`
}

// item is what lists filter by.
type item struct {
	Created     int64             `json:"created"`
	Amount      int64             `json:"amount"`
	ID          string            `json:"id"`
	Object      string            `json:"object"`
	Currency    string            `json:"currency"`
	Status      string            `json:"status"`
	Type        string            `json:"type"`
	Destination string            `json:"destination"`
	Metadata    map[string]string `json:"metadata"`
}

// listing answers one page of what is listed under scope and passes keep.
func (t *tx) listing(r *request, url, scope string, keep func(item) bool) (any, error) {
	limit := 10
	if n, ok := r.whole("limit"); ok {
		if n < 1 || n > 100 {
			r.fail(invalid("limit", "parameter_invalid_integer", "Invalid limit: must be between 1 and 100"))
		}
		limit = int(n)
	}
	after, before := r.str("starting_after"), r.str("ending_before")
	if after != "" && before != "" {
		r.fail(invalid("ending_before", "", "You cannot use both starting_after and ending_before."))
	}
	since := r.created()
	if err := r.done(); err != nil {
		return nil, err
	}
	p := page{Object: "list", URL: url, Data: []json.RawMessage{}}
	var failed error
	collect := func(_ string, id []byte) bool {
		rec, ok, err := t.record(string(id))
		var i item
		if ok && err == nil {
			err = json.Unmarshal(rec.Body, &i)
		}
		switch {
		case err != nil:
			failed = err
			return false
		case !ok || !since(i.Created) || keep != nil && !keep(i):
			return true
		case len(p.Data) == limit:
			p.HasMore = true
			return false
		}
		p.Data = append(p.Data, rec.Body)
		return true
	}
	prefix := keyIndex + scope + "\x00"
	start := ""
	if cursor := after + before; cursor != "" {
		rec, ok, err := t.record(cursor)
		if err != nil {
			return nil, err
		}
		if !ok || rec.Owner != r.account {
			return nil, invalid(map[bool]string{true: "starting_after", false: "ending_before"}[after != ""], "resource_missing", "No such object: '"+clip(cursor)+"'")
		}
		start = prefix + ordered(rec.Seq)
	}
	if before != "" {
		t.ascend(prefix, start+"\x00", collect)
		slices.Reverse(p.Data)
	} else {
		t.descend(prefix, start, collect)
	}
	return p, failed
}

// created reads created, created[gte] and their like.
func (r *request) created() func(int64) bool {
	var checks []func(int64) bool
	for name, holds := range map[string]func(at, bound int64) bool{
		"created":      func(at, bound int64) bool { return at == bound },
		"created[gt]":  func(at, bound int64) bool { return at > bound },
		"created[gte]": func(at, bound int64) bool { return at >= bound },
		"created[lt]":  func(at, bound int64) bool { return at < bound },
		"created[lte]": func(at, bound int64) bool { return at <= bound },
	} {
		if bound, ok := r.whole(name); ok {
			checks = append(checks, func(at int64) bool { return holds(at, bound) })
		}
	}
	return func(at int64) bool {
		for _, c := range checks {
			if !c(at) {
				return false
			}
		}
		return true
	}
}

var clause = regexp.MustCompile(`^\s*-?(?:metadata\[(?:'([^']*)'|"([^"]*)")\]|(status|currency|amount|created))\s*(:|>=|<=|>|<)\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|(\d+))\s*(?:AND\s+|$)`)

// searching answers Stripe's query language as far as: metadata['k']:'v', status, currency, amount, created, joined by AND.
// It finds what was written before it, at once.
func (t *tx) searching(r *request, path, kind string) (any, error) {
	query := r.need("query")
	limit, from := 10, r.str("page")
	if n, ok := r.whole("limit"); ok {
		if n < 1 || n > 100 {
			r.fail(invalid("limit", "parameter_invalid_integer", "Invalid limit: must be between 1 and 100"))
		}
		limit = int(n)
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	scope, keep, err := parseQuery(query, kind, r.account)
	if err != nil {
		return nil, err
	}
	out := search{page: page{Object: "search_result", URL: path, Data: []json.RawMessage{}}}
	prefix, below := keyIndex+scope+"\x00", ""
	if from != "" {
		seq, err := strconv.ParseUint(from, 36, 64)
		if err != nil {
			return nil, invalid("page", "", "Invalid page.")
		}
		below = prefix + ordered(seq)
	}
	var failed error
	var last uint64
	t.descend(prefix, below, func(key string, id []byte) bool {
		rec, ok, err := t.record(string(id))
		var i item
		if ok && err == nil {
			err = json.Unmarshal(rec.Body, &i)
		}
		switch {
		case err != nil:
			failed = err
			return false
		case !ok || !keep(i):
			return true
		case len(out.Data) == limit:
			next := strconv.FormatUint(last, 36)
			out.HasMore, out.NextPage = true, &next
			return false
		}
		out.Data, last = append(out.Data, rec.Body), rec.Seq
		return true
	})
	return out, failed
}

func parseQuery(query, kind, owner string) (scope string, keep func(item) bool, err error) {
	scope = all(kind, owner)
	var checks []func(item) bool
	for rest := query; rest != ""; {
		m := clause.FindStringSubmatch(rest)
		if m == nil || strings.HasPrefix(strings.TrimSpace(rest), "-") {
			return "", nil, invalid("query", "", "We were unable to parse your search query. The simulator knows metadata['key']:'value', status, currency, amount and created, joined by AND.")
		}
		rest = rest[len(m[0]):]
		key, field, op, value := m[1]+m[2], m[3], m[4], unescape(m[5]+m[6])+m[7]
		if field == "" {
			if op != ":" {
				return "", nil, invalid("query", "", "Metadata can only be compared with ':'.")
			}
			scope = under(kind, owner, "metadata", key+"="+value)
			checks = append(checks, func(i item) bool { v, ok := i.Metadata[key]; return ok && v == value })
			continue
		}
		n, _ := strconv.ParseInt(value, 10, 64)
		checks = append(checks, func(i item) bool {
			switch field {
			case "status":
				return i.Status == value
			case "currency":
				return i.Currency == strings.ToLower(value)
			case "amount":
				return compare(i.Amount, op, n)
			}
			return compare(i.Created, op, n)
		})
	}
	return scope, func(i item) bool {
		for _, c := range checks {
			if !c(i) {
				return false
			}
		}
		return true
	}, nil
}

func unescape(s string) string {
	return strings.NewReplacer(`\'`, `'`, `\"`, `"`, `\\`, `\`).Replace(s)
}

func compare(a int64, op string, b int64) bool {
	switch op {
	case ">":
		return a > b
	case ">=":
		return a >= b
	case "<":
		return a < b
	case "<=":
		return a <= b
	}
	return a == b
}

// noteMetadata makes an object findable by its metadata.
func (t *tx) noteMetadata(o object, owner string, metadata map[string]string) error {
	h := o.top()
	for k, v := range metadata {
		if err := t.also(h.ID, under(h.Object, owner, "metadata", k+"="+v)); err != nil {
			return err
		}
	}
	return nil
}

// listed is a page nested in another object.
func listed(path string) page {
	return page{Object: "list", URL: path, Data: []json.RawMessage{}}
}

func escape(id string) string { return url.PathEscape(id) }

// prepend puts a new object first; a nested page shows the ten newest.
func (p *page) prepend(t *tx, o object) error {
	b, err := json.Marshal(o)
	if err != nil {
		return err
	}
	p.Data = slices.Insert(p.Data, 0, json.RawMessage(b))
	if len(p.Data) > 10 {
		p.Data, p.HasMore = p.Data[:10], true
	}
	return nil
}
