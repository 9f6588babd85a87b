package notification

import (
	"errors"
	"net/url"
	"time"

	"tulifo/platform/mail"
)

// Config are the knobs of the service.
type Config struct {
	PublicURL  string `env:"PUBLIC_URL"`  // origin that people see; links in mails start with it
	LinkSecret string `env:"LINK_SECRET"` // signs the links that unsubscribe
	Mail       mail.Config

	Now func() time.Time `env:"-"` // system time of tries; time.Now when nil
}

// Validate says what is wrong with the configuration, naming the variable.
func (c Config) Validate() error {
	u, err := url.Parse(c.PublicURL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" && u.Path != "/" || u.RawQuery != "":
		return errors.New("PUBLIC_URL must be the origin that people see, such as https://tulifo.example")
	case len(c.LinkSecret) < 32:
		return errors.New("LINK_SECRET must be at least 32 bytes")
	}
	return c.Mail.Validate()
}
