package stripesim_test

import (
	"strings"
	"testing"

	"github.com/stripe/stripe-go/v85"
)

// Amounts that Stripe cannot move are refused as it refuses them.
func TestAmountsInStepsOfTheirCurrency(t *testing.T) {
	w := start(t)
	for _, c := range []struct {
		currency string
		amount   int64
		taken    bool
	}{
		{"kwd", 12340, true}, {"kwd", 12345, false}, {"isk", 100000, true}, {"isk", 100050, false}, {"ugx", 100050, false},
		{"jpy", 12345, true}, {"huf", 100050, true}, {"usd", 12345, true},
	} {
		_, err := w.client.V1PaymentIntents.Create(t.Context(), &stripe.PaymentIntentCreateParams{Amount: &c.amount, Currency: &c.currency})
		if (err == nil) != c.taken || err != nil && !strings.Contains(err.Error(), "evenly divisible") {
			t.Errorf("%d %s: %v", c.amount, c.currency, err)
		}
	}
}
