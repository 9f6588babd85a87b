package app

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
)

// The clock of a rehearsal in the hands of operators who go back, hurry, kill and repeat.
func TestRehearsalInClumsyHands(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	i.up(t, "--rehearsal", "--frozen", "--at", "2026-03-02T08:00:00Z")
	if !strings.Contains(i.out.String(), "THIS IS A REHEARSAL") {
		t.Errorf("it does not say that it is a rehearsal:\n%s", i.out)
	}
	i.register(t, "ada@example.com")
	if status, header, err := ask("GET", i.at(gatewayPort)+"/readyz", "", nil, nil); err != nil || header.Get(rehearsalHeader) != "2026-03-02T08:00:00Z" {
		t.Errorf("the header: %d %v %v", status, header, err)
	}
	var health struct{ Rehearsal time.Time }
	if _, _, err := ask("GET", i.at(3007)+"/health", "", nil, &health); err != nil || health.Rehearsal.IsZero() {
		t.Errorf("booking's health: %+v %v", health, err)
	}
	says := func(code int, text string, args ...string) {
		t.Helper()
		got, out, errOut := i.run(t, "", args...)
		if got != code || !strings.Contains(out+errOut, text) {
			t.Errorf("%v: code %d instead of %d, without %q:\n%s%s", args, got, code, text, out, errOut)
		}
	}
	says(0, "2026-03-02T08:00:00Z, standing still", "clock")
	says(1, "the clock never goes back: it is 2026-03-02T08:00:00Z", "clock", "set", "2026-03-02T07:59:59Z")
	says(2, `"0s" is no duration`, "clock", "advance", "0s")
	says(2, `"soon" is no duration`, "clock", "advance", "soon")
	says(2, `"tomorrow" is no time`, "clock", "set", "tomorrow")
	says(2, "say how far or to when", "clock", "advance")
	says(0, "2026-03-02T09:00:00Z", "clock", "advance", "1h")

	i.signal(t, syscall.SIGSTOP)
	says(1, "give it longer with --timeout", "clock", "advance", "1h", "--timeout", "300ms")
	waiting := launch(t, i.env, i.attr, "clock", "set", "2026-03-02T12:00:00Z", "--data", i.dir)
	soon(t, "the command to say whom it waits for", time.Minute, func() bool { return strings.Contains(waiting.err.String(), "waiting for ") })
	says(1, "another command moves the clock", "clock", "advance", "1h")
	waiting.kill(t)
	i.signal(t, syscall.SIGCONT)
	soon(t, "the killed command's lock to be free", time.Minute, func() bool {
		code, _, _ := i.run(t, "", "clock", "set", "2026-03-02T12:00:00Z")
		return code == 0
	})
	says(0, "2026-03-02T12:00:00Z, standing still", "clock")
	says(0, "Every invariant holds.", "check")

	i.kill(t)
	says(1, "the rehearsal does not run", "clock", "advance", "1h")
	i.launch(t)
	if code := i.exit(t, time.Minute); code != 1 || !strings.Contains(i.err.String(), "holds a rehearsal; start it with --rehearsal") {
		t.Errorf("a plain start: %d %s", code, i.err)
	}
	i.launch(t, "--rehearsal", "--at", "2027-01-01T00:00:00Z")
	if code := i.exit(t, time.Minute); code != 1 || !strings.Contains(i.err.String(), "this rehearsal has begun, and it is 2026-03-02T12:00:00Z there") {
		t.Errorf("another beginning: %d %s", code, i.err)
	}
	i.up(t, "--rehearsal")
	i.mustLogin(t, "ada@example.com", processPassword)
	says(0, "2026-03-02T12:00:00Z, standing still", "clock")
	i.stop(t, syscall.SIGTERM)
}

// A platform and a rehearsal never share a database or a directory, whoever comes first.
func TestRehearsalsKeepApart(t *testing.T) {
	t.Parallel()
	d, err := openData(folder(t) + "/data")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.secrets(map[string]string{}); err != nil {
		t.Fatal(err)
	}
	if err := d.rehearse(true); err == nil || !strings.Contains(err.Error(), "holds a platform that is no rehearsal") {
		t.Errorf("a rehearsal in a platform's directory: %v", err)
	}
	if err := d.rehearse(false); err != nil {
		t.Error(err)
	}
}

// One step of the clock has a whole chain happen, each at its own time: three bookings of the same moment expire, and one that nobody
// touches completes itself and is paid out of escrow three days later.
func TestOneAdvanceRunsTheWholeChain(t *testing.T) {
	s := oneProcess(t, time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))
	tour, ctx := s.tour(), t.Context()
	for _, step := range []func(context.Context) error{tour.offers, tour.finds, tour.books, tour.confirms, tour.pays} {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}
	var held []uuid.UUID
	for n := range 3 {
		var made struct{ ID uuid.UUID }
		start := time.Date(2026, 3, 9+n, 8, 0, 0, 0, time.UTC)
		body := map[string]any{"workerId": tour.worker.id, "title": "Wait", "startTime": start, "endTime": start.Add(time.Hour)}
		if err := tour.call(ctx, http.MethodPost, "/api/bookings", tour.client.token, body, http.StatusCreated, &made); err != nil {
			t.Fatal(err)
		}
		held = append(held, made.ID)
	}
	booked := s.now()
	s.to(t, tour.end.Add(200*time.Hour))
	for _, id := range held {
		var b struct {
			Status  string
			EndedAt time.Time
		}
		if err := tour.call(ctx, http.MethodGet, bookingPath(id), tour.client.token, nil, http.StatusOK, &b); err != nil || b.Status != "expired" || !b.EndedAt.IsZero() && !b.EndedAt.Equal(booked.Add(24*time.Hour)) {
			t.Errorf("%+v %v", b, err)
		}
	}
	var b struct {
		Status      string
		CompletedAt time.Time
	}
	if err := tour.call(ctx, http.MethodGet, bookingPath(tour.booking), tour.client.token, nil, http.StatusOK, &b); err != nil || b.Status != "completed" || !b.CompletedAt.Equal(tour.end.Add(24*time.Hour)) {
		t.Errorf("%+v %v", b, err)
	}
	csv, err := tour.authorized(ctx, "/api/payments/statement?format=csv", tour.worker.token)
	released := tour.end.Add(96 * time.Hour).Format(time.RFC3339)
	if err != nil || strings.Count(string(csv), ",release,") != 1 || !strings.Contains(string(csv), released+",release,") {
		t.Errorf("not released once, at %s: %v\n%s", released, err, csv)
	}
	stops := strings.Split(strings.TrimSpace(s.passed()), "\n")
	for _, want := range []string{booked.Add(24*time.Hour).Format(time.RFC3339) + "  booking", tour.end.Add(24*time.Hour).Format(time.RFC3339) + "  booking", released + "  escrow"} {
		if !slices.Contains(stops, want) {
			t.Errorf("%q is not among the stops", want)
		}
	}
	if !slices.IsSortedFunc(stops, func(a, b string) int { return strings.Compare(strings.Fields(a)[0], strings.Fields(b)[0]) }) {
		t.Errorf("not in the order of time:\n%s", s.passed())
	}
	s.intact(t)
}
