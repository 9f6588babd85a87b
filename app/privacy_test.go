package app

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// stays fails unless the deletion of the account is refused for exactly these reasons.
func (m *market) stays(what string, who person, reasons ...string) {
	m.t.Helper()
	err := m.call(m.t.Context(), http.MethodDelete, "/api/auth/me", who.token, nil, http.StatusOK, nil)
	if err == nil {
		m.t.Fatalf("%s: deleted", what)
	}
	said := err.Error()
	for _, reason := range append(reasons, "409", "account_in_use") {
		if !strings.Contains(said, reason) {
			m.t.Errorf("%s: %s lacks %s", what, said, reason)
		}
	}
	for _, other := range []string{"bookings", "held", "wallet", "pending", "payments", "debt"} {
		named := strings.Contains(said, `"`+other+`":`)
		if named != slices.Contains(reasons, `"`+other+`"`) {
			m.t.Errorf("%s: %s names %s: %v", what, said, other, named)
		}
	}
	m.must(m.call(m.t.Context(), http.MethodGet, "/api/auth/me", who.token, nil, http.StatusOK, nil))
}

// Nobody is deleted whom a booking, money that is held, earned or on its way, a payment or a debt ties; each is named, and only those.
func TestDeletionNamesEachTie(t *testing.T) {
	m := openMarket(t, "60", "EUR", false)
	m.to(monday.Add(-time.Hour))
	const bookings, held, purse, pending, payments, debt = `"bookings"`, `"held"`, `"wallet"`, `"pending"`, `"payments"`, `"debt"`
	var b struct{ ID uuid.UUID }
	m.post(m.client, "/api/bookings", m.wants(monday, time.Hour), http.StatusCreated, &b)
	booked := b.ID
	m.stays("a client with a booking", m.client, bookings)
	m.stays("a worker with a booking", m.worker, bookings)
	m.post(m.worker, bookingPath(booked)+"/confirm", map[string]any{}, http.StatusOK, nil)
	a := m.ask(booked)
	m.stays("a client who is asked to pay", m.client, bookings, payments)
	m.stays("a worker who is to be paid", m.worker, bookings, payments)
	m.must(m.card(t.Context(), a.ClientSecret, a.PublishableKey, "pm_card_visa", http.StatusOK))
	d := sale{booked, a.Payment.ID, m.held(booked)}
	m.settle(t)
	m.stays("a client who has paid", m.client, bookings, held)
	m.stays("a worker who is paid for", m.worker, bookings, held)
	m.to(monday.Add(26 * time.Hour))
	m.sees(m.client, bookingPath(booked), `"completed"`)
	m.stays("a client after the work", m.client, held)
	m.stays("a worker after the work", m.worker, held)
	m.release(d)
	m.settle(t)
	m.stays("a worker who has earned", m.worker, purse)
	m.post(m.worker, "/api/payments/payout-account", map[string]any{"country": "DE"}, http.StatusCreated, nil)
	c := m.p.machine.stripe.Control()
	c.HoldPayouts = true
	m.must(m.p.machine.stripe.SetControl(c))
	m.withdraw()
	m.stays("a worker who withdraws", m.worker, pending)
	m.settle(t)
	m.sees(m.worker, "/api/payments/payouts", `"in_transit"`)
	m.stays("a worker whose bank has not got it", m.worker, pending)
	for _, p := range sent(m) {
		m.account = p.AccountID
		m.rail(http.MethodPost, "/_control/payouts/"+p.RailID+"/pay", url.Values{}, nil)
	}
	m.account = ""
	m.settle(t)
	m.sees(m.worker, "/api/payments/payouts", `"status":"paid"`)
	m.dispute(d)
	// The rail tells of it in its own time.
	m.purse("taken back", m.worker, "0.00", "0.00", "54.00")
	m.stays("a worker who owes what her client's bank took back", m.worker, debt)
	m.must(m.call(t.Context(), http.MethodDelete, "/api/auth/me", m.client.token, nil, http.StatusOK, nil))
	m.p.intact(t)
}

// What moves money to a bank, hands out everything that is held about somebody or deletes him takes a fresh proof, which a step-up gives.
func TestStepUpOpensWhatItGuards(t *testing.T) {
	m := openMarket(t, "60", "EUR", false)
	var in struct{ AccessToken, RefreshToken string }
	renew := func() {
		t.Helper()
		m.must(m.call(t.Context(), http.MethodPost, "/api/auth/refresh", "", map[string]string{"refreshToken": in.RefreshToken}, http.StatusOK, &in))
	}
	m.must(m.call(t.Context(), http.MethodPost, "/api/auth/login", "", map[string]string{"email": m.worker.email, "password": tourPassword}, http.StatusOK, &in))
	if _, err := m.db("auth").Exec(t.Context(), `UPDATE sessions SET proved_at = proved_at - interval '1 hour' WHERE user_id = $1`, m.worker.id); err != nil {
		t.Fatal(err)
	}
	renew()
	old := in.AccessToken
	guarded := []struct {
		what, method, path string
		body               any
		opened             int // what it is answered with a fresh proof
	}{
		{"payout account", http.MethodPost, "/api/payments/payout-account", map[string]any{"country": "DE"}, http.StatusCreated},
		{"payout", http.MethodPost, "/api/payments/payouts", map[string]any{}, http.StatusConflict},
		{"payout schedule", http.MethodPut, "/api/payments/payout-schedule", map[string]any{"every": "weekly"}, http.StatusOK},
		{"copy", http.MethodGet, "/api/users/me/export", nil, http.StatusOK},
		{"deletion", http.MethodDelete, "/api/auth/me", nil, http.StatusOK},
	}
	for _, g := range guarded {
		err := m.call(t.Context(), g.method, g.path, old, g.body, http.StatusForbidden, nil)
		if err != nil {
			t.Errorf("%s with an old proof: %v", g.what, err)
		}
		if err := m.call(t.Context(), g.method, g.path, old, g.body, g.opened, nil); err == nil || !strings.Contains(err.Error(), "step_up_required") {
			t.Errorf("%s with an old proof says %v", g.what, err)
		}
	}
	m.must(m.call(t.Context(), http.MethodPost, "/api/auth/step-up", old, map[string]string{"password": "not the password"}, http.StatusForbidden, nil))
	var up struct{ AccessToken string }
	m.must(m.call(t.Context(), http.MethodPost, "/api/auth/step-up", old, map[string]string{"password": tourPassword}, http.StatusOK, &up))
	for _, g := range guarded {
		if g.what == "copy" {
			if raw, err := m.authorized(t.Context(), g.path, up.AccessToken); err != nil || !strings.Contains(string(raw), m.worker.email) {
				t.Errorf("the copy after a step-up: %v", err)
			}
			continue
		}
		if err := m.call(t.Context(), g.method, g.path, up.AccessToken, g.body, g.opened, nil); err != nil {
			t.Errorf("%s after a step-up: %v", g.what, err)
		}
	}
}
