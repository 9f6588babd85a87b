package auth

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Config are the knobs of the service.
type Config struct {
	PublicURL      string `env:"PUBLIC_URL"`                           // origin that people see; links in mails start with it
	RefreshSecret  string `env:"JWT_REFRESH_SECRET"`                   // refresh tokens, links and device cookies are derived from it
	BcryptCost     int    `env:"AUTH_BCRYPT_COST" envDefault:"12"`     // of new passwords
	HashQueue      int    `env:"AUTH_HASH_QUEUE" envDefault:"16"`      // passwords waiting or being checked, a core
	DeviceFailures int    `env:"AUTH_DEVICE_FAILURES" envDefault:"5"`  // wrong passwords in 15 minutes of a known device on an account
	OthersFailures int    `env:"AUTH_OTHERS_FAILURES" envDefault:"10"` // of all unknown devices of an account together
	IPFailures     int    `env:"AUTH_IP_FAILURES" envDefault:"30"`     // of an address, on any account

	GoogleID     string `env:"GOOGLE_CLIENT_ID"`                                       // none: nobody signs in with Google
	GoogleSecret string `env:"GOOGLE_CLIENT_SECRET"`                                   // of that client
	GoogleIssuer string `env:"GOOGLE_ISSUER" envDefault:"https://accounts.google.com"` // any provider of OpenID Connect
	GithubID     string `env:"GITHUB_CLIENT_ID"`                                       // none: nobody signs in with GitHub
	GithubSecret string `env:"GITHUB_CLIENT_SECRET"`                                   // of that client
	GithubURL    string `env:"GITHUB_URL" envDefault:"https://github.com"`             // an enterprise has its own
	GithubAPIURL string `env:"GITHUB_API_URL" envDefault:"https://api.github.com"`     // and its own API

	ProviderTimeout time.Duration `env:"AUTH_PROVIDER_TIMEOUT" envDefault:"8s"` // all that a provider is asked in one sign-in

	Now func() time.Time `env:"-"` // system time of sessions, links and limits; time.Now when nil
}

// Validate says what is wrong with the configuration, naming the variable.
func (c Config) Validate() error {
	u, err := url.Parse(c.PublicURL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" && u.Path != "/" || u.RawQuery != "":
		return errors.New("PUBLIC_URL must be the origin that people see, such as https://tulifo.example")
	case len(c.RefreshSecret) < 32:
		return errors.New("JWT_REFRESH_SECRET must be at least 32 bytes")
	case c.BcryptCost < 4 || c.BcryptCost > 16:
		return errors.New("AUTH_BCRYPT_COST must be from 4 to 16")
	case min(c.HashQueue, c.DeviceFailures, c.OthersFailures, c.IPFailures) < 1:
		return errors.New("AUTH_HASH_QUEUE, AUTH_DEVICE_FAILURES, AUTH_OTHERS_FAILURES and AUTH_IP_FAILURES must be at least 1")
	case c.ProviderTimeout <= 0 || c.ProviderTimeout > 9*time.Second:
		return errors.New("AUTH_PROVIDER_TIMEOUT must be from 1ms to 9s")
	case (c.GoogleID == "") != (c.GoogleSecret == ""):
		return errors.New("GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET go together")
	case (c.GithubID == "") != (c.GithubSecret == ""):
		return errors.New("GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET go together")
	case c.GoogleID != "" && !trusted(c.GoogleIssuer):
		return errors.New("GOOGLE_ISSUER must be an https address, as the provider itself writes it")
	case c.GithubID != "" && !(trusted(c.GithubURL) && trusted(c.GithubAPIURL)):
		return errors.New("GITHUB_URL and GITHUB_API_URL must be https addresses without a slash at the end")
	}
	return nil
}

// trusted says whether nobody on the way can change what comes from the address: it is https, or on this machine.
func trusted(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.User != nil || strings.HasSuffix(address, "/") {
		return false
	}
	ip, _ := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (ip.IsLoopback() || u.Hostname() == "localhost")
}
