package user_test

import (
	"os"
	"testing"

	"tulifo/platform/postgres/pgtest"
)

// What reads a table whole, and why it may.
func TestMain(m *testing.M) {
	os.Exit(pgtest.Explained(m, map[string]string{
		"user/check.go": "it looks at everything",
		"FROM user_profiles p LEFT JOIN workers w ON": "an administrator's list goes along user_profiles_newest",
	}))
}
