package money_test

import (
	"encoding/json"
	"math/big"
	"testing"

	"tulifo/platform/money"
)

// FuzzDecimal reads amounts that people send. What is taken is worth exactly what was written, and comes back as it went.
func FuzzDecimal(f *testing.F) {
	for _, s := range []string{"75.5", "0.1", "1e2", "-0", "0.29", "1.45", "10.35", "99999999999999999999", "1E400", "0.001", `"5"`, "null", "+1", ".5", "1.", "00", "１"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sent string) {
		var d money.Decimal
		if json.Unmarshal([]byte(sent), &d) != nil || d == "" {
			return
		}
		for currency, unit := range map[string]int64{"USD": 100, "JPY": 1, "KWD": 1000} {
			a, err := d.In(currency)
			if err != nil {
				continue
			}
			worth, ok := new(big.Rat).SetString(string(d))
			if !ok || worth.Cmp(big.NewRat(a.Minor, unit)) != 0 {
				t.Errorf("%q is taken for %d minor units of %s", sent, a.Minor, currency)
			}
			if back, err := a.Decimal().In(currency); err != nil || back != a {
				t.Errorf("%s comes back as %s, %v", a, back, err)
			}
		}
	})
}
