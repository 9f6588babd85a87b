package auth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// oidcProvider is a provider that speaks OpenID Connect, such as Google. What it says of itself is asked when it is first needed, so that
// the service starts without it.
type oidcProvider struct {
	id, secret, issuer string
	now                func() time.Time
	client             *http.Client
	known              atomic.Pointer[discovered]
}

// discovered is what a provider says of itself, with its keys, which are fetched again when a signature names another.
type discovered struct {
	*oidc.Provider
	keys oidc.KeySet
}

// algorithms are the signatures that are believed, whatever a token or the provider says.
var algorithms = []string{oidc.RS256, oidc.ES256}

func (p *oidcProvider) discovered(ctx context.Context) (*discovered, error) {
	if d := p.known.Load(); d != nil {
		return d, nil
	}
	ctx = oidc.ClientContext(ctx, p.client)
	said, err := oidc.NewProvider(ctx, p.issuer)
	if err != nil && !unreached(err) {
		return nil, fmt.Errorf("%w: discovery: %w", errGarbage, err)
	}
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	var more struct {
		Keys string `json:"jwks_uri"`
	}
	if err := said.Claims(&more); err != nil {
		return nil, fmt.Errorf("%w: discovery: %w", errGarbage, err)
	}
	d := &discovered{said, oidc.NewRemoteKeySet(ctx, more.Keys)}
	p.known.Store(d)
	return d, nil
}

// noting remembers why a signature could not be checked, which the verifier does not tell from a bad one.
type noting struct {
	oidc.KeySet
	err error
}

func (n *noting) VerifySignature(ctx context.Context, jwt string) ([]byte, error) {
	payload, err := n.KeySet.VerifySignature(ctx, jwt)
	n.err = err
	return payload, err
}

func (p *oidcProvider) oauth(d *discovered) oauth2.Config {
	at := d.Endpoint()
	at.AuthStyle = oauth2.AuthStyleInHeader // OpenID Connect's default; trying out both would use up the code
	return oauth2.Config{ClientID: p.id, ClientSecret: p.secret, Endpoint: at, Scopes: []string{oidc.ScopeOpenID, "email", "profile"}}
}

func (p *oidcProvider) authURL(ctx context.Context, a attemptAt) (string, error) {
	d, err := p.discovered(ctx)
	if err != nil {
		return "", err
	}
	c := p.oauth(d)
	c.RedirectURL = a.Callback
	return c.AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)), nil
}

func (p *oidcProvider) person(ctx context.Context, a attemptAt, code string) (person, error) {
	d, err := p.discovered(ctx)
	if err != nil {
		return person{}, err
	}
	tokens, err := exchange(ctx, p.client, p.oauth(d), a, code)
	if err != nil {
		return person{}, err
	}
	raw, ok := tokens.Extra("id_token").(string)
	if !ok {
		return person{}, fmt.Errorf("%w: no id_token", errGarbage)
	}
	keys := &noting{KeySet: d.keys}
	id, err := oidc.NewVerifier(p.issuer, keys, &oidc.Config{ClientID: p.id, SupportedSigningAlgs: algorithms, Now: p.now}).Verify(ctx, raw)
	switch {
	case err != nil && keys.err != nil && unreached(keys.err):
		return person{}, keys.err
	case err != nil && keys.err != nil && strings.HasPrefix(keys.err.Error(), "fetching keys"):
		return person{}, fmt.Errorf("%w: %w", errGarbage, keys.err)
	case err != nil:
		return person{}, fmt.Errorf("%w: %w", errUntrusted, err)
	case id.Nonce != a.Nonce:
		return person{}, fmt.Errorf("%w: another nonce", errUntrusted)
	case id.Subject == "" || len(id.Subject) > 255:
		return person{}, fmt.Errorf("%w: no subject", errUntrusted)
	}
	var claims struct {
		Party    string  `json:"azp"`
		Email    string  `json:"email"`
		Verified loosely `json:"email_verified"`
		Name     string  `json:"name"`
	}
	if err := id.Claims(&claims); err != nil {
		return person{}, fmt.Errorf("%w: claims: %w", errGarbage, err)
	}
	if claims.Party != "" && claims.Party != p.id || claims.Party == "" && slices.ContainsFunc(id.Audience, func(a string) bool { return a != p.id }) {
		return person{}, fmt.Errorf("%w: made for another party", errUntrusted)
	}
	return person{id.Subject, claims.Email, bool(claims.Verified), claims.Name}, nil
}

// loosely is a boolean that some providers send as a text.
type loosely bool

// UnmarshalJSON reads true and "true" as true, false and "false" as false, and nothing else.
func (l *loosely) UnmarshalJSON(raw []byte) error {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return err
	}
	switch v {
	case true, "true":
		*l = true
	case false, "false", nil:
		*l = false
	default:
		return errors.New("neither true nor false")
	}
	return nil
}
