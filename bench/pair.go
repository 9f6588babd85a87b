package main

import (
	"fmt"
	"slices"
	"time"
)

// pair compares two programs in turns.
type pair struct {
	ours, theirs    float64 // medians of what each turn measured
	ratio           float64 // median of ours over theirs
	lowest, highest float64 // of the ratios
}

// inTurns measures ours and theirs alternately n times and drops the first pair, in which caches fill.
func inTurns(n int, ours, theirs func() (float64, error)) (pair, error) {
	var a, b, r []float64
	for i := range n {
		x, err := ours()
		if err != nil {
			return pair{}, err
		}
		y, err := theirs()
		if err != nil {
			return pair{}, err
		}
		if i > 0 {
			a, b, r = append(a, x), append(b, y), append(r, x/y)
		}
	}
	return pair{median(a), median(b), median(r), slices.Min(r), slices.Max(r)}, nil
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}

// at is the share q of the sorted durations.
func at(d []time.Duration, q float64) time.Duration {
	slices.Sort(d)
	return d[min(len(d)-1, int(q*float64(len(d))))]
}

// finding is a row of the report.
type finding struct {
	Job, Ours, Opponent string
	Ratio               string // median, and the spread
	Target              string
	Met                 bool
	Bound               string // what bounds it
}

func (f finding) String() string {
	met := "met"
	if !f.Met {
		met = "MISSED"
	}
	return fmt.Sprintf("%-46s %s | %s | %s | %s %s", f.Job, f.Ours, f.Opponent, f.Ratio, f.Target, met)
}

func (p pair) spread() string { return fmt.Sprintf("%.2f (%.2f–%.2f)", p.ratio, p.lowest, p.highest) }
