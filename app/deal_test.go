package app

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/money"
)

const heldPath = "/api/payments/wallet/held"

// TestNoShows has either side stay away, object, and an admin stop the money in between. What is held always says who can move it, and when.
func TestNoShows(t *testing.T) {
	m := openMarket(t, "80", "USD", false)
	m.to(monday.Add(-time.Hour))
	at := func(n int) time.Time { return monday.Add(time.Duration(n) * time.Hour) }
	var sales [5]sale
	for i := range sales {
		sales[i] = m.paid(at(i), time.Hour, "pm_card_visa")
	}
	absent, contested, let, worker, stopped := sales[0], sales[1], sales[2], sales[3], sales[4]
	m.to(at(0).Add(14 * time.Minute))
	m.post(m.worker, bookingPath(absent.booking)+"/no-show", map[string]any{}, http.StatusConflict, nil)
	m.to(at(4).Add(15 * time.Minute))
	m.post(m.admin, "/api/v1/escrow/"+stopped.escrow.String()+"/freeze", map[string]any{"reason": "looking into it"}, http.StatusOK, nil)
	m.sees(m.worker, heldPath, `"blockedBy":"frozen"`)
	for _, d := range []sale{absent, contested, let, stopped} {
		m.post(m.worker, bookingPath(d.booking)+"/no-show", map[string]any{}, http.StatusOK, nil)
	}
	m.post(m.client, bookingPath(worker.booking)+"/no-show", map[string]any{}, http.StatusOK, nil)
	m.post(m.worker, bookingPath(absent.booking)+"/no-show/contest", map[string]any{"reason": "I was there"}, http.StatusForbidden, nil)
	for _, d := range []sale{contested, let} {
		m.post(m.client, bookingPath(d.booking)+"/no-show/contest", map[string]any{"reason": "I was there"}, http.StatusOK, nil)
	}
	m.p.settle(t)
	m.holds(absent, "no_show", "client", `"2026-03-10T12:15:00Z"`)
	m.holds(contested, "no_show_contested", "admin", "null")
	m.holds(stopped, "frozen", "admin", "null")
	m.post(m.admin, "/api/v1/escrow/"+stopped.escrow.String()+"/unfreeze", nil, http.StatusOK, nil)
	m.p.settle(t)
	m.holds(stopped, "no_show", "client", `"2026-03-10T12:15:00Z"`)
	m.holds(worker, "no_show", "worker", `"2026-03-10T12:15:00Z"`)

	m.to(at(28).Add(15 * time.Minute))
	m.ended("an absent client", absent, "80.00", "0.00")
	m.ended("an absent worker", worker, "0.00", "80.00")
	m.ended("stopped meanwhile", stopped, "80.00", "0.00")
	m.purse("after a day", m.worker, "144.00", "144.00", "0.00")
	m.to(at(24 * 40))
	m.purse("contested", m.worker, "144.00", "144.00", "0.00")
	m.holds(contested, "no_show_contested", "admin", "null")
	m.post(m.admin, "/api/v1/escrow/"+contested.escrow.String()+"/release", map[string]any{"amount": json.Number("20")}, http.StatusOK, nil)
	m.post(m.admin, "/api/v1/escrow/"+contested.escrow.String()+"/refund", map[string]any{}, http.StatusOK, nil)
	m.ended("decided", contested, "20.00", "60.00")
	m.post(m.admin, "/api/v1/escrow/"+let.escrow.String()+"/unfreeze", nil, http.StatusOK, nil)
	m.ended("let go", let, "80.00", "0.00")
	m.balanced(m.worker)
	m.p.intact(t)
}

// holds checks what a sale's held money waits for.
func (m *market) holds(d sale, by, who, eta string) {
	m.t.Helper()
	var list []struct {
		BookingID                uuid.UUID
		BlockedBy, WhoCanUnblock string
		ETA                      json.RawMessage
	}
	m.get(m.worker, heldPath, &list)
	for _, h := range list {
		if h.BookingID == d.booking {
			if h.BlockedBy != by || h.WhoCanUnblock != who || string(h.ETA) != eta {
				m.t.Errorf("what is held waits for %s by %s until %s instead of %s by %s until %s", h.BlockedBy, h.WhoCanUnblock, h.ETA, by, who, eta)
			}
			return
		}
	}
	m.t.Errorf("nothing is held of booking %s", d.booking)
}

