package payment_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api/apitest"
	"tulifo/platform/postgres"
	"tulifo/platform/stripesim"
	"tulifo/services/payment"
)

const schedulePath = "/api/payments/payout-schedule"

func (w *world) put(body string) (s payment.PayoutSchedule) {
	w.t.Helper()
	w.Call(apitest.Call{What: "change the schedule", As: w.asWorker, Method: "PUT", Path: schedulePath, Body: body, Status: 200}).Data(&s)
	return s
}

func (w *world) schedule() (s payment.PayoutSchedule) {
	w.t.Helper()
	w.Call(apitest.Call{What: "the schedule", As: w.asWorker, Path: schedulePath, Status: 200}).Data(&s)
	return s
}

// until lets what is due happen, each at its time, up to then.
func (w *world) until(then time.Time) {
	w.t.Helper()
	for {
		due, err := w.pay.Due(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if due.IsZero() || due.After(then) {
			w.clock.Set(then)
			return
		}
		if due.After(w.clock.Now()) {
			w.clock.Set(due)
		}
		if err := w.pay.Fire(w.t.Context(), w.clock.Now()); err != nil {
			w.t.Fatal(err)
		}
		w.settle()
	}
}

func (w *world) earn(minor int64, currency string) {
	w.t.Helper()
	b, _ := w.paid(minor, currency)
	w.tell(b.BookingID, w.released(b, minor))
	w.settle()
}

func (w *world) withdrawals() (list []payment.Payout) {
	w.t.Helper()
	w.Call(apitest.Call{What: "the payouts", As: w.asWorker, Path: "/api/payments/payouts", Status: 200}).Data(&list)
	return list
}

func TestPayoutSchedule(t *testing.T) {
	w := start(t)
	if s := w.schedule(); s.Every != "manual" || s.NextAt != nil {
		t.Errorf("%+v", s)
	}
	s := w.put(`{"every":"weekly","timezone":"America/New_York","minimums":{"USD":50}}`)
	// Monday 2 March is 8:00 UTC now, 3:00 in New York; it leaves at 9:00 there.
	if want := time.Date(2026, 3, 2, 14, 0, 0, 0, time.UTC); s.NextAt == nil || !s.NextAt.Equal(want) || s.Day != 1 {
		t.Errorf("%+v, want %v", s, want)
	}
	w.earn(16000, "USD")
	w.earn(12000, "EUR")
	w.until(monday.Add(7 * time.Hour))
	if s := w.schedule(); s.LastOutcome != "email_unverified" {
		t.Errorf("%+v", s)
	}
	w.verify(w.worker)
	w.until(monday.Add(8 * 24 * time.Hour)) // daylight saving time begins on the 8th
	if s := w.schedule(); s.LastOutcome != "payout_account_missing" || !s.NextAt.Equal(time.Date(2026, 3, 16, 13, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", s)
	}
	w.account()
	w.until(monday.Add(15 * 24 * time.Hour))
	if s := w.schedule(); s.LastOutcome != "paid" {
		t.Errorf("%+v", s)
	}
	list := w.withdrawals()
	if len(list) != 2 || !list[0].Scheduled || list[0].Status != "paid" || list[1].Status != "paid" {
		t.Errorf("%+v", list)
	}
	w.has("paid", map[string]int64{"wallet USD": 0, "wallet EUR": 0, "payout_clearing USD": 0})
	w.until(monday.Add(22 * 24 * time.Hour))
	if s := w.schedule(); s.LastOutcome != "nothing_to_pay" {
		t.Errorf("%+v", s)
	}
	w.earn(5000, "USD")
	w.until(monday.Add(29 * 24 * time.Hour))
	if s := w.schedule(); s.LastOutcome != "below_minimum" || len(w.withdrawals()) != 2 {
		t.Errorf("%+v", s)
	}
	w.put(`{"every":"monthly","day":31}`)
	w.until(time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC))
	if s := w.schedule(); !s.NextAt.Equal(time.Date(2026, 4, 30, 13, 0, 0, 0, time.UTC)) {
		t.Errorf("the last day of a month that has no 31st: %+v", s)
	}
	w.put(`{"every":"manual"}`)
	w.until(time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC))
	if len(w.withdrawals()) != 2 {
		t.Errorf("%+v", w.withdrawals())
	}
	w.sound()
}

