package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
)

// TestRefundKeys has two admins use one key, and one admin repeat a refund that has long been carried out.
func TestRefundKeys(t *testing.T) {
	m := openMarket(t, "80", "USD", true)
	m.to(monday)
	one, two := m.paid(monday.Add(time.Hour), time.Hour, "pm_card_visa"), m.paid(monday.Add(3*time.Hour), time.Hour, "pm_card_visa")
	path := func(d sale) string { return "/api/payments/" + d.payment.String() + "/refund" }
	other := m.anAdmin()
	for _, by := range []person{m.admin, other} {
		if status, body := m.keyed(by, path(one), "k", `{"amount":10,"reason":"late"}`); status != http.StatusOK {
			t.Errorf("%d %s", status, body)
		}
	}
	m.sees(m.admin, "/api/payments/"+one.payment.String(), `"refunded":20.00`)
	status, first := m.keyed(m.admin, path(two), "all", `{"amount":80,"reason":"late"}`)
	if status != http.StatusOK {
		t.Errorf("%d %s", status, first)
	}
	m.ended("all", two, "0.00", "80.00")
	if status, again := m.keyed(m.admin, path(two), "all", `{"amount":80,"reason":"late"}`); status != http.StatusOK || again != first {
		t.Errorf("repeated: %d %s, first %s", status, again, first)
	}
	if status, body := m.keyed(m.admin, path(two), "more", `{"amount":1,"reason":"late"}`); status != http.StatusConflict {
		t.Errorf("nothing is left: %d %s", status, body)
	}

	// An admin is quicker than the word of the payment.
	id := m.confirmed(monday.Add(6*time.Hour), time.Hour)
	a := m.ask(id)
	m.must(m.card(t.Context(), a.ClientSecret, a.PublishableKey, "pm_card_visa", http.StatusOK))
	m.sees(m.admin, "/api/payments/"+a.Payment.ID.String(), `"status":"completed"`)
	m.post(m.admin, path(sale{payment: a.Payment.ID}), map[string]any{"reason": "at once"}, http.StatusOK, nil)
	m.ended("at once", sale{id, a.Payment.ID, m.held(id)}, "0.00", "80.00")
	m.p.intact(t)
}

// TestFirstTouches goes from service to service without a pause: what one has said, the next may not deny.
func TestFirstTouches(t *testing.T) {
	m := openMarket(t, "80", "USD", true)
	ctx := t.Context()
	for round := range 6 {
		name := fmt.Sprintf("New%d", round)
		var made struct {
			User        struct{ ID uuid.UUID }
			AccessToken string
		}
		m.post(person{}, "/api/auth/register", map[string]string{"email": strings.ToLower(name) + "@touch.example", "password": tourPassword, "name": name, "role": "worker"}, http.StatusCreated, &made)
		worker := person{id: made.User.ID, token: made.AccessToken, email: strings.ToLower(name) + "@touch.example"}
		m.put(worker, "/api/users/me", map[string]any{"bio": "at once"}, http.StatusOK, nil)
		m.open(worker)
		link, err := m.mailedLink(ctx, worker.email)
		m.must(err)
		m.post(person{}, link.Path, map[string]any{}, http.StatusOK, nil)
		m.offer(worker, "60", "USD", true)
		start := m.v.Now().Add(time.Hour).Truncate(time.Hour)
		book := func(rate string) uuid.UUID {
			t.Helper()
			var b struct{ ID uuid.UUID }
			want := map[string]any{"workerId": worker.id, "title": "Now", "startTime": start, "endTime": start.Add(time.Hour), "hourlyRate": json.Number(rate)}
			m.post(m.client, "/api/bookings", want, http.StatusCreated, &b)
			return b.ID
		}
		first := book("60")
		m.post(m.client, bookingPath(first)+"/cancel", map[string]any{"reason": "dearer"}, http.StatusOK, nil)
		m.offer(worker, "90", "USD", true)
		id := book("90")
		a := m.ask(id)
		m.must(m.card(ctx, a.ClientSecret, a.PublishableKey, "pm_card_visa", http.StatusOK))
		m.sees(m.client, "/api/payments/"+a.Payment.ID.String(), `"status":"completed"`)
		var held struct{ ID uuid.UUID }
		m.post(m.client, "/api/v1/escrow", map[string]any{"paymentId": a.Payment.ID}, http.StatusCreated, &held)
		m.v.Set(start)
		m.post(worker, bookingPath(id)+"/start", map[string]any{}, http.StatusOK, nil)
		m.post(m.client, bookingPath(id)+"/complete", map[string]any{}, http.StatusOK, nil)
		m.post(m.client, "/api/v1/reviews", map[string]any{"bookingId": id, "rating": 5}, http.StatusCreated, nil)
		m.post(m.client, "/api/v1/escrow/"+held.ID.String()+"/release", map[string]any{}, http.StatusOK, nil)
		m.post(worker, "/api/v1/reviews", map[string]any{"bookingId": id, "rating": 4}, http.StatusCreated, nil)
		m.sees(worker, "/api/clients/"+m.client.id.String(), `"id"`)
		m.v.Advance(time.Hour)
	}
	m.p.intact(t)
}

