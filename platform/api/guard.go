package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"tulifo/platform/errs"
	"tulifo/platform/token"
)

// The cookies that a browser keeps its tokens in; over TLS their names start with __Host-.
const (
	AccessCookie  = "tulifo_access"
	RefreshCookie = "tulifo_refresh"
	hostPrefix    = "__Host-"
)

// signedInByCookie says whether a browser sends one of the tokens by itself: the refresh cookie outlives the access cookie.
func signedInByCookie(req *http.Request) bool {
	if _, ok := accessCookie(req, false); ok {
		return true
	}
	for _, name := range []string{hostPrefix + RefreshCookie, RefreshCookie} {
		if _, err := req.Cookie(name); err == nil {
			return true
		}
	}
	return false
}

func bearerToken(req *http.Request) (string, bool) {
	return strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
}

// accessToken is the token that the request carries; bearer says that no cookie brought it, ok that there is one.
func accessToken(req *http.Request, bound bool) (raw string, bearer, ok bool) {
	if raw, ok = bearerToken(req); ok {
		return raw, true, true
	}
	raw, ok = accessCookie(req, bound)
	return raw, false, ok
}

// accessCookie is the token that a browser sends by itself. Where people come over TLS only the cookie that is bound to this host counts, since a neighbour's
// page can set the other.
func accessCookie(req *http.Request, bound bool) (string, bool) {
	names := []string{hostPrefix + AccessCookie, AccessCookie}
	if bound {
		names = names[:1]
	}
	for _, name := range names {
		if c, err := req.Cookie(name); err == nil {
			return c.Value, true
		}
	}
	return "", false
}

// guard lets in who the operation is for, before the body is read.
func (r *Router) guard(o *operation) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		req, w := request(ctx)
		if o.paths != nil && !o.paths.MatchString(req.URL.Path) {
			r.noRoute(w, req)
			return
		}
		caller, err := r.authenticate(req)
		switch {
		case o.public && err != nil:
			caller, err = token.Caller{}, nil
		case o.public || err != nil:
		case caller.Role == "":
			err = errs.New(errs.Unauthorized, "Sign in first.")
		case !o.lets(caller):
			err = errs.New(errs.Forbidden, "Your role does not allow this.")
		case o.asksProof(caller) && !caller.Proved(time.Now()): // system time, as all of a token
			err = errs.Coded(errs.Forbidden, "step_up_required", "Confirm first that it is you: with your second factor, or with your password if you have none.")
		case unsafe(req.Method) && caller.Role != token.Service && r.o.Revocations != nil && r.o.Revocations.Stale():
			err = errs.New(errs.Unavailable, "Sign-ins cannot be checked right now. Try again in a moment.")
		}
		if err != nil {
			WriteError(w, req, err)
			return
		}
		ctx = huma.WithContext(ctx, token.With(ctx.Context(), caller))
		if key := req.Header.Get("Idempotency-Key"); key != "" {
			req, _ := request(ctx)
			k, err := readKey(req, key, o.maxBody)
			if err != nil {
				WriteError(w, req, err)
				return
			}
			ctx = huma.WithContext(ctx, context.WithValue(ctx.Context(), keyKey{}, k))
		}
		next(ctx)
	}
}

func unsafe(method string) bool {
	return method != http.MethodGet && method != http.MethodHead && method != http.MethodOptions
}

// SignIn is the session of the person's access token that the request carries, as bearer or as cookie; false when it carries none that is good.
// bound is Options.Bound.
func SignIn(req *http.Request, keys *token.Keys, bound bool) (uuid.UUID, bool) {
	raw, _, ok := accessToken(req, bound)
	if !ok {
		return uuid.Nil, false
	}
	caller, err := keys.Verify(raw)
	return caller.Session, err == nil
}

// authenticate says who the token of the request belongs to; no token is the anonymous caller.
func (r *Router) authenticate(req *http.Request) (token.Caller, error) {
	raw, bearer, ok := accessToken(req, r.o.Bound)
	if !ok {
		return token.Caller{}, nil
	}
	if bearer && token.ClaimsService(raw) {
		return r.o.Keys.VerifyService(raw, r.o.Service)
	}
	caller, err := r.o.Keys.Verify(raw)
	if err == nil && r.o.Revocations != nil && r.o.Revocations.Has(caller.Session) {
		return token.Caller{}, errs.New(errs.Unauthorized, "You have been signed out. Sign in again.")
	}
	return caller, err
}

type keyKey struct{}

type onceKey struct {
	key, route string
	hash       []byte
}

// IdempotencyKey is the request's Idempotency-Key, or empty.
func IdempotencyKey(ctx context.Context) string {
	k, _ := ctx.Value(keyKey{}).(onceKey)
	return k.key
}

func readKey(req *http.Request, key string, maxBody int64) (onceKey, error) {
	if len(key) > 255 {
		return onceKey{}, errs.New(errs.Malformed, "The Idempotency-Key is longer than 255 bytes.")
	}
	for _, c := range []byte(key) {
		if c < 0x21 || c > 0x7e {
			return onceKey{}, errs.New(errs.Malformed, "The Idempotency-Key may hold visible ASCII characters only.")
		}
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, req.Body, maxBody))
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return onceKey{}, errs.New(errs.TooLarge, sentence(errs.TooLarge))
	}
	if err != nil {
		return onceKey{}, errs.New(errs.Malformed, sentence(errs.Malformed)).Because(err)
	}
	req.Body = io.NopCloser(strings.NewReader(string(body)))
	sum := sha256.Sum256(body)
	return onceKey{key, req.Method + " " + req.URL.Path, sum[:]}, nil
}
