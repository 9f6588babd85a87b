package app

import (
	"encoding/json"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/postgres"
)

// dispute has the client's bank take back the money of a payment.
func (m *market) dispute(d sale) (id string) {
	m.t.Helper()
	intent := m.intent(d)
	var got struct{ ID string }
	m.rail(http.MethodPost, "/_control/disputes", url.Values{"payment_intent": {intent}}, &got)
	return got.ID
}

// intent is the PaymentIntent of a payment.
func (m *market) intent(d sale) string {
	m.t.Helper()
	var found struct{ Data []struct{ ID string } }
	m.rail(http.MethodGet, "/v1/payment_intents/search?"+url.Values{"query": {"metadata['tulifo_id']:'" + d.payment.String() + "'"}}.Encode(), nil, &found)
	if len(found.Data) != 1 {
		m.t.Fatalf("the payment has %d intents", len(found.Data))
	}
	return found.Data[0].ID
}

func (m *market) closeDispute(id string, won bool) {
	m.t.Helper()
	how := "/lose"
	if won {
		how = "/win"
	}
	m.rail(http.MethodPost, "/_control/disputes/"+id+how, nil, nil)
}

func (m *market) release(d sale) {
	m.t.Helper()
	m.post(m.client, "/api/v1/escrow/"+d.escrow.String()+"/release", map[string]any{}, http.StatusOK, nil)
}

// withdraw takes all there is out of the wallet.
func (m *market) withdraw() (id uuid.UUID) {
	m.t.Helper()
	var p struct{ ID uuid.UUID }
	m.post(m.worker, "/api/payments/payouts", map[string]any{}, http.StatusCreated, &p)
	return p.ID
}

// TestChargebacks takes money back before and after the release and after the withdrawal, and gives it back.
func TestChargebacks(t *testing.T) {
	m := openMarket(t, "80", "USD", false)
	hour := func(n int) time.Time { return monday.Add(time.Duration(n) * time.Hour) }
	m.to(monday.Add(-time.Hour))
	var sales [5]sale
	for i := range sales {
		sales[i] = m.paid(hour(i), time.Hour, "pm_card_visa")
	}
	before, lost, after, again, later := sales[0], sales[1], sales[2], sales[3], sales[4]
	m.to(hour(5))
	held := "/api/payments/wallet/held"

	// Before the release: the money stands still, whatever the client does, and is divided as decided once the bank has given it back.
	won := m.dispute(before)
	m.sees(m.client, "/api/v1/escrow/"+before.escrow.String(), `"status":"frozen"`)
	m.sees(m.worker, held, `"blockedBy":"chargeback","whoCanUnblock":"bank","eta":null`)
	m.purse("frozen", m.client, "0.00", "400.00", "80.00")
	m.post(m.client, bookingPath(before.booking)+"/cancel", map[string]any{"reason": "changed my mind"}, http.StatusOK, nil)
	m.p.settle(t)
	m.purse("frozen still", m.worker, "0.00", "360.00", "0.00")
	m.closeDispute(won, true)
	m.ended("won", before, "80.00", "0.00")
	m.purse("won", m.worker, "72.00", "288.00", "0.00")
	m.purse("won", m.client, "0.00", "320.00", "0.00")

	// Lost before the release: what is held pays for what the bank keeps, and nobody has to decide.
	gone := m.dispute(lost)
	m.sees(m.client, "/api/v1/escrow/"+lost.escrow.String(), `"status":"frozen"`)
	m.closeDispute(gone, false)
	m.ended("lost", lost, "0.00", "80.00")
	m.purse("lost", m.client, "0.00", "240.00", "0.00")
	var intent struct {
		Charge struct {
			Refunded int64 `json:"amount_refunded"`
		} `json:"latest_charge"`
	}
	m.rail(http.MethodGet, "/v1/payment_intents/"+m.intent(lost)+"?expand[]=latest_charge", nil, &intent)
	if intent.Charge.Refunded != 0 {
		t.Errorf("the rail refunded %d of a charge that the bank had taken back", intent.Charge.Refunded)
	}

	// After the release the worker gives it back from her wallet; after the withdrawal she owes it, and her next earnings pay.
	m.release(after)
	m.release(again)
	m.purse("released", m.worker, "216.00", "72.00", "0.00")
	d1 := m.dispute(after)
	m.purse("after the release", m.worker, "144.00", "72.00", "0.00")
	m.closeDispute(d1, true)
	m.purse("and won", m.worker, "216.00", "72.00", "0.00")
	m.post(m.worker, "/api/payments/payout-account", map[string]any{"country": "DE"}, http.StatusCreated, nil)
	m.withdraw()
	m.sees(m.worker, "/api/payments/payouts", `"status":"paid"`)
	d2 := m.dispute(again)
	m.purse("after the withdrawal", m.worker, "0.00", "72.00", "72.00")
	m.post(m.worker, "/api/payments/payouts", map[string]any{}, http.StatusConflict, nil)
	m.release(later)
	m.purse("recovered", m.worker, "0.00", "0.00", "0.00")
	m.closeDispute(d2, true)
	m.purse("won in the end", m.worker, "72.00", "0.00", "0.00")
	m.balanced(m.worker)
	m.p.intact(t)
}

