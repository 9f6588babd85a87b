package app

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tulifo/platform/postgres"
)

// A service that starts before its database waits for it, and says so; when it comes up, the service does too.
func TestServiceStartsBeforeItsDatabase(t *testing.T) {
	t.Parallel()
	o := postgres.Options{Dir: filepath.Join(folder(t), "data"), Unsafe: true}
	server, err := postgres.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	address := server.URL(embeddedDatabase)
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	long, base := strings.Repeat("s", 32), portBase(t)
	env := bare(t, "DATABASE_URL="+address, "HOST="+loopback, "PUBLIC_URL=http://localhost:8000", "JWT_SECRET="+long, "SERVICE_SECRET="+long, "JWT_REFRESH_SECRET="+long, "LINK_SECRET="+long)
	serve := func(wait string) *process {
		return launch(t, append(env, "DATABASE_WAIT="+wait), nil, "serve", "review", "--port-base", strconv.Itoa(base))
	}

	never, began := serve("300ms"), time.Now()
	if code := never.exit(t, time.Minute); code != 1 {
		t.Errorf("a database that never comes: code %d", code)
	}
	if said := never.err.String(); !strings.Contains(said, "tulifo: the database does not answer; check DATABASE_URL and that it runs") {
		t.Errorf("said %s", said)
	}
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("it gave up after %v", took)
	}

	patient := serve("1m")
	soon(t, "a word about the wait", time.Minute, func() bool { return strings.Contains(patient.err.String(), "waiting for the database") })
	if server, err = postgres.Start(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		patient.terminate(t)
		// The test's own context has ended by now.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	awaitReady(t, portOf("review")+base)
}
