package payment_test

import (
	"os"
	"testing"

	"tulifo/platform/postgres/pgtest"
)

// What reads a table whole, and why it may.
func TestMain(m *testing.M) {
	os.Exit(pgtest.Explained(m, map[string]string{
		"payment/check.go":               "it looks at everything",
		"WHERE $1::uuid IS NOT NULL AND": "an administrator's list goes along payments_all",
		"reconciliations":                "one a day",
		"rollup":                         "a few rows of each hot account, summed up again and again",
	}))
}