// TestPayoutRefusals withdraws without a proven address, without an account, through a refused one, and to a bank that sends it back.
func TestPayoutRefusals(t *testing.T) {
	m := openMarket(t, "80", "USD", true)
	m.to(monday)
	d := m.paid(monday.Add(time.Hour), time.Hour, "pm_card_visa")
	m.to(monday.Add(2 * time.Hour))
	m.release(d)
	m.purse("earned", m.worker, "72.00", "0.00", "0.00")
	payouts := "/api/payments/payouts"
	refused := func(by person, path, body, code string, want int) {
		t.Helper()
		if status, said := m.keyed(by, path, "", body); status != want || !strings.Contains(said, code) {
			t.Errorf("%s answers %d %s instead of %d %s", path, status, said, want, code)
		}
	}
	refused(m.worker, payouts, `{}`, "payout_account_missing", http.StatusConflict)
	var made struct {
		User        struct{ ID uuid.UUID }
		AccessToken string
	}
	m.post(person{}, "/api/auth/register", map[string]string{"email": "unproven@touch.example", "password": tourPassword, "name": "Una", "role": "worker"}, http.StatusCreated, &made)
	una := person{id: made.User.ID, token: made.AccessToken}
	refused(una, "/api/payments/payout-account", `{"country":"DE"}`, "email_unverified", http.StatusForbidden)
	refused(una, payouts, `{}`, "email_unverified", http.StatusForbidden)

	m.post(m.worker, "/api/payments/payout-account", map[string]any{"country": "DE"}, http.StatusCreated, nil)
	account, err := postgres.One[string](t.Context(), m.db("payment"), `SELECT account_id FROM payout_accounts WHERE user_id = $1`, m.worker.id)
	m.must(err)
	verification := func(v string) {
		t.Helper()
		m.rail(http.MethodPost, "/_control/accounts/"+account, url.Values{"verification": {v}}, nil)
		m.must(m.p.machine.stripe.Idle(t.Context()))
	}
	verification("refused")
	_, err = until(t.Context(), m.tour, payouts, m.worker.token, func([]struct{}) bool {
		// More than there is: until the platform has heard of the refusal, an amount that she has would go out.
		status, said := m.keyed(m.worker, payouts, "", `{"amount":1000}`)
		return status == http.StatusConflict && strings.Contains(said, "payout_account_refused")
	})
	if err != nil {
		t.Errorf("a refused account can be paid through: %v", err)
	}
	verification("verified")
	c := m.p.machine.stripe.Control()
	c.HoldPayouts = true
	m.must(m.p.machine.stripe.SetControl(c))
	m.withdraw()
	m.sees(m.worker, payouts, `"in_transit"`)
	m.account = account
	for _, p := range sent(m) {
		m.rail(http.MethodPost, "/_control/payouts/"+p.RailID+"/fail", url.Values{"code": {"no_account"}}, nil)
	}
	m.account = ""
	m.sees(m.worker, payouts, `"status":"failed"`, `"failure":"no_account"`)
	m.purse("back once", m.worker, "72.00", "0.00", "0.00")
	m.balanced(m.worker)
	m.p.intact(t)
}

