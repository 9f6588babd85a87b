package auth_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/bus"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
)

// hear gives the service events of others over a real bus, and waits until it has handled them.
func (w *world) hear(events ...event.UserUpdated) {
	w.t.Helper()
	log, address := slog.New(slog.DiscardHandler), pgtest.Database(w.t, bus.Migration)
	session, err := postgres.NewSession(address, log)
	if err != nil {
		w.t.Fatal(err)
	}
	defer session.Close()
	b, err := bus.NewPostgres(w.t.Context(), bus.Options{DB: pgtest.Open(w.t, address, bus.Schema), Session: session, Log: log})
	if err != nil {
		w.t.Fatal(err)
	}
	defer b.Close()
	in := outbox.NewInbox(w.db, "auth", log)
	w.auth.Subscribe(in)
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	var listening sync.WaitGroup
	defer listening.Wait()
	defer cancel()
	listening.Go(func() { _ = in.Run(ctx, b) })
	var batch []bus.Envelope
	for _, e := range events {
		data, err := json.Marshal(e)
		if err != nil {
			w.t.Fatal(err)
		}
		batch = append(batch, bus.Envelope{ID: uuid.Must(uuid.NewV7()), Type: e.Type(), Version: 1, OccurredAt: time.Now().UTC(), Producer: "user", Subject: e.UserID, Data: data})
	}
	if err := b.Publish(ctx, batch); err != nil {
		w.t.Fatal(err)
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		lag, err := b.Lag(ctx, "auth")
		// What failed once has no lag, and waits for another try.
		if err == nil && lag == 0 && w.count(`SELECT count(*) FROM parked`) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("events are not heard: lag %d, %v", lag, err)
		case <-tick.C:
		}
	}
}

func TestNameFollowsTheProfile(t *testing.T) {
	w := start(t)
	ada, bob := w.register("ada@example.com"), w.register("bob@example.com")
	told := func(name string, version int64) event.UserUpdated {
		return event.UserUpdated{UserID: ada.User.ID, Name: name, Version: version}
	}
	w.hear(told("Ada King", 3), told("Ada", 2), event.UserUpdated{UserID: uuid.Must(uuid.NewV7()), Name: "Nobody", Version: 1})
	me := func(as session, name string) {
		t.Helper()
		w.Call(apitest.Call{What: "me", As: as.AccessToken, Path: "/api/auth/me", Status: 200, Has: `"name":"` + name + `"`})
	}
	me(ada, "Ada King")
	me(bob, "Ada Lovelace")
	w.service("the account, as others see it", "GET", "/api/auth/users/"+ada.User.ID.String(), nil, 200)
	w.hear(told("Countess of Lovelace", 4))
	me(ada, "Countess of Lovelace")
	if n := w.count(`SELECT count(*) FROM dead_letters`); n != 0 {
		t.Errorf("%d events are dead", n)
	}
}
