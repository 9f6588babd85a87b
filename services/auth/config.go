package auth

import (
	"errors"
	"net/url"
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
	}
	return nil
}
