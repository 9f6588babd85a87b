// Package export gives a person a copy of everything that the services hold about him.
//
// A service says once what it holds, as named parts; every part is read in pages, so that no answer grows with somebody's history. Always: only
// services may ask, a part carries nothing that its person could not see anyway, and what could not be read whole is never passed off as whole.
package export

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

const (
	page = 500
	most = 20_000 // documents of one part
)

// Rows reads a page of what is held about a person, of at most limit documents after the cursor, which is empty at first; next is empty after the last.
type Rows func(ctx context.Context, person uuid.UUID, after string, limit int) (docs []json.RawMessage, next string, err error)

// Part is one kind of thing that is held.
type Part struct {
	Name string
	Rows Rows
}

// SQL reads a part with a query that has the person as $1 and answers key, by which it is ordered as text and which no two rows share, and doc, as jsonb.
func SQL(db *postgres.DB, query string) Rows {
	query = `SELECT key, doc FROM (SELECT key::text COLLATE "C" AS key, doc FROM (` + query + `) held) rows WHERE key > $2 ORDER BY key LIMIT $3`
	return func(ctx context.Context, person uuid.UUID, after string, limit int) ([]json.RawMessage, string, error) {
		rows, err := postgres.All[struct {
			Key string
			Doc json.RawMessage
		}](ctx, db, query, person, after, limit)
		docs := make([]json.RawMessage, len(rows))
		for i, r := range rows {
			docs[i] = r.Doc
		}
		next := ""
		if len(rows) == limit {
			next = rows[limit-1].Key
		}
		return docs, next, err
	}
}

// Page is what a service answers: one page of one of its parts, and where to go on.
type Page struct {
	Name  string            `json:"name"`
	Docs  []json.RawMessage `json:"docs"`
	Part  int               `json:"part" doc:"number of the part to ask for next; negative after the last"`
	After string            `json:"after"`
}

type in struct {
	ID    uuid.UUID `path:"id"`
	Part  int       `query:"part" minimum:"0" maximum:"100"`
	After string    `query:"after" maxLength:"400"`
}

// Routes declares GET <prefix>/people/{id}/export, for user-service alone.
func Routes(r *api.Router, prefix string, parts ...Part) {
	api.Get(r, prefix+"/people/{id}/export", func(ctx context.Context, in *in) (Page, error) {
		return Read(ctx, parts, in.ID, in.Part, in.After)
	}, api.For(token.Service), api.Heavy, api.Summary("A page of what is held about a person, for the copy that he asks for"))
}

// Read is a page of one of the parts. NotFound: there is no such part.
func Read(ctx context.Context, parts []Part, person uuid.UUID, part int, after string) (Page, error) {
	if part >= len(parts) {
		return Page{}, errs.New(errs.NotFound, "There is no such part.")
	}
	docs, next, err := parts[part].Rows(ctx, person, after, page)
	out := Page{Name: parts[part].Name, Docs: docs, Part: part, After: next}
	if next == "" {
		out.Part++
	}
	if out.Part == len(parts) {
		out.Part = -1
	}
	return out, err
}

// Held is what one service holds about a person, by part.
type Held struct {
	Parts     map[string][]json.RawMessage `json:"parts"`
	Truncated []string                     `json:"truncated,omitempty"` // parts of which only the first 20,000 documents are here
}

// Collect reads all parts of the service that c asks. Unavailable: it is away.
func Collect(ctx context.Context, c *peer.Client, prefix string, person uuid.UUID) (Held, error) {
	return collect(func(part int, after string) (Page, error) {
		q := url.Values{"part": {strconv.Itoa(part)}, "after": {after}}
		return peer.Get[Page](ctx, c, prefix+"/people/"+person.String()+"/export?"+q.Encode())
	})
}

// Own is Collect for parts of the same service.
func Own(ctx context.Context, parts []Part, person uuid.UUID) (Held, error) {
	return collect(func(part int, after string) (Page, error) { return Read(ctx, parts, person, part, after) })
}

func collect(ask func(part int, after string) (Page, error)) (Held, error) {
	out := Held{Parts: map[string][]json.RawMessage{}}
	for part, after := 0, ""; part >= 0; {
		p, err := ask(part, after)
		if errs.KindOf(err) == errs.NotFound && len(out.Truncated) > 0 {
			break // the part that was cut off was the last
		}
		if err != nil {
			return Held{}, err
		}
		have := append(out.Parts[p.Name], p.Docs...)
		if have == nil {
			have = []json.RawMessage{}
		}
		out.Parts[p.Name] = have
		if len(have) >= most && p.After != "" {
			out.Truncated = append(out.Truncated, p.Name)
			p.Part, p.After = part+1, ""
		}
		if p.Part >= 0 && (p.Part < part || p.Part == part && p.After == after) {
			return Held{}, errs.New(errs.Unavailable, "Another part of the platform answered in a way that cannot be read.")
		}
		part, after = p.Part, p.After
	}
	return out, nil
}
