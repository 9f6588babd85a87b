package app

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/clock"
	"tulifo/platform/money"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// market is a platform with a worker whose calendar is open day and night, a client and an admin, all under a virtual clock.
type market struct {
	*tour
	p     *platform // nil when it is of many processes, and so is v
	t     *testing.T
	v     *clock.Virtual
	dir   string // of the data, with the secrets
	admin person

	settle func(*testing.T)

	account string // at the rail; empty: the platform's own
}

// openMarket opens one on Monday, 2 March 2026, 8:00 UTC, at which the worker takes rate in currency for an hour.
func openMarket(t *testing.T, rate, currency string, instant bool) *market {
	t.Helper()
	v := clock.NewVirtual(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))
	p := startPlatform(t, v)
	m := &market{tour: p.tour(v), p: p, t: t, v: v, dir: p.machine.data.dir, settle: p.settle}
	m.stock(rate, currency, instant)
	return m
}

// stock brings the people and the worker's offer.
func (m *market) stock(rate, currency string, instant bool) {
	m.t.Helper()
	m.worker, m.client = m.person("Wanda", "worker"), m.person("Carl", "client")
	m.admin = m.anAdmin()
	m.must(m.until("/api/workers/me", m.worker, `"id"`))
	m.offer(m.worker, rate, currency, instant)
	m.open(m.worker)
	m.settle(m.t)
}

func (m *market) anAdmin() person {
	m.t.Helper()
	keys, err := token.NewKeys(token.Config{Secret: secretOf(m.t, m.dir, "JWT_SECRET"), ServiceSecret: secretOf(m.t, m.dir, "SERVICE_SECRET")})
	m.must(err)
	a := person{id: uuid.New()}
	a.token, _, err = keys.Issue(a.id, "admin", uuid.New())
	m.must(err)
	return a
}

func (m *market) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *market) person(name, role string) person {
	m.t.Helper()
	p, err := m.register(m.t.Context(), name, role)
	m.must(err)
	return p
}

func (m *market) offer(worker person, rate, currency string, instant bool) {
	m.t.Helper()
	m.put(worker, "/api/workers/me", map[string]any{"title": "Engineer", "hourlyRate": json.Number(rate), "currency": currency, "instantBooking": instant,
		"skills": []map[string]any{{"name": "Go", "proficiency": 5}}, "categories": []string{"engineering"}}, http.StatusOK, nil)
}

// open opens a worker's calendar day and night.
func (m *market) open(worker person) {
	m.t.Helper()
	weekly := []map[string]any{}
	for day := range 7 {
		weekly = append(weekly, map[string]any{"dayOfWeek": day, "startTime": "00:00", "endTime": "24:00"})
	}
	m.put(worker, "/api/availability/worker/me", map[string]any{"timezone": "UTC", "weekly": weekly, "minNotice": 0, "horizonDays": 365, "slotStep": 5}, http.StatusOK, nil)
}

func (m *market) put(by person, path string, body any, want int, out any) {
	m.t.Helper()
	m.must(m.call(m.t.Context(), http.MethodPut, path, by.token, body, want, out))
}

func (m *market) post(by person, path string, body any, want int, out any) {
	m.t.Helper()
	m.must(m.call(m.t.Context(), http.MethodPost, path, by.token, body, want, out))
}

func (m *market) get(by person, path string, out any) {
	m.t.Helper()
	m.must(m.call(m.t.Context(), http.MethodGet, path, by.token, nil, http.StatusOK, out))
}

// keyed is a POST under an Idempotency-Key of the caller's; it answers the status and the body.
func (m *market) keyed(by person, path, key, body string) (int, string) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), http.MethodPost, m.gateway+path, strings.NewReader(body))
	m.must(err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+by.token)
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := m.http.Do(req)
	m.must(err)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	m.must(err)
	return res.StatusCode, string(raw)
}

// until waits until the answer at path has all of the texts; spaces do not count.
func (m *market) until(path string, by person, has ...string) error {
	_, err := until(m.t.Context(), m.tour, path, by.token, func(raw json.RawMessage) bool {
		for _, text := range has {
			if !strings.Contains(string(raw), text) {
				return false
			}
		}
		return true
	})
	if err != nil {
		var raw json.RawMessage
		err = errors.Join(err, m.call(m.t.Context(), http.MethodGet, path, by.token, nil, http.StatusOK, &raw), fmt.Errorf("%s is %s and should have %q", path, raw, has))
	}
	return err
}

func (m *market) sees(by person, path string, has ...string) {
	m.t.Helper()
	m.must(m.until(path, by, has...))
}

// to moves the clock and lets everything that follows from it happen.
func (m *market) to(at time.Time) {
	m.t.Helper()
	m.v.Set(at)
	m.settle(m.t)
}

func bookingPath(id uuid.UUID) string { return "/api/bookings/" + id.String() }

