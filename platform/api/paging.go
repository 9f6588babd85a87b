package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/errs"
)

// Paging is the part of a list's input that all lists share; embed it.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"100" default:"20" doc:"how many at most"`
	Cursor string `query:"cursor" maxLength:"512" doc:"nextCursor of the page before"`
}

// EncodeCursor packs the sort key of the last item of a page: strings, times, UUIDs, int64s and ints.
func EncodeCursor(parts ...any) string {
	out := make([]string, len(parts))
	for i, p := range parts {
		if t, ok := p.(time.Time); ok {
			out[i] = t.UTC().Format(time.RFC3339Nano)
		} else {
			out[i] = fmt.Sprint(p)
		}
	}
	raw, err := json.Marshal(out)
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(raw)
}

// DecodeCursor unpacks what EncodeCursor packed into *string, *time.Time, *uuid.UUID, *int64 or *int. Malformed: it is not one of ours.
func DecodeCursor(cursor string, into ...any) error {
	bad := errs.New(errs.Malformed, "The cursor is not one that this list gave out.")
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return bad
	}
	var parts []string
	if json.Unmarshal(raw, &parts) != nil || len(parts) != len(into) {
		return bad
	}
	for i, p := range parts {
		var err error
		switch v := into[i].(type) {
		case *string:
			*v = p
		case *time.Time:
			*v, err = time.Parse(time.RFC3339Nano, p)
		case *uuid.UUID:
			*v, err = uuid.Parse(p)
		case *int64:
			*v, err = strconv.ParseInt(p, 10, 64)
		case *int:
			*v, err = strconv.Atoi(p)
		default:
			err = fmt.Errorf("a cursor cannot hold %T", v)
		}
		if err != nil {
			return bad
		}
	}
	return nil
}

// Slice cuts items, of which one more than limit was read, to a page; cursor packs the sort key of an item.
func Slice[T any](items []T, limit int, cursor func(T) string) Page[T] {
	p := Page[T]{Items: items, Limit: limit}
	if len(items) > limit {
		p.Items = items[:limit]
		p.NextCursor = cursor(items[limit-1])
	}
	return p
}

// View is the page with each item as view shows it.
func View[T, V any](p Page[T], view func(T) V) Page[V] {
	out := Page[V]{Items: make([]V, len(p.Items)), Limit: p.Limit, NextCursor: p.NextCursor, Total: p.Total, Offset: p.Offset}
	for i, item := range p.Items {
		out.Items[i] = view(item)
	}
	return out
}
