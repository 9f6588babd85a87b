package auth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/page"
	"tulifo/platform/token"
)

// identityRoutes declares sign-in with providers.
func (s *Service) identityRoutes(r *api.Router) {
	api.Get(r, "/api/auth/oauth", s.listProviders, api.Public, api.Of(api.NoOne), api.Summary("With whom people can sign in"))
	api.Get(r, "/api/auth/oauth/{provider}", s.beginOAuth, api.Public, api.Of(api.NoOne), api.Secret, api.Summary("Send the browser to sign in with a provider"))
	api.Get(r, "/api/auth/oauth/{provider}/callback", s.finishOAuth, api.Public, api.Of(api.NoOne), api.Secret, api.Summary("Where the browser comes back from a provider"))
	api.Post(r, "/api/auth/oauth/{provider}/link", s.beginLink, api.Anyone, api.Of(api.Self), api.StepUp, api.Secret, api.Summary("Begin to add a way to sign in"))
	api.Get(r, "/api/auth/identities", s.listIdentities, api.Anyone, api.Of(api.Self), api.Summary("The providers that the caller signs in with"))
	api.Delete(r, "/api/auth/identities/{provider}", s.removeIdentity, api.Anyone, api.Of(api.Self), api.StepUp, api.Summary("No longer sign in with a provider"))
}

type providerList struct {
	Providers []string `json:"providers"`
}

func (s *Service) listProviders(context.Context, *struct{}) (providerList, error) {
	return providerList{s.Providers()}, nil
}

// ByProvider is the part of an input that names a provider.
type ByProvider struct {
	Provider string `path:"provider" maxLength:"40"`
}

type beginIn struct {
	ByProvider
	Role string `query:"role" maxLength:"20" doc:"worker or client: of the account that is made when there is none yet"`
	Next string `query:"next" maxLength:"512" doc:"a path of this site, where the browser goes afterwards"`
}

func (s *Service) beginOAuth(ctx context.Context, in *beginIn) (api.File, error) {
	to, cookie, err := s.Begin(ctx, in.Provider, in.Role, in.Next, uuid.Nil)
	if err != nil {
		return api.File{}, err
	}
	return redirect(to, s.keepFlow(cookie)), nil
}

func (s *Service) keepFlow(cookie string) http.Header {
	h := http.Header{}
	s.setCookie(h, flowCookie, cookie, flowLife)
	return h
}

func redirect(to string, h http.Header) api.File {
	h.Set("Location", to)
	h.Set("Referrer-Policy", "no-referrer")
	return api.File{ContentType: "text/plain; charset=utf-8", Status: http.StatusFound, Headers: h}
}

type linkIn struct {
	ByProvider
	Body struct {
		Next string `json:"next,omitempty" maxLength:"512" doc:"a path of this site, where the browser goes afterwards"`
	}
}

// begun says where to send the browser, and sets the cookie that it has to bring back.
type begun struct {
	URL string `json:"url"`

	headers http.Header
}

// ResponseHeaders are the cookie of the sign-in that is under way.
func (b begun) ResponseHeaders() http.Header { return b.headers }

func (s *Service) beginLink(ctx context.Context, in *linkIn) (begun, error) {
	to, cookie, err := s.Begin(ctx, in.Provider, "", in.Body.Next, token.From(ctx).ID)
	if err != nil {
		return begun{}, err
	}
	return begun{to, s.keepFlow(cookie)}, nil
}

type finishIn struct {
	ByProvider
	Browser
	State     string `query:"state" maxLength:"512"`
	Code      string `query:"code" maxLength:"4096"`
	Error     string `query:"error" maxLength:"512"`
	Accept    string `header:"Accept"`
	Flow      string `cookie:"tulifo_oauth"`
	BoundFlow string `cookie:"__Host-tulifo_oauth"`
}

// finishOAuth answers a browser with cookies and a redirect, or with a page that says what went wrong; a client that asks for JSON gets the tokens.
func (s *Service) finishOAuth(ctx context.Context, in *finishIn) (api.File, error) {
	from, asJSON := s.visitor(ctx, in.Browser), strings.Contains(in.Accept, "application/json")
	from.Cookies = from.Cookies || !asJSON
	out, next, err := s.Finish(ctx, from, token.From(ctx), Back{in.Provider, in.State, in.Code, in.Error, s.arrived(in.Flow, in.BoundFlow)})
	if err != nil && asJSON {
		return api.File{}, err
	}
	if err != nil {
		return s.failed(err)
	}
	headers := out.cookies
	if headers == nil {
		headers = http.Header{}
	}
	dropCookie(headers, flowCookie)
	if !asJSON {
		return redirect(s.cfg.PublicURL+next, headers), nil
	}
	raw, err := json.Marshal(map[string]any{"success": true, "data": out})
	return api.File{ContentType: "application/json", Body: raw, Headers: headers}, err
}

// failed is a page for whoever has come back from a provider and cannot be let in.
func (s *Service) failed(err error) (api.File, error) {
	e, ok := errors.AsType[*errs.Error](err)
	if !ok || e.Kind == errs.Internal {
		return api.File{}, err
	}
	f, err := s.render(page.Page{Title: "You are not signed in", Text: e.Message}, e.Kind.Status())
	if f.Headers != nil {
		f.Headers.Set("X-Error-Code", e.Code)
	}
	return f, err
}

type identityList struct {
	Identities []Identity `json:"identities"`
}

func (s *Service) listIdentities(ctx context.Context, _ *struct{}) (identityList, error) {
	found, err := s.Identities(ctx, token.From(ctx))
	return identityList{found}, err
}

func (s *Service) removeIdentity(ctx context.Context, in *ByProvider) (api.Nothing, error) {
	return api.Nothing{}, s.RemoveIdentity(ctx, token.From(ctx), in.Provider)
}