// TestChargebackRacingWithdrawal has the bank take money back while the worker withdraws it twice at once, and her bank refuse the withdrawal.
func TestChargebackRacingWithdrawal(t *testing.T) {
	m := openMarket(t, "80", "USD", false)
	m.to(monday.Add(-time.Hour))
	one, two := m.paid(monday, time.Hour, "pm_card_visa"), m.paid(monday.Add(time.Hour), time.Hour, "pm_card_visa")
	m.post(m.worker, "/api/payments/payout-account", map[string]any{"country": "DE"}, http.StatusCreated, nil)
	m.to(monday.Add(2 * time.Hour))
	m.release(one)
	m.release(two)
	m.purse("released", m.worker, "144.00", "0.00", "0.00")
	for _, body := range []map[string]any{{"amount": json.Number("144.01")}, {"amount": json.Number("-1")}, {"amount": json.Number("0")}, {"amount": json.Number("0.001")}, {"amount": json.Number("1"), "currency": "EUR"}} {
		status, _ := m.keyed(m.worker, "/api/payments/payouts", "", encode(t, body))
		if status != http.StatusConflict && status != http.StatusUnprocessableEntity {
			t.Errorf("a withdrawal of %v is answered with %d", body, status)
		}
	}
	c := m.p.machine.stripe.Control()
	c.HoldPayouts = true
	m.must(m.p.machine.stripe.SetControl(c))
	m.rail(http.MethodPost, "/_control/balance", url.Values{"amount": {"100000"}, "currency": {"usd"}}, nil)
	intent := m.intent(one)
	statuses := make([]int, 4)
	var wg sync.WaitGroup
	for i := range statuses {
		wg.Go(func() { statuses[i], _ = m.keyed(m.worker, "/api/payments/payouts", uuid.NewString(), `{}`) })
	}
	wg.Go(func() { m.rail(http.MethodPost, "/_control/disputes", url.Values{"payment_intent": {intent}}, nil) })
	wg.Wait()
	m.must(m.p.machine.stripe.Idle(t.Context()))
	made := 0
	for _, s := range statuses {
		if s == http.StatusCreated {
			made++
		} else if s != http.StatusConflict {
			t.Errorf("a withdrawal is answered with %d", s)
		}
	}
	var list []struct {
		ID     uuid.UUID
		Status string
	}
	m.get(m.worker, "/api/payments/payouts", &list)
	if made > 2 || made != len(list) {
		t.Fatalf("%d withdrawals were made, %d are listed", made, len(list))
	}
	// All of them come back from the bank: in the end she has what the chargeback has left, once.
	m.sees(m.worker, "/api/payments/payouts", `"in_transit"`)
	for _, p := range sent(m) {
		m.account = p.AccountID
		m.rail(http.MethodPost, "/_control/payouts/"+p.RailID+"/fail", url.Values{"code": {"account_closed"}}, nil)
	}
	m.account = ""
	m.must(m.p.machine.stripe.Idle(t.Context()))
	m.purse("all back", m.worker, "72.00", "0.00", "0.00")
	m.balanced(m.worker)
	m.p.intact(t)
}

// railPayout is a withdrawal at the rail.
type railPayout struct{ RailID, AccountID string }

func sent(m *market) []railPayout {
	m.t.Helper()
	list, err := postgres.All[railPayout](m.t.Context(), m.db("payment"), `SELECT rail_id, account_id FROM payouts WHERE status = 'in_transit'`)
	m.must(err)
	return list
}

func encode(t *testing.T, body any) string {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
