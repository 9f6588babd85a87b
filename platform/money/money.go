// Package money holds amounts as whole minor units of a currency, never as floats.
//
// Inside, an Amount is an int64 of minor units (cents for USD, yen for JPY, thousandths for KWD). On the wire it is a Decimal: a JSON
// number in major units, read and written exactly.
//
// Prices, fees and their parts come in whole steps of the currency, which is what the card rail can move: see Step.
package money

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"strings"

	"github.com/bojanz/currency"
)

// Amount is a sum of money. It may be negative where an account may be. Its JSON form, {"minor":16000,"currency":"USD"}, is for
// events and stored rows; bodies use Decimal.
type Amount struct {
	Minor    int64  `json:"minor"`    // in the currency's smallest unit
	Currency string `json:"currency"` // ISO 4217
}

// Of is minor units of a currency.
func Of(minor int64, currency string) Amount { return Amount{minor, currency} }

// ErrDigits says that a decimal has more digits than its currency.
var ErrDigits = errors.New("has more digits than its currency")

// ErrStep says that an amount is finer than what can be paid in its currency.
var ErrStep = errors.New("is finer than what can be paid in this currency")

// ErrRange says that an amount does not fit.
var ErrRange = errors.New("is out of range")

// ErrCurrency says that a code is not a currency of ISO 4217, or that two currencies were mixed.
var ErrCurrency = errors.New("is not the right currency")

// Digits is how many decimal digits the currency has: 0 for JPY, 2 for USD, 3 for KWD. ErrCurrency for an unknown code.
func Digits(code string) (int, error) {
	d, ok := currency.GetDigits(code)
	if !ok {
		return 0, ErrCurrency
	}
	return int(d), nil
}

// steps are the currencies of which cards and banks cannot move every minor unit: those of three digits are charged in tens, and forint, new
// Taiwan dollars and ariary are paid in whole ones only. https://docs.stripe.com/currencies#special-cases
var steps = map[string]int64{"BHD": 10, "JOD": 10, "KWD": 10, "OMR": 10, "TND": 10, "HUF": 100, "TWD": 100, "MGA": 100}

// Step is the smallest amount of the currency that can be paid, in minor units: 10 for KWD, 100 for HUF, 1 for most.
func Step(code string) int64 { return max(steps[code], 1) }

// Whole is what of a can be paid: a without what is less than a step of its currency. a is not negative.
func (a Amount) Whole() Amount { return Amount{a.Minor - a.Minor%Step(a.Currency), a.Currency} }

// Steps are the currencies whose Step is not 1.
func Steps() map[string]int64 { return maps.Clone(steps) }

// Add is a + b. ErrCurrency when the currencies differ, ErrRange when the sum does not fit.
func (a Amount) Add(b Amount) (Amount, error) {
	if a.Currency != b.Currency {
		return Amount{}, ErrCurrency
	}
	sum := a.Minor + b.Minor
	if (sum > a.Minor) != (b.Minor > 0) && b.Minor != 0 {
		return Amount{}, ErrRange
	}
	return Amount{sum, a.Currency}, nil
}

// Share is basisPoints/10,000 of a, rounded half up to the currency's step and at most a. a is not negative; basisPoints is 0 to 10,000.
func (a Amount) Share(basisPoints int) Amount {
	step := Step(a.Currency)
	return Amount{min(a.Minor, step*mulDiv(a.Minor, int64(basisPoints), 10_000*step)), a.Currency}
}

// For is what minutes of work at the hourly rate a cost, rounded half up to the currency's step. ErrRange when it does not fit.
func (a Amount) For(minutes int64) (Amount, error) {
	if a.Minor < 0 || minutes < 0 {
		return Amount{}, ErrRange
	}
	hi, _ := bits.Mul64(uint64(a.Minor), uint64(minutes))
	if hi != 0 {
		return Amount{}, ErrRange
	}
	step := Step(a.Currency)
	return Amount{step * mulDiv(a.Minor, minutes, 60*step), a.Currency}, nil
}

// mulDiv is a·b/d rounded half up, through 128 bits; a, b ≥ 0, and the quotient fits.
func mulDiv(a, b, d int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	lo, carry := bits.Add64(lo, uint64(d/2), 0)
	q, _ := bits.Div64(hi+carry, lo, uint64(d))
	return int64(q)
}

