package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// marker tells our data directories from other people's.
const marker = "tulifo.data"

// resolve makes the parents of dir and answers its path without links, which is how the system names a process's directory.
func resolve(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", fmt.Errorf("the data directory cannot be made: %w", err)
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return real, nil
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
	if err != nil {
		return "", fmt.Errorf("the data directory cannot be found: %w", err)
	}
	return filepath.Join(parent, filepath.Base(dir)), nil
}

// lockDir keeps a second tulifo out for as long as this process lives; one that is just ending is waited for.
func lockDir(ctx context.Context, dir string) (*os.File, error) {
	f, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the data directory cannot be locked: %w", err)
	}
	err = await(ctx, 3*time.Second, func() bool { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil })
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("another tulifo runs on %s; stop it, or choose another data directory", dir)
	}
	return f, nil
}

// await asks cond until it holds; an error when it did not within d.
func await(ctx context.Context, d time.Duration, cond func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// dataVersion is the major version that made the data in dir; 0 when there is none yet.
func dataVersion(dir string) (int, error) {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist), err == nil && len(entries) == 0:
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("the data directory cannot be read: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, marker)); err != nil {
		return 0, fmt.Errorf("%s is not empty and was not made by tulifo; choose another data directory", dir)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "PG_VERSION"))
	if err != nil {
		return 0, fmt.Errorf("%s is damaged, PG_VERSION cannot be read; restore it from a backup: %w", dir, err)
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0, fmt.Errorf("%s is damaged, PG_VERSION holds %q; restore it from a backup", dir, raw)
	}
	return v, nil
}

// initialise makes the data directory beside its place and renames it, so that one that was interrupted is never taken for whole.
func (s *Server) initialise(ctx context.Context) error {
	made := s.o.Dir + ".new"
	if err := os.RemoveAll(made); err != nil {
		return fmt.Errorf("the rest of an interrupted start cannot be removed: %w", err)
	}
	if err := os.Mkdir(made, 0o700); err != nil {
		return fmt.Errorf("the data directory cannot be made: %w", err)
	}
	if err := s.as.give(made); err != nil {
		return err
	}
	if err := s.as.passes(made); err != nil {
		_ = os.Remove(made)
		return err
	}
	if err := s.initdb(ctx, made, localeFlags(s.bin)); err != nil {
		return err
	}
	create := s.command(ctx, made, "postgres", "--single", "-D", made, "-c", "fsync=off", "postgres")
	create.Stdin = strings.NewReader("CREATE DATABASE " + database + ";\n")
	if out, err := create.CombinedOutput(); err != nil || bytes.Contains(out, []byte("ERROR:")) {
		return fmt.Errorf("PostgreSQL cannot make its first database in %s: %s (%v)", made, lastLine(out), err)
	}
	if err := os.WriteFile(filepath.Join(made, marker), nil, 0o600); err != nil {
		return fmt.Errorf("the data directory cannot be written: %w", err)
	}
	if err := s.as.give(filepath.Join(made, marker)); err != nil {
		return err
	}
	// Nothing was written safely so far: once at the end is quicker.
	if !s.o.Unsafe {
		if out, err := s.command(ctx, made, "initdb", "--sync-only", "-D", made).CombinedOutput(); err != nil {
			return fmt.Errorf("the data directory cannot be written: %s (%w)", lastLine(out), err)
		}
	}
	if err := os.Remove(s.o.Dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the empty data directory cannot be replaced: %w", err)
	}
	if err := os.Rename(made, s.o.Dir); err != nil {
		return fmt.Errorf("the data directory cannot be put in place: %w", err)
	}
	return nil
}

func (s *Server) initdb(ctx context.Context, dir string, locale []string) error {
	args := append([]string{"-D", dir, "-U", superuser, "--auth=trust", "--encoding=UTF8", "--no-instructions", "--no-sync"}, locale...)
	if !s.o.Unsafe {
		args = append(args, "--data-checksums")
	}
	out, err := s.command(ctx, dir, "initdb", args...).CombinedOutput()
	if err == nil {
		return nil
	}
	if plain := []string{"--locale=C"}; bytes.Contains(out, []byte("invalid locale")) && locale[0] != plain[0] {
		return s.initdb(ctx, dir, plain)
	}
	return fmt.Errorf("PostgreSQL cannot initialise %s: %s (%v)", dir, lastLine(out), err)
}

// localeFlags give letters of all languages their case and every machine the same order.
func localeFlags(bin string) []string {
	if v, err := binVersion(bin); err == nil && v >= 17 {
		return []string{"--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"}
	}
	if runtime.GOOS == "darwin" {
		return []string{"--locale=en_US.UTF-8"}
	}
	return []string{"--locale=C.UTF-8"}
}

func (s *Server) command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, name), args...)
	cmd.Dir = dir
	cmd.Env = environment()
	cmd.SysProcAttr = s.as.attributes()
	cmd.WaitDelay = time.Second
	return cmd
}

func lastLine(out []byte) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	for _, l := range lines {
		for _, sign := range []string{"FATAL:", "ERROR:", "error:"} {
			if _, said, ok := strings.Cut(l, sign); ok {
				return strings.TrimSpace(said)
			}
		}
	}
	return lines[len(lines)-1]
}

// postmaster reads postmaster.pid: the process and whether it accepts connections.
func postmaster(dir string) (pid int, ready bool) {
	raw, err := os.ReadFile(filepath.Join(dir, "postmaster.pid"))
	if err != nil {
		return 0, false
	}
	lines := strings.Split(string(raw), "\n")
	pid, _ = strconv.Atoi(strings.TrimSpace(lines[0]))
	return pid, len(lines) > 7 && strings.TrimSpace(lines[7]) == "ready"
}

// awaitReady waits until the postmaster accepts connections; false when it exited before. A recovery may take its time.
func awaitReady(dir string, pid int, exited <-chan struct{}) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if p, ready := postmaster(dir); p == pid && ready {
			return true
		}
		select {
		case <-exited:
			return false
		case <-tick.C:
		}
	}
}

// awaitGone waits for the server of a tulifo that was killed to end, and ends what is left of it.
func awaitGone(ctx context.Context, dir string) error {
	gone := func() bool {
		pid, _ := postmaster(dir)
		return pid <= 0 || !serves(pid, dir)
	}
	if err := await(ctx, 5*time.Second, gone); err != nil {
		pid, _ := postmaster(dir)
		return fmt.Errorf("a PostgreSQL that tulifo did not start runs on %s (process %d); stop it first", dir, pid)
	}
	killProcesses(dir)
	return nil
}
