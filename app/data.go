package app

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// data is the directory in which one installation keeps everything that it must not lose. At most one process works on it at a time.
type data struct{ dir string }

// ending is how long somebody who is just stopping is waited for.
const ending = 3 * time.Second

const (
	markerFile    = "tulifo"      // says that the directory is ours
	secretsFile   = "secrets.env" // generated at the first start
	runFile       = "run.json"    // where the running platform is
	rehearsalFile = "rehearsal"   // says that what is in the directory is a rehearsal's
)

// generated are the secrets that a first start makes; the environment goes before them.
var generated = []struct{ name, prefix string }{
	{"JWT_SECRET", ""}, {"JWT_REFRESH_SECRET", ""}, {"SERVICE_SECRET", ""}, {"LINK_SECRET", ""},
	{"STRIPE_SECRET_KEY", "sk_test_"}, {"STRIPE_PUBLISHABLE_KEY", "pk_test_"}, {"STRIPE_WEBHOOK_SECRET", "whsec_"},
}

// running is what run.json says.
type running struct {
	PID         int    `json:"pid"`
	DatabaseURL string `json:"databaseUrl"`
	Gateway     string `json:"gateway"`
	Inbox       string `json:"inbox,omitempty"`
	Stripe      string `json:"stripe,omitempty"`
}

// defaultData is where the data is kept unless somebody says otherwise. Root's own home cannot be passed by the user that Postgres runs as.
func defaultData() string {
	if os.Getuid() == 0 {
		return "/var/lib/tulifo"
	}
	if dir := os.Getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "tulifo")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "."
	}
	return filepath.Join(home, ".local", "share", "tulifo")
}

// openData makes the directory or takes it as it is. Its errors say what to do.
func openData(dir string) (data, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return data{}, fmt.Errorf("data directory: %w", err)
	}
	d := data{dir}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0:
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return d, fmt.Errorf("the data directory %s cannot be made (%w); choose another with --data", dir, unwrapPath(err))
		}
		if err := os.WriteFile(d.path(markerFile), []byte("This directory belongs to tulifo.\n"), 0o644); err != nil {
			return d, fmt.Errorf("the data directory %s cannot be written to (%w); choose another with --data", dir, unwrapPath(err))
		}
		return d, nil
	case err != nil:
		return d, fmt.Errorf("the data directory %s cannot be read (%w); choose another with --data", dir, unwrapPath(err))
	}
	if _, err := os.Stat(d.path(markerFile)); err != nil {
		return d, fmt.Errorf("%s holds files that are not tulifo's; choose an empty directory with --data", dir)
	}
	const write = 2
	if err := syscall.Access(dir, write); err != nil {
		return d, fmt.Errorf("the data directory %s cannot be written to (%w); run as the user it belongs to, or choose another with --data", dir, err)
	}
	return d, nil
}

// lock keeps every other process from working on the directory until the answered func is called or this process ends, however it ends.
func (d data) lock(ctx context.Context) (unlock func(), err error) {
	f, err := os.Open(d.path(markerFile))
	if err != nil {
		return nil, fmt.Errorf("the data directory %s cannot be locked (%w)", d.dir, unwrapPath(err))
	}
	ctx, cancel := context.WithTimeout(ctx, ending)
	defer cancel()
	for syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		select {
		case <-ctx.Done():
			f.Close()
			who := ""
			if r, ok := d.read(); ok {
				who = fmt.Sprintf(" (process %d)", r.PID)
			}
			return nil, fmt.Errorf("another tulifo works on %s%s; stop it, or choose another directory with --data", d.dir, who)
		case <-time.After(10 * time.Millisecond):
		}
	}
	// Word of one that was killed is no longer true.
	d.retract()
	return func() { f.Close() }, nil
}

// locked tells whether a process works on the directory.
func (d data) locked() bool {
	f, err := os.Open(d.path(markerFile))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// existing is openData for commands that must not make one.
func existing(dir string) (data, error) {
	if _, err := os.Stat(filepath.Join(dir, markerFile)); err != nil {
		return data{}, fmt.Errorf("there is no tulifo data in %s; name its directory with --data, or run tulifo up first", dir)
	}
	return openData(dir)
}

func unwrapPath(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

func (d data) path(name string) string { return filepath.Join(d.dir, name) }

// rehearse marks a new directory as a rehearsal's, and refuses one that is not what is asked for.
func (d data) rehearse(asked bool) error {
	_, err := os.Stat(d.path(rehearsalFile))
	marked := err == nil
	_, err = os.Stat(d.path(secretsFile))
	used := err == nil
	switch {
	case asked == marked:
		return nil
	case marked:
		return fmt.Errorf("%s holds a rehearsal; start it with --rehearsal, or choose another directory with --data", d.dir)
	case used:
		return fmt.Errorf("%s holds a platform that is no rehearsal; choose an empty directory with --data", d.dir)
	}
	if err := appendDurably(d.path(rehearsalFile), "What is in this directory is a rehearsal's.\n"); err != nil {
		return fmt.Errorf("the directory %s cannot be marked as a rehearsal's: %w", d.dir, unwrapPath(err))
	}
	return nil
}

// secrets adds the generated secrets to an environment, for those that it does not set, and makes them at the first start.
func (d data) secrets(environment map[string]string) error {
	kept, err := readEnv(d.path(secretsFile))
	if err != nil {
		return err
	}
	var lines []string
	for _, g := range generated {
		if kept[g.name] == "" {
			var raw [32]byte
			rand.Read(raw[:])
			kept[g.name] = g.prefix + base64.RawURLEncoding.EncodeToString(raw[:])
			lines = append(lines, g.name+"="+kept[g.name])
		}
	}
	if len(lines) > 0 {
		if err := appendDurably(d.path(secretsFile), strings.Join(lines, "\n")+"\n"); err != nil {
			return fmt.Errorf("the secrets cannot be kept in %s: %w", d.dir, unwrapPath(err))
		}
	}
	live := environment["STRIPE_SECRET_KEY"] != ""
	for _, g := range generated {
		if environment[g.name] == "" && !(live && strings.HasPrefix(g.name, "STRIPE_")) {
			environment[g.name] = kept[g.name]
		}
	}
	return nil
}

func readEnv(path string) (map[string]string, error) {
	out := map[string]string{}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the secrets cannot be read: %w", err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, value, ok := strings.Cut(s.Text(), "="); ok {
			out[name] = value
		}
	}
	return out, nil
}

func appendDurably(path, text string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.Sync()
}

// announce leaves word of where the platform runs, for the commands that look for it.
func (d data) announce(r running) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	tmp := d.path(runFile + ".new")
	if err := os.WriteFile(tmp, raw, 0o600); err != nil {
		return fmt.Errorf("leave word of where we run: %w", err)
	}
	return os.Rename(tmp, d.path(runFile))
}

func (d data) retract() { os.Remove(d.path(runFile)) }

// found is where the platform of this directory runs, if it does.
func (d data) found() (running, bool) {
	if !d.locked() {
		return running{}, false
	}
	return d.read()
}

func (d data) read() (r running, ok bool) {
	raw, err := os.ReadFile(d.path(runFile))
	return r, err == nil && json.Unmarshal(raw, &r) == nil && r.PID > 0
}
