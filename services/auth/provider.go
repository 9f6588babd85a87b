package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/oauth2"

	"tulifo/platform/errs"
)

// The providers with which people can sign in.
const (
	google = "google"
	github = "github"
)

// person is somebody as a provider knows him.
type person struct {
	Subject  string // the provider's own, lasting name for the account; an address may pass from one person to another
	Email    string
	Verified bool // the provider has proof that the address is his
	Name     string
}

// provider is a place where people sign in, over OAuth 2 with PKCE.
type provider interface {
	// authURL is where the browser goes to sign in.
	authURL(ctx context.Context, a attemptAt) (string, error)
	// person is who has signed in, for the code that the browser came back with.
	person(ctx context.Context, a attemptAt, code string) (person, error)
}

// attemptAt are the values of one sign-in at a provider, none of which is used in another.
type attemptAt struct{ State, Nonce, Verifier, Callback string }

// title is a provider's name as people write it.
func title(name string) string { return map[string]string{google: "Google", github: "GitHub"}[name] }

func providers(cfg Config) map[string]provider {
	out, client := map[string]provider{}, bounded(cfg.ProviderTimeout)
	if cfg.GoogleID != "" {
		out[google] = &oidcProvider{id: cfg.GoogleID, secret: cfg.GoogleSecret, issuer: cfg.GoogleIssuer, now: cfg.Now, client: client}
	}
	if cfg.GithubID != "" {
		out[github] = &githubProvider{id: cfg.GithubID, secret: cfg.GithubSecret, site: cfg.GithubURL, api: cfg.GithubAPIURL, client: client}
	}
	return out
}

const providerAnswer = 1 << 20 // bytes of one answer

// bounded is a client that waits only so long, reads only so much, and goes nowhere but where it was sent.
func bounded(most time.Duration) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	return &http.Client{
		Timeout: most, Transport: limited{t},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type limited struct{ next http.RoundTripper }

// RoundTrip cuts an answer off that is too long; what is cut cannot be read as what it should be.
func (l limited) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := l.next.RoundTrip(req)
	if err == nil {
		res.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(res.Body, providerAnswer), res.Body}
	}
	return res, err
}

// The ways in which a provider fails us. None of them is the fault of who signs in, except for errCode.
var (
	errGarbage   = errors.New("the answer is not what it should be")
	errUntrusted = errors.New("the answer does not prove who somebody is")
	errCode      = errors.New("the code is not good")
)

// blame is a provider's failure in words for the person who signs in.
func blame(name string, err error) error {
	if _, said := errors.AsType[*errs.Error](err); said || err == nil {
		return err
	}
	who := title(name)
	switch {
	case errors.Is(err, errCode):
		return errs.Coded(errs.Conflict, "sign_in_used", "This sign-in with "+who+" took too long, or has been used already. Begin again.").Because(err)
	case errors.Is(err, errUntrusted):
		return errs.Coded(errs.Forbidden, "provider_untrusted", "What "+who+" answered does not prove who you are. Begin again, or sign in another way.").Because(err)
	case errors.Is(err, errGarbage):
		return errs.New(errs.Unavailable, who+" answered in a way that cannot be read. Sign in another way, or try again shortly.").After(5 * time.Second).Because(err)
	}
	return errs.New(errs.Unavailable, who+" does not answer at the moment. Sign in another way, or try again shortly.").After(5 * time.Second).Because(err)
}

// exchange asks for the tokens that a code stands for.
func exchange(ctx context.Context, client *http.Client, c oauth2.Config, a attemptAt, code string) (*oauth2.Token, error) {
	c.RedirectURL = a.Callback
	t, err := c.Exchange(context.WithValue(ctx, oauth2.HTTPClient, client), code, oauth2.VerifierOption(a.Verifier))
	refused, isAnswer := errors.AsType[*oauth2.RetrieveError](err)
	switch {
	case err == nil && t.AccessToken != "":
		return t, nil
	case isAnswer && (refused.ErrorCode == "invalid_grant" || refused.ErrorCode == "bad_verification_code"):
		// The answer's text stays out: it may repeat the code.
		return nil, fmt.Errorf("%w: %s", errCode, refused.ErrorCode)
	case isAnswer:
		return nil, fmt.Errorf("%w: status %d, error %q", errGarbage, refused.Response.StatusCode, refused.ErrorCode)
	case err != nil && !unreached(err):
		return nil, fmt.Errorf("%w: %w", errGarbage, err)
	case err != nil:
		return nil, err
	}
	return nil, errGarbage
}

// unreached says that no answer came, rather than a bad one.
func unreached(err error) bool {
	var net interface{ Timeout() bool }
	return errors.As(err, &net) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
