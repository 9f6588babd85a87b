package postgres_test

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"tulifo/platform/errs"
	"tulifo/platform/postgres"
)

// folder is a temporary directory that the server's user can enter when tests run as root.
func folder(t *testing.T) string {
	t.Helper()
	dir := must[string](t)(os.MkdirTemp("", "tulifo-server-"))
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

func start(t *testing.T, o postgres.Options) *postgres.Server {
	t.Helper()
	s := must[*postgres.Server](t)(postgres.Start(within(t, 3*time.Minute), o))
	t.Cleanup(func() { _ = s.Stop(context.Background()) })
	return s
}

func ask(ctx context.Context, url, query string) (answer string, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return answer, conn.QueryRow(ctx, query).Scan(&answer)
}

func until(t *testing.T, ctx context.Context, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}

func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestServerKeepsItsData(t *testing.T) {
	t.Parallel()
	o := postgres.Options{Dir: filepath.Join(folder(t), "data")}
	s := start(t, o)
	ctx := within(t, time.Minute)
	if fsync := must[string](t)(ask(ctx, s.URL("tulifo"), "SHOW fsync")); fsync != "on" {
		t.Errorf("fsync %s", fsync)
	}
	if n := must[string](t)(ask(ctx, s.URL("tulifo"), "SHOW max_connections")); n != "300" {
		t.Errorf("max_connections %s", n)
	}
	if lower := must[string](t)(ask(ctx, s.URL("tulifo"), "SELECT lower('ÄÖÉ')")); lower != "äöé" {
		t.Errorf("lower: %s", lower)
	}
	if err := runSQL(t, s.URL("tulifo"), "CREATE TABLE kept AS SELECT 'yes' AS said"); err != nil {
		t.Fatal(err)
	}
	const cluster = "SELECT system_identifier::text FROM pg_control_system()"
	first := must[string](t)(ask(ctx, s.URL("tulifo"), cluster))
	pid := s.PID()
	for range 2 {
		if err := s.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if alive(pid) || s.PID() != 0 {
		t.Error("the server lives after Stop")
	}
	s = start(t, o)
	ctx = within(t, time.Minute)
	if made := must[string](t)(ask(ctx, s.URL("tulifo"), cluster)); made != first {
		t.Errorf("the second start made another cluster: %s instead of %s", made, first)
	}
	if said := must[string](t)(ask(ctx, s.URL("tulifo"), "SELECT said FROM kept")); said != "yes" {
		t.Errorf("kept %q", said)
	}
}

func TestServerOnALongPath(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	for range 3 {
		dir = filepath.Join(dir, strings.Repeat("long", 10))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := start(t, postgres.Options{Dir: filepath.Join(dir, "data"), Unsafe: true, MaxConns: 20})
	if n := must[string](t)(ask(within(t, time.Minute), s.URL("postgres"), "SHOW max_connections")); n != "20" {
		t.Errorf("max_connections %s", n)
	}
}

// What was acknowledged before the postmaster was killed is there after its restart, and the pool comes back by itself.
func TestKilledPostmasterComesBack(t *testing.T) {
	t.Parallel()
	s := start(t, postgres.Options{Dir: filepath.Join(folder(t), "data")})
	url, ctx := s.URL("tulifo"), within(t, 3*time.Minute)
	if err := postgres.Migrate(ctx, url, pets); err != nil {
		t.Fatal(err)
	}
	db := must[*postgres.DB](t)(postgres.Open(ctx, postgres.Config{URL: url, Schema: "tulifo_pets", MaxConns: 8}))
	defer db.Close()
	var acknowledged atomic.Int64
	load, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for load.Err() == nil {
				err := db.InTx(load, func(tx postgres.Tx) error {
					tx.Later(count, "a")
					return insert(load, tx, uuid.NewString())
				})
				switch {
				case err == nil:
					acknowledged.Add(1)
				case load.Err() == nil && errs.KindOf(err) != errs.Unavailable:
					t.Errorf("while the server was away: %v", err)
				}
			}
		})
	}
	// A busy backend outlives its postmaster and holds the shared memory.
	wg.Go(func() { _, _ = db.Exec(load, "SELECT count(*) FROM generate_series(1, 20000000000)") })
	for range 2 {
		pid, before := s.PID(), acknowledged.Load()
		until(t, ctx, "work", func() bool { return acknowledged.Load() > before+50 })
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		killed := time.Now()
		until(t, ctx, "another postmaster", func() bool { p := s.PID(); return p != 0 && p != pid })
		before = acknowledged.Load()
		until(t, ctx, "work after the restart", func() bool { return acknowledged.Load() > before+50 })
		t.Logf("back after %v", time.Since(killed))
	}
	stop()
	wg.Wait()
	// Both in one snapshot: what was on its way when the load ended may still be committed.
	r := must[struct{ Pets, Counted int64 }](t)(postgres.One[struct{ Pets, Counted int64 }](ctx, db, "SELECT (SELECT count(*) FROM pets) AS pets, (SELECT n FROM counters WHERE name = 'a') AS counted"))
	if r.Pets < acknowledged.Load() || r.Pets != r.Counted {
		t.Errorf("%d acknowledged, %d pets, %d counted", acknowledged.Load(), r.Pets, r.Counted)
	}
}

