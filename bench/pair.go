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
	var a, b []float64
	for range n {
		x, err := ours()
		if err != nil {
			return pair{}, err
		}
		y, err := theirs()
		if err != nil {
			return pair{}, err
		}
		a, b = append(a, x), append(b, y)
	}
	return compared(a, b), nil
}

// compared is the pair of what turns measured, without the first.
func compared(ours, theirs []float64) pair {
	ours, theirs = ours[1:], theirs[1:]
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / theirs[i]
	}
	return pair{median(ours), median(theirs), median(ratios), slices.Min(ratios), slices.Max(ratios)}
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
	Target              string // empty: there is none
	Met                 bool
	Bound               string // what bounds it, as far as the code or the run says so
}

func (f finding) missed() bool { return f.Target != "" && !f.Met }

// verdict is said of every figure that has a target.
func (f finding) verdict() string {
	switch {
	case f.Target == "":
		return ""
	case f.missed():
		return "**missed**"
	}
	return "met"
}

func (f finding) String() string {
	return fmt.Sprintf("%-46s %s | %s | %s | %s %s", f.Job, f.Ours, f.Opponent, f.Ratio, f.Target, f.verdict())
}

func (p pair) spread() string { return fmt.Sprintf("%.2f (%.2f–%.2f)", p.ratio, p.lowest, p.highest) }
