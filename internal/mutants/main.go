// Command mutants plants bugs that such a platform must not have, one at a time, and shows that the suite catches each.
//
// A bug is a patch in patches, whose first lines say what it breaks and which tests are to see it. It is applied to copies of the files, which
// the compiler takes instead of the tree's own (go test -overlay), so the tree is never touched. Always: a bug that does not apply, does not
// compile, or is not caught fails the command.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// mutant is one planted bug.
type mutant struct {
	name    string
	bug     string // what it breaks
	pkg     string // whose tests are to catch it
	run     string // which of them, as go test -run takes it
	patch   []byte
	touches []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	only := flag.String("only", "", "names of bugs, separated by commas; all when empty")
	flag.Parse()
	if err := run(ctx, *only); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, only string) error {
	all, err := read("internal/mutants/patches")
	if err != nil {
		return err
	}
	caught, tried := 0, 0
	var failed []error
	for _, m := range all {
		if only != "" && !slices.Contains(strings.Split(only, ","), m.name) {
			continue
		}
		tried++
		began := time.Now()
		by, err := m.caughtBy(ctx)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", m.name, err))
			fmt.Printf("NOT CAUGHT  %-34s %s: %v\n", m.name, m.bug, err)
			continue
		}
		caught++
		fmt.Printf("caught      %-34s %s: %s, %s, %s\n", m.name, m.bug, m.pkg, by, time.Since(began).Round(time.Second))
	}
	fmt.Printf("%d of %d planted bugs were caught.\n", caught, tried)
	if tried == 0 {
		return errors.New("there is no such bug")
	}
	return errors.Join(failed...)
}

// read is every bug of a folder, by name.
func read(dir string) ([]mutant, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.patch"))
	if err != nil {
		return nil, err
	}
	var out []mutant
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		m := mutant{name: strings.TrimSuffix(filepath.Base(f), ".patch"), patch: raw}
		for line := range strings.Lines(string(raw)) {
			line = strings.TrimSpace(line)
			if v, ok := strings.CutPrefix(line, "Bug: "); ok {
				m.bug = v
			}
			if v, ok := strings.CutPrefix(line, "Tests: "); ok {
				m.pkg, m.run, _ = strings.Cut(v, " ")
			}
			if v, ok := strings.CutPrefix(line, "+++ b/"); ok {
				m.touches = append(m.touches, v)
			}
		}
		if m.bug == "" || m.pkg == "" || m.run == "" || len(m.touches) == 0 {
			return nil, fmt.Errorf("%s does not say Bug, Tests and a change", f)
		}
		out = append(out, m)
	}
	return out, nil
}

// overlay applies the bug to copies below dir and answers the file that go test -overlay takes.
func (m mutant) overlay(ctx context.Context, dir string) (string, error) {
	replace := map[string]string{}
	for _, path := range m.touches {
		to := filepath.Join(dir, path)
		raw, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, raw, 0o644)); err != nil {
			return "", err
		}
		from, err := filepath.Abs(path)
		if err != nil {
			return "", err
		}
		replace[from] = to
	}
	apply := exec.CommandContext(ctx, "git", "apply", "--recount", "-")
	// Below a repository git would take the paths for its own.
	apply.Dir, apply.Env, apply.Stdin = dir, append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir)), bytes.NewReader(m.patch)
	if said, err := apply.CombinedOutput(); err != nil {
		return "", fmt.Errorf("it does not apply any more: %s", said)
	}
	raw, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, raw, 0o644)
}

// caughtBy answers the test that failed because of the bug.
func (m mutant) caughtBy(ctx context.Context) (string, error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	overlay, err := m.overlay(ctx, dir)
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, "go", "test", "-overlay", overlay, "-count=1", "-failfast", "-timeout", "5m", "-run", m.run, m.pkg).CombinedOutput()
	if err == nil {
		return "", errors.New("every test passes")
	}
	for line := range strings.Lines(string(out)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "--- FAIL: "); ok {
			name, _, _ := strings.Cut(rest, " ")
			return name, nil
		}
	}
	return "", fmt.Errorf("no test failed, something else did: %.2000s", out)
}
