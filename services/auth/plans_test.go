package auth_test

import (
	"os"
	"testing"

	"tulifo/platform/postgres/pgtest"
)

// What reads a table whole, and why it may.
func TestMain(m *testing.M) {
	os.Exit(pgtest.Explained(m, map[string]string{
		"auth/check.go":                     "it looks at everything",
		"SELECT 'I12: session '":            "a part of the check, which looks at everything",
		"SELECT EXISTS (SELECT FROM users)": "it ends with the first row",
	}))
}
