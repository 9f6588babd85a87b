package notification_test

import (
	"os"
	"testing"

	"tulifo/platform/postgres/pgtest"
)

// What reads a table whole, and why it may.
func TestMain(m *testing.M) {
	os.Exit(pgtest.Explained(m, map[string]string{
		"notification/check.go": "it looks at everything",
	}))
}
