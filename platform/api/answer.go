package api

import (
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"reflect"
	"slices"

	"github.com/danielgtaylor/huma/v2"
)

// File is an answer that is not JSON.
type File struct {
	ContentType string
	Status      int    // 0: the operation's
	Name        string // offered for saving; empty for a page
	Inline      bool   // shown rather than saved
	Body        []byte
	Headers     http.Header
}

// Nothing is the answer of an operation that has nothing to say; its data is an empty object.
type Nothing struct{}

// Page is one page of a list.
type Page[T any] struct {
	Items      []T
	Limit      int
	NextCursor string // empty on the last page
	Total      *int64 // where it is known without counting
	Offset     *int   // where the route pages by offset
}

// Meta is what an answer says about its page.
type Meta struct {
	Limit      int    `json:"limit"`
	NextCursor string `json:"nextCursor,omitempty"`
	Offset     *int   `json:"offset,omitempty"`
	Total      *int64 `json:"total,omitempty"`
}

type pager interface {
	itemsType() reflect.Type
	split() (items any, meta *Meta)
}

func (p *Page[T]) itemsType() reflect.Type { return reflect.TypeFor[[]T]() }
func (p *Page[T]) split() (any, *Meta) {
	return p.Items, &Meta{p.Limit, p.NextCursor, p.Offset, p.Total}
}

// answer is what huma is told to send: the body writes itself, so that its bytes are ours.
type answer struct {
	Body func(huma.Context)
}

// reply is an encoded answer, as it is sent and as api.Once stores it.
type reply struct {
	status int
	header http.Header
	body   []byte
}

func (a reply) answer() *answer {
	return &answer{func(ctx huma.Context) {
		_, w := request(ctx)
		for name, values := range a.header {
			w.Header()[name] = values
		}
		w.WriteHeader(a.status)
		w.Write(a.body)
	}}
}

// refuse is the answer for an error.
func (r *Router) refuse(ctx context.Context, err error) *answer {
	p, after := r.problemOf(ctx, err)
	return &answer{func(ctx huma.Context) {
		_, w := request(ctx)
		writeProblem(w, p, after)
	}}
}

type envelope struct {
	Success bool  `json:"success"`
	Data    any   `json:"data"`
	Meta    *Meta `json:"meta,omitempty"`
}

// encode puts out into the envelope; nil slices become empty ones.
func encode[O any](out O, status int) (reply, error) {
	if f, ok := any(out).(File); ok {
		return f.reply(status), nil
	}
	a := reply{status: status, header: http.Header{"Content-Type": {"application/json"}}}
	if h, ok := any(out).(interface{ ResponseHeaders() http.Header }); ok {
		for name, values := range h.ResponseHeaders() {
			a.header[name] = values
		}
	}
	e := envelope{Success: true, Data: &out}
	if p, ok := any(&out).(pager); ok {
		e.Data, e.Meta = p.split()
	}
	if m, ok := any(out).(json.Marshaler); ok && e.Meta == nil {
		// What writes itself is taken as it is: encoding/json would read it all once more.
		raw, err := m.MarshalJSON()
		if err != nil {
			return reply{}, fmt.Errorf("encode answer: %w", err)
		}
		a.body = slices.Concat([]byte(`{"success":true,"data":`), raw, []byte(`}`))
		return a, nil
	}
	v := reflect.New(reflect.TypeOf(e.Data))
	v.Elem().Set(reflect.ValueOf(e.Data))
	fillSlices(v.Elem())
	e.Data = v.Elem().Interface()
	var err error
	if a.body, err = json.Marshal(e); err != nil {
		return reply{}, fmt.Errorf("encode answer: %w", err)
	}
	return a, nil
}

func (f File) reply(status int) reply {
	h := http.Header{"Content-Type": {f.ContentType}, "X-Content-Type-Options": {"nosniff"}}
	if f.Name != "" {
		kind := "attachment"
		if f.Inline {
			kind = "inline"
		}
		h.Set("Content-Disposition", mime.FormatMediaType(kind, map[string]string{"filename": f.Name}))
	}
	for name, values := range f.Headers {
		h[name] = values
	}
	if f.Status != 0 {
		status = f.Status
	}
	return reply{status, h, f.Body}
}

// fillSlices replaces nil slices below v by empty ones, so that a list is never null on the wire. Types that encode themselves are left alone.
func fillSlices(v reflect.Value) {
	if v.Kind() != reflect.Pointer && v.CanInterface() {
		if _, own := v.Interface().(json.Marshaler); own {
			return
		}
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() && v.Kind() == reflect.Pointer {
			fillSlices(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				fillSlices(f)
			}
		}
	case reflect.Slice:
		if v.IsNil() && v.CanSet() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		if k := v.Type().Elem().Kind(); k == reflect.Struct || k == reflect.Pointer || k == reflect.Slice {
			for i := range v.Len() {
				fillSlices(v.Index(i))
			}
		}
	}
}