// TestRescheduleAndMoney moves paid bookings: the money follows the new date, and the cancel policy remembers the worst start.
func TestRescheduleAndMoney(t *testing.T) {
	m := openMarket(t, "80", "USD", false)
	m.to(monday)
	at := func(n int) time.Time { return monday.Add(time.Duration(n) * time.Hour) }
	later, cancelled, free := m.paid(at(48), time.Hour, "pm_card_visa"), m.paid(at(50), time.Hour, "pm_card_visa"), m.paid(at(52), time.Hour, "pm_card_visa")
	for i, d := range []sale{later, cancelled, free} {
		m.post(m.client, bookingPath(d.booking)+"/reschedule", map[string]any{"startTime": at(24*7 + i*2)}, http.StatusOK, nil)
	}
	m.p.settle(t)
	m.holds(later, "work_not_done", "worker", `"2026-03-20T09:00:00Z"`)
	m.post(m.client, bookingPath(free.booking)+"/cancel", map[string]any{"reason": "no need"}, http.StatusOK, nil)
	m.ended("early enough for all starts", free, "0.00", "80.00")
	m.to(at(27))
	m.post(m.client, bookingPath(cancelled.booking)+"/cancel", map[string]any{"reason": "no need"}, http.StatusOK, nil)
	m.ended("too late for the first start", cancelled, "40.00", "40.00")
	m.to(at(24*7 + 25))
	m.sees(m.client, bookingPath(later.booking), `"status":"completed"`)
	m.to(at(24*7 + 1 + 95))
	m.purse("too early", m.worker, "36.00", "72.00", "0.00")
	m.to(at(24*7 + 1 + 96))
	m.ended("follows the date", later, "80.00", "0.00")
	m.p.intact(t)
}

