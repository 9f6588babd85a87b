package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/page"
)

var asking = map[string]page.Page{
	verify: {Title: "Confirm your e-mail address", Text: "Press the button, and we know that this address is yours.", Button: "Confirm"},
	move:   {Title: "Use this e-mail address", Text: "Press the button, and you sign in with this address from now on.", Button: "Use this address"},
	reset:  {Title: "Set a new password", Text: "It has at least 8 characters. You will be signed out everywhere.", Button: "Set the password", Password: true},
}

var done = map[string]page.Page{
	verify: {Title: "Thank you", Text: "Your e-mail address is confirmed."},
	move:   {Title: "Done", Text: "You sign in with this address from now on."},
	reset:  {Title: "Done", Text: "Sign in with your new password."},
}

// render is p, which leads to the platform.
func (s *Service) render(p page.Page, status int) (api.File, error) {
	p.Home = s.cfg.PublicURL
	return p.File(status)
}

// renderError is a page for an error that a person can act on; any other goes on as it is.
func (s *Service) renderError(purpose string, err error) (api.File, error) {
	e, ok := errors.AsType[*errs.Error](err)
	if !ok {
		return api.File{}, err
	}
	switch e.Kind {
	case errs.NotFound, errs.Conflict:
		return s.render(page.Page{Title: "That did not work", Text: e.Message}, e.Kind.Status())
	case errs.Invalid, errs.TooMany:
		p := asking[purpose]
		p.Problem = e.Message
		if reason := e.Details["password"]; reason != "" {
			p.Problem = "The password " + reason + "."
		}
		return s.render(p, e.Kind.Status())
	}
	return api.File{}, err
}

// ByToken is the part of an input that names a link by its token.
type ByToken struct {
	Token string `path:"token" maxLength:"200"`
}

// linkPage changes nothing, so that a mail scanner that follows the link does not use it up.
func (s *Service) linkPage(ctx context.Context, in *ByToken) (api.File, error) {
	l, err := s.pressable(ctx, in.Token)
	if err != nil {
		return s.renderError(l.Purpose, err)
	}
	return s.render(asking[l.Purpose], http.StatusOK)
}

type pressIn struct {
	ByToken
	ContentType string `header:"Content-Type"`
	RawBody     []byte `contentType:"application/x-www-form-urlencoded"` // never empty: the form has a hidden field for that
}

// pressLink takes the form of the page, and JSON from an app; each is answered in kind.
func (s *Service) pressLink(ctx context.Context, in *pressIn) (api.File, error) {
	kind, _, err := mime.ParseMediaType(in.ContentType)
	if in.ContentType != "" && err != nil {
		return api.File{}, errs.New(errs.Unsupported, "This kind of content is not accepted here.").Because(err)
	}
	switch kind {
	case "application/json", "":
		return s.pressJSON(ctx, in)
	case "application/x-www-form-urlencoded":
		form, err := url.ParseQuery(string(in.RawBody))
		if err != nil {
			return api.File{}, errs.New(errs.Malformed, "The form could not be read.").Because(err)
		}
		purpose, err := s.Press(ctx, in.Token, form.Get("password"))
		if err != nil {
			return s.renderError(purpose, err)
		}
		return s.render(done[purpose], http.StatusOK)
	}
	return api.File{}, errs.New(errs.Unsupported, "This kind of content is not accepted here.")
}

func (s *Service) pressJSON(ctx context.Context, in *pressIn) (api.File, error) {
	var body struct {
		Password string `json:"password"`
	}
	if strings.TrimSpace(string(in.RawBody)) != "" {
		dec := json.NewDecoder(bytes.NewReader(in.RawBody))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&body); err != nil || dec.More() {
			return api.File{}, errs.New(errs.Malformed, "The request could not be read.").Because(err)
		}
	}
	purpose, err := s.Press(ctx, in.Token, body.Password)
	if err != nil {
		return api.File{}, err
	}
	raw, err := json.Marshal(map[string]any{"success": true, "data": map[string]string{"purpose": purpose}})
	return api.File{ContentType: "application/json", Body: raw}, err
}
