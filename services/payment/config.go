package payment

import (
	"errors"
	"fmt"
	"time"
)

// Config is how payment reaches the rail, and what the platform takes.
type Config struct {
	SecretKey      string         `env:"STRIPE_SECRET_KEY"`
	PublishableKey string         `env:"STRIPE_PUBLISHABLE_KEY"`
	WebhookSecrets []string       `env:"STRIPE_WEBHOOK_SECRET"` // comma separated: one for each endpoint that Stripe knows of
	APIURL         string         `env:"STRIPE_API_URL"`        // empty: Stripe's own
	Timeout        time.Duration  `env:"STRIPE_TIMEOUT" envDefault:"10s"`
	Fee            int            `env:"FEE_BASIS_POINTS" envDefault:"1000"`
	FeeByCategory  map[string]int `env:"FEE_BY_CATEGORY"` // category:basis points, comma separated
	PublicURL      string         `env:"PUBLIC_URL"`      // where a worker comes back to from the rail's pages
}

// Validate answers a sentence that says which variable is missing or wrong.
func (c Config) Validate() error {
	switch {
	case c.SecretKey == "":
		return errors.New("STRIPE_SECRET_KEY is not set")
	case c.PublishableKey == "":
		return errors.New("STRIPE_PUBLISHABLE_KEY is not set")
	case len(c.WebhookSecrets) == 0 || c.WebhookSecrets[0] == "":
		return errors.New("STRIPE_WEBHOOK_SECRET is not set")
	case c.PublicURL == "":
		return errors.New("PUBLIC_URL is not set")
	case c.Fee < 0 || c.Fee > 10_000:
		return errors.New("FEE_BASIS_POINTS must be from 0 to 10000")
	}
	for category, fee := range c.FeeByCategory {
		if fee < 0 || fee > 10_000 {
			return fmt.Errorf("FEE_BY_CATEGORY: the fee of %q must be from 0 to 10000 basis points", category)
		}
	}
	return nil
}
