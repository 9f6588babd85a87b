package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"golang.org/x/oauth2"
)

// githubProvider is GitHub, which speaks OAuth 2 and answers who somebody is over its own API.
type githubProvider struct {
	id, secret string
	site, api  string // https://github.com and https://api.github.com, or those of an enterprise
	client     *http.Client
}

func (p *githubProvider) oauth() oauth2.Config {
	return oauth2.Config{
		ClientID: p.id, ClientSecret: p.secret, Scopes: []string{"read:user", "user:email"},
		// GitHub reads the secret from the form.
		Endpoint: oauth2.Endpoint{AuthURL: p.site + "/login/oauth/authorize", TokenURL: p.site + "/login/oauth/access_token", AuthStyle: oauth2.AuthStyleInParams},
	}
}

func (p *githubProvider) authURL(_ context.Context, a attemptAt) (string, error) {
	c := p.oauth()
	c.RedirectURL = a.Callback
	return c.AuthCodeURL(a.State, oauth2.S256ChallengeOption(a.Verifier)), nil
}

func (p *githubProvider) person(ctx context.Context, a attemptAt, code string) (person, error) {
	tokens, err := exchange(ctx, p.client, p.oauth(), a, code)
	if err != nil {
		return person{}, err
	}
	var user struct {
		ID    int64
		Login string
		Name  string
	}
	if err := p.get(ctx, tokens.AccessToken, "/user", &user); err != nil {
		return person{}, err
	}
	if user.ID <= 0 {
		return person{}, fmt.Errorf("%w: no id", errGarbage)
	}
	var emails []struct {
		Email             string
		Primary, Verified bool
	}
	if err := p.get(ctx, tokens.AccessToken, "/user/emails?per_page=100", &emails); err != nil {
		return person{}, err
	}
	who := person{Subject: strconv.FormatInt(user.ID, 10), Name: user.Name}
	if who.Name == "" {
		who.Name = user.Login
	}
	for _, e := range emails {
		if e.Primary {
			who.Email, who.Verified = e.Email, e.Verified
		}
	}
	return who, nil
}

func (p *githubProvider) get(ctx context.Context, access, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.api+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("X-GitHub-Api-Version", "2022-11-28")
	req.Header.Set("Authorization", "Bearer "+access)
	res, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s answered %d", errGarbage, path, res.StatusCode)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%w: %s: %w", errGarbage, path, err)
	}
	return nil
}
