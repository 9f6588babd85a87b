package postgres

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const oldest = 15 // the oldest major version that the migrations and tests are run on

// Binaries says what Start would run in dir with the environment's settings: which folder, or that it would be fetched. Its error is one that Start would end with.
func Binaries(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	version, err := dataVersion(dir)
	if err != nil {
		return "", err
	}
	bin, there, err := candidate(Options{Dir: dir, Bin: os.Getenv("TULIFO_POSTGRES_BIN")}, version)
	if err != nil {
		return "", err
	}
	if there {
		return "PostgreSQL in " + bin, nil
	}
	_, _, err = fetchable()
	return "PostgreSQL " + strconv.Itoa(pinnedMajor) + ", which is fetched at the first start", err
}

// locate answers the folder of the binaries for data of a major version, 0 for new data; it fetches them when the machine has none.
func locate(ctx context.Context, o Options, version int) (string, error) {
	bin, there, err := candidate(o, version)
	if err != nil || there {
		return bin, err
	}
	if err := fetch(ctx, filepath.Dir(bin), o.Progress); err != nil {
		return "", err
	}
	return bin, checkVersion(bin, o.Dir, version)
}

// candidate is the folder of the binaries, and whether ones that fit the data are there already.
func candidate(o Options, version int) (bin string, there bool, err error) {
	own := o.Bin
	if own == "" {
		for _, bin := range installed() {
			if v, err := binVersion(bin); err == nil && (v == version || version == 0 && v >= oldest) {
				return bin, true, nil
			}
		}
		own = filepath.Join(filepath.Dir(o.Dir), "postgres-bin", pinnedVersion)
	}
	for _, bin := range []string{own, filepath.Join(own, "bin")} {
		if complete(bin) {
			return bin, true, checkVersion(bin, o.Dir, version)
		}
	}
	if version != 0 && version != pinnedMajor {
		return "", false, fmt.Errorf("the data in %s was made by PostgreSQL %d, which is not on this machine; install it (package postgresql-%d), or name its folder in TULIFO_POSTGRES_BIN", o.Dir, version, version)
	}
	return filepath.Join(own, "bin"), false, nil
}

// checkVersion runs the server in bin to see that it fits the data.
func checkVersion(bin, dir string, version int) error {
	v, err := binVersion(bin)
	switch {
	case err != nil:
		return fmt.Errorf("PostgreSQL cannot be run from %s; install PostgreSQL %d or later, or name its folder in TULIFO_POSTGRES_BIN: %w", bin, oldest, err)
	case v < oldest:
		return fmt.Errorf("%s holds PostgreSQL %d; %d or later is needed", bin, v, oldest)
	case version != 0 && v != version:
		return fmt.Errorf("the data in %s was made by PostgreSQL %d, and %s holds %d; name a folder with version %d in TULIFO_POSTGRES_BIN", dir, version, bin, v, version)
	}
	return nil
}

// installed are the folders where systems put Postgres, the newest first.
func installed() []string {
	var bins []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin", "/Applications/Postgres.app/Contents/Versions/*/bin"} {
		found, _ := filepath.Glob(pattern)
		bins = append(bins, found...)
	}
	slices.SortStableFunc(bins, func(a, b string) int { return number(b) - number(a) })
	if p, err := exec.LookPath("postgres"); err == nil {
		if real, err := filepath.EvalSymlinks(p); err == nil {
			p = real
		}
		bins = append(bins, filepath.Dir(p))
	}
	return slices.DeleteFunc(bins, func(b string) bool { return !complete(b) })
}

// number is the first number in a path.
func number(path string) int {
	i := strings.IndexFunc(path, digit)
	if i < 0 {
		return 0
	}
	n, _ := strconv.Atoi(path[i : i+len(path[i:])-len(strings.TrimLeftFunc(path[i:], digit))])
	return n
}

func digit(r rune) bool { return r >= '0' && r <= '9' }

func complete(bin string) bool {
	for _, name := range []string{"postgres", "initdb"} {
		if fi, err := os.Stat(filepath.Join(bin, name)); err != nil || fi.IsDir() || fi.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}

// binVersion is the major version of the server in bin.
func binVersion(bin string) (int, error) {
	cmd := exec.Command(filepath.Join(bin, "postgres"), "--version")
	cmd.Env = environment()
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("its version: %w", err)
	}
	// "postgres (PostgreSQL) 15.18 (Debian …)"
	_, rest, _ := strings.Cut(string(out), ") ")
	if n := number(rest); n > 0 {
		return n, nil
	}
	return 0, fmt.Errorf("its version: %q", out)
}
