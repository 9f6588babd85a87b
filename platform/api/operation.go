package api

import (
	"context"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"tulifo/platform/crash"
	"tulifo/platform/token"
)

// Option says something about one operation.
type Option func(*operation)

type operation struct {
	roles    []string
	public   bool
	relation Relation
	besides  []string
	states   []string
	status   int
	summary  string
	once     bool
	secret   bool
	stepUp   []string // the roles that have to prove themselves anew
	raw      bool
	heavy    bool
	maxBody  int64
	deadline time.Duration
	paths    *regexp.Regexp // nil: all that the pattern fits
}

// For lets callers with one of the roles in; every role is named, admin too.
func For(roles ...string) Option { return func(o *operation) { o.roles = append(o.roles, roles...) } }

// ForService lets the services of those names in, beside whom else is named, and no other service.
func ForService(names ...string) Option {
	return func(o *operation) {
		for _, name := range names {
			o.roles = append(o.roles, token.Caller{Role: token.Service, Service: name}.String())
		}
	}
}

// Anyone lets every signed-in person in, and no service.
func Anyone(o *operation) {
	o.roles = append(o.roles, token.Worker, token.Client, token.Admin, token.Support)
}

// Public lets everybody in; with a good token the caller is known all the same.
func Public(o *operation) { o.public = true }

// Paths narrows an operation to the addresses that match expr as a whole, where its pattern fits more than it has: net/http tells wildcards
// from words only by whole segments. At any other address the operation does not exist.
func Paths(expr string) Option {
	paths := regexp.MustCompile("^(?:" + expr + ")$")
	return func(o *operation) { o.paths = paths }
}

// Relation is what a person must be to the thing that the operation is about. Who is not, gets the same answer as for a thing that is not there.
// Services are let in by role alone, and so is who is named beside the relation.
type Relation string

// The relations there are.
const (
	NoOne = Relation("none")  // it is about nobody's thing in particular: a public page, a list of one's own, something new
	Self  = Relation("self")  // the account, profile or calendar is the caller's own
	Owner = Relation("owner") // the thing is the caller's own; the other side may not
	Party = Relation("party") // the caller is one of the two sides, or one of those who have worked together
	Asked = Relation("asked") // the caller is the side that the other has asked or accused; who did that is a party and may not
)

var relations = []Relation{NoOne, Self, Owner, Party, Asked}

// Of says which relation the operation asks for, and which roles need none.
func Of(relation Relation, besides ...string) Option {
	return func(o *operation) { o.relation, o.besides = relation, besides }
}

// While names the states of the thing in which the operation can succeed for somebody; outside of them it is always refused with 409. Without it, no
// state refuses. The thing is the one that the path names, else the one that the body names.
func While[S ~string](states ...S) Option {
	return func(o *operation) {
		for _, s := range states {
			o.states = append(o.states, string(s))
		}
	}
}

// Created answers 201.
func Created(o *operation) { o.status = http.StatusCreated }

// Once honours the Idempotency-Key header: see once.go. It goes neither with Public nor with Secret. The handler's transaction commits after the
// handler has returned, so what it left for COMMIT with Later has to be sure to succeed.
func Once(o *operation) { o.once = true }

// Secret marks an answer that carries tokens or secrets: it is not to be stored anywhere.
func Secret(o *operation) { o.secret = true }

// StepUp lets a person in only who has proved within token.ProofLife that it is he, by signing in or by a step-up; else the answer is 403
// step_up_required. Services are let in without. It does not go with Public.
func StepUp(o *operation) { o.stepUp = []string{everybody} }

// StepUpFor is StepUp for people of these roles; the others are let in without.
func StepUpFor(roles ...string) Option {
	return func(o *operation) { o.stepUp = append(o.stepUp, roles...) }
}

const everybody = "*"

// asksProof says whether the caller is one of whom the operation asks for a fresh proof.
func (o *operation) asksProof(c token.Caller) bool {
	return slices.Contains(o.stepUp, everybody) || slices.Contains(o.stepUp, c.Role)
}

// Summary is the sentence that the API's pages show.
func Summary(s string) Option { return func(o *operation) { o.summary = s } }

// RawBody hands the input's RawBody []byte on as it came, unread and unvalidated, for bodies that are signed.
func RawBody(o *operation) { o.raw = true }

