package main

import "testing"

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
