package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"tulifo/platform/postgres"
)

// Variable names the server of a test run in the environment.
const Variable = "TULIFO_TEST_POSTGRES_URL"

// server is the address of the run's server, or of one that this binary starts now.
var server = sync.OnceValues(func() (string, error) {
	if u := os.Getenv(Variable); u != "" {
		return u, nil
	}
	s, dir, err := start(context.Background())
	if err != nil {
		return "", err
	}
	leash, err = attend(dir)
	return s.URL("postgres"), err
})

func start(ctx context.Context) (*postgres.Server, string, error) {
	dir, err := os.MkdirTemp("", "tulifo-pgtest-")
	if err != nil {
		return nil, "", err
	}
	// As root the server is another user, who has to pass here.
	if err := os.Chmod(dir, 0o711); err != nil {
		return nil, "", err
	}
	s, err := postgres.Start(ctx, postgres.Options{Dir: filepath.Join(dir, "data"), Unsafe: true})
	if err != nil {
		os.RemoveAll(dir)
		return nil, "", err
	}
	return s, dir, nil
}

// janitor waits for the end of its input, which is the end of the test binary, and clears away after it.
const janitor = `cat >/dev/null
pid=$(head -n 1 "$1/data/postmaster.pid") && kill -INT "$pid"
n=0; while [ -e "$1/data/postmaster.pid" ] && [ $n -lt 100 ]; do sleep 0.1; n=$((n+1)); done
rm -rf -- "$1"`

// leash is the server's janitor's; it is kept open until this process ends.
//
//lint:ignore U1000 it is there to be held, not to be read
var leash io.Closer

// attend has a janitor clear away dir when the answered leash is closed or this process ends.
func attend(dir string) (io.Closer, error) {
	cmd := osexec.Command("sh", "-c", janitor, "sh", dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("janitor of the test database: %w", err)
	}
	// Its end is of no interest, but a dead child wants to be waited for.
	go func() { _ = cmd.Wait() }()
	return in, nil
}

// Run starts a server, runs a command with Variable set, and answers the command's exit code.
func Run(ctx context.Context, command ...string) (code int, err error) {
	if len(command) == 0 {
		return 2, errors.New("no command to run")
	}
	s, dir, err := start(ctx)
	if err != nil {
		return 1, err
	}
	defer func() {
		stop, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err = errors.Join(err, s.Stop(stop), os.RemoveAll(dir))
	}()
	hold, err := attend(dir)
	if err != nil {
		return 1, err
	}
	defer hold.Close()
	cmd := osexec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Env = append(os.Environ(), Variable+"="+s.URL("postgres"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	err = cmd.Run()
	if exit, ok := errors.AsType[*osexec.ExitError](err); ok {
		return max(exit.ExitCode(), 1), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}
