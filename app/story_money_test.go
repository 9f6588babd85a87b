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
)

// trouble is journey J4: things go wrong with money, from base on, at 80.00 USD an hour. Between the steps the services of the money are killed
// where each has a process of its own.
func (m *market) trouble(s *stage, base time.Time) {
	m.t.Helper()
	if s.kill != nil {
		m.bound = crashBound // what a killed process was about is left to it for a while
	}
	between := func(after string) {
		if s.kill != nil {
			m.t.Logf("payment and escrow are killed after: %s", after)
			s.kill(m.t, "payment", "escrow")
		}
	}
	hour := func(n int) time.Time { return base.Add(time.Duration(n) * time.Hour) }
	done := func(after string) {
		m.t.Helper()
		between(after)
		s.intact(m.t)
		if m.t.Failed() {
			m.t.Fatalf("after: %s", after)
		}
	}
	cancel := func(by person, booking uuid.UUID) {
		m.t.Helper()
		m.post(by, bookingPath(booking)+"/cancel", map[string]any{"reason": "changed my mind"}, http.StatusOK, nil)
	}
	card := func(a asked, method string, want int) {
		m.t.Helper()
		m.must(m.card(m.t.Context(), a.ClientSecret, a.PublishableKey, method, want))
	}

	// The card is declined, another one is taken.
	early := sale{booking: m.confirmed(hour(30), time.Hour)}
	a := m.ask(early.booking)
	card(a, "pm_card_chargeDeclined", http.StatusPaymentRequired)
	m.sees(m.client, "/api/payments/"+a.Payment.ID.String(), `"failure":"generic_decline"`)
	between("a card was declined")
	if again := m.ask(early.booking); again.ClientSecret != a.ClientSecret {
		m.t.Error("the payment has another form now")
	}
	card(a, "pm_card_visa", http.StatusOK)
	early.payment, early.escrow = a.Payment.ID, m.held(early.booking)
	m.purse("another card", m.client, "0.00", "80.00", "0.00")
	done("another card was taken")

	// The news that the first card failed comes after the news that the second did not: nothing changes.
	m.control(map[string]any{"hold": []string{"payment_intent.payment_failed"}})
	late := sale{booking: m.confirmed(hour(2), time.Hour)}
	a = m.ask(late.booking)
	card(a, "pm_card_chargeDeclined", http.StatusPaymentRequired)
	card(a, "pm_card_visa", http.StatusOK)
	late.payment, late.escrow = a.Payment.ID, m.held(late.booking)
	m.control(map[string]any{})
	m.idle()
	m.sees(m.client, "/api/payments/"+late.payment.String(), `"status":"completed"`)
	m.lacks(m.client, "/api/payments/"+late.payment.String(), `"failure"`)
	m.lacks(m.client, "/api/notifications?limit=100", "payment.failed", late.booking.String())
	done("a failure was told after the success")

	// The rail makes the form and its answer is lost; then the bank's complaint comes before the news of the payment: both wait for what they need.
	m.control(map[string]any{"fail": map[string]any{"times": 5, "mode": "drop_after", "method": "POST", "path": "/v1/payment_intents"}, "hold": []string{"payment_intent.succeeded"}})
	back := sale{booking: m.confirmed(hour(4), time.Hour)}
	if status, said := m.keyed(m.client, "/api/payments", uuid.NewString(), fmt.Sprintf(`{"bookingId":%q}`, back.booking)); status != http.StatusServiceUnavailable {
		m.t.Errorf("the rail's answer is lost and the client is told %d %s", status, said)
	}
	m.control(map[string]any{"hold": []string{"payment_intent.succeeded"}})
	between("an answer of the rail was lost")
	a = m.ask(back.booking)
	card(a, "pm_card_createDispute", http.StatusOK)
	m.sees(m.client, "/api/payments/"+a.Payment.ID.String(), `"status":"processing"`)
	m.control(map[string]any{})
	back.payment, back.escrow = a.Payment.ID, m.held(back.booking)
	m.sees(m.client, "/api/payments/"+back.payment.String(), `"status":"charged_back"`)
	m.sees(m.client, "/api/v1/escrow/"+back.escrow.String(), `"status":"frozen"`, `"freezeReason":"chargeback"`)
	var disputes struct{ Data []struct{ ID string } }
	m.rail(http.MethodGet, "/v1/disputes?"+url.Values{"payment_intent": {m.intent(back)}}.Encode(), nil, &disputes)
	m.closeDispute(disputes.Data[0].ID, true)
	m.sees(m.client, "/api/v1/escrow/"+back.escrow.String(), `"status":"active"`)
	done("a complaint came before the payment")

	// A double click on pay, and on the card's form.
	double := sale{booking: m.confirmed(hour(6), time.Hour)}
	var clicks sync.WaitGroup
	secrets, answers := make([]string, 2), make([]int, 4)
	for i := range secrets {
		clicks.Go(func() {
			status, said := m.keyed(m.client, "/api/payments", "", fmt.Sprintf(`{"bookingId":%q}`, double.booking))
			if status != http.StatusCreated {
				m.t.Errorf("a click is answered %d %s", status, said)
			}
			var got struct{ Data asked }
			if err := json.Unmarshal([]byte(said), &got); err != nil {
				m.t.Error(err)
			}
			secrets[i] = got.Data.ClientSecret
		})
	}
	clicks.Wait()
	a = m.ask(double.booking)
	for _, secret := range secrets {
		if secret != a.ClientSecret {
			m.t.Error("two clicks have two forms")
		}
	}
	for i := range answers {
		clicks.Go(func() {
			if m.card(m.t.Context(), a.ClientSecret, a.PublishableKey, "pm_card_visa", http.StatusOK) == nil {
				answers[i]++
			}
		})
	}
	clicks.Wait()
	double.payment, double.escrow = a.Payment.ID, m.held(double.booking)
	var intent struct {
		Received int64 `json:"amount_received"`
	}
	m.rail(http.MethodGet, "/v1/payment_intents/"+m.intent(double), nil, &intent)
	var charges struct{ Data []struct{ Paid bool } }
	m.rail(http.MethodGet, "/v1/charges?"+url.Values{"payment_intent": {m.intent(double)}}.Encode(), nil, &charges)
	if intent.Received != 8000 || len(charges.Data) != 1 {
		m.t.Errorf("a double click is charged %d in %d charges", intent.Received, len(charges.Data))
	}
	done("somebody clicked twice")

	// Cancelled 30 h before the start: all of it back. 2 h before: half.
	cancel(m.client, early.booking)
	between("a booking was cancelled 30 h before")
	m.ended("30 h before", early, "0.00", "80.00")
	cancel(m.client, late.booking)
	between("a booking was cancelled 2 h before")
	m.ended("2 h before", late, "40.00", "40.00")
	cancel(m.worker, back.booking)
	m.ended("by the worker, after a complaint that the bank has turned down", back, "0.00", "80.00")
	m.purse("half less the fee", m.worker, "36.00", "72.00", "0.00")
	done("three bookings were cancelled")

	// Four refunds at once of 30.01 out of 80.00, and two of all that is left: never more than was paid.
	order := func(body string) (int, string) {
		return m.keyed(m.admin, "/api/payments/"+double.payment.String()+"/refund", uuid.NewString(), body)
	}
	race := func(n int, body string) (made int) {
		m.t.Helper()
		var mu sync.Mutex
		for range n {
			clicks.Go(func() {
				status, said := order(body)
				mu.Lock()
				defer mu.Unlock()
				switch status {
				case http.StatusOK:
					made++
				case http.StatusConflict, http.StatusUnprocessableEntity:
				default:
					m.t.Errorf("a refund is answered %d %s", status, said)
				}
			})
		}
		clicks.Wait()
		return made
	}
	if made := race(4, `{"amount":30.01,"reason":"late"}`); made != 2 {
		m.t.Errorf("%d refunds of 30.01 out of 80.00 were made", made)
	}
	between("two refunds were made at once")
	if made := race(2, `{"reason":"all of it"}`); made != 1 {
		m.t.Errorf("%d refunds of all that is left were made", made)
	}
	m.ended("refunds at once", double, "0.00", "80.00")
	var charge struct {
		Charge struct {
			Refunded int64 `json:"amount_refunded"`
		} `json:"latest_charge"`
	}
	m.rail(http.MethodGet, "/v1/payment_intents/"+m.intent(double)+"?expand[]=latest_charge", nil, &charge)
	if charge.Charge.Refunded != 8000 {
		m.t.Errorf("the rail has sent back %d of 8000", charge.Charge.Refunded)
	}
	done("refunds at once")

	// The bank takes back what was released and withdrawn: she owes it and sees why, and what she earns next pays it.
	lost, next := m.paid(hour(8), time.Hour, "pm_card_visa"), m.paid(hour(10), 2*time.Hour, "pm_card_visa")
	s.to(m.t, hour(9))
	m.release(lost)
	m.purse("released", m.worker, "108.00", "144.00", "0.00")
	m.post(m.worker, "/api/payments/payout-account", map[string]any{"country": "DE"}, http.StatusCreated, nil)
	m.withdraw()
	between("a withdrawal was ordered")
	m.sees(m.worker, "/api/payments/payouts", `"status":"paid"`)
	m.dispute(lost)
	between("a bank took money back")
	m.purse("taken back", m.worker, "0.00", "144.00", "72.00")
	m.sees(m.worker, "/api/payments/statement", `"description":"Owed because of a chargeback: Calm the cluster"`, `"amount":-72.00,"balance":-72.00`)
	m.post(m.worker, "/api/payments/payouts", map[string]any{}, http.StatusConflict, nil)
	done("she owes")
	s.to(m.t, hour(11))
	m.release(next)
	between("she earned")
	m.purse("recovered from what she has earned", m.worker, "72.00", "0.00", "0.00")
	m.withdraw()
	m.purse("withdrawn", m.worker, "0.00", "0.00", "0.00")
	m.sees(m.worker, "/api/payments/statement", `"closing":[{"balance":0.00,"currency":"USD"}]`)
	m.balanced(m.worker)
	m.purse("nothing of his is held", m.client, "0.00", "0.00", "0.00")
	done("she has paid it back")
}

