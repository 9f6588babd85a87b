package money_test

import (
	"math/big"
	"math/rand/v2"
	"testing"

	"tulifo/platform/money"
	"tulifo/platform/soak"
)

var currencies = []string{"JPY", "USD", "KWD"} // 0, 2 and 3 digits

// draw is an amount of any size: small ones, where rounding shows, as often as large ones.
func draw(r *rand.Rand) int64 { return r.Int64N(1 << (1 + r.IntN(55))) }

// halfUp is x rounded half up, for x of at least 0.
func halfUp(x *big.Rat) int64 {
	twice := new(big.Int).Add(new(big.Int).Lsh(x.Num(), 1), x.Denom())
	return new(big.Int).Div(twice, new(big.Int).Lsh(x.Denom(), 1)).Int64()
}

// TestAMillionSplitsLoseNoMinorUnit compares shares and splits with exact fractions, in whole steps of the currency: a share is the fraction rounded
// half up, the parts of a split are less than one step from theirs, and add up.
func TestAMillionSplitsLoseNoMinorUnit(t *testing.T) {
	r := soak.Rand(t)
	for range soak.N(50_000, 1_000_000) {
		currency := currencies[r.IntN(3)]
		step := money.Step(currency)
		a := money.Of(draw(r)/step*step, currency)
		points := r.IntN(10_001)
		if got, want := a.Share(points), step*halfUp(new(big.Rat).Mul(big.NewRat(a.Minor/step, 1), big.NewRat(int64(points), 10_000))); got.Minor != want || got.Currency != a.Currency {
			t.Fatalf("%d/10000 of %s is %s, want %d", points, a, got, want)
		}
		weights := make([]int64, 1+r.IntN(8))
		var total int64
		for i := range weights {
			weights[i] = draw(r) >> 3 // eight of them fit
			total += weights[i]
		}
		if total == 0 {
			continue
		}
		var sum int64
		for i, part := range a.Split(weights...) {
			exact := new(big.Rat).Mul(big.NewRat(a.Minor, 1), big.NewRat(weights[i], total))
			off := new(big.Rat).Sub(exact, big.NewRat(part.Minor, 1))
			if part.Minor < 0 || off.Abs(off).Cmp(big.NewRat(step, 1)) >= 0 || part.Minor%step != 0 || weights[i] == 0 && part.Minor != 0 {
				t.Fatalf("%s by %v: part %d is %s, exactly %s", a, weights, i, part, exact.FloatString(3))
			}
			sum += part.Minor
		}
		if sum != a.Minor {
			t.Fatalf("%s by %v adds up to %d", a, weights, sum)
		}
	}
}

// TestCurrenciesAreNeverAdded has only like added to like, and no sum wrap around.
func TestCurrenciesAreNeverAdded(t *testing.T) {
	for _, c := range []struct {
		a, b money.Amount
		sum  int64
		err  error
	}{
		{money.Of(1, "USD"), money.Of(1, "EUR"), 0, money.ErrCurrency},
		{money.Of(0, "USD"), money.Of(0, "JPY"), 0, money.ErrCurrency},
		{money.Of(1, "USD"), money.Of(1, "usd"), 0, money.ErrCurrency},
		{money.Of(1<<62, "USD"), money.Of(1<<62, "USD"), 0, money.ErrRange},
		{money.Of(-1<<63, "USD"), money.Of(-1, "USD"), 0, money.ErrRange},
		{money.Of(7, "USD"), money.Of(-7, "USD"), 0, nil},
		{money.Of(35, "USD"), money.Of(145, "USD"), 180, nil},
	} {
		got, err := c.a.Add(c.b)
		if err != c.err || got.Minor != c.sum {
			t.Errorf("%v + %v = %v, %v", c.a, c.b, got, err)
		}
	}
}