func TestHostilePayoutSchedules(t *testing.T) {
	w := start(t)
	for what, body := range map[string]string{
		"the eighth day of the week": `{"every":"weekly","day":7}`, "the 0th of the month": `{"every":"monthly","day":0}`, "the 32nd": `{"every":"monthly","day":32}`,
		"a day of every day": `{"every":"daily","day":1}`, "hourly": `{"every":"hourly"}`, "no zone": `{"every":"daily","timezone":"Mars/Olympus"}`, "the machine's zone": `{"every":"daily","timezone":"Local"}`,
		"a path for a zone": `{"every":"daily","timezone":"../../etc/passwd"}`, "below 0": `{"minimums":{"USD":-1}}`, "no currency": `{"minimums":{"dollars":1}}`, "half a cent": `{"minimums":{"USD":0.005}}`,
		"another user": `{"every":"daily","userId":"` + uuid.NewString() + `"}`, "the next time": `{"every":"daily","nextAt":"2026-03-02T08:00:00Z"}`,
	} {
		w.Call(apitest.Call{What: what, As: w.asWorker, Method: "PUT", Path: schedulePath, Body: body, Status: 422})
	}
	w.Calls(
		apitest.Call{What: "a client has no wallet", As: w.asClient, Method: "PUT", Path: schedulePath, Body: `{"every":"daily"}`, Status: 403},
		apitest.Call{What: "an admin pays nobody out", As: w.asAdmin, Method: "PUT", Path: schedulePath, Body: `{"every":"daily"}`, Status: 403},
	)
	if s := w.schedule(); s.Every != "manual" {
		t.Errorf("%+v", s)
	}
}

// Many processes fire one schedule at once, and its worker withdraws by hand in the same moment: the wallet is paid out once.
func TestScheduledPayoutFiredByManyAtOnce(t *testing.T) {
	w := start(t)
	w.verify(w.worker)
	w.account()
	w.put(`{"every":"daily","timezone":"UTC"}`)
	for day := range 3 {
		w.earn(16000, "USD")
		due := monday.Add(time.Hour + time.Duration(day)*24*time.Hour)
		w.clock.Set(due)
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				if i == 3 {
					w.Do(apitest.Call{As: w.asWorker, Path: "/api/payments/payouts", Body: `{}`})
				}
				if err := w.pay.Fire(t.Context(), due); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		w.settle()
		if list := w.withdrawals(); len(list) != day+1 || list[0].Amount != "144.00" {
			t.Fatalf("%+v", list)
		}
	}
	w.has("once a day", map[string]int64{"wallet USD": 0, "rail_clearing USD": -3*1600 + 3*494})
	w.sound()
}

// A bank that refuses three times in a row stops the schedule; each time the money is back once. The worker starts it again.
func TestScheduleIsPausedAfterThreeFailures(t *testing.T) {
	w := start(t)
	w.verify(w.worker)
	w.account()
	w.put(`{"every":"daily","timezone":"UTC"}`)
	w.earn(16000, "USD")
	if err := w.sim.SetControl(stripesim.Control{HoldPayouts: true}); err != nil {
		t.Fatal(err)
	}
	refuse := func() {
		t.Helper()
		w.until(w.clock.Now().Add(24 * time.Hour))
		id, account := w.lastPayout()
		if status, body := w.rail(secretKey, "POST", "/_control/payouts/"+id+"/fail", map[string][]string{"code": {"account_closed"}}, account); status != 200 {
			t.Fatal(body)
		}
		w.settle()
		w.has("back once", map[string]int64{"wallet USD": 14400, "payout_clearing USD": 0})
	}
	refuse()
	refuse()
	if s := w.schedule(); s.PausedAt != nil || s.NextAt == nil {
		t.Errorf("%+v", s)
	}
	refuse()
	s := w.schedule()
	if s.PausedAt == nil || s.NextAt != nil || s.PausedReason != "account_closed" {
		t.Errorf("%+v", s)
	}
	w.told(map[string]int{"payout.schedule_paused": 1, "payout.failed": 3})
	if h := w.heldOf(w.asWorker)[0]; h.BlockedBy != "payouts_paused" {
		t.Errorf("%+v", h)
	}
	w.until(w.clock.Now().Add(72 * time.Hour))
	if n := len(w.withdrawals()); n != 3 {
		t.Errorf("%d payouts", n)
	}
	if err := w.sim.SetControl(stripesim.Control{}); err != nil {
		t.Fatal(err)
	}
	if s := w.put(`{}`); s.PausedAt != nil || s.NextAt == nil {
		t.Errorf("%+v", s)
	}
	w.until(w.clock.Now().Add(24 * time.Hour))
	w.has("paid in the end", map[string]int64{"wallet USD": 0, "payout_clearing USD": 0})
	w.sound()
}

func (w *world) lastPayout() (id, account string) {
	w.t.Helper()
	p, err := postgres.One[struct{ RailID, AccountID string }](w.t.Context(), w.db, `SELECT rail_id, account_id FROM payouts ORDER BY created_at DESC LIMIT 1`)
	if err != nil {
		w.t.Fatal(err)
	}
	return p.RailID, p.AccountID
}
