package app

import (
	"flag"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"
)

var (
	soakFor  = flag.Duration("soak", 0, "how long each crash test goes on; 0: once")
	soakSeed = flag.Uint64("soak.seed", 0, "seed of the moments at which crash tests kill; 0: another each time")
)

// seeded is the source of the moments at which a test kills.
func seeded(t *testing.T) *rand.Rand {
	seed := *soakSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("the moments come from -soak.seed=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// again runs a round once, or until the time to soak is over.
func again(round func()) {
	for began := time.Now(); ; {
		if round(); time.Since(began) >= *soakFor {
			return
		}
	}
}

// intact waits until tulifo check has nothing to say.
func intact(t *testing.T, check func() (int, string)) {
	t.Helper()
	var said string
	soon(t, "tulifo check to find nothing", crashBound, func() bool {
		var code int
		code, said = check()
		if code != 0 {
			t.Logf("not yet: %s", said)
		}
		return code == 0
	})
}

func (i *installation) intact(t *testing.T) {
	t.Helper()
	intact(t, func() (int, string) {
		code, out, errOut := i.run(t, "", "check")
		return code, out + errOut
	})
}

// load begins a load on the installation.
func (i *installation) load(t *testing.T, r *rand.Rand, patient bool) *load {
	t.Helper()
	return newLoad(t, r, i.at(gatewayPort), i.at(inboxPort), i.at(stripePort), secretOf(t, i.dir, "STRIPE_SECRET_KEY"), patient)
}

// secretOf is one of those that were made when a platform started on the directory.
func secretOf(t *testing.T, dir, name string) string {
	t.Helper()
	d, err := existing(dir)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	if err := d.secrets(env); err != nil {
		t.Fatal(err)
	}
	return env[name]
}

// restart has the installation end by the signal and run again, on the same data.
func (i *installation) restart(t *testing.T, l *load, s syscall.Signal) {
	t.Helper()
	l.away.Store(true)
	i.signal(t, s)
	if code := i.exit(t, time.Minute); s == syscall.SIGTERM && code != 0 {
		t.Errorf("code %d", code)
	}
	down := time.Now()
	i.up(t)
	l.back.Store(time.Now().UnixNano())
	l.away.Store(false)
	t.Logf("after %v it ran again in %v", s, time.Since(down).Round(time.Millisecond))
}

// The postmaster is killed twice; then all of it is told to stop, and starts again. Nobody's journey ends, and nothing acknowledged is lost.
func TestCrashOfPostgresAndAStopUnderLoad(t *testing.T) {
	t.Parallel()
	i, r := newInstallation(t), seeded(t)
	i.up(t)
	again(func() {
		l := i.load(t, r, true)
		pid := i.cmd.Process.Pid
		for range 2 {
			l.grow(100 + r.Int64N(200))
			old := i.postmaster()
			if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			killed := time.Now()
			soon(t, "another postmaster", crashBound, func() bool { p := i.postmaster(); return p != 0 && p != old })
			good := l.answered.Load() - l.refused.Load()
			soon(t, "a good answer", crashBound, func() bool { return t.Failed() || l.answered.Load()-l.refused.Load() > good })
			t.Logf("a good answer %v after the postmaster was killed", time.Since(killed).Round(time.Millisecond))
		}
		if !alive(pid) {
			t.Error("tulifo ended with its Postgres")
		}
		l.grow(100 + r.Int64N(200))
		i.restart(t, l, syscall.SIGTERM)
		l.finish()
		i.intact(t)
	})
	i.terminate(t)
}

// Everything is killed at any moment, three times: what was acknowledged is there, and nothing is there twice.
func TestCrashOfEverything(t *testing.T) {
	t.Parallel()
	i, r := newInstallation(t), seeded(t)
	i.up(t)
	again(func() {
		l := i.load(t, r, true)
		for range 3 {
			l.grow(50 + r.Int64N(250))
			i.restart(t, l, syscall.SIGKILL)
		}
		l.finish()
		i.intact(t)
	})
}

// One service after the other is killed and comes back: whoever needs it is told to come back later.
func TestCrashOfEachService(t *testing.T) {
	t.Parallel()
	r := seeded(t)
	s, dir := newSplit(t, nil)
	again(func() {
		l := newLoad(t, r, s.at(gatewayPort), s.at(inboxPort), s.at(stripePort), secretOf(t, dir, "STRIPE_SECRET_KEY"), false)
		for _, name := range []string{"booking", "payment", "escrow", "notification", "auth"} {
			l.grow(50 + r.Int64N(50))
			s.down(t, name)
			from, since := l.answered.Load(), time.Now()
			soon(t, "others to notice", crashBound, func() bool { return l.answered.Load() > from+20 || time.Since(since) > 2*time.Second })
			s.back(t, name)
			t.Logf("%s was away for %v; %d refused so far", name, time.Since(since).Round(time.Millisecond), l.refused.Load())
		}
		if l.refused.Load() == 0 {
			t.Error("nobody noticed that a service was away")
		}
		l.finish()
		intact(t, func() (int, string) {
			return s.command(t, "", "check")
		})
	})
	for _, runs := range s.runs {
		for _, p := range runs {
			p.terminate(t)
		}
	}
}