func (m *market) wants(start time.Time, length time.Duration) map[string]any {
	return map[string]any{"workerId": m.worker.id, "title": "Calm the cluster", "startTime": start, "endTime": start.Add(length)}
}

// confirmed is a booking that the worker has confirmed.
func (m *market) confirmed(start time.Time, length time.Duration) uuid.UUID {
	m.t.Helper()
	id, err := m.agree(start, length)
	m.must(err)
	return id
}

// agree is confirmed, for goroutines.
func (m *market) agree(start time.Time, length time.Duration) (uuid.UUID, error) {
	var b struct {
		ID     uuid.UUID
		Status string
	}
	err := m.call(m.t.Context(), http.MethodPost, "/api/bookings", m.client.token, m.wants(start, length), http.StatusCreated, &b)
	if err == nil && b.Status == "pending" {
		err = m.call(m.t.Context(), http.MethodPost, bookingPath(b.ID)+"/confirm", m.worker.token, map[string]any{}, http.StatusOK, nil)
	}
	return b.ID, err
}

// asked is a payment that is asked for.
type asked struct {
	Payment                      struct{ ID uuid.UUID }
	ClientSecret, PublishableKey string
}

func (m *market) ask(booking uuid.UUID) (a asked) {
	m.t.Helper()
	m.post(m.client, "/api/payments", map[string]any{"bookingId": booking}, http.StatusCreated, &a)
	return a
}

// sale is a paid booking.
type sale struct{ booking, payment, escrow uuid.UUID }

// paid is a booking that is paid with the card, and held.
func (m *market) paid(start time.Time, length time.Duration, card string) sale {
	m.t.Helper()
	d, err := m.sell(start, length, card)
	m.must(err)
	return d
}

// sell is paid, for goroutines.
func (m *market) sell(start time.Time, length time.Duration, card string) (d sale, err error) {
	if d.booking, err = m.agree(start, length); err != nil {
		return d, err
	}
	var a asked
	if err = m.call(m.t.Context(), http.MethodPost, "/api/payments", m.client.token, map[string]any{"bookingId": d.booking}, http.StatusCreated, &a); err != nil {
		return d, err
	}
	d.payment = a.Payment.ID
	if err = m.card(m.t.Context(), a.ClientSecret, a.PublishableKey, card, http.StatusOK); err == nil {
		d.escrow, err = m.holding(d.booking)
	}
	return d, err
}

// held is the escrow account of a booking.
func (m *market) held(booking uuid.UUID) uuid.UUID {
	m.t.Helper()
	id, err := m.holding(booking)
	m.must(err)
	return id
}

// holding is held, for goroutines.
func (m *market) holding(booking uuid.UUID) (uuid.UUID, error) {
	got, err := until(m.t.Context(), m.tour, "/api/v1/escrow?bookingId="+booking.String(), m.client.token, func(list []struct{ ID uuid.UUID }) bool { return len(list) == 1 })
	if err != nil {
		return uuid.Nil, err
	}
	return got[0].ID, nil
}

// ended waits until all of the money has gone: gross to the worker, the rest to the client, and it has reached him.
func (m *market) ended(what string, d sale, toWorker, toClient string) {
	m.t.Helper()
	if err := m.until("/api/v1/escrow/"+d.escrow.String(), m.client, `"releasedAmount":`+toWorker+`,`, `"refundedAmount":`+toClient+`,`, `"remainingAmount":0`); err != nil {
		m.t.Errorf("%s: %v", what, err)
	}
	if err := m.until("/api/payments/"+d.payment.String(), m.admin, `"released":`+toWorker+`,`, `"refunded":`+toClient+`,`); err != nil {
		m.t.Errorf("%s: %v", what, err)
	}
}

// purse waits until somebody has so much in the wallet.
func (m *market) purse(what string, by person, available, held, owed money.Decimal) {
	m.t.Helper()
	var last wallet
	_, err := until(m.t.Context(), m.tour, "/api/payments/wallet", by.token, func(w wallet) bool {
		last = w
		return w.Available == available && w.Held == held && w.Owed == owed
	})
	if err != nil {
		m.t.Errorf("%s: the wallet is %+v instead of available %s, held %s, owed %s", what, last, available, held, owed)
	}
}

