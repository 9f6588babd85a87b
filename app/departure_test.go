package app

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/clock"
	"tulifo/platform/pause"
	"tulifo/platform/postgres"
)

// After the whole journey both get a copy of what is held about them, and the worker leaves: her account is gone, the client's books are as they were.
func TestExportAndDeletionAfterJ1(t *testing.T) {
	v := clock.NewVirtual(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))
	p := startPlatform(t, v)
	m := &market{tour: p.tour(v), p: p, t: t, v: v, dir: p.machine.data.dir, settle: p.settle}
	m.must(m.walk(t.Context()))
	m.settle(t)
	for _, c := range []struct {
		what     string
		me, them person
		has      []string
	}{
		{"the worker's copy", m.worker, m.client, []string{`"ledger"`, `"weeklyRules"`, `"payouts"`, `"Paid at once."`, `"Calm as promised."`, `"device"`, `"bookingId"`, `"amountMinor"`, `"notifications"`, `"user.created"`}},
		{"the client's copy", m.client, m.worker, []string{`"payments"`, `"heldMinor"`, `"Calm as promised."`}},
	} {
		raw, err := m.authorized(t.Context(), "/api/users/me/export", c.me.token)
		m.must(err)
		copy := string(raw)
		for _, want := range append(c.has, c.me.email, c.me.id.String(), m.booking.String(), noteOf(c.me)) {
			if !strings.Contains(copy, want) {
				t.Errorf("%s lacks %s", c.what, want)
			}
		}
		for _, not := range []string{c.them.email, noteOf(c.them), "password_hash", "token_hash", "$2a$"} {
			if strings.Contains(copy, not) {
				t.Errorf("%s has %s", c.what, not)
			}
		}
	}
	m.must(m.call(t.Context(), http.MethodGet, "/api/users/"+m.client.id.String()+"/export", m.worker.token, nil, 404, nil))
	m.must(m.call(t.Context(), http.MethodGet, "/api/users/me/export", "", nil, 401, nil))
	m.must(m.call(t.Context(), http.MethodGet, "/api/bookings/people/"+m.client.id.String()+"/export", m.worker.token, nil, 403, nil))

	before, err := m.authorized(t.Context(), "/api/payments/statement?format=csv", m.client.token)
	m.must(err)
	m.must(m.call(t.Context(), http.MethodDelete, "/api/auth/me", m.worker.token, map[string]string{"password": "not it"}, 403, nil))
	var gone struct{ Status string }
	m.must(m.call(t.Context(), http.MethodDelete, "/api/auth/me", m.worker.token, map[string]string{"password": tourPassword}, 200, &gone))
	if gone.Status != "deleted" {
		t.Fatalf("the account is %s", gone.Status)
	}
	m.must(m.call(t.Context(), http.MethodDelete, "/api/auth/me", m.worker.token, nil, 401, nil))
	m.must(m.call(t.Context(), http.MethodGet, "/api/bookings", m.worker.token, nil, 401, nil))
	m.must(m.call(t.Context(), http.MethodPost, "/api/auth/login", "", map[string]string{"email": m.worker.email, "password": tourPassword}, 401, nil))
	m.settle(t)
	if after, err := m.authorized(t.Context(), "/api/payments/statement?format=csv", m.client.token); err != nil || string(after) != string(before) {
		t.Errorf("the client's statement was\n%s\nand is\n%s %v", before, after, err)
	}
	m.sees(m.client, "/api/v1/reviews/user/"+m.client.id.String(), `Paid at once.`)
	m.sees(m.client, "/api/bookings", m.booking.String(), `"completed"`)
	if raw, err := m.authorized(t.Context(), "/api/workers?limit=100", m.client.token); err != nil || strings.Contains(string(raw), m.worker.id.String()) {
		t.Errorf("she is still found: %s %v", raw, err)
	}
	m.mailed(m.worker, "Your account is gone")
	leftovers(t, m, m.worker)
	again := m.postRegister(m.worker.email)
	if again == m.worker.id || again == uuid.Nil {
		t.Errorf("the address registered anew as %s", again)
	}
	p.intact(t)
}