// MaxBody allows bodies of up to n bytes; the default is 1 MiB.
func MaxBody(n int64) Option { return func(o *operation) { o.maxBody = n } }

// Deadline bounds the handler; the default is 10 seconds.
func Deadline(d time.Duration) Option { return func(o *operation) { o.deadline = d } }

// Heavy marks an operation that may keep a connection to the database for long, such as a search, a statement or a copy of everything: see heavy.go.
func Heavy(o *operation) { o.heavy = true }

// Get registers a handler for GET; path parameters stand in braces.
func Get[I, O any](r *Router, path string, h func(context.Context, *I) (O, error), opts ...Option) {
	register(r, http.MethodGet, path, h, opts)
}

// Post registers a handler for POST.
func Post[I, O any](r *Router, path string, h func(context.Context, *I) (O, error), opts ...Option) {
	register(r, http.MethodPost, path, h, opts)
}

// Put registers a handler for PUT; fields that are absent stay as they are.
func Put[I, O any](r *Router, path string, h func(context.Context, *I) (O, error), opts ...Option) {
	register(r, http.MethodPut, path, h, opts)
}

// Patch registers a handler for PATCH.
func Patch[I, O any](r *Router, path string, h func(context.Context, *I) (O, error), opts ...Option) {
	register(r, http.MethodPatch, path, h, opts)
}

// Delete registers a handler for DELETE.
func Delete[I, O any](r *Router, path string, h func(context.Context, *I) (O, error), opts ...Option) {
	register(r, http.MethodDelete, path, h, opts)
}

// List registers a GET handler that answers a page, with meta beside its data.
func List[I, T any](r *Router, path string, h func(context.Context, *I) (Page[T], error), opts ...Option) {
	register(r, http.MethodGet, path, h, opts)
}

func register[I, O any](r *Router, method, path string, h func(context.Context, *I) (O, error), opts []Option) {
	name := method + " " + path
	o := &operation{status: http.StatusOK, maxBody: 1 << 20, deadline: 10 * time.Second}
	for _, opt := range opts {
		opt(o)
	}
	if o.public == (len(o.roles) > 0) {
		panic(name + " must say who may call it: For, Anyone or Public")
	}
	if len(o.stepUp) > 0 && o.public {
		panic(name + " cannot ask strangers for a step-up")
	}
	if !o.public && o.relation == "" && slices.ContainsFunc(o.roles, person) {
		panic(name + " must say what the caller has to be to the thing: Of")
	}
	if o.relation == "" {
		o.relation = NoOne
	}
	if !slices.Contains(relations, o.relation) {
		panic(name + " asks for a relation that does not exist: " + string(o.relation))
	}
	if o.once && (o.public || o.secret) {
		panic(name + " cannot be Once: strangers would share its answers, and secrets would be stored")
	}
	if o.paths != nil {
		r.paths[name] = o.paths
	}
	huma.Register(r.api, r.describe(method, path, reflect.TypeFor[O](), o), func(ctx context.Context, in *I) (*answer, error) {
		ctx, cancel := context.WithTimeout(crash.Because(ctx, name), o.deadline)
		defer cancel()
		if o.heavy {
			leave, err := r.heavy.enter(ctx)
			if err != nil {
				return r.refuse(ctx, err), nil
			}
			defer leave()
		}
		key := IdempotencyKey(ctx)
		if o.once && key != "" {
			return r.once(ctx, key, func(ctx context.Context) (reply, error) { return run(ctx, o, in, h) }), nil
		}
		a, err := run(ctx, o, in, h)
		if err != nil {
			return r.refuse(ctx, err), nil
		}
		return a.answer(), nil
	})
}

func run[I, O any](ctx context.Context, o *operation, in *I, h func(context.Context, *I) (O, error)) (reply, error) {
	out, err := h(ctx, in)
	if err != nil {
		return reply{}, err
	}
	a, err := encode(out, o.status)
	if err == nil && o.secret {
		a.header.Set("Cache-Control", "no-store")
	}
	return a, err
}

// person says whether a role is not a service's.
func person(role string) bool {
	return role != token.Service && !strings.HasPrefix(role, token.Service+":")
}