// TestUnpaidInTime lets bookings go unpaid, and pays when it is too late, at the same moment, and twice.
func TestUnpaidInTime(t *testing.T) {
	m := openMarket(t, "80", "USD", true)
	m.to(monday)
	ctx := t.Context()
	at := func(n int) time.Time { return monday.Add(time.Duration(n) * time.Hour) }

	// Two tabs, two clicks each, a declined card among them: one payment.
	id := m.confirmed(at(10), time.Hour)
	var wg sync.WaitGroup
	tabs := make([]asked, 4)
	for i := range tabs {
		wg.Go(func() {
			if err := m.call(ctx, http.MethodPost, "/api/payments", m.client.token, map[string]any{"bookingId": id}, http.StatusCreated, &tabs[i]); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, tab := range tabs {
		if tab != tabs[0] {
			t.Errorf("a tab has %+v, another %+v", tab.Payment, tabs[0].Payment)
		}
	}
	m.must(m.card(ctx, tabs[0].ClientSecret, tabs[0].PublishableKey, "pm_card_visa_chargeDeclined", http.StatusPaymentRequired))
	paidBy := make([]error, len(tabs))
	for i, tab := range tabs {
		wg.Go(func() { paidBy[i] = m.card(ctx, tab.ClientSecret, tab.PublishableKey, "pm_card_visa", http.StatusOK) })
	}
	wg.Wait()
	ok := 0
	for _, err := range paidBy {
		if err == nil {
			ok++
		}
	}
	if ok == 0 {
		t.Errorf("no tab could pay: %v", paidBy)
	}
	twice := sale{id, tabs[0].Payment.ID, m.held(id)}
	m.post(m.client, "/api/payments", map[string]any{"bookingId": id}, http.StatusConflict, nil)
	m.purse("paid once", m.client, "0.00", "80.00", "0.00")

	// 30 minutes after an instant booking it is too late: nothing can be paid, and what was paid at that moment goes back.
	late, never, racing := m.confirmed(at(12), time.Hour), m.confirmed(at(14), time.Hour), m.confirmed(at(16), time.Hour)
	form := m.ask(late)
	race := m.ask(racing)
	m.to(monday.Add(30*time.Minute - time.Second))
	m.sees(m.client, bookingPath(late), `"status":"confirmed"`)
	var charged error
	wg.Go(func() { charged = m.card(ctx, race.ClientSecret, race.PublishableKey, "pm_card_visa", http.StatusOK) })
	m.v.Set(monday.Add(30 * time.Minute))
	wg.Wait()
	m.sees(m.client, bookingPath(late), `"status":"cancelled"`, `"cancelledBy":"unpaid"`)
	m.sees(m.client, bookingPath(never), `"cancelledBy":"unpaid"`)
	m.p.settle(t)
	m.sees(m.admin, "/api/payments/"+form.Payment.ID.String(), `"status":"cancelled"`)
	m.post(m.client, "/api/payments", map[string]any{"bookingId": late}, http.StatusConflict, nil)
	m.post(m.client, "/api/payments", map[string]any{"bookingId": never}, http.StatusConflict, nil)
	m.must(m.p.machine.stripe.Idle(ctx))
	if m.card(ctx, form.ClientSecret, form.PublishableKey, "pm_card_visa", http.StatusOK) == nil {
		m.ended("paid too late", sale{late, form.Payment.ID, m.held(late)}, "0.00", "80.00")
	}
	var b struct{ Status string }
	m.get(m.client, bookingPath(racing), &b)
	switch {
	case b.Status == "cancelled" && charged == nil:
		m.ended("paid at the last moment", sale{racing, race.Payment.ID, m.held(racing)}, "0.00", "80.00")
	case b.Status == "confirmed" && charged != nil:
		t.Errorf("the booking stands, and the card says %v", charged)
	}
	m.post(m.worker, bookingPath(twice.booking)+"/cancel", map[string]any{"reason": "ill"}, http.StatusOK, nil)
	m.ended("paid once, back once", twice, "0.00", "80.00")
	m.p.intact(t)
}

// TestExpiryRacingConfirm has the worker confirm at the moment at which the booking expires, and the client pay for it.
func TestExpiryRacingConfirm(t *testing.T) {
	m := openMarket(t, "80", "USD", false)
	ctx := t.Context()
	for round := range 4 {
		now := monday.Add(time.Duration(round) * 48 * time.Hour)
		m.to(now)
		var b struct{ ID uuid.UUID }
		m.post(m.client, "/api/bookings", m.wants(now.Add(30*time.Hour), time.Hour), http.StatusCreated, &b)
		m.to(now.Add(24*time.Hour - time.Second))
		var wg sync.WaitGroup
		var confirmed error
		wg.Go(func() {
			confirmed = m.call(ctx, http.MethodPost, bookingPath(b.ID)+"/confirm", m.worker.token, map[string]any{}, http.StatusOK, nil)
		})
		m.v.Set(now.Add(24 * time.Hour))
		wg.Wait()
		m.p.settle(t)
		want, pays := "confirmed", http.StatusCreated
		if confirmed != nil {
			want, pays = "expired", http.StatusConflict
			if !strings.Contains(confirmed.Error(), " 409 ") {
				t.Error(confirmed)
			}
		}
		m.sees(m.client, bookingPath(b.ID), `"status":"`+want+`"`)
		m.post(m.client, "/api/payments", map[string]any{"bookingId": b.ID}, pays, nil)
	}
	m.p.intact(t)
}

// TestEverybodyMovesAtOnce has the client release a part, an admin freeze and refund, the worker cancel or the client complete, and the time of the
// automatic release come, all at one moment.
func TestEverybodyMovesAtOnce(t *testing.T) {
	m := openMarket(t, "80", "USD", false)
	m.to(monday)
	ctx := t.Context()
	for round := range 4 {
		start := monday.Add(time.Duration(round*7*24+2) * time.Hour)
		m.to(start.Add(-time.Hour))
		d := m.paid(start, time.Hour, "pm_card_visa")
		m.to(start.Add(25*time.Hour - time.Second))
		escrow := "/api/v1/escrow/" + d.escrow.String()
		try := func(by person, path string, body map[string]any) func() {
			return func() {
				if err := m.call(ctx, http.MethodPost, path, by.token, body, http.StatusOK, nil); err != nil && !strings.Contains(err.Error(), " 409 ") && !strings.Contains(err.Error(), " 422 ") {
					t.Error(err)
				}
			}
		}
		all := func(fs ...func()) {
			var wg sync.WaitGroup
			for _, f := range fs {
				wg.Go(f)
			}
			wg.Wait()
		}
		all(func() { m.v.Set(start.Add(25 * time.Hour)) }, try(m.client, bookingPath(d.booking)+"/complete", nil), try(m.worker, bookingPath(d.booking)+"/cancel", map[string]any{"reason": "ill"}),
			try(m.client, escrow+"/release", map[string]any{"amount": json.Number("12.34")}), try(m.worker, bookingPath(d.booking)+"/no-show", nil))
		m.p.settle(t)
		m.v.Set(start.Add(97*time.Hour - time.Second))
		all(func() { m.v.Set(start.Add(97 * time.Hour)) }, try(m.admin, escrow+"/freeze", map[string]any{"reason": "looking into it"}), try(m.client, escrow+"/release", map[string]any{"amount": json.Number("7.77")}),
			try(m.admin, "/api/payments/"+d.payment.String()+"/refund", map[string]any{"amount": json.Number("9.99"), "reason": "goodwill"}))
		m.p.settle(t)
		try(m.admin, escrow+"/unfreeze", nil)()
		m.v.Advance(48 * time.Hour)
		m.p.settle(t)
		if err := m.until(escrow, m.client, `"remainingAmount":0`); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
	}
	m.must(m.p.machine.stripe.Idle(ctx))
	m.p.settle(t)
	m.balanced(m.worker)
	m.p.intact(t)
}

// TestOtherCurrencies takes the job through in currencies without and with three digits.
func TestOtherCurrencies(t *testing.T) {
	for _, c := range []struct {
		currency, rate                        string
		gross, half, rest, net, halfNet, zero money.Decimal
	}{
		{"JPY", "1999", "2332", "1166", "1166", "2099", "1049", "0"},           // 70 minutes: 2332.2; fees 233 and 117
		{"KWD", "7.777", "9.070", "4.540", "4.530", "8.160", "4.090", "0.000"}, // in tens of fils: 9.0732, half of it 4.535; fees 0.907 and 0.454
	} {
		t.Run(c.currency, func(t *testing.T) {
			t.Parallel()
			m := openMarket(t, c.rate, c.currency, true)
			m.to(monday)
			done, late := m.paid(monday.Add(time.Hour), 70*time.Minute, "pm_card_visa"), m.paid(monday.Add(3*time.Hour), 70*time.Minute, "pm_card_visa")
			m.sees(m.client, bookingPath(done.booking), `"totalAmount":`+string(c.gross)+`,"currency":"`+c.currency+`"`)
			m.post(m.client, bookingPath(late.booking)+"/cancel", map[string]any{"reason": "no need"}, http.StatusOK, nil)
			m.ended("half", late, string(c.half), string(c.rest))
			m.purse("half", m.worker, c.halfNet, c.net, c.zero)
			m.to(monday.Add(3 * time.Hour))
			m.post(m.client, "/api/v1/escrow/"+done.escrow.String()+"/release", map[string]any{"amount": json.Number("0.5555")}, http.StatusUnprocessableEntity, nil)
			m.release(done)
			m.ended("released", done, string(c.gross), string(c.zero))
			m.balanced(m.worker)
			m.post(m.worker, "/api/payments/payout-account", map[string]any{"country": "JP"}, http.StatusCreated, nil)
			m.withdraw()
			m.sees(m.worker, "/api/payments/payouts", `"status":"paid"`)
			m.purse("withdrawn", m.worker, c.zero, c.zero, c.zero)
			m.balanced(m.worker)
			m.p.intact(t)
		})
	}
}
