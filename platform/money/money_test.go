package money_test

import (
	"encoding/json"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"tulifo/platform/money"
)

func TestDecimalIn(t *testing.T) {
	for _, c := range []struct {
		what, number, currency string
		minor                  int64
		err                    error
	}{
		{"cents that a float gets wrong", "0.35", "USD", 35, nil},
		{"another one", "1.45", "USD", 145, nil},
		{"and another", "10.35", "USD", 1035, nil},
		{"one digit", "75.5", "USD", 7550, nil},
		{"whole", "1200", "USD", 120000, nil},
		{"zeros at the end do not count", "1.5000", "USD", 150, nil},
		{"three digits of a two-digit currency", "1.005", "USD", 0, money.ErrDigits},
		{"yen have none", "1200", "JPY", 1200, nil},
		{"half a yen", "0.5", "JPY", 0, money.ErrDigits},
		{"dinars have three", "1.234", "KWD", 1234, nil},
		{"negative", "-3.10", "EUR", -310, nil},
		{"exponent", "1e3", "USD", 0, money.ErrRange},
		{"too large", "92233720368547758.08", "USD", 0, money.ErrRange},
		{"no such currency", "1", "XXY", 0, money.ErrCurrency},
	} {
		var d money.Decimal
		if err := json.Unmarshal([]byte(c.number), &d); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		got, err := d.In(c.currency)
		if !errors.Is(err, c.err) || got.Minor != c.minor {
			t.Errorf("%s: %s %s = %d, %v; want %d, %v", c.what, c.number, c.currency, got.Minor, err, c.minor, c.err)
		}
	}
}

func TestDecimalRefusesStrings(t *testing.T) {
	var d money.Decimal
	if err := json.Unmarshal([]byte(`"12"`), &d); err == nil {
		t.Error("a string was taken for a number")
	}
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := money.Of(rapid.Int64Range(-1e15, 1e15).Draw(t, "minor"), rapid.SampledFrom([]string{"USD", "JPY", "KWD"}).Draw(t, "currency"))
		raw, err := json.Marshal(a.Decimal())
		if err != nil {
			t.Fatal(err)
		}
		var d money.Decimal
		if err := json.Unmarshal(raw, &d); err != nil {
			t.Fatal(err)
		}
		if b, err := d.In(a.Currency); err != nil || b != a {
			t.Fatalf("%v became %s became %v, %v", a, raw, b, err)
		}
	})
}

func TestSplitLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := money.Of(rapid.Int64Range(0, 1e17).Draw(t, "minor"), "USD")
		weights := rapid.SliceOfN(rapid.Int64Range(0, 1e6), 1, 8).Draw(t, "weights")
		weights[0]++
		var sum int64
		for _, p := range a.Split(weights...) {
			if p.Minor < 0 {
				t.Fatalf("a negative part of %v by %v", a, weights)
			}
			sum += p.Minor
		}
		if sum != a.Minor {
			t.Fatalf("%v split by %v adds up to %d", a, weights, sum)
		}
	})
}

func TestShareRoundsHalfUp(t *testing.T) {
	for minor, want := range map[int64]int64{16000: 1600, 5: 1, 4: 0, 14: 1, 15: 2, 0: 0} {
		if got := money.Of(minor, "USD").Share(1000).Minor; got != want {
			t.Errorf("10 %% of %d = %d, want %d", minor, got, want)
		}
	}
}

func TestHours(t *testing.T) {
	if got, err := money.Of(8000, "USD").For(120); err != nil || got.Minor != 16000 {
		t.Errorf("2 h at 80.00 = %v, %v", got, err)
	}
	if got, err := money.Of(1001, "USD").For(30); err != nil || got.Minor != 501 {
		t.Errorf("half an hour at 10.01 = %v, %v; half a cent goes up", got, err)
	}
}
