package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Options say where the embedded Postgres lives and how it runs.
type Options struct {
	// Dir is the data directory; it is made at the first start. Beside it stand its lock file and, when they had to be fetched, the binaries.
	Dir string
	// Bin is the folder of the binaries to use and no other; they are fetched into it when it has none. Empty: TULIFO_POSTGRES_BIN, else what the machine has, else fetched.
	Bin string
	// MaxConns is max_connections; 0 means 300.
	MaxConns int
	// Unsafe turns fsync off: a crash of the machine may lose everything. Tests only.
	Unsafe bool
	// Log gets what the server says; nil discards it.
	Log *slog.Logger
	// Progress is told how many bytes of the binaries have arrived, when they have to be fetched.
	Progress func(done, total int64)
}

const (
	superuser = "tulifo"
	database  = "tulifo"
	port      = "5432" // only a part of the socket's name: nothing listens on the network

	longestRest = 5 * time.Second
	killWait    = 10 * time.Second
)

// Server is a Postgres child process, restarted with backoff when it dies. It stops when this process is killed.
type Server struct {
	o      Options
	bin    string
	socket string
	as     *account
	lock   *os.File
	log    *serverLog

	mu      sync.Mutex
	pid     int
	stopped bool
	stop    chan struct{}
	done    chan struct{}
}

// Start runs Postgres in a directory: it finds or fetches the binaries, initialises the directory once, and returns when the server answers. Its errors are sentences a person can act on.
// ctx bounds the start only; Stop ends the server.
func Start(ctx context.Context, o Options) (*Server, error) {
	dir, err := resolve(o.Dir)
	if err != nil {
		return nil, err
	}
	o.Dir = dir
	if o.MaxConns == 0 {
		o.MaxConns = 300
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Bin == "" {
		o.Bin = os.Getenv("TULIFO_POSTGRES_BIN")
	}
	s := &Server{o: o, stop: make(chan struct{}), done: make(chan struct{})}
	if err := s.start(ctx); err != nil {
		s.release()
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) (err error) {
	if s.lock, err = lockDir(ctx, s.o.Dir); err != nil {
		return err
	}
	version, err := dataVersion(s.o.Dir)
	if err != nil {
		return err
	}
	if s.as, err = accountFor(s.o.Dir); err != nil {
		return err
	}
	if s.bin, err = locate(ctx, s.o, version); err != nil {
		return err
	}
	if err := s.as.passes(s.bin); err != nil {
		return err
	}
	if version == 0 {
		if err := s.initialise(ctx); err != nil {
			return err
		}
	}
	if err := s.as.passes(s.o.Dir); err != nil {
		return err
	}
	if err := awaitGone(ctx, s.o.Dir); err != nil {
		return err
	}
	if s.socket, err = s.as.socketDir(s.o.Dir); err != nil {
		return err
	}
	if s.log, err = newServerLog(s.o.Log); err != nil {
		return err
	}
	up := make(chan error, 1)
	go s.supervise(up)
	select {
	case err = <-up:
	case <-ctx.Done():
		err = fmt.Errorf("PostgreSQL was not up in %s in time: %w", s.o.Dir, ctx.Err())
	}
	if err != nil {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), killWait)
		defer cancel()
		_ = s.Stop(bounded)
	}
	return err
}

// supervise stays on one thread, since the death signal comes when the thread that started the child dies.
func (s *Server) supervise(up chan<- error) {
	runtime.LockOSThread()
	defer close(s.done)
	rest := 50 * time.Millisecond
	for first := true; ; first = false {
		began := time.Now()
		err := s.run(first, up)
		if first && err != nil {
			up <- err
			return
		}
		if s.stopping() {
			return
		}
		killProcesses(s.o.Dir)
		if time.Since(began) > 30*time.Second {
			rest = 50 * time.Millisecond
		}
		s.o.Log.Error("PostgreSQL died and is started again", "after", rest, "said", s.log.last())
		select {
		case <-s.stop:
			return
		case <-time.After(rest):
		}
		rest = min(2*rest, longestRest)
	}
}

