package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"

	"tulifo/platform/errs"
	"tulifo/platform/token"
)

const (
	flowCookie = "tulifo_oauth"
	flowLife   = 10 * time.Minute
)

// flow is a sign-in at a provider that is under way. Only the browser that began it keeps it, sealed, in a cookie that no script reads, so that a
// stranger who begins one costs nothing, and nobody can have another person's browser finish his.
type flow struct {
	State    string    `json:"s"`
	Provider string    `json:"p"`
	Role     string    `json:"r,omitempty"` // of the account that is made when there is none yet
	Next     string    `json:"n"`           // where the browser goes afterwards
	Link     uuid.UUID `json:"l"`           // the signed-in user who adds this way to sign in; nil when somebody signs in
	Expires  time.Time `json:"e"`
}

var (
	providerUnknown = errs.Coded(errs.NotFound, "provider_unknown", "There is no such way to sign in here.")
	stateInvalid    = errs.Coded(errs.Forbidden, "state_invalid", "This sign-in was not begun in this browser, or it took too long. Begin again.")
	stateUsed       = errs.Coded(errs.Conflict, "state_used", "This sign-in has been used already. Begin again.")
	providerRefused = errs.Coded(errs.Forbidden, "provider_refused", "You were not signed in there. Begin again, or sign in another way.")
)

// Providers are the names of those with whom people can sign in here.
func (s *Service) Providers() []string {
	out := []string{}
	for _, name := range []string{google, github} {
		if s.providers[name] != nil {
			out = append(out, name)
		}
	}
	return out
}

// Begin answers where the browser goes to sign in with a provider, and what it keeps in a cookie meanwhile. role is that of the account which
// is made when there is none yet; next is a path of ours. link is the user who adds this way to sign in, nil for one who signs in.
// NotFound: there is no such provider here. Invalid: role or next are not acceptable. Unavailable: the provider does not answer.
func (s *Service) Begin(ctx context.Context, provider, role, next string, link uuid.UUID) (to, cookie string, err error) {
	p := s.providers[provider]
	if p == nil {
		return "", "", providerUnknown
	}
	if role != "" && role != token.Worker && role != token.Client {
		return "", "", errs.Field("role", "must be worker or client")
	}
	if next == "" {
		next = "/"
	}
	if !ours(next) {
		return "", "", errs.Field("next", "must be a path of this site, such as /bookings")
	}
	f := flow{rand.Text(), provider, role, next, link, s.now().Add(flowLife)}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ProviderTimeout)
	defer cancel()
	to, err = p.authURL(ctx, s.attemptOf(f))
	if err != nil {
		return "", "", blame(provider, err)
	}
	return to, s.sealFlow(f), nil
}

// ours says whether a browser that is sent to the path stays here, however it reads it.
func ours(path string) bool {
	if len(path) > 512 || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") || strings.ContainsFunc(path, func(r rune) bool {
		return r == '\\' || r == unicode.ReplacementChar || unicode.IsControl(r) || unicode.IsSpace(r)
	}) {
		return false
	}
	u, err := url.Parse(path)
	return err == nil && u.Scheme == "" && u.Host == "" && u.User == nil
}

// attemptOf are the values of a flow. Those that the provider gives back, or asks to see, follow from the state, so that nobody else knows them.
func (s *Service) attemptOf(f flow) attemptAt {
	of := func(purpose string) string {
		return base64.RawURLEncoding.EncodeToString(sum(s.secrets.flow, []byte(purpose), []byte(f.State)))
	}
	return attemptAt{f.State, of("nonce "), of("verifier "), s.cfg.PublicURL + "/api/auth/oauth/" + f.Provider + "/callback"}
}

func (s *Service) sealFlow(f flow) string {
	raw, err := json.Marshal(f)
	if err != nil {
		panic(err) // texts, an id and a time always encode
	}
	return base64.RawURLEncoding.EncodeToString(append(sum(s.secrets.flow, []byte("cookie "), raw), raw...))
}

// arrivedFlow is the flow that the browser began, when the state that came back is its own. Forbidden: there is none such.
func (s *Service) arrivedFlow(cookie, provider, state string) (flow, error) {
	var f flow
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cookie)
	if err != nil || len(raw) < sha256.Size {
		return f, stateInvalid
	}
	seal, raw := raw[:sha256.Size], raw[sha256.Size:]
	if subtle.ConstantTimeCompare(seal, sum(s.secrets.flow, []byte("cookie "), raw)) != 1 || json.Unmarshal(raw, &f) != nil {
		return f, stateInvalid
	}
	if subtle.ConstantTimeCompare([]byte(f.State), []byte(state)) != 1 || f.Provider != provider || !s.now().Before(f.Expires) {
		return f, stateInvalid
	}
	return f, nil
}

// Finish is what a browser that comes back from a provider has done: it signs somebody in, making an account if there is none, or adds this way to
// sign in to the account of by. Each sign-in is good once.
//
// Forbidden: it was not begun in this browser, the provider refused or does not prove the address, or the account is suspended.
// Conflict: it has been used, or the address has an account already, to which it has to be added by its owner. Invalid: there is no account and no
// role to make one with. Unavailable: the provider does not answer, or not well.
func (s *Service) Finish(ctx context.Context, from Visitor, by token.Caller, back Back) (Session, string, error) {
	if s.providers[back.Provider] == nil {
		return Session{}, "", providerUnknown
	}
	f, err := s.arrivedFlow(back.Flow, back.Provider, back.State)
	if err != nil {
		return Session{}, "", err
	}
	if f.Link != uuid.Nil && f.Link != by.ID {
		return Session{}, "", stateInvalid
	}
	if err := s.useState(ctx, f); err != nil {
		return Session{}, "", err
	}
	if back.Error != "" || back.Code == "" {
		return Session{}, "", providerRefused
	}
	who, err := s.who(ctx, f, back.Code)
	if err != nil {
		return Session{}, "", err
	}
	if f.Link != uuid.Nil {
		return Session{}, f.Next, s.link(ctx, f.Link, f.Provider, who)
	}
	out, err := s.signInWith(ctx, from, f, who)
	return out, f.Next, err
}

// Back is what a browser comes back with from a provider.
type Back struct{ Provider, State, Code, Error, Flow string }

func (s *Service) who(ctx context.Context, f flow, code string) (person, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.ProviderTimeout)
	defer cancel()
	who, err := s.providers[f.Provider].person(ctx, s.attemptOf(f), code)
	if err != nil {
		return person{}, blame(f.Provider, err)
	}
	return who, nil
}
