package money_test

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"tulifo/platform/money"
)

func TestPayable(t *testing.T) {
	for _, c := range []struct {
		number, currency string
		err              error
	}{
		{"12.340", "KWD", nil}, {"12.345", "KWD", money.ErrStep}, {"12.3456", "KWD", money.ErrDigits}, {"100", "HUF", nil}, {"100.50", "HUF", money.ErrStep},
		{"0.01", "USD", nil}, {"1", "JPY", nil}, {"1.5", "JPY", money.ErrDigits}, {"1", "XXY", money.ErrCurrency},
	} {
		if _, err := money.Decimal(c.number).Payable(c.currency); !errors.Is(err, c.err) {
			t.Errorf("%s %s: %v, want %v", c.number, c.currency, err, c.err)
		}
	}
}

// Whatever a price of whole steps is divided into, every part can be paid, and nothing is lost.
func TestPartsOfAPriceCanBePaid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		currency := rapid.SampledFrom([]string{"USD", "JPY", "KWD", "HUF", "BHD", "MGA"}).Draw(t, "currency")
		price, err := money.Of(rapid.Int64Range(1, 1e9).Draw(t, "rate"), currency).For(rapid.Int64Range(1, 1000).Draw(t, "minutes"))
		if err != nil {
			t.Fatal(err)
		}
		step := money.Step(currency)
		fee := price.Share(rapid.IntRange(0, 10_000).Draw(t, "basis points"))
		parts := append(price.Split(rapid.Int64Range(0, 1000).Draw(t, "a"), rapid.Int64Range(1, 1000).Draw(t, "b"), rapid.Int64Range(0, 1000).Draw(t, "c")), fee, price)
		var sum int64
		for _, p := range parts {
			if p.Minor%step != 0 || p.Minor < 0 || p.Minor > price.Minor {
				t.Fatalf("%v of %v", p, price)
			}
			sum += p.Minor
		}
		if sum-fee.Minor-price.Minor != price.Minor {
			t.Fatalf("the parts of %v come to %d", price, sum-fee.Minor-price.Minor)
		}
	})
}

func TestWhole(t *testing.T) {
	for currency, want := range map[string]int64{"USD": 1999, "JPY": 1999, "KWD": 1990, "HUF": 1900} {
		if got := money.Of(1999, currency).Whole(); got != money.Of(want, currency) {
			t.Errorf("1999 %s has %v", currency, got)
		}
	}
}

func TestSplitOfWhatIsNoWholeSteps(t *testing.T) {
	var sum int64
	for _, p := range money.Of(1005, "KWD").Split(1, 3, 1) {
		sum += p.Minor
	}
	if sum != 1005 {
		t.Errorf("the parts come to %d", sum)
	}
}
