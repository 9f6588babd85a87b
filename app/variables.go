package app

import (
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/caarlos0/env/v11"

	"tulifo/services/auth"
	"tulifo/services/booking"
	"tulifo/services/notification"
	"tulifo/services/payment"
)

// besideConfigs are read where no configuration is: by what starts before one, by embedded Postgres, and by tests.
var besideConfigs = []string{"TULIFO_CRASH", "TULIFO_POSTGRES_BIN", "TULIFO_SOAK", "TULIFO_SEED", "TULIFO_TEST_POSTGRES_URL", "TULIFO_TEST_SERVERS"}

// variables are the names of all that any part of the platform reads of its environment.
func variables() (map[string]bool, error) {
	known := map[string]bool{}
	for _, c := range []any{&Config{}, &auth.Config{}, &booking.Config{}, &notification.Config{}, &payment.Config{}} {
		fields, err := env.GetFieldParams(c)
		if err != nil {
			return nil, fmt.Errorf("variables of %T: %w", c, err)
		}
		for _, f := range fields {
			known[f.Key] = true
		}
	}
	for _, name := range besideConfigs {
		known[name] = true
	}
	for _, name := range append(serviceNames(), besides...) {
		known[envPrefix(name)+"_PORT"], known[envPrefix(name)+"_SERVICE_URL"] = true, true
	}
	return known, nil
}

// linked are variables that container platforms set for each service that they know, whatever its name.
var linked = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_[0-9]+_(TCP|UDP)(_[A-Z]+)?)$`)

// unread are the variables that look like ours and that nothing reads, each with a sentence about it. Values are not told: they may be secrets.
func unread(environment map[string]string) (map[string]string, error) {
	known, err := variables()
	if err != nil {
		return nil, err
	}
	ours := []string{"TULIFO_"}
	for _, name := range serviceNames() {
		ours = append(ours, envPrefix(name)+"_")
	}
	names := slices.Sorted(maps.Keys(known))
	out := map[string]string{}
	for name := range environment {
		if known[name] || linked.MatchString(name) {
			continue
		}
		meant, near := "", 3
		for _, k := range names {
			// Two letters make SSL_CERT_FILE and HTTP_PORT of ours, and they are well known; whoever mistypes begins right.
			if n := typos(name, k); n < near && (n == 1 && len(k) > 5 || len(k) > 7 && name[0] == k[0]) {
				meant, near = k, n
			}
		}
		switch {
		case meant != "":
			out[name] = "nothing reads it; is " + meant + " meant?"
		case slices.ContainsFunc(ours, func(prefix string) bool { return strings.HasPrefix(name, prefix) }):
			out[name] = "nothing reads it, though it is named like one of ours; docs/config.md lists those that are read"
		}
	}
	return out, nil
}

// warnUnread logs them: others' variables may live in this environment, so they are no reason not to start.
func warnUnread(environment map[string]string, log *slog.Logger) error {
	found, err := unread(environment)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		log.Warn("a variable of the environment has no effect", "variable", name, "reason", found[name])
	}
	return nil
}

// typos is how many letters have to be put in, left out, replaced or swapped with their neighbour to make a of b: the optimal string alignment distance.
func typos(a, b string) int {
	older, old, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		older, old, row = old, row, older
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(old[j]+cost, old[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], older[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
