package bus_test

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"tulifo/platform/bus"
	"tulifo/platform/bus/bustest"
	"tulifo/platform/fault"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/servertest"
)

func TestSuite(t *testing.T) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		bustest.Suite(t, func(t *testing.T) func() bustest.Process {
			url := pgtest.Database(t, bus.Migration)
			return func() bustest.Process { return onPostgres(t, url) }
		})
	})
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		bustest.Suite(t, func(t *testing.T) func() bustest.Process {
			url := servertest.RabbitMQ(t)
			return func() bustest.Process { return onRabbitMQ(t, url) }
		})
	})
}

// onPostgres is a process whose line leads through a proxy.
func onPostgres(t *testing.T, address string) bustest.Process {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	socket := u.Query()
	line, err := fault.New(filepath.Join(socket.Get("host"), ".s.PGSQL."+socket.Get("port")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(line.Close)
	u.Host, u.RawQuery = line.Addr(), "sslmode=disable"
	b, _, session := process(t, u.String())
	return bustest.Process{Bus: b, Kill: session.Close, Line: line}
}

func onRabbitMQ(t *testing.T, address string) bustest.Process {
	t.Helper()
	b, line := rabbitProcess(t, address, nil)
	return bustest.Process{Bus: b, Kill: line.Close, Line: line}
}

func TestServerComesAndGoes(t *testing.T) {
	t.Parallel()
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		dir, err := os.MkdirTemp("", "bus")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		var server *postgres.Server
		ctx := context.Background()
		start := func() {
			t.Helper()
			if server, err = postgres.Start(ctx, postgres.Options{Dir: filepath.Join(dir, "data"), MaxConns: 60}); err != nil {
				t.Fatal(err)
			}
		}
		stop := func() {
			t.Helper()
			if err := server.Stop(ctx); err != nil {
				t.Error(err)
			}
		}
		start()
		t.Cleanup(func() { stop() })
		address := server.URL("postgres")
		if err := postgres.Migrate(ctx, address, bus.Migration); err != nil {
			t.Fatal(err)
		}
		bustest.Restarts(t, bustest.Server{
			Join: func() bustest.Process { return onPostgres(t, address) },
			Stop: stop,
			Kill: func() {
				t.Helper()
				if err := syscall.Kill(server.PID(), syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
				stop()
			},
			Start: start,
		})
	})
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		server := servertest.OwnRabbitMQ(t)
		bustest.Restarts(t, bustest.Server{
			Join: func() bustest.Process { return onRabbitMQ(t, server.URL()) },
			Stop: server.Stop, Kill: server.Kill, Start: server.Start,
		})
	})
}
