package auth_test

import (
	"strings"
	"testing"
	"time"

	"tulifo/services/auth"
)

// What a provider says decides who somebody is, so nobody on the way may be able to change it, and a half-configured provider is a mistake.
func TestProvidersAreAskedWhereNobodyListens(t *testing.T) {
	sound := func() auth.Config {
		return auth.Config{
			PublicURL: "https://tulifo.test", RefreshSecret: strings.Repeat("test-refresh-", 3), BcryptCost: 4,
			HashQueue: 64, DeviceFailures: 5, OthersFailures: 10, IPFailures: 30, ProviderTimeout: 5 * time.Second,
			GoogleID: "id", GoogleSecret: "secret", GoogleIssuer: "https://accounts.google.com",
			GithubID: "id", GithubSecret: "secret", GithubURL: "https://github.com", GithubAPIURL: "https://api.github.com",
		}
	}
	for _, address := range []string{"https://idp.example", "https://idp.example/realms/one", "http://localhost:9000", "http://127.0.0.1:9000", "http://[::1]:9000"} {
		c := sound()
		c.GoogleIssuer, c.GithubURL, c.GithubAPIURL = address, address, address
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"", "idp.example", "http://idp.example", "http://10.0.0.1", "http://localhost.example", "ftp://idp.example", "https://me@idp.example", "https://idp.example/", "https://idp.example?x=y", "https://"} {
		for name, set := range map[string]func(*auth.Config){
			"GOOGLE_ISSUER":  func(c *auth.Config) { c.GoogleIssuer = address },
			"GITHUB_URL":     func(c *auth.Config) { c.GithubURL = address },
			"GITHUB_API_URL": func(c *auth.Config) { c.GithubAPIURL = address },
		} {
			c := sound()
			if set(&c); c.Validate() == nil || !strings.Contains(c.Validate().Error(), name) {
				t.Errorf("%s = %q: %v", name, address, c.Validate())
			}
			c.GoogleID, c.GoogleSecret, c.GithubID, c.GithubSecret = "", "", "", ""
			if err := c.Validate(); err != nil {
				t.Errorf("nobody is asked at %s: %v", name, err)
			}
		}
	}
	for name, set := range map[string]func(*auth.Config){
		"GOOGLE_CLIENT_ID":      func(c *auth.Config) { c.GoogleSecret = "" },
		"GITHUB_CLIENT_ID":      func(c *auth.Config) { c.GithubID = "" },
		"AUTH_PROVIDER_TIMEOUT": func(c *auth.Config) { c.ProviderTimeout = 10 * time.Second },
	} {
		c := sound()
		if set(&c); c.Validate() == nil || !strings.Contains(c.Validate().Error(), name) {
			t.Errorf("%s: %v", name, c.Validate())
		}
	}
}