// TestSuspendedInTheMiddle suspends the worker, then the client, of paid bookings: the money stays safe, and moves as decided.
func TestSuspendedInTheMiddle(t *testing.T) {
	m := openMarket(t, "80", "USD", false)
	m.to(monday)
	at := func(n int) time.Time { return monday.Add(time.Duration(n) * time.Hour) }
	earned, running, future := m.paid(at(1), time.Hour, "pm_card_visa"), m.paid(at(3), time.Hour, "pm_card_visa"), m.paid(at(60), time.Hour, "pm_card_visa")
	var pending struct{ ID uuid.UUID }
	m.post(m.client, "/api/bookings", m.wants(at(70), time.Hour), http.StatusCreated, &pending)
	m.to(at(3))
	m.release(earned)
	m.purse("earned", m.worker, "72.00", "144.00", "0.00")
	m.put(m.admin, "/api/users/"+m.worker.id.String()+"/status", map[string]any{"status": "suspended", "reason": "looking into it"}, http.StatusOK, nil)
	m.p.settle(t)
	m.must(m.call(t.Context(), http.MethodGet, "/api/payments/wallet", m.worker.token, nil, http.StatusUnauthorized, nil))
	m.must(m.call(t.Context(), http.MethodPost, "/api/payments/payouts", m.worker.token, map[string]any{}, http.StatusUnauthorized, nil))
	m.sees(m.client, bookingPath(pending.ID), `"cancelledBy":"suspended"`)
	if err := m.call(t.Context(), http.MethodPost, "/api/bookings", m.client.token, m.wants(at(80), time.Hour), http.StatusCreated, nil); err == nil {
		t.Error("a suspended worker can be booked")
	}
	m.post(m.client, bookingPath(future.booking)+"/cancel", map[string]any{"reason": "she is away"}, http.StatusOK, nil)
	m.ended("never to take place", future, "0.00", "80.00")
	m.post(m.client, bookingPath(running.booking)+"/complete", map[string]any{}, http.StatusOK, nil)
	m.to(at(4 + 72))
	m.ended("done before", running, "80.00", "0.00")

	// Back again she has all that she earned, and works for a client who is suspended meanwhile: he has paid, so she is paid.
	m.put(m.admin, "/api/users/"+m.worker.id.String()+"/status", map[string]any{"status": "active"}, http.StatusOK, nil)
	m.p.settle(t)
	var err error
	m.worker.token, _, err = m.p.machine.node.keys.Issue(m.worker.id, "worker", uuid.New())
	m.must(err)
	m.purse("back again", m.worker, "144.00", "0.00", "0.00")
	left := m.paid(at(100), time.Hour, "pm_card_visa")
	m.put(m.admin, "/api/users/"+m.client.id.String()+"/status", map[string]any{"status": "suspended", "reason": "looking into it"}, http.StatusOK, nil)
	m.p.settle(t)
	m.must(m.call(t.Context(), http.MethodPost, "/api/v1/escrow/"+left.escrow.String()+"/release", m.client.token, map[string]any{}, http.StatusUnauthorized, nil))
	m.to(at(101))
	m.post(m.worker, bookingPath(left.booking)+"/complete", map[string]any{}, http.StatusOK, nil)
	m.to(at(101 + 72))
	m.purse("his money", m.worker, "216.00", "0.00", "0.00")
	m.balanced(m.worker)
	m.p.intact(t)
}

// TestStopAndReplay has payment unable to hear of a booking, and then take up everything in order; the others have gone on meanwhile.
func TestStopAndReplay(t *testing.T) {
	m := openMarket(t, "80", "USD", true)
	m.to(monday)
	d, other := m.paid(monday.Add(time.Hour), time.Hour, "pm_card_visa"), m.paid(monday.Add(3*time.Hour), time.Hour, "pm_card_visa")
	m.p.settle(t)
	db := m.db("payment")
	// An event of the booking is among the dead letters: all later ones of the booking wait behind it.
	_, err := db.Exec(t.Context(), `INSERT INTO dead_letters (seq, event_id, subject, envelope, attempts, reason) VALUES (nextval('parked_seq_seq'), $1::uuid, $2::uuid,
		json_build_object('id', $1::uuid, 'type', 'escrow.unfrozen', 'version', 1, 'subject', $2::uuid, 'data', json_build_object('bookingId', $2::uuid)), 10, 'a failure that is mended')`,
		uuid.Must(uuid.NewV7()), d.booking)
	m.must(err)
	m.to(monday.Add(4 * time.Hour))
	m.post(m.client, "/api/v1/escrow/"+d.escrow.String()+"/release", map[string]any{"amount": json.Number("30")}, http.StatusOK, nil)
	m.post(m.admin, "/api/v1/escrow/"+d.escrow.String()+"/refund", map[string]any{"amount": json.Number("10")}, http.StatusOK, nil)
	m.release(d)
	m.release(other)
	m.purse("other bookings go on", m.worker, "72.00", "72.00", "0.00")
	_, err = until(t.Context(), m.tour, "/api/payments/wallet", m.worker.token, func(wallet) bool {
		n, err := postgres.One[int64](t.Context(), db, `SELECT count(*) FROM parked WHERE subject = $1`, d.booking)
		return err == nil && n >= 3
	})
	m.must(err)
	if n, err := outbox.Replay(t.Context(), db, "payment"); err != nil || n != 1 {
		t.Fatalf("%d replayed, %v", n, err)
	}
	m.purse("all", m.worker, "135.00", "0.00", "0.00") // 72 and 70 less 7
	m.ended("replayed", d, "70.00", "10.00")
	m.balanced(m.worker)
	m.p.intact(t)
}

