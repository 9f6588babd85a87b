package crash_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"tulifo/platform/crash"
)

// TestMain goes by points instead, as a process of its own, when the environment says so.
func TestMain(m *testing.M) {
	if spec := os.Getenv("PASS_POINTS"); spec != "" {
		if err := crash.Arm(spec, false); err != nil {
			os.Exit(3)
		}
		ctx := crash.Because(context.Background(), "POST /api/bookings")
		for range 3 {
			crash.Before(ctx, "tulifo_booking", crash.Commit, "")
			os.Stdout.WriteString("x")
			crash.After(ctx, "tulifo_booking", crash.Commit, "")
		}
		crash.Before(ctx, "payment", crash.Call, "transfers")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestAProcessDiesAtTheNamedPassage(t *testing.T) {
	list := filepath.Join(t.TempDir(), "points")
	for _, c := range []struct {
		spec, out string
		dies      bool
	}{
		{"booking.commit.before(POST /api/bookings)", "", true},
		{"booking.commit.after(POST /api/bookings)", "x", true},
		{"booking.commit.after(POST /api/bookings):3", "xxx", true},
		{"booking.commit.after(POST /api/bookings):4", "xxx", false},
		{"payment.call.before(transfers)", "xxx", true},
		{"booking.commit.after", "xxx", false},
		{"list:" + list, "xxx", false},
	} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "PASS_POINTS="+c.spec)
		out, _ := cmd.Output()
		s := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if string(out) != c.out || (s.Signaled() && s.Signal() == syscall.SIGKILL) != c.dies {
			t.Errorf("%s: %q, %v", c.spec, out, cmd.ProcessState)
		}
	}
	raw, err := os.ReadFile(list)
	want := "booking.commit.before(POST /api/bookings)\nbooking.commit.after(POST /api/bookings)\npayment.call.before(transfers)\n"
	if err != nil || string(raw) != want {
		t.Errorf("the list: %v\n%s", err, raw)
	}
}

func TestProductionIsNeverArmed(t *testing.T) {
	if crash.Arm("booking.commit.after", true) == nil {
		t.Error("a process of production is armed")
	}
	if err := crash.Arm("", true); err != nil {
		t.Error(err)
	}
}

func TestAPointThatIsNotArmedBuildsNothing(t *testing.T) {
	ctx, cause := context.Background(), os.Args[0]
	if n := testing.AllocsPerRun(100, func() {
		because := crash.Because(ctx, cause)
		crash.Before(because, "booking", crash.Commit, "")
		crash.After(because, "booking", crash.Commit, cause)
	}); n != 0 {
		t.Errorf("it allocates %v times", n)
	}
}

func BenchmarkAPointThatIsNotArmed(b *testing.B) {
	ctx := context.Background()
	for b.Loop() {
		crash.Before(ctx, "booking", crash.Commit, "")
	}
}
