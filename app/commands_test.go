package app

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tulifo/platform/postgres/pgtest"
)

// Every operator's command does the same on an installation that runs and on one that stands still.
func TestOperatorCommands(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	i.up(t)
	for _, runs := range []bool{true, false} {
		if !runs {
			i.stop(t, syscall.SIGTERM)
		}
		email := fmt.Sprintf("admin-%t@example.com", runs)
		for _, c := range []struct {
			args  string
			stdin string
			code  int
			says  string
		}{
			{"migrate", "", 0, "The database is up to date.\n"},
			{"check", "", 0, "Every invariant holds.\n"},
			{"events replay auth", "", 0, "0 events are delivered again.\n"},
			{"openapi auth", "", 0, `"/api/auth/register"`},
			{"openapi notification", "", 0, `"/api/notifications"`},
			{"version", "", 0, "tulifo "},
			{"admin create --email " + email + " --name Root", processPassword + "\n", 0, "admin " + email + " ("},
			{"admin create --email mediator-" + email + " --name Mia --role support", processPassword, 0, "support mediator-" + email + " ("},
			{"admin create --email " + email + " --name Root", processPassword + "\n", 1, "tulifo: "},
			{"admin create --email short@example.com --name Root", "short\n", 1, "tulifo: "},
			{"admin create --email empty@example.com --name Root", "", 1, "tulifo: no password came on standard input"},
			{"doctor --port-base " + strconv.Itoa(i.base), "", 0, "ok    data directory " + i.dir},
		} {
			code, out, errOut := i.run(t, c.stdin, strings.Fields(c.args)...)
			said := out
			if c.code != 0 {
				said = errOut
			}
			if code != c.code || !strings.Contains(said, c.says) {
				t.Errorf("%s (runs: %t): code %d\n%s%s", c.args, runs, code, out, errOut)
			}
			if c.code == 0 && errOut != "" {
				t.Errorf("%s (runs: %t) said without need: %s", c.args, runs, errOut)
			}
			if c.code != 0 && strings.Count(strings.TrimSpace(errOut), "\n") != 0 {
				t.Errorf("%s (runs: %t) said more than a sentence: %s", c.args, runs, errOut)
			}
		}
		if i.postmaster() != 0 != runs {
			t.Errorf("runs: %t, and Postgres is process %d", runs, i.postmaster())
		}
		if runs {
			i.mustLogin(t, email, processPassword)
		}
	}
	i.up(t)
	i.mustLogin(t, "admin-false@example.com", processPassword)
	i.mustLogin(t, "mediator-admin-false@example.com", processPassword)
	i.stop(t, syscall.SIGINT)
}

// openapi needs neither a database nor a directory, and leaves nothing behind.
func TestOpenAPIFromTheCodeAlone(t *testing.T) {
	t.Parallel()
	home := folder(t)
	for _, e := range services {
		if e.name == "notification" {
			continue // it opens its documents when it is built
		}
		p := launch(t, []string{"HOME=" + home, "XDG_DATA_HOME=" + home, "PATH=/nowhere"}, nil, "openapi", e.name)
		if code := p.exit(t, 20*time.Second); code != 0 {
			t.Errorf("%s: code %d", e.name, code)
		}
		var doc struct {
			OpenAPI string
			Paths   map[string]any
		}
		if err := json.Unmarshal([]byte(p.out.String()), &doc); err != nil || doc.OpenAPI == "" || len(doc.Paths) == 0 {
			t.Errorf("%s: %v, %d paths", e.name, err, len(doc.Paths))
		}
	}
	entries, err := os.ReadDir(home)
	if err != nil || len(entries) != 0 {
		t.Errorf("left %v (%v)", entries, err)
	}
}

// One directory, one tulifo: the second is told, whether it wants to serve or to look.
func TestOneUpPerDirectory(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	i.up(t)
	second := launch(t, i.env, nil, "up", "--data", i.dir, "--port-base", strconv.Itoa(portBase(t)))
	if code := second.exit(t, 20*time.Second); code != 1 {
		t.Errorf("code %d", code)
	}
	want := fmt.Sprintf("tulifo: another tulifo works on %s (process %d); stop it, or choose another directory with --data\n", i.dir, i.cmd.Process.Pid)
	if got := second.err.String(); got != want {
		t.Errorf("said %q, want %q", got, want)
	}
	i.quiet(t)
	// A directory whose Postgres is somebody else's, from outside, is no exception.
	outside := newInstallation(t, "DATABASE_URL="+pgtest.Database(t))
	outside.up(t)
	third := launch(t, outside.env, nil, "up", "--data", outside.dir, "--port-base", strconv.Itoa(portBase(t)))
	if code := third.exit(t, 20*time.Second); code != 1 || !strings.Contains(third.err.String(), "another tulifo works on") {
		t.Errorf("code %d, said %q", code, third.err.String())
	}
	outside.stop(t, syscall.SIGTERM)
	i.stop(t, syscall.SIGTERM)
}