// run is one life of the postmaster; an error means that it never answered.
func (s *Server) run(first bool, up chan<- error) error {
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), s.settings()...)
	cmd.Dir = s.o.Dir
	cmd.Env = environment()
	cmd.Stderr = s.log.w
	cmd.SysProcAttr = s.as.attributes()
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return errors.New("PostgreSQL was stopped while it started")
	}
	err := cmd.Start()
	if err == nil {
		s.pid = cmd.Process.Pid
	}
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("PostgreSQL cannot be run from %s: %w", s.bin, err)
	}
	ready, exited := make(chan bool, 1), make(chan struct{})
	go func() {
		ok := awaitReady(s.o.Dir, cmd.Process.Pid, exited)
		if ok && first {
			up <- nil
		}
		ready <- ok
	}()
	err = cmd.Wait()
	s.mu.Lock()
	s.pid = 0
	s.mu.Unlock()
	close(exited)
	if !<-ready {
		return fmt.Errorf("PostgreSQL did not start in %s: %s (%v)", s.o.Dir, s.log.last(), err)
	}
	return nil
}

func (s *Server) settings() []string {
	set := []string{
		"listen_addresses=", "unix_socket_permissions=0700", "unix_socket_directories=" + s.socket, "port=" + port,
		"max_connections=" + strconv.Itoa(s.o.MaxConns), "timezone=UTC", "log_timezone=UTC",
		"log_destination=stderr", "logging_collector=off", "log_line_prefix=", "log_checkpoints=off",
		// Queries here are small; compiling or spreading them costs more than it gives.
		"jit=off", "max_parallel_workers_per_gather=0",
	}
	if runtime.GOOS == "linux" {
		// After a crash one call for the file system, instead of one for each of thousands of files.
		set = append(set, "recovery_init_sync_method=syncfs")
	}
	if s.o.Unsafe {
		set = append(set, "fsync=off", "synchronous_commit=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0")
	}
	args := []string{"-D", s.o.Dir}
	for _, v := range set {
		args = append(args, "-c", v)
	}
	return args
}

func (s *Server) stopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// URL is the connection string of a database of the server; "tulifo" exists from the start. It holds no password: the socket stands in a directory that only this user can enter.
func (s *Server) URL(database string) string {
	return (&url.URL{Scheme: "postgres", User: url.User(superuser), Path: "/" + database, RawQuery: url.Values{"host": {s.socket}, "port": {port}}.Encode()}).String()
}

// PID is the process id of the postmaster, 0 while it is down.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pid
}

// Stop shuts the server down, ending its connections, and waits for it until ctx ends; then it is killed. It may be called twice.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	if !s.stopped {
		s.stopped = true
		close(s.stop)
	}
	s.mu.Unlock()
	s.signal(syscall.SIGINT)
	var err error
	select {
	case <-s.done:
	case <-ctx.Done():
		err = fmt.Errorf("PostgreSQL had to be killed: %w", ctx.Err())
		s.signal(syscall.SIGKILL)
		killProcesses(s.o.Dir)
		<-s.done
	}
	s.release()
	return err
}

func (s *Server) signal(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid != 0 {
		_ = syscall.Kill(s.pid, sig)
	}
}

func (s *Server) release() {
	if s.socket != "" && s.socket != s.o.Dir {
		_ = os.RemoveAll(s.socket)
	}
	if s.log != nil {
		s.log.close()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock != nil {
		_ = s.lock.Close()
		s.lock = nil
	}
}

// environment is what the server's programs see: no PG* variable of ours may reach them.
func environment() []string {
	env := []string{"LC_MESSAGES=C", "TZ=UTC"}
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); name == "PATH" || name == "LANG" || name == "HOME" || name == "TMPDIR" {
			env = append(env, v)
		}
	}
	return env
}
