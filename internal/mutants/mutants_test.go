package main

import (
	"os"
	"strings"
	"testing"
)

// The suite has 20 bugs at least to prove itself on, and none of them has gone stale.
func TestEveryBugApplies(t *testing.T) {
	t.Chdir("../..")
	all, err := read("internal/mutants/patches")
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Errorf("there are only %d bugs", len(all))
	}
	for _, m := range all {
		if _, err := m.overlay(t.Context(), t.TempDir()); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}

// A fixed sample, cheap to run, is caught in every run of the tests; make mutants plants them all.
func TestASampleIsCaught(t *testing.T) {
	t.Chdir("../..")
	all, err := read("internal/mutants/patches")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range all {
		switch m.name {
		case "fee-without-rounding", "overlap-of-touching-times", "csv-formulas":
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				by, err := m.caughtBy(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("caught by %s", by)
			})
		}
	}
}

// What changes nothing, and what does not compile, is not taken for a bug that was caught.
func TestOnlyAFailedTestCatches(t *testing.T) {
	t.Chdir("../..")
	const path = "platform/money/money.go"
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	top := strings.SplitAfterN(string(raw), "\n", 4)[:3]
	for line, want := range map[string]string{"// A remark.": "every test passes", "not Go": "no test failed"} {
		m := mutant{pkg: "./platform/money", run: "^$", touches: []string{path},
			patch: []byte("--- a/" + path + "\n+++ b/" + path + "\n@@ -1,3 +1,4 @@\n+" + line + "\n " + strings.Join(top, " "))}
		if by, err := m.caughtBy(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: caught by %q, %v; want %s", line, by, err, want)
		}
	}
}
