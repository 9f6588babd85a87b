package app

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tulifo/platform/postgres/pgtest"
)

// Every refusal to start is one sentence that says what to do, and leaves nothing running.
func TestRefusals(t *testing.T) {
	t.Parallel()
	foreign := folder(t)
	if err := os.WriteFile(filepath.Join(foreign, "holiday.jpg"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder(t), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	crowded := portBase(t)
	busy, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(3001+crowded)))
	if err != nil {
		t.Fatal(err)
	}
	// The cases run when this function has returned.
	t.Cleanup(func() { busy.Close() })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobodyThere := closed.Addr().String()
	closed.Close()
	taken := strconv.Itoa(3001 + crowded)
	// Stand for a directory and ports of the case's own.
	const fresh, base = "FRESH", "BASE"
	database := pgtest.Database(t)
	long := strings.Repeat("s", 32)
	secrets := []string{"PUBLIC_URL=http://localhost:8000", "JWT_SECRET=" + long, "SERVICE_SECRET=" + long, "JWT_REFRESH_SECRET=" + long, "LINK_SECRET=" + long}
	serve := func(extra ...string) []string {
		return append(append([]string{"DATABASE_URL=" + database}, secrets...), extra...)
	}
	up := func(dir string, flags ...string) []string {
		return append([]string{"up", "--data", dir, "--port-base", base}, flags...)
	}
	for _, c := range []struct {
		name string
		args []string
		env  []string
		as   uint32
		code int
		says string
	}{
		{"a busy port", []string{"up", "--data", fresh, "--port-base", strconv.Itoa(crowded)}, nil, 0, 1, "port " + taken + ", where auth is to listen, is in use by another program; stop that, or move all ports with --port-base 10000"},
		{"a foreign directory", up(foreign), nil, 0, 1, foreign + " holds files that are not tulifo's; choose an empty directory with --data"},
		{"a file for a directory", up(file), nil, 0, 1, "cannot be read (not a directory); choose another with --data"},
		{"a directory below a file", up(file + "/data"), nil, 0, 1, "(not a directory); choose another with --data"},
		{"a directory that cannot be written to", up("/proc/tulifo"), nil, 0, 1, "the data directory /proc/tulifo cannot be made (no such file or directory); choose another with --data"},
		{"a directory of somebody else", up("/var/tulifo-nobody"), nil, nobody, 1, "the data directory /var/tulifo-nobody cannot be made (permission denied); choose another with --data"},
		{"no Postgres and no npm", up(fresh), []string{"PATH=/nowhere", "TULIFO_POSTGRES_BIN=" + folder(t) + "/none"}, 0, 1, "there is no PostgreSQL on this machine, and no npm to fetch it with; install PostgreSQL 15 or later, or name a server in DATABASE_URL"},
		{"a base that is too large", []string{"up", "--data", fresh, "--port-base", "60000"}, nil, 0, 2, "does not exist; the highest is 65535: choose a --port-base such as 10000"},
		{"production with embedded stores", up(fresh), []string{"TULIFO_ENV=production"}, 0, 1, "production needs DATABASE_URL (else Postgres is embedded), RABBITMQ_URL (else the bus is embedded), REDIS_URL (else the cache is embedded), MONGODB_URI (else the document store is embedded), S3_ENDPOINT (else the file store is embedded), SMTP_HOST (else the inbox is embedded), STRIPE_SECRET_KEY (else the Stripe simulator is embedded); say --single-node"},
		{"a short secret", up(fresh), []string{"JWT_SECRET=short"}, 0, 1, "JWT_SECRET must be at least 32 bytes"},
		{"a host that is not ours", up(fresh), []string{"HOST=192.0.2.1"}, 0, 1, "the gateway cannot listen on 192.0.2.1, which is not an address of this machine; set HOST to one that is"},
		{"a rehearsal in production", append(up(fresh), "--rehearsal", "--single-node"), []string{"TULIFO_ENV=production", "STRIPE_SECRET_KEY=sk_test_x"}, 0, 1, "a rehearsal is refused in production"},
		{"a rehearsal with real money", append(up(fresh), "--rehearsal"), []string{"STRIPE_SECRET_KEY=sk_live_x"}, 0, 1, "a rehearsal is refused with a live Stripe key"},
		{"a rehearsal's beginning without one", append(up(fresh), "--at", "2026-03-02T08:00:00Z"), nil, 0, 1, "say --rehearsal (TULIFO_REHEARSAL=true) too"},
		{"a rehearsal and a demo", append(up(fresh), "--rehearsal", "--demo"), nil, 0, 2, "say --demo or --rehearsal"},
		{"a log level that does not exist", up(fresh), []string{"LOG_LEVEL=loud"}, 0, 1, "LOG_LEVEL must be debug, info, warn or error"},
		{"proxies that are no ranges", up(fresh), []string{"TRUSTED_PROXIES=all"}, 0, 1, "TRUSTED_PROXIES must be address ranges such as 10.0.0.0/8"},
		{"a certificate that is not there", up(fresh), []string{"TLS_CERT_FILE=/nowhere/cert.pem"}, 0, 1, "TLS_CERT_FILE and TLS_KEY_FILE"},
		{"an address that is none", up(fresh), []string{"DATABASE_URL=postgres://%zz"}, 0, 1, "DATABASE_URL is not the address of a database; it looks like postgres://user:password@host:5432/name"},
		{"a database that is down", up(fresh), []string{"DATABASE_URL=postgres://tulifo:geheim@" + nobodyThere + "/tulifo"}, 0, 1, "the database does not answer; check DATABASE_URL and that it runs"},
		{"a database that does not exist", up(fresh), []string{"DATABASE_URL=" + strings.Replace(database, "/test_", "/other_", 1)}, 0, 1, "the database that DATABASE_URL names does not exist"},
		{"serve without a database", []string{"serve", "booking", "--port-base", base}, secrets, 0, 1, "DATABASE_URL is not set; serve takes its stores from the environment (tulifo up brings its own)"},
		{"serve without secrets", []string{"serve", "auth", "--port-base", base}, []string{"DATABASE_URL=" + database}, 0, 1, "SERVICE_SECRET must be at least 32 bytes"},
		{"serve without a public origin", []string{"serve", "auth", "--port-base", base}, serve("PUBLIC_URL="), 0, 1, "PUBLIC_URL must be the origin that people see"},
		{"serve payment without a key", []string{"serve", "payment", "--port-base", base}, serve(), 0, 1, "STRIPE_SECRET_KEY is not set"},
		{"serve in production with what others do not share", []string{"serve", "user", "--port-base", base}, serve("TULIFO_ENV=production", "RABBITMQ_URL=amqp://x"), 0, 1, "production needs REDIS_URL (else the cache is embedded), S3_ENDPOINT (else the file store is embedded); say --single-node"},
		{"serve the gateway in production with what others do not share", []string{"serve", "gateway", "--port-base", base}, serve("TULIFO_ENV=production"), 0, 1, "production needs RABBITMQ_URL (else the bus is embedded), REDIS_URL (else the cache is embedded); say --single-node"},
		{"files at no address", []string{"serve", "user", "--port-base", base}, serve("S3_ENDPOINT=s3.example.com"), 0, 1, "S3_ENDPOINT must be an address such as https://s3.eu-central-1.amazonaws.com"},
		{"files at an address without a bucket", []string{"serve", "user", "--port-base", base}, serve("S3_ENDPOINT=https://s3.example.com", "S3_ACCESS_KEY_ID=k", "S3_SECRET_ACCESS_KEY=s"), 0, 1, "S3_BUCKET must be set when S3_ENDPOINT is"},
		{"serve on a port that is none", []string{"serve", "auth"}, serve("PORT=70000"), 0, 2, "port 70000, where auth is to listen, does not exist"},
		{"serve nothing", []string{"serve"}, nil, 0, 2, "name what to serve: auth, "},
		{"serve an unknown name", []string{"serve", "bookings"}, nil, 0, 2, `there is no service "bookings"`},
		{"serve a name twice", []string{"serve", "auth", "auth"}, nil, 0, 2, `"auth" is named twice`},
		{"one machine in production without Stripe", append(up(fresh), "--single-node"), []string{"TULIFO_ENV=production"}, 0, 1, "production needs STRIPE_SECRET_KEY: the Stripe simulator moves no real money"},
		{"the simulator in production", []string{"serve", "stripe-simulator", "--data", fresh, "--port-base", base}, []string{"TULIFO_ENV=production"}, 0, 1, "the Stripe simulator moves no real money and is refused in production"},
		{"an overlay in production", []string{"serve", "gateway", "--port-base", base}, serve("TULIFO_ENV=production", "GATEWAY_OVERLAY=/tmp/x"), 0, 1, "GATEWAY_OVERLAY is for tests and benchmarks, not for production"},
		{"a command that does not exist", []string{"start"}, nil, 0, 2, `there is no command "start"; tulifo --help lists those that exist`},
		{"an operator's command that does not exist", []string{"admin", "delete"}, nil, 0, 2, `there is no command "delete"; tulifo admin --help lists those that exist`},
		{"a flag that does not exist", []string{"up", "--fast"}, nil, 0, 2, "unknown flag: --fast"},
		{"a command where nothing is", []string{"check", "--data", "/nowhere"}, nil, 0, 1, "there is no tulifo data in /nowhere; name its directory with --data, or run tulifo up first"},
		{"an admin without a name", []string{"admin", "create", "--data", "/nowhere"}, nil, 0, 2, "--email and --name are needed, and --role is admin or support"},
		{"replay for nobody", []string{"events", "replay", "bookings"}, nil, 0, 2, "name one service: auth, "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var attr *syscall.SysProcAttr
			if os.Getuid() == 0 && c.as != 0 {
				attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: c.as, Gid: c.as}}
			}
			var args []string
			for _, a := range c.args {
				switch a {
				case fresh:
					a = filepath.Join(folder(t), "data")
				case base:
					a = strconv.Itoa(portBase(t))
				}
				args = append(args, a)
			}
			p := launch(t, bare(t, c.env...), attr, args...)
			if code := p.exit(t, 40*time.Second); code != c.code {
				t.Errorf("code %d instead of %d", code, c.code)
			}
			said := strings.TrimSpace(p.err.String())
			last := said[strings.LastIndex(said, "\n")+1:]
			if !strings.HasPrefix(last, "tulifo: ") || !strings.Contains(last, c.says) {
				t.Errorf("said %q\nwant %q", said, c.says)
			}
			if strings.Contains(said, "geheim") || strings.Contains(said, "goroutine ") {
				t.Errorf("a secret or a stack: %s", said)
			}
		})
	}
}