type process struct {
	cmd  *exec.Cmd
	in   io.Closer
	said string
}

// spawn runs a server on dir in another process and waits for its first line.
func spawn(t *testing.T, dir string) *process {
	t.Helper()
	cmd := exec.CommandContext(within(t, 5*time.Minute), os.Args[0]) // it makes a cluster
	cmd.Env = append(os.Environ(), serverDir+"="+dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	return &process{cmd, in, strings.TrimSpace(line)}
}

func TestOneTulifoPerDirectory(t *testing.T) {
	t.Parallel()
	dir, ctx := filepath.Join(folder(t), "data"), within(t, time.Minute)
	var wg sync.WaitGroup
	both := make([]*process, 2)
	for i := range both {
		wg.Go(func() { both[i] = spawn(t, dir) })
	}
	wg.Wait()
	var first, second *process
	for _, p := range both {
		if strings.HasPrefix(p.said, "postgres://") {
			first = p
		} else {
			second = p
		}
	}
	if first == nil || second == nil || !strings.Contains(second.said, "another tulifo runs on") {
		t.Fatalf("one said %q, the other %q", both[0].said, both[1].said)
	}
	_ = second.cmd.Wait()
	if err := runSQL(t, first.said, "CREATE TABLE kept AS SELECT 'yes' AS said"); err != nil {
		t.Fatal(err)
	}
	// Killed without a chance to stop its server, the first makes way for the next at once.
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.cmd.Wait()
	s := start(t, postgres.Options{Dir: dir, Unsafe: true})
	if said := must[string](t)(ask(ctx, s.URL("tulifo"), "SELECT said FROM kept")); said != "yes" {
		t.Errorf("kept %q", said)
	}
}

func TestServerDiesWithItsParent(t *testing.T) {
	t.Parallel()
	dir, ctx := filepath.Join(folder(t), "data"), within(t, time.Minute)
	p := spawn(t, dir)
	pid := must[string](t)(ask(ctx, p.said, "SELECT (regexp_split_to_array(pg_read_file('postmaster.pid'), '\n'))[1]"))
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait()
	until(t, ctx, "the end of the orphan", func() bool { return !alive(must[int](t)(strconv.Atoi(strings.TrimSpace(pid)))) })
}

func TestSentences(t *testing.T) {
	t.Parallel()
	ctx := within(t, time.Minute)
	foreign := filepath.Join(folder(t), "foreign")
	if err := os.MkdirAll(filepath.Join(foreign, "holiday"), 0o755); err != nil {
		t.Fatal(err)
	}
	older := filepath.Join(folder(t), "older")
	if err := os.Mkdir(older, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, said := range map[string]string{"tulifo.data": "", "PG_VERSION": "9\n"} {
		if err := os.WriteFile(filepath.Join(older, name), []byte(said), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(folder(t), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		o    postgres.Options
		says string
	}{
		{postgres.Options{Dir: foreign}, "is not empty and was not made by tulifo; choose another data directory"},
		{postgres.Options{Dir: older}, "was made by PostgreSQL 9, which is not on this machine; install it"},
		{postgres.Options{Dir: file}, "data directory cannot be read"},
		{postgres.Options{Dir: filepath.Join(file, "data")}, "data directory cannot be made"},
	} {
		s, err := postgres.Start(ctx, c.o)
		if err == nil {
			_ = s.Stop(ctx)
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.o.Dir, err, c.says)
		}
	}
	if _, err := os.Stat(filepath.Join(foreign, "holiday")); err != nil {
		t.Error("the foreign directory was touched")
	}
}

// An initialisation that was cut off is begun again.
func TestInterruptedInitialisation(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(folder(t), "data")
	if err := os.MkdirAll(filepath.Join(dir+".new", "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	start(t, postgres.Options{Dir: dir, Unsafe: true})
}

func TestBinariesAreFetched(t *testing.T) {
	t.Parallel()
	ctx, dir := within(t, 3*time.Minute), folder(t)
	var last, total atomic.Int64
	o := postgres.Options{Dir: filepath.Join(dir, "data"), Bin: filepath.Join(dir, "bin"), Unsafe: true, Progress: func(d, of int64) { last.Store(d); total.Store(of) }}
	s := start(t, o)
	if v := must[string](t)(ask(ctx, s.URL("tulifo"), "SHOW server_version")); !strings.HasPrefix(v, "17.") {
		t.Errorf("version %s", v)
	}
	if lower := must[string](t)(ask(ctx, s.URL("tulifo"), "SELECT lower('ÄÖÉ')")); lower != "äöé" {
		t.Errorf("lower: %s", lower)
	}
	if err := postgres.Migrate(ctx, s.URL("tulifo"), services("")...); err != nil {
		t.Error(err)
	}
	if last.Load() == 0 || last.Load() != total.Load() {
		t.Errorf("progress ended at %d of %d", last.Load(), total.Load())
	}
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
	entries := must[[]os.DirEntry](t)(os.ReadDir(dir))
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".fetch-") {
			t.Errorf("%s was left", e.Name())
		}
	}
	last.Store(0)
	start(t, o)
	if last.Load() != 0 {
		t.Error("fetched again")
	}
}
