package interleave

import "testing"

// Contender is one of those who reach for the same thing at once. Do has it reach for what by means of an actor of its own, and tells whether it
// was told yes.
type Contender[T, A any] struct {
	Name string
	Do   func(what T, with A) bool
}

// String is the contender's name.
func (c Contender[T, A]) String() string { return c.Name }

// Contest is a play in which each of who reaches for what with the actor of its place. lawful looks at the outcome: won is how many contenders of
// each name were told yes. Its error fails the test, with the order that led to it.
func Contest[T, A any](t testing.TB, what T, actors []A, who []Contender[T, A], lawful func(won map[string]int) error) Play {
	yes := make([]bool, len(who))
	p := Play{After: func(steps string) {
		won := map[string]int{}
		for i, c := range who {
			if yes[i] {
				won[c.Name]++
			}
		}
		if err := lawful(won); err != nil {
			t.Errorf("%v, of whom %v were told yes: %v after\n%s", who, won, err, steps)
		}
	}}
	for i, c := range who {
		p.Acts = append(p.Acts, func() { yes[i] = c.Do(what, actors[i]) })
	}
	return p
}

// Pairs runs a test for each two of who, each with itself included.
func Pairs[T, A any](t *testing.T, who []Contender[T, A], test func(t *testing.T, first, second Contender[T, A])) {
	for i, first := range who {
		for _, second := range who[i:] {
			t.Run(first.Name+" × "+second.Name, func(t *testing.T) { test(t, first, second) })
		}
	}
}
