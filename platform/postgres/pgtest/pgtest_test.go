package pgtest_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
)

var notes = postgres.Migration{Schema: "tulifo_notes", FS: fstest.MapFS{"0001_notes.sql": {Data: []byte("-- +goose Up\nCREATE TABLE notes (said text PRIMARY KEY);")}}}

func TestEachTestHasItsOwnCopy(t *testing.T) {
	t.Parallel()
	var dbs []*postgres.DB
	for range 2 {
		dbs = append(dbs, pgtest.DB(t, notes))
	}
	for _, db := range dbs {
		if _, err := db.Exec(t.Context(), "INSERT INTO notes VALUES ('same')"); err != nil {
			t.Error(err)
		}
	}
}

func TestDatabaseGoesWithItsTest(t *testing.T) {
	t.Parallel()
	var url string
	t.Run("inner", func(t *testing.T) { url = pgtest.Database(t, notes) })
	db := pgtest.Open(t, url, notes.Schema)
	if _, err := db.Exec(t.Context(), "SELECT FROM notes"); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("after the test: %v", err)
	}
}

// TestMain lets the binary stand for a test run that is killed.
func TestMain(m *testing.M) {
	if os.Getenv("TULIFO_TEST_HANG") != "" {
		os.Stdout.WriteString(hang() + "\n")
		select {}
	}
	os.Exit(m.Run())
}

func hang() (dir string) {
	testing.Init()
	done := make(chan string, 1)
	go testing.Main(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "hang", F: func(t *testing.T) {
		db := pgtest.DB(t, notes)
		dir, err := postgres.One[string](context.Background(), db, "SHOW data_directory")
		if err != nil {
			t.Error(err)
		}
		done <- dir
		select {}
	}}}, nil, nil)
	return <-done
}

func TestKilledBinaryLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // it makes a cluster
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "TULIFO_TEST_HANG=1", pgtest.Variable+"=")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := out.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(strings.TrimSpace(string(buf[:n])))
	if _, err := os.Stat(filepath.Join(dir, "data", "postmaster.pid")); err != nil {
		t.Fatalf("no server in %s: %v", dir, err)
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(dir); os.IsNotExist(err) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s is still there", dir)
		case <-tick.C:
		}
	}
}

func TestRunGivesItsServerToTheCommand(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "url")
	code, err := pgtest.Run(t.Context(), "sh", "-c", `printf %s "$`+pgtest.Variable+`" > "$0"; exit 7`, file)
	if err != nil || code != 7 {
		t.Errorf("code %d, error %v", code, err)
	}
	url, err := os.ReadFile(file)
	if err != nil || !strings.HasPrefix(string(url), "postgres://") {
		t.Errorf("the command saw %q, %v", url, err)
	}
}