// control replaces what the rail does wrong.
func (m *market) control(c map[string]any) {
	m.t.Helper()
	status, _, err := ask(http.MethodPut, m.stripe+"/_control/", secretOf(m.t, m.dir, "STRIPE_SECRET_KEY"), c, nil)
	if err != nil || status != http.StatusOK {
		m.t.Fatalf("control: %d %v", status, err)
	}
}

// idle waits until the rail has nothing more to tell.
func (m *market) idle() {
	m.t.Helper()
	m.rail(http.MethodGet, "/_control/idle", nil, nil)
}

// lacks fails the test when one element of the answer at path, or the answer itself when it is none of a list, has all of the texts.
func (m *market) lacks(by person, path string, texts ...string) {
	m.t.Helper()
	var raw json.RawMessage
	m.get(by, path, &raw)
	list := []json.RawMessage{raw}
	_ = json.Unmarshal(raw, &list)
	for _, one := range list {
		all := true
		for _, text := range texts {
			all = all && strings.Contains(string(one), text)
		}
		if all {
			m.t.Errorf("%s has %q: %s", path, texts, one)
		}
	}
}

// TestStoryJ4 has things go wrong with money, to the cent, in one process and with each service in its own, where payment and escrow are killed
// between any two steps.
func TestStoryJ4(t *testing.T) {
	story := func(t *testing.T, s *stage) {
		m := &market{tour: s.tour(), t: t, dir: s.dir, settle: s.settle}
		m.stock("80", "USD", false)
		m.trouble(s, monday)
	}
	onStages(t, monday, story)
	onTwins(t, monday, story)
}