// lets says whether the caller has one of the operation's roles.
func (o *operation) lets(c token.Caller) bool {
	return c.Is(o.roles...) || c.Role == token.Service && slices.Contains(o.roles, c.String())
}

// describe is the operation's OpenAPI entry, with x-authz saying who may call it.
func (r *Router) describe(method, path string, out reflect.Type, o *operation) huma.Operation {
	authz := map[string]any{"roles": o.roles, "relation": string(o.relation), "states": append([]string{}, o.states...)}
	if len(o.besides) > 0 {
		authz["besides"] = o.besides
	}
	switch {
	case slices.Contains(o.stepUp, everybody):
		authz["stepUp"] = true
	case len(o.stepUp) > 0:
		authz["stepUp"] = o.stepUp
	}
	var security []map[string][]string
	if o.public {
		authz["roles"] = []string{"anonymous"}
	} else {
		security = []map[string][]string{{"bearer": {}}}
	}
	op := huma.Operation{
		OperationID: operationID(method, path), Method: method, Path: path, Summary: o.summary, Tags: []string{r.o.Service},
		DefaultStatus: o.status, MaxBodyBytes: o.maxBody, SkipValidateBody: o.raw, BodyReadTimeout: -1, Security: security,
		Extensions:  map[string]any{"x-authz": authz},
		Middlewares: huma.Middlewares{r.guard(o)},
		Responses:   map[string]*huma.Response{strconv.Itoa(o.status): r.success(out, o)},
	}
	problem := &huma.Response{Description: "What went wrong", Content: map[string]*huma.MediaType{
		"application/json": {Schema: r.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")},
	}}
	if out == reflect.TypeFor[File]() {
		// Who comes with a browser is answered a page.
		problem.Content["text/html"] = &huma.MediaType{Schema: &huma.Schema{Type: "string"}}
	}
	for _, status := range o.failures(method) {
		op.Responses[strconv.Itoa(status)] = problem
	}
	if o.once {
		op.Parameters = append(op.Parameters, &huma.Param{Name: "Idempotency-Key", In: "header", Description: "Makes a repeated request have one effect and one answer.",
			Schema: &huma.Schema{Type: "string", MinLength: ptr(1), MaxLength: ptr(255)}})
	}
	return op
}

func (r *Router) success(out reflect.Type, o *operation) *huma.Response {
	if out == reflect.TypeFor[File]() {
		return &huma.Response{Description: "A file", Content: map[string]*huma.MediaType{"*/*": {Schema: &huma.Schema{Type: "string", Format: "binary"}}}}
	}
	data := out
	envelope := &huma.Schema{Type: "object", AdditionalProperties: false, Required: []string{"success", "data"}, Properties: map[string]*huma.Schema{"success": {Type: "boolean"}}}
	if p, ok := reflect.New(out).Interface().(pager); ok {
		data = p.itemsType()
		envelope.Properties["meta"] = r.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Meta](), true, "Meta")
		envelope.Required = append(envelope.Required, "meta")
	}
	envelope.Properties["data"] = r.api.OpenAPI().Components.Schemas.Schema(data, true, o.summary)
	r.admitNull(data, map[reflect.Type]bool{})
	done := &huma.Response{Description: "Done", Content: map[string]*huma.MediaType{"application/json": {Schema: envelope}}}
	if out.Kind() == reflect.Interface {
		// The handler may answer a File instead.
		done.Content["*/*"] = &huma.MediaType{Schema: &huma.Schema{Type: "string", Format: "binary"}}
	}
	return done
}

func (o *operation) failures(method string) []int {
	set := map[int]bool{400: true, 401: true, 403: true, 404: true, 422: true, 429: true, 500: true, 503: true, 504: true}
	if method != http.MethodGet {
		set[409], set[413], set[415] = true, true, true
	}
	return slices.Sorted(maps.Keys(set))
}

// operationID is a stable name made of method and path: post-api-bookings-id-confirm.
func operationID(method, path string) string {
	return strings.ToLower(method) + strings.NewReplacer("/", "-", "{", "", "}", "", ".", "-").Replace(path)
}

func ptr[T any](v T) *T { return &v }

// request is the plain request beneath huma's context.
func request(ctx huma.Context) (*http.Request, http.ResponseWriter) { return humago.Unwrap(ctx) }