// rail asks the simulator's own API with the platform's key.
func (m *market) rail(method, path string, form url.Values, out any) {
	m.t.Helper()
	req, err := http.NewRequestWithContext(m.t.Context(), method, m.stripe+path, strings.NewReader(form.Encode()))
	m.must(err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer "+secretOf(m.t, m.dir, "STRIPE_SECRET_KEY"))
	if m.account != "" {
		req.Header.Set("Stripe-Account", m.account)
	}
	res, err := m.http.Do(req)
	m.must(err)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	m.must(err)
	if res.StatusCode/100 != 2 {
		m.t.Fatalf("the rail answered %s %s with %d: %s", method, path, res.StatusCode, raw)
	}
	if out != nil {
		m.must(json.Unmarshal(raw, out))
	}
}

// db is the database of a service.
func (m *market) db(service string) *postgres.DB {
	for _, r := range m.p.machine.node.rooms {
		if r.name == service {
			return r.db
		}
	}
	m.t.Fatalf("there is no service %s", service)
	return nil
}

// balanced reads the statement as a spreadsheet does: the lines sum to the closing balance, which is the wallet less what is owed.
func (m *market) balanced(by person) {
	m.t.Helper()
	raw, err := m.authorized(m.t.Context(), "/api/payments/statement?format=csv&from=2026-03-01&to=2026-12-31", by.token)
	m.must(err)
	rows, err := csv.NewReader(bytes.NewReader(raw)).ReadAll()
	m.must(err)
	sum, closing := map[string]int64{}, map[string]int64{}
	for _, row := range rows[1:] {
		for _, cell := range row {
			if cell != "" && strings.ContainsAny(cell[:1], "=+@\t\r|%") || strings.HasPrefix(cell, "-") && strings.ContainsAny(cell, "(!") {
				m.t.Errorf("a cell of the statement is a formula: %q", cell)
			}
		}
		currency := row[7]
		if row[5] != "" {
			a, err := money.Decimal(row[5]).In(currency)
			m.must(err)
			sum[currency] += a.Minor
		}
		if row[1] == "closing" || row[1] == "opening" {
			a, err := money.Decimal(row[6]).In(currency)
			m.must(err)
			if row[1] == "closing" {
				closing[currency] = a.Minor
			} else if a.Minor != 0 {
				m.t.Errorf("the statement opens with %s", a)
			}
		}
	}
	var w struct {
		wallet
		Others []wallet
	}
	m.get(by, "/api/payments/wallet", &w)
	for _, one := range append(w.Others, w.wallet) {
		available, err := one.Available.In(one.Currency)
		m.must(err)
		owed, err := one.Owed.In(one.Currency)
		m.must(err)
		if sum[one.Currency] != closing[one.Currency] || closing[one.Currency] != available.Minor-owed.Minor {
			m.t.Errorf("in %s the lines sum to %d, the statement closes with %d, the wallet has %s and %s is owed:\n%s", one.Currency, sum[one.Currency], closing[one.Currency], available, owed, raw)
		}
	}
}

var monday = time.Date(2026, 3, 9, 8, 0, 0, 0, time.UTC)

// TestCancelToTheCent cancels at every step of the policy, for a price that no share divides evenly.
func TestCancelToTheCent(t *testing.T) {
	m := openMarket(t, "33.37", "USD", false)
	cancel := func(by person, d sale) {
		t.Helper()
		m.post(by, bookingPath(d.booking)+"/cancel", map[string]any{"reason": "changed my mind"}, http.StatusOK, nil)
	}
	const length = 85 * time.Minute // 47.27 USD
	hour := func(n int) time.Time { return monday.Add(time.Duration(n) * time.Hour) }
	early, edge := m.paid(hour(30), length, "pm_card_visa"), m.paid(hour(24), length, "pm_card_visa")
	m.to(monday)
	late := m.paid(hour(2), length, "pm_card_visa")
	cancel(m.client, early)
	m.ended("at 30 h", early, "0.00", "47.27")
	cancel(m.client, edge)
	m.ended("at 24 h sharp", edge, "0.00", "47.27")
	cancel(m.client, late)
	m.ended("at 2 h", late, "23.64", "23.63")
	m.purse("50 %", m.worker, "21.28", "0.00", "0.00") // less 2.36

	byWorker, byAdmin := m.paid(hour(1), length, "pm_card_visa"), m.paid(hour(4), length, "pm_card_visa")
	cancel(m.worker, byWorker)
	m.ended("by the worker", byWorker, "0.00", "47.27")
	cancel(m.admin, byAdmin)
	m.ended("by an admin", byAdmin, "0.00", "47.27")

	running, parts := m.paid(hour(6), length, "pm_card_visa"), m.paid(hour(8), length, "pm_card_visa")
	m.to(hour(6))
	cancel(m.client, running)
	m.ended("after the start", running, "47.27", "0.00")
	m.purse("100 %", m.worker, "63.82", "42.54", "0.00") // 42.54 more
	m.to(hour(8))
	for _, part := range []string{"0.01", "10.05", "0.04"} {
		m.post(m.client, "/api/v1/escrow/"+parts.escrow.String()+"/release", map[string]any{"amount": json.Number(part)}, http.StatusOK, nil)
	}
	cancel(m.worker, parts)
	m.ended("parts, then by the worker", parts, "10.10", "37.17")
	m.purse("parts", m.worker, "72.91", "0.00", "0.00") // 9.09 more
	m.balanced(m.worker)
	m.p.intact(t)
}
