package app

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"tulifo/platform/fault"
	"tulifo/platform/mail"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/soak"
)

// line is a proxy before an address, and ends with the test.
func line(t *testing.T, server string) *fault.Proxy {
	t.Helper()
	p, err := fault.New(server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// mailServer is the real inbox in this process, behind a line; page is where its mail is read.
func mailServer(t *testing.T) (smtp *fault.Proxy, page string) {
	t.Helper()
	inbox, err := mail.NewInbox(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(loopback, "0"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- inbox.ServeSMTP(ctx, l) }()
	web := httptest.NewServer(inbox.Handler())
	t.Cleanup(func() {
		web.Close()
		cancel()
		l.Close()
		<-ended
	})
	return line(t, l.Addr().String()), web.URL
}

// port of a host:port.
func port(address string) string {
	_, p, _ := net.SplitHostPort(address)
	return p
}

// ill is a way in which a line to a store is bad.
type ill struct {
	name  string
	toxic func(*rand.Rand) fault.Toxic
}

// ills of every line. What goes to a server is never altered: without TLS nobody can tell, and a wrong amount would be stored as it came.
var ills = []ill{
	{"slow", func(*rand.Rand) fault.Toxic {
		return fault.Toxic{Latency: 30 * time.Millisecond, Jitter: 30 * time.Millisecond}
	}},
	{"answering garbage from some byte on", func(r *rand.Rand) fault.Toxic {
		return fault.Toxic{Toward: fault.ToClient, Garbage: true, After: r.Int64N(3000)}
	}},
	{"gone", func(*rand.Rand) fault.Toxic { return fault.Toxic{Reset: true} }},
	{"cut in the middle of an answer", func(r *rand.Rand) fault.Toxic {
		return fault.Toxic{Toward: fault.ToClient, CutAfter: 1 + r.Int64N(3000)}
	}},
	{"cut in the middle of a request", func(r *rand.Rand) fault.Toxic {
		return fault.Toxic{Toward: fault.ToServer, CutAfter: 1 + r.Int64N(3000)}
	}},
	{"silent", func(r *rand.Rand) fault.Toxic { return fault.Toxic{Silence: true, After: r.Int64N(3000)} }},
	{"half open", func(*rand.Rand) fault.Toxic { return fault.Toxic{HalfOpen: true} }},
	{"narrow", func(*rand.Rand) fault.Toxic { return fault.Toxic{Rate: 20_000} }},
}

// The rail, the mail server and the lines to both and to Postgres are bad in every way they have, one after the other, in the middle of the
// main job: who asks is answered, or told to come back later, and everything comes to its end when all are well again.
func TestCrashOfEveryLine(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	smtp, page := mailServer(t)
	database, err := url.Parse(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	socket := database.Query()
	postgres := line(t, filepath.Join(socket.Get("host"), ".s.PGSQL."+socket.Get("port")))
	database.Host, database.RawQuery = postgres.Addr(), "sslmode=disable"
	i := newInstallation(t, "SMTP_HOST="+loopback, "SMTP_PORT="+port(smtp.Addr()), "SMTP_TLS=off", "STRIPE_TIMEOUT=3s")
	rail := line(t, net.JoinHostPort(loopback, strconv.Itoa(stripePort+i.base)))
	plain := i.env
	i.env = append(i.env[:len(i.env):len(i.env)], "DATABASE_URL="+database.String(), "STRIPE_API_URL=http://"+rail.Addr())
	i.up(t)
	// Commands find the database by the directory.
	i.env = plain
	control := func(method string, body any) {
		t.Helper()
		if status, _, err := ask(method, i.at(stripePort)+"/_control/", secretOf(t, i.dir, "STRIPE_SECRET_KEY"), body, nil); err != nil || status != http.StatusOK {
			t.Fatalf("control: %d %v", status, err)
		}
	}
	failing := func(mode string) map[string]any {
		return map[string]any{"fail": map[string]any{"times": 10, "mode": mode}}
	}
	lines := []struct {
		name string
		p    *fault.Proxy
	}{{"Postgres", postgres}, {"the rail", rail}, {"mail", smtp}}
	again(func() {
		l := newLoad(t, r, i.at(gatewayPort), page, i.at(stripePort), secretOf(t, i.dir, "STRIPE_SECRET_KEY"), false)
		l.sick.Store(true)
		awhile := func(what string) {
			t.Helper()
			from, refused, since := l.answered.Load(), l.refused.Load(), time.Now()
			soon(t, "a while of it", crashBound, func() bool {
				return time.Since(since) > time.Duration(soak.N(1, 6))*time.Second || l.answered.Load() > from+int64(soak.N(50, 300))
			})
			t.Logf("%s: %d answers, of them %d 503, in %v", what, l.answered.Load()-from, l.refused.Load()-refused, time.Since(since).Round(time.Millisecond))
			if t.Failed() {
				t.Fatalf("while %s", what)
			}
		}
		for n, c := range []map[string]any{
			failing("drop"), failing("drop_after"), failing("garbage"), failing("status"), {"slowMs": 4000}, {"hold": []string{"*"}},
			{"repeat": 3, "together": true, "reorder": 6, "seed": r.Uint64() >> 12}, {"repeat": 2, "delayMs": 300, "holdPayouts": true},
		} {
			control(http.MethodPut, c)
			smtp.Set(ills[n].toxic(r))
			awhile(fmt.Sprintf("the rail has %v, mail is %s", c, ills[n].name))
		}
		control(http.MethodDelete, nil)
		smtp.Set()
		for _, one := range lines[:2] {
			for _, ill := range ills {
				one.p.Set(ill.toxic(r))
				awhile(one.name + " is " + ill.name)
				one.p.Set()
			}
		}
		// All at once.
		for range soak.N(1, 10) {
			what := ""
			for _, one := range lines {
				ill := ills[r.IntN(len(ills))]
				one.p.Set(ill.toxic(r))
				what += one.name + " is " + ill.name + ", "
			}
			awhile(what)
		}
		for _, one := range lines {
			one.p.Set()
		}
		l.finish()
		i.intact(t)
	})
}