// TestReviewsAndTrust has strangers, early birds and absent people review, and both sides write at once, again and again.
func TestReviewsAndTrust(t *testing.T) {
	m := openMarket(t, "80", "USD", true)
	m.to(monday)
	ctx := t.Context()
	stranger := m.person("Sam", "client")
	review := func(by person, booking uuid.UUID, rating, want int) {
		t.Helper()
		m.post(by, "/api/v1/reviews", map[string]any{"bookingId": booking, "rating": rating}, want, nil)
	}
	absent := m.paid(monday.Add(time.Hour), time.Hour, "pm_card_visa")
	review(m.client, absent.booking, 5, http.StatusConflict)
	review(stranger, absent.booking, 1, http.StatusNotFound)
	m.to(monday.Add(2 * time.Hour))
	m.post(m.worker, bookingPath(absent.booking)+"/no-show", map[string]any{}, http.StatusOK, nil)
	review(m.client, absent.booking, 1, http.StatusConflict)
	review(m.worker, absent.booking, 1, http.StatusConflict)
	m.to(monday.Add(48 * time.Hour))
	review(m.worker, absent.booking, 1, http.StatusConflict)

	const rounds = 12
	for i := range rounds {
		start := m.v.Now().Add(time.Hour)
		d := m.paid(start, time.Hour, "pm_card_visa")
		m.v.Set(start)
		m.post(m.client, bookingPath(d.booking)+"/complete", map[string]any{}, http.StatusOK, nil)
		rating := 5
		if i == rounds-1 {
			m.sees(m.worker, "/api/v1/badges/"+m.worker.id.String(), "five_star_achiever")
			m.sees(person{}, "/api/workers/"+m.worker.id.String(), "five_star_achiever")
			rating = 4
		}
		var wg sync.WaitGroup
		for _, w := range []struct {
			by     person
			rating int
		}{{m.client, rating}, {m.client, rating}, {m.worker, 3}, {m.worker, 3}} {
			wg.Go(func() {
				err := m.call(ctx, http.MethodPost, "/api/v1/reviews", w.by.token, map[string]any{"bookingId": d.booking, "rating": w.rating}, http.StatusCreated, nil)
				if err != nil && !strings.Contains(err.Error(), " 409 ") {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		review(stranger, d.booking, 1, http.StatusNotFound)
	}
	m.p.settle(t)
	type rated struct {
		AverageRating float64
		TotalReviews  int
	}
	for _, who := range []struct {
		id   uuid.UUID
		want rated
		page string
	}{{m.worker.id, rated{4.92, rounds}, "/api/workers/"}, {m.client.id, rated{3, rounds}, "/api/clients/"}} {
		var stats rated
		m.get(person{}, "/api/v1/reviews/stats/"+who.id.String(), &stats)
		if stats != who.want {
			t.Errorf("the ratings are %+v instead of %+v", stats, who.want)
		}
		var page struct {
			rated
			Badges []struct{ Badge string }
		}
		m.get(m.worker, who.page+who.id.String(), &page)
		if page.TotalReviews != stats.TotalReviews || page.AverageRating != stats.AverageRating {
			t.Errorf("%s shows %+v, the reviews say %+v", who.page, page.rated, stats)
		}
		if len(page.Badges) != 0 {
			t.Errorf("the badges %v stay although one review has 4 stars", page.Badges)
		}
	}
	m.p.intact(t)
}
