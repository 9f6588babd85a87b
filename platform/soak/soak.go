// Package soak says how long tests go on: a fixed sample in CI, everything in make soak.
//
// Always: without TULIFO_SOAK the sample is the same in every run, so that a failure comes back.
package soak

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
)

// On says whether make soak runs.
func On() bool { return os.Getenv("TULIFO_SOAK") != "" }

// N is how many samples a test takes: few in CI, all in make soak.
func N(few, all int) int {
	if On() {
		return all
	}
	return few
}

// Rand is the source of a test's samples: TULIFO_SEED's, else always the same in CI and another each time in make soak. The seed is logged.
func Rand(t testing.TB) *rand.Rand {
	seed, err := strconv.ParseUint(os.Getenv("TULIFO_SEED"), 10, 64)
	switch {
	case err == nil:
	case On():
		seed = rand.Uint64()
	default:
		seed = 1
	}
	t.Logf("samples come from TULIFO_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