// mailed waits until one of the mails to the person has the text.
func (m *market) mailed(to person, text string) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), m.bound)
	defer cancel()
	for {
		raw, err := m.fetch(ctx, m.inbox+"/api/messages?limit=200&to="+url.QueryEscape(to.email))
		m.must(err)
		var list struct{ Messages []struct{ ID string } }
		m.must(json.Unmarshal(raw, &list))
		for _, message := range list.Messages {
			said, err := m.fetch(ctx, m.inbox+"/api/messages/"+message.ID+"/text")
			m.must(err)
			if strings.Contains(string(said), text) {
				return
			}
		}
		if pause.For(ctx, lookEvery) != nil {
			m.t.Fatalf("none of %d mails to %s says %q", len(list.Messages), to.email, text)
		}
	}
}

func (m *market) postRegister(email string) uuid.UUID {
	m.t.Helper()
	var made struct{ User struct{ ID uuid.UUID } }
	m.must(m.call(m.t.Context(), http.MethodPost, "/api/auth/register", "", map[string]string{"email": email, "password": tourPassword, "name": "Somebody", "role": "client"}, 201, &made))
	return made.User.ID
}

// leftovers looks for the person's address in every table that keeps people, once the goodbye is sent.
func leftovers(t *testing.T, m *market, who person) {
	t.Helper()
	for service, sql := range map[string]string{
		"auth":    `SELECT count(*) FROM users WHERE email = $1 OR id = $2 AND (name <> 'Deleted user' OR password_hash <> '' OR status <> 'deleted')`,
		"user":    `SELECT count(*) FROM user_profiles WHERE email = $1 OR user_id = $2 AND (name <> 'Deleted user' OR status <> 'deleted')`,
		"payment": `SELECT (SELECT count(*) FROM people WHERE email = $1 OR user_id = $2) + (SELECT count(*) FROM payout_accounts WHERE email = $1)`,
		"booking": `SELECT count(*) FROM weekly_rules WHERE worker_id = $2 AND $1 <> ''`,
	} {
		if n, err := postgres.One[int64](t.Context(), m.db(service), sql, who.email, who.id); err != nil || n != 0 {
			t.Errorf("%s keeps %d of her, %v", service, n, err)
		}
	}
}

// A booking and the departure of either side at the same moment: it is booked and who would leave stays, or he is gone and it is not.
func TestDeletionRacingABooking(t *testing.T) {
	openMarket(t, "60", "EUR", false).departing("/api/bookings", nil, 1)
}

// A series and the departure of either side at the same moment: all of it is booked and who would leave stays, or none of it is.
func TestDeletionRacingASeries(t *testing.T) {
	openMarket(t, "60", "EUR", false).departing("/api/bookings/series", map[string]any{"weeks": 5, "mode": "fit"}, 5)
}

// departing has clients book workers at the moment at which one of the two leaves. What is asked for makes so many bookings, or none.
func (m *market) departing(path string, asked map[string]any, bookings int64) {
	m.t.Helper()
	ctx := m.t.Context()
	for round := range 4 {
		worker, client := m.person("Rita", "worker"), m.person("Ron", "client")
		m.must(m.until("/api/workers/me", worker, `"id"`))
		m.offer(worker, "60", "EUR", false)
		m.open(worker)
		m.settle(m.t)
		leaver := worker
		if round%2 == 1 {
			leaver = client
		}
		start := m.now().Add(72 * time.Hour).Truncate(time.Hour)
		body := map[string]any{"workerId": worker.id, "title": "At the same time", "startTime": start, "endTime": start.Add(time.Hour)}
		maps.Copy(body, asked)
		var booked, left error
		var both sync.WaitGroup
		both.Go(func() { booked = m.call(ctx, http.MethodPost, path, client.token, body, http.StatusCreated, nil) })
		both.Go(func() { left = m.call(ctx, http.MethodDelete, "/api/auth/me", leaver.token, nil, http.StatusOK, nil) })
		both.Wait()
		if booked != nil && strings.Contains(booked.Error(), " 500 ") {
			m.t.Errorf("round %d: %v", round, booked)
		}
		m.settle(m.t)
		live, err := postgres.One[int64](ctx, m.db("booking"), `SELECT count(*) FROM bookings WHERE $1 IN (worker_id, client_id) AND status IN ('pending', 'confirmed')`, leaver.id)
		m.must(err)
		status, err := postgres.One[string](ctx, m.db("auth"), `SELECT status FROM users WHERE id = $1`, leaver.id)
		m.must(err)
		want := map[string]int64{"active": bookings, "deleted": 0}[status]
		if live != want || (booked == nil) != (live == bookings) || (left == nil) != (status == "deleted") {
			m.t.Errorf("round %d: booked %v, left %v, %d live bookings, the account is %s", round, booked, left, live, status)
		}
	}
	m.p.intact(m.t)
}
