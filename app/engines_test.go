package app

import (
	"strings"
	"testing"
	"time"

	"tulifo/platform/fault"
	"tulifo/platform/servertest"
	"tulifo/platform/soak"
)

// store is a real server beside Postgres that an installation stands on, and the line to it.
type store struct {
	name   string // under which /health has it
	port   int    // of a service that uses it
	server *servertest.Server
	line   *fault.Proxy
}

// stores are servers of the test's own, and what an environment says of them.
func stores(t *testing.T) (all []store, env []string) {
	t.Helper()
	for _, s := range []struct {
		variable, name string
		port           int
		server         *servertest.Server
	}{
		{"RABBITMQ_URL", "rabbitmq", portOf("booking"), servertest.OwnRabbitMQ(t)},
		{"REDIS_URL", "redis", portOf("user"), servertest.OwnRedis(t)},
		{"MONGODB_URI", "mongodb", portOf("notification"), servertest.OwnMongo(t)},
	} {
		line, through, err := fault.Before(s.server.URL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(line.Close)
		// Else the driver of MongoDB asks the server where it is, and goes there past the line.
		through = strings.Replace(through, "replicaSet=rs0", "directConnection=true", 1)
		all = append(all, store{s.name, s.port, s.server, line})
		env = append(env, s.variable+"="+through)
	}
	return all, env
}

// Each server is stopped in the middle of the main job and comes back, is killed and comes back, and the line to it is bad in every way that lines
// have: who asks is answered, or told to come back later, no process ends, nothing acknowledged is lost, and nothing is there twice.
func TestCrashOfEveryStore(t *testing.T) {
	t.Parallel()
	all, env := stores(t)
	i, r := newInstallation(t, env...), seeded(t)
	i.up(t)
	pid := i.cmd.Process.Pid
	again(func() {
		var l *load
		hurt := func(s store, how string, bound time.Duration, hurt, mend func(), notice bool) {
			t.Helper()
			says := func(state string) bool {
				_, _, of := i.stores(t, s.port)
				return of[s.name] == state
			}
			l.grow(20)
			from, refused, since := l.answered.Load(), l.refused.Load(), time.Now()
			hurt()
			if notice {
				soon(t, "/health to see that "+s.name+" is away", crashBound, func() bool { return says("disconnected") })
			}
			soon(t, "a while of it", crashBound, func() bool { return time.Since(since) > bound })
			meanwhile, told := l.answered.Load()-from, l.refused.Load()-refused
			mend()
			back := time.Now()
			soon(t, "/health to see that "+s.name+" is back", crashBound, func() bool { return says("connected") })
			t.Logf("%s %s for %v: %d answers, of them %d 503; connected again after %v", s.name, how, back.Sub(since).Round(time.Millisecond), meanwhile, told, time.Since(back).Round(time.Millisecond))
			if !alive(pid) {
				t.Fatal("tulifo ended with its " + s.name)
			}
		}
		for _, s := range all {
			l = i.load(t, r, false) // one of its own, since a crowd is given eight minutes
			away := time.Duration(soak.N(5, 60)) * time.Second
			hurt(s, "is stopped", away, s.server.Stop, s.server.Start, true)
			hurt(s, "is killed", away, s.server.Kill, s.server.Start, true)
			for _, ill := range ills {
				hurt(s, "is "+ill.name, time.Duration(soak.N(1, 6))*time.Second, func() { s.line.Set(ill.toxic(r)) }, func() { s.line.Set() }, false)
			}
			l.finish()
			i.intact(t)
		}
	})
	i.terminate(t)
}