func TestDoctorFindsEachFault(t *testing.T) {
	t.Parallel()
	foreign := folder(t)
	if err := os.WriteFile(filepath.Join(foreign, "holiday.jpg"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	crowded := portBase(t)
	busy, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(8000+crowded)))
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobodyThere := closed.Addr().String()
	closed.Close()
	_, mute, _ := net.SplitHostPort(nobodyThere)
	long := strings.Repeat("s", 32)
	secrets := []string{"JWT_SECRET=" + long, "SERVICE_SECRET=" + long}
	fresh := filepath.Join(folder(t), "data")
	database := pgtest.Database(t)
	for _, c := range []struct {
		name string
		args []string
		env  []string
		code int
		says []string
	}{
		{"nothing", []string{"--data", fresh}, nil, 0, []string{"ok    environment", "ok    secrets", "ok    data directory " + fresh + ", which tulifo up will make", "ok    PostgreSQL", "ok    ports"}},
		{"a foreign directory", []string{"--data", foreign}, nil, 1, []string{"FAULT data directory " + foreign + ": there is no tulifo data in"}},
		{"a directory that cannot be made", []string{"--data", "/var/tulifo-nobody"}, nil, 1, []string{"FAULT data directory /var/tulifo-nobody, which tulifo up will make: it cannot be made: /var cannot be written to (permission denied)"}},
		{"a busy port", []string{"--data", fresh, "--port-base", strconv.Itoa(crowded)}, nil, 1, []string{fmt.Sprintf("FAULT ports: port %d, where the gateway is to listen, is in use", 8000+crowded)}},
		{"no binaries", []string{"--data", fresh}, []string{"PATH=/nowhere", "TULIFO_POSTGRES_BIN=/nowhere/postgres"}, 1, []string{"FAULT Postgres: there is no PostgreSQL on this machine, and no npm to fetch it with"}},
		{"a short secret", []string{"--data", fresh}, []string{"SERVICE_SECRET=short"}, 1, []string{"FAULT secrets: SERVICE_SECRET must be at least 32 bytes"}},
		{"a wrong variable", nil, []string{"LOG_LEVEL=loud"}, 1, []string{"FAULT environment: LOG_LEVEL must be"}},
		{"production with embedded stores", []string{"--data", fresh}, []string{"TULIFO_ENV=production"}, 1, []string{"FAULT environment: production needs DATABASE_URL"}},
		{"a database that is down", nil, append(secrets, "DATABASE_URL=postgres://tulifo:geheim@"+nobodyThere+"/tulifo"), 1, []string{"FAULT database at DATABASE_URL: it does not answer"}},
		{"a database that does not exist", nil, append(secrets, "DATABASE_URL="+strings.Replace(database, "/test_", "/other_", 1)), 1, []string{"FAULT database at DATABASE_URL: the database that DATABASE_URL names does not exist"}},
		{"too few connections", nil, append(secrets, "DATABASE_URL="+database, "DATABASE_POOL_MAX=200"), 1, []string{"FAULT database at DATABASE_URL: one process per service may take"}},
		{"a good database", nil, append(secrets, "DATABASE_URL="+database, "DATABASE_POOL_MAX=2"), 0, []string{"ok    database at DATABASE_URL"}},
		{"a mail server that is down", []string{"--data", fresh}, []string{"SMTP_HOST=127.0.0.1", "SMTP_PORT=" + mute}, 1, []string{"FAULT mail server at 127.0.0.1:" + mute + ": it does not answer"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append([]string{"doctor"}, c.args...)
			if len(c.args) == 2 {
				args = append(args, "--port-base", strconv.Itoa(portBase(t)))
			}
			var attr *syscall.SysProcAttr
			if os.Getuid() == 0 && strings.Contains(c.name, "cannot be made") {
				attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			}
			p := launch(t, bare(t, c.env...), attr, args...)
			if code := p.exit(t, 30*time.Second); code != c.code {
				t.Errorf("code %d instead of %d", code, c.code)
			}
			for _, want := range c.says {
				if !strings.Contains(p.out.String(), want) {
					t.Errorf("%q is not in\n%s", want, p.out.String())
				}
			}
			if c.code == 1 && p.err.String() != "tulifo: 1 fault\n" {
				t.Errorf("said %q", p.err.String())
			}
			if strings.Contains(p.out.String(), "geheim") {
				t.Error("a password is shown")
			}
		})
	}
	if _, err := os.Stat(fresh); err == nil {
		t.Error("doctor made the data directory")
	}
}

// An installation whose Postgres is away is seen by doctor as ill, and as well when it is back.
func TestDoctorOnARunningPlatform(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	i.up(t)
	if code, out, _ := i.run(t, "", "doctor"); code != 0 || !strings.Contains(out, fmt.Sprintf("ok    tulifo up (process %d)", i.cmd.Process.Pid)) {
		t.Errorf("code %d\n%s", code, out)
	}
	status, _, err := ask("GET", i.at(gatewayPort)+"/health", "", nil, nil)
	if err != nil || status != http.StatusOK {
		t.Errorf("health: %d %v", status, err)
	}
	i.stop(t, syscall.SIGTERM)
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, says string }{
		{"", "Available Commands:"}, {"help", "Available Commands:"}, {"--help", "Available Commands:"}, {"up --help", "--port-base"}, {"serve --help", "NAME..."},
		{"migrate --help", "up to date"}, {"admin --help", "create"}, {"admin create --help", "standard input"}, {"check --help", "invariant"}, {"openapi --help", "SERVICE"},
		{"events --help", "replay"}, {"events replay --help", "dead letters"}, {"doctor --help", "exit code 1"}, {"tour --help", "--gateway"}, {"version --help", "build"},
	} {
		p := launch(t, bare(t), nil, strings.Fields(c.args)...)
		if code := p.exit(t, 10*time.Second); code != 0 || !strings.Contains(p.out.String(), c.says) || p.err.String() != "" {
			t.Errorf("%q: code %d\n%s\n%s", c.args, code, p.out.String(), p.err.String())
		}
	}
}
