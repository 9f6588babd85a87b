package app

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tulifo/platform/pause"
)

// The life of an installation: made, stopped by either signal, started again; each time without a word of complaint.
func TestUpFromNothingAndAgain(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	binary(t)
	// As in a terminal, where an interrupt goes to all processes of the group.
	i.attr = &syscall.SysProcAttr{Setpgid: true}
	began := time.Now()
	i.up(t)
	t.Logf("the first start took %v", time.Since(began))
	i.register(t, "ada@example.com")
	for _, want := range []string{i.at(gatewayPort)[len("http://127.0.0.1"):] + "/docs", "Inbox", "Stripe simulator", i.dir} {
		if !strings.Contains(i.out.String(), want) {
			t.Errorf("%q is not in\n%s", want, i.out.String())
		}
	}
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		began = time.Now()
		if s == syscall.SIGINT {
			i.interrupt(t)
		} else {
			i.stop(t, s)
		}
		t.Logf("%v took %v", s, time.Since(began))
		if i.postmaster() != 0 {
			t.Error("Postgres lives on")
		}
		began = time.Now()
		i.up(t)
		t.Logf("the next start took %v", time.Since(began))
		i.mustLogin(t, "ada@example.com", processPassword)
	}
	i.stop(t, syscall.SIGINT)
}

// An interrupt in the middle of the first start is obeyed, and the next start begins anew.
func TestUpInterruptedWhileItStarts(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	i.launch(t)
	soon(t, "initdb", 30*time.Second, func() bool {
		_, during := os.Stat(i.dir + "/postgres.new")
		_, after := os.Stat(i.dir + "/postgres")
		return during == nil || after == nil
	})
	i.stop(t, syscall.SIGINT)
	if out := i.out.String(); !strings.Contains(out, "Stopped before everything ran.") {
		t.Errorf("said %q", out)
	}
	i.up(t)
	i.stop(t, syscall.SIGINT)
}

// hang opens a request at the gateway that does not end by itself. When it returns, the handler has asked for the body.
func (i *installation) hang(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", net.JoinHostPort(loopback, strconv.Itoa(gatewayPort+i.base)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "POST /api/auth/register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
	if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	const asks = "HTTP/1.1 100 Continue\r\n\r\n"
	said := make([]byte, len(asks))
	if n, err := io.ReadFull(c, said); err != nil || string(said) != asks {
		t.Fatalf("the gateway says %q, %v", said[:n], err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "{")
	return c
}

// A request that has begun is waited for; a second signal ends the wait at once, and Postgres with it.
func TestUpStopsAtOnceOnASecondSignal(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	i.up(t)
	i.hang(t)
	postmaster := i.postmaster()
	i.signal(t, syscall.SIGINT)
	soon(t, "the stop to begin", 10*time.Second, func() bool { return strings.Contains(i.out.String(), "Stopping") })
	soon(t, "the gateway to refuse connections", 10*time.Second, func() bool {
		_, _, err := ask("GET", i.at(gatewayPort)+"/readyz", "", nil, nil)
		return err != nil
	})
	i.signal(t, syscall.SIGINT)
	if code := i.exit(t, drainTime-time.Second); code != 1 {
		t.Errorf("code %d", code)
	}
	soon(t, "the end of Postgres", 10*time.Second, func() bool { return !alive(postmaster) })
	i.up(t)
	i.stop(t, syscall.SIGTERM)
}

// What was acknowledged outlives the process that acknowledged it; Postgres ends with it, and the next start has nothing to mend by hand.
func TestUpKilled(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	i.up(t)
	for n := range 3 {
		email := fmt.Sprintf("ada%d@example.com", n)
		i.register(t, email)
		postmaster := i.postmaster()
		i.signal(t, syscall.SIGKILL)
		i.exit(t, 5*time.Second)
		if n == 0 {
			soon(t, "the end of Postgres", 10*time.Second, func() bool { return !alive(postmaster) })
		}
		// In the other rounds the next start meets a Postgres that is still ending.
		i.up(t)
		i.mustLogin(t, email, processPassword)
		i.quiet(t)
	}
	i.stop(t, syscall.SIGTERM)
}

// As root, Postgres runs as another user; an ordinary user runs everything as himself.
func TestUpAsAnOrdinaryUser(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	if os.Getuid() == 0 {
		home := folder(t)
		if err := os.Chown(home, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		limits := home + "/limits.yml"
		raw, err := os.ReadFile(overlay(t))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(limits, raw, 0o644); err != nil {
			t.Fatal(err)
		}
		i.dir, i.attr = home+"/.local/share/tulifo", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		i.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "AUTH_BCRYPT_COST=4", "GATEWAY_OVERLAY=" + limits}
	}
	for range 2 {
		i.up(t)
		if fi, err := os.Stat(i.dir + "/postgres"); err != nil || i.attr != nil && fi.Sys().(*syscall.Stat_t).Uid != i.attr.Credential.Uid {
			t.Errorf("whose data is it: %v %v", fi, err)
		}
		i.stop(t, syscall.SIGINT)
	}
}

// A machine without Postgres gets the pinned one through npm, once, with a bar that reaches its end.
func TestUpFetchesPostgres(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	i.env = append(i.env, "TULIFO_POSTGRES_BIN="+folder(t)+"/postgres")
	i.launch(t)
	soon(t, "the platform to run", 5*time.Minute, func() bool {
		select {
		case <-i.ended:
			t.Fatalf("up ended with code %d", i.cmd.ProcessState.ExitCode())
		default:
		}
		return strings.Contains(i.out.String(), "Tulifo runs")
	})
	if out := i.out.String(); !strings.Contains(out, "Fetching Postgres [##############################] 100 %\n") {
		t.Errorf("the bar does not reach its end:\n%q", out)
	}
	i.register(t, "ada@example.com")
	i.stop(t, syscall.SIGTERM)
	i.up(t)
	if out := i.out.String(); strings.Contains(out, "Fetching") {
		t.Error("fetched again")
	}
	i.mustLogin(t, "ada@example.com", processPassword)
	i.stop(t, syscall.SIGTERM)
}

// While it starts, every port answers 503 and when to come back.
func TestUpAnswersWhileItStarts(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	i.launch(t)
	var wg sync.WaitGroup
	for _, path := range []string{"/readyz", "/health", "/api/auth/me"} {
		wg.Go(func() {
			for began := time.Now(); time.Since(began) < 30*time.Second; {
				status, header, err := ask("GET", i.at(gatewayPort)+path, "", nil, nil)
				if err == nil {
					if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" {
						t.Errorf("%s while starting: %d, Retry-After %q", path, status, header.Get("Retry-After"))
					}
					return
				}
				if pause.For(t.Context(), 10*time.Millisecond) != nil {
					return
				}
			}
			t.Errorf("nothing answers at %s", path)
		})
	}
	wg.Wait()
	i.running(t)
	i.stop(t, syscall.SIGINT)
}
