package app

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"tulifo/event"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
)

// TestDeletedUsersMoneyGoesItsWay deletes the worker while one booking is earned and another held, and then the client: the books keep every
// line, what is held is released to who has earned it, and nothing that was paid is lost.
func TestDeletedUsersMoneyGoesItsWay(t *testing.T) {
	m := openMarket(t, "80", "USD", false)
	m.to(monday)
	at := func(n int) time.Time { return monday.Add(time.Duration(n) * time.Hour) }
	earned, held, far := m.paid(at(1), time.Hour, "pm_card_visa"), m.paid(at(3), time.Hour, "pm_card_visa"), m.paid(at(60), time.Hour, "pm_card_visa")
	m.to(at(4))
	m.release(earned)
	m.purse("earned", m.worker, "72.00", "144.00", "0.00")
	statement := func() (lines []json.RawMessage) {
		t.Helper()
		var s struct{ Lines []json.RawMessage }
		m.get(m.worker, "/api/payments/statement?from=2026-03-01&to=2026-12-31", &s)
		return s.Lines
	}
	before := statement()
	auth := m.db("auth")
	for _, who := range []person{m.worker, m.client} {
		if err := auth.InTx(t.Context(), func(tx postgres.Tx) error {
			return outbox.Add(t.Context(), tx, who.id, event.UserDeleted{UserID: who.id})
		}); err != nil {
			t.Fatal(err)
		}
	}
	m.p.settle(t)
	// Untouched, the one completes itself a day after its end, and three days later it is hers; the other never takes place, and an admin gives it back.
	m.to(at(4 + 24))
	m.to(at(4 + 24 + 72))
	m.ended("held", held, "80.00", "0.00")
	m.sees(m.admin, "/api/payments/"+far.payment.String(), `"status":"completed"`)
	m.post(m.admin, "/api/payments/"+far.payment.String()+"/refund", map[string]any{"reason": "she is gone"}, http.StatusOK, nil)
	m.ended("far", far, "0.00", "80.00")
	m.purse("what she has earned", m.worker, "144.00", "0.00", "0.00")
	after := statement()
	if len(before) != 1 || len(after) != 2 || string(before[0]) != string(after[0]) {
		t.Errorf("the statement was\n%s\nand is\n%s", before, after)
	}
	m.balanced(m.worker)
	m.p.intact(t)
}