// Split divides a in proportion to the weights; the parts always add up to a exactly: each gets its floor in steps of the currency, and what is
// left goes, a step each, to the largest remainders, earlier ones first; what is less than a step goes to the largest weight. a and weights are
// not negative and not all weights are zero.
func (a Amount) Split(weights ...int64) []Amount {
	var total uint64
	most := 0
	for i, w := range weights {
		total += uint64(w)
		if w > weights[most] {
			most = i
		}
	}
	step := Step(a.Currency)
	parts := make([]Amount, len(weights))
	rest := make([]uint64, len(weights))
	left := a.Minor / step
	for i, w := range weights {
		hi, lo := bits.Mul64(uint64(a.Minor/step), uint64(w))
		q, r := bits.Div64(hi, lo, total)
		parts[i], rest[i] = Amount{int64(q) * step, a.Currency}, r
		left -= int64(q)
	}
	parts[most].Minor += a.Minor % step
	for ; left > 0; left-- {
		most := 0
		for i, r := range rest {
			if r > rest[most] {
				most = i
			}
		}
		parts[most].Minor += step
		rest[most] = 0
	}
	return parts
}

// Decimal is a as a JSON number in major units: "160.00", "1200" for JPY.
func (a Amount) Decimal() Decimal {
	d, err := Digits(a.Currency)
	if err != nil {
		return Decimal(fmt.Sprint(a.Minor))
	}
	sign, n := "", uint64(a.Minor)
	if a.Minor < 0 {
		sign, n = "-", -n
	}
	if d == 0 {
		return Decimal(fmt.Sprintf("%s%d", sign, n))
	}
	unit := uint64(math.Pow10(d))
	return Decimal(fmt.Sprintf("%s%d.%0*d", sign, n/unit, d, n%unit))
}

// String is a for people: "160.00 USD".
func (a Amount) String() string { return string(a.Decimal()) + " " + a.Currency }

// Decimal is an exact decimal number as it stands in JSON, such as 75.5; it becomes an Amount once its currency is known.
type Decimal string

// MarshalJSON writes the number without quotes.
func (d Decimal) MarshalJSON() ([]byte, error) {
	if d == "" {
		return []byte("0"), nil
	}
	return []byte(d), nil
}

// UnmarshalJSON keeps the digits of a JSON number as they were sent; a string is refused.
func (d *Decimal) UnmarshalJSON(raw []byte) error {
	s := string(raw)
	if s == "null" {
		return nil
	}
	if s == "" || strings.ContainsAny(s, `"{[`) || len(s) > 40 {
		return errors.New("is not a number")
	}
	*d = Decimal(s)
	return nil
}

// Payable is d as an amount that can be paid in the currency. Errors as of In, and ErrStep when it is no whole number of the currency's steps.
func (d Decimal) Payable(code string) (Amount, error) {
	a, err := d.In(code)
	if err == nil && a.Minor%Step(code) != 0 {
		return Amount{}, ErrStep
	}
	return a, err
}

// In is d as an amount of the currency. ErrDigits when d is finer than the currency's minor unit (zeros at the end do not count),
// ErrRange when it does not fit, ErrCurrency for an unknown code.
func (d Decimal) In(code string) (Amount, error) {
	digits, err := Digits(code)
	if err != nil {
		return Amount{}, err
	}
	s, negative := strings.CutPrefix(string(d), "-")
	if strings.ContainsAny(s, "eE") {
		return Amount{}, ErrRange
	}
	whole, frac, _ := strings.Cut(s, ".")
	frac = strings.TrimRight(frac, "0")
	if len(frac) > digits {
		return Amount{}, ErrDigits
	}
	frac += strings.Repeat("0", digits-len(frac))
	var minor int64
	for _, c := range whole + frac {
		if c < '0' || c > '9' {
			return Amount{}, ErrRange
		}
		if minor > (math.MaxInt64-9)/10 {
			return Amount{}, ErrRange
		}
		minor = minor*10 + int64(c-'0')
	}
	if negative {
		minor = -minor
	}
	return Amount{minor, code}, nil
}
