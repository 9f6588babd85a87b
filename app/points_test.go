package app

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"tulifo/platform/crash"
	"tulifo/platform/pause"
	"tulifo/platform/soak"
)

// points is a rehearsal whose process dies at one named point after the other, while journeys through the main job go on.
type points struct {
	*installation
	load *load
	stop chan struct{}
	done chan struct{}
}

// armed starts the platform so that it dies at the point.
func (p *points) armed(t *testing.T, point string) {
	t.Helper()
	p.launchIn(t, append(slices.Clip(p.env), "TULIFO_CRASH="+point))
	// What the last death left over may bring it to the point while it starts.
	soon(t, "the platform to run, or to die", time.Minute, func() bool {
		select {
		case <-p.ended:
			return true
		default:
			return strings.Contains(p.out.String(), "Tulifo runs")
		}
	})
}

// journeys walk the main job until they are asked to stop, and wait out every death.
func (p *points) journeys(t *testing.T) {
	defer close(p.done)
	for n := 0; p.load.ctx.Err() == nil && !t.Failed(); n++ {
		if err := p.journey(n%2 == 0); err != nil && p.load.ctx.Err() == nil {
			t.Errorf("journey %d: %v", n, err)
			return
		}
		select {
		case <-p.stop:
			return
		default:
		}
	}
}

// journey is the main job from the registrations to the statement. The client releases the money, or forgets to.
func (p *points) journey(releases bool) error {
	j := p.load.walker(nil)
	j.now = j.businessTime
	j.wait = p.moved
	paid := j.releases
	if !releases {
		paid = func(ctx context.Context) error {
			if err := p.moved(ctx, j.end.Add(72*time.Hour)); err != nil {
				return err
			}
			return j.wallet(ctx, "144.00")
		}
	}
	err := p.load.steps(j, j.offers, j.finds, j.reserve, j.confirms, j.pays, j.works, paid, j.withdraws, j.reviews, j.statement)
	j.status, j.released, j.payouts, j.reviewed = "completed", j.price, 1, 2
	return p.load.ended(j, err)
}

// moved has tulifo clock move the time, again when the platform died under it.
func (p *points) moved(ctx context.Context, at time.Time) error {
	for {
		if code, out, errOut := p.run(p.load.t, "", "clock", "set", at.UTC().Format(time.RFC3339)); code == 0 {
			return nil
		} else if strings.Contains(errOut, "never goes back") {
			return nil // it died after the clock had arrived
		} else if ctx.Err() != nil {
			p.load.t.Logf("clock set: %s%s", out, errOut)
			return ctx.Err()
		}
		if err := pause.For(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// few is the sample of CI: a commit, an acknowledgement, a webhook's answer, a call at the rail.
var few = []string{"booking.commit.after(POST /api/bookings)", "escrow.handle.after(payment.completed)", "payment.hear.after(payment_intent.succeeded)", "payment.call.after(transfers)"}

// TestCrashAtNamedPoints kills the platform at points of the main job, before and after commits, publications, acknowledgements, calls and
// answers, starts it again, and has clients go on with the same keys: nothing is lost or there twice, to the cent. In make soak it is each
// point that the main job passes.
func TestCrashAtNamedPoints(t *testing.T) {
	t.Parallel()
	p := &points{installation: newInstallation(t), stop: make(chan struct{}), done: make(chan struct{})}
	list := filepath.Join(folder(t), "points")
	p.env = append(p.env, "TULIFO_REHEARSAL=true", "TULIFO_REHEARSAL_FROZEN=true", "TULIFO_REHEARSAL_AT=2026-03-02T08:00:00Z", "LOG_LEVEL=error")
	all := few
	if soak.On() {
		// What only the first start passes is not looked at again.
		p.up(t)
		p.terminate(t)
		p.armed(t, "list:"+list)
	} else {
		p.armed(t, all[0])
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(soak.N(2, 60))*crashBound)
	t.Cleanup(cancel)
	p.load = &load{t: t, gateway: p.at(gatewayPort), inbox: p.at(inboxPort), rail: p.at(stripePort), secret: secretOf(t, p.dir, "STRIPE_SECRET_KEY"), ctx: ctx, stop: make(chan struct{}), began: time.Now(), rand: soak.Rand(t)}
	p.load.away.Store(true)
	p.load.sick.Store(true)
	if soak.On() {
		for _, releases := range []bool{true, false} {
			if err := p.journey(releases); err != nil {
				t.Fatal(err)
			}
		}
		all = p.passed(t, list)
		p.terminate(t)
		p.armed(t, all[0])
	}
	go p.journeys(t)
	t.Cleanup(func() { cancel(); <-p.done })
	missed := 0
	for n, point := range all {
		died, from := time.Now(), p.load.ok.Load()
		soon(t, "the end at "+point, crashBound, func() bool {
			select {
			case <-p.ended:
				return true
			case <-p.done:
				return true
			default:
				return p.load.ok.Load() > from+2
			}
		})
		if alive(p.cmd.Process.Pid) {
			if p.load.ok.Load() <= from+2 {
				t.Fatalf("the journeys ended before %q", point)
			}
			t.Logf("%s was not passed in three journeys", point)
			missed++
			_ = p.cmd.Process.Kill() // which it may have done to itself by now
		}
		p.exit(t, time.Minute)
		if t.Failed() {
			t.Fatalf("after %q", point)
		}
		if s := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !s.Signaled() || s.Signal() != syscall.SIGKILL {
			t.Fatalf("at %q it ended otherwise: %v", point, p.cmd.ProcessState)
		}
		t.Logf("%d. died at %s after %v", n+1, point, time.Since(died).Round(10*time.Millisecond))
		if n+1 < len(all) {
			p.armed(t, all[n+1])
		} else {
			p.up(t)
		}
	}
	close(p.stop)
	<-p.done
	if missed > len(all)/20 {
		t.Errorf("%d of %d points were not passed", missed, len(all))
	}
	p.load.finish()
	p.intact(t)
	p.terminate(t)
}

// passed is every point that two journeys have passed, and fails the test when a kind is not among them.
func (p *points) passed(t *testing.T, list string) []string {
	t.Helper()
	raw, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Split(strings.TrimSpace(string(raw)), "\n")
	for _, k := range crash.Kinds() {
		for _, when := range []string{".before", ".after"} {
			if !strings.Contains(string(raw), "."+string(k)+when) {
				t.Errorf("no point %s%s is passed in the main job", k, when)
			}
		}
	}
	if len(all) < 30 {
		t.Errorf("the main job passes %d points only:\n%s", len(all), raw)
	}
	t.Logf("the main job passes %d points:\n%s", len(all), raw)
	return all
}

// Every kind of point is explained where people look for it.
func TestPointsAreDocumented(t *testing.T) {
	raw, err := os.ReadFile("../docs/testing.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range crash.Kinds() {
		if !strings.Contains(string(raw), "`"+string(k)+"`") {
			t.Errorf("docs/testing.md does not name the points of kind %s", k)
		}
	}
}
