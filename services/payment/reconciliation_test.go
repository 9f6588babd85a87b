package payment_test

import (
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api/apitest"
	"tulifo/platform/postgres"
	"tulifo/services/payment"
)

const reconciliationPath = "/api/payments/reconciliation"

func (w *world) reconcile() (r payment.Reconciliation) {
	w.t.Helper()
	w.Call(apitest.Call{What: "compare with the rail", As: w.asAdmin, Method: "POST", Path: reconciliationPath, Status: 201}).Data(&r)
	return r
}

// journey is a payment that was released in part and refunded in part, withdrawn, and one that was charged back and lost.
func (w *world) journey() (c, lost checkout) {
	w.t.Helper()
	w.verify(w.worker)
	w.account()
	b, c := w.paid(16000, "USD")
	w.tell(b.BookingID, w.released(b, 10000), w.refunded(b, 6000))
	w.settle()
	w.Call(apitest.Call{As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":50}`, Status: 201})
	w.settle()
	_, lost = w.paid(7000, "EUR")
	w.dispute(lost)("lose")
	w.settle()
	return c, lost
}

// TestReconciliationFindsEachDifference plants one of each kind at the rail and in the books; each is told in a sentence, and nothing else is.
func TestReconciliationFindsEachDifference(t *testing.T) {
	w := start(t)
	c, lost := w.journey()
	if r := w.reconcile(); r.Status != "clean" || r.Differences != 0 || len(r.Sums) < 5 {
		t.Fatalf("%+v", r)
	}
	id := func(sql string, args ...any) string {
		t.Helper()
		found, err := postgres.One[string](t.Context(), w.db, sql, args...)
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	change := func(object string, form url.Values) {
		t.Helper()
		if status, body := w.rail(secretKey, "POST", "/_control/objects/"+object, form, ""); status != 200 {
			t.Fatalf("%d %v", status, body)
		}
	}
	intent, refund := c.intent(), id(`SELECT rail_id FROM refunds WHERE rail_id IS NOT NULL LIMIT 1`)
	transfer, payout := id(`SELECT transfer_id FROM payouts`), id(`SELECT rail_id FROM payouts`)
	dispute := id(`SELECT id FROM chargebacks`)
	for _, plant := range []struct {
		what, kind, object, says string
		do, undo                 func()
	}{
		{"another amount", "amount", "payment", "160.00 USD here and 159.99 USD", func() { change(intent, url.Values{"amount": {"15999"}}) }, func() { change(intent, url.Values{"amount": {"16000"}}) }},
		{"a refund that failed there", "status", "refund", "done here and failed", func() { change(refund, url.Values{"status": {"failed"}}) }, func() { change(refund, url.Values{"status": {"succeeded"}}) }},
		{"a chargeback that was won there", "status", "chargeback", "lost here and won", func() { change(dispute, url.Values{"status": {"won"}}) }, func() { change(dispute, url.Values{"status": {"lost"}}) }},
		{"a payout that is on its way there", "status", "payout", "done here and open", func() { change(payout, url.Values{"status": {"in_transit"}}) }, func() { change(payout, url.Values{"status": {"paid"}}) }},
		{"another transfer", "amount", "transfer", "50.00 USD here and 49.99 USD", func() { change(transfer, url.Values{"amount": {"4999"}}) }, func() { change(transfer, url.Values{"amount": {"5000"}}) }},
		{"a row that is gone here", "missing_here", "payment", "which is not here", func() {
			w.exec(`ALTER TABLE payments DISABLE TRIGGER ALL; ALTER TABLE chargebacks DISABLE TRIGGER ALL`)
			w.exec(`UPDATE payments SET id = '` + uuid.NewString() + `' WHERE intent_id = '` + lost.intent() + `'`)
		}, nil},
	} {
		plant.do()
		r := w.reconcile()
		ok := r.Status == "different"
		for _, d := range r.List {
			// The chargeback of a payment that is gone is not found either.
			ok = ok && d.Kind == plant.kind && (d.Object == plant.object || plant.undo == nil && d.Object == "chargeback") && strings.Contains(d.Sentence, plant.says)
		}
		if !ok || len(r.List) == 0 || r.Differences != len(r.List) && plant.undo != nil {
			t.Errorf("%s: %+v", plant.what, r)
		}
		if plant.undo != nil {
			plant.undo()
		}
	}
}

func (w *world) exec(sql string) {
	w.t.Helper()
	for _, one := range strings.Split(sql, ";") {
		if _, err := w.db.Exec(w.t.Context(), one); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestReconciliationOfWhatIsGoneMadeByHandOrToppedUp(t *testing.T) {
	w := start(t)
	c, _ := w.journey()
	kinds := func(r payment.Reconciliation) (all []string) {
		for _, d := range r.List {
			all = append(all, d.Kind+" "+d.Object)
		}
		return all
	}
	want := func(what string, wanted ...string) {
		t.Helper()
		if got := kinds(w.reconcile()); strings.Join(got, ", ") != strings.Join(wanted, ", ") {
			t.Errorf("%s: %v, want %v", what, got, wanted)
		}
	}
	want("all is well")
	if status, _ := w.rail(secretKey, "POST", "/_control/balance", url.Values{"amount": {"1000"}, "currency": {"usd"}}, ""); status != 200 {
		t.Fatal(status)
	}
	want("money of the platform's own", "balance balance")
	want("is told once")
	status, made := w.rail(secretKey, "POST", "/v1/refunds", url.Values{"payment_intent": {c.intent()}, "amount": {"100"}}, "")
	if status != 200 {
		t.Fatal(made)
	}
	w.settle()
	want("a refund by hand", "unknown refund", "balance balance")
	if status, _ := w.rail(secretKey, "POST", "/_control/objects/"+c.intent(), url.Values{"gone": {"true"}}, ""); status != 200 {
		t.Fatal(status)
	}
	want("gone there", "missing_there payment", "unknown refund")
}

// The daily report is made once in however many processes, and one that the rail does not answer says so and holds up nothing.
func TestDailyReconciliation(t *testing.T) {
	w := start(t)
	w.paid(16000, "USD")
	if err := w.sim.SetControl(fails("drop", "/none")); err != nil {
		t.Fatal(err)
	}
	tomorrow := monday.Add(24 * time.Hour)
	if due, err := w.pay.Due(t.Context()); err != nil || !due.Equal(tomorrow) {
		t.Fatalf("due at %v, %v", due, err)
	}
	w.clock.Set(tomorrow)
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			if err := w.pay.Fire(t.Context(), tomorrow); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var list []payment.Reconciliation
	w.Call(apitest.Call{What: "one report", As: w.asAdmin, Path: reconciliationPath, Status: 200}).Data(&list)
	if len(list) != 1 || list[0].Status != "clean" || !list[0].At.Equal(tomorrow) {
		t.Errorf("%+v", list)
	}
	fail := fails("drop", "/v1/payment_intents")
	fail.Fail.Method, fail.Fail.Times = "GET", 100
	if err := w.sim.SetControl(fail); err != nil {
		t.Fatal(err)
	}
	w.Call(apitest.Call{What: "asked for while the rail is away", As: w.asAdmin, Method: "POST", Path: reconciliationPath, Status: 503})
	w.Call(apitest.Call{What: "the report says so", As: w.asAdmin, Path: reconciliationPath + "?limit=1", Status: 200, Has: `"status":"failed"`})
	w.until(tomorrow.Add(24 * time.Hour))
	w.Call(apitest.Call{What: "the rail is away", As: w.asAdmin, Path: reconciliationPath + "?limit=1", Status: 200, Has: `"status":"failed"`})
	if due, err := w.pay.Due(t.Context()); err != nil || !due.Equal(tomorrow.Add(48*time.Hour)) {
		t.Errorf("due at %v, %v", due, err)
	}
}

func TestHostileReconciliations(t *testing.T) {
	w := start(t)
	w.Calls(
		apitest.Call{What: "by a worker", As: w.asWorker, Method: "POST", Path: reconciliationPath, Status: 403},
		apitest.Call{What: "read by a client", As: w.asClient, Path: reconciliationPath, Status: 403},
		apitest.Call{What: "backwards", As: w.asAdmin, Path: reconciliationPath, Body: `{"from":"2026-03-02T00:00:00Z","to":"2026-03-01T00:00:00Z"}`, Status: 422},
		apitest.Call{What: "a century", As: w.asAdmin, Path: reconciliationPath, Body: `{"from":"1926-03-02T00:00:00Z","to":"2026-03-01T00:00:00Z"}`, Status: 422},
		apitest.Call{What: "the future", As: w.asAdmin, Path: reconciliationPath, Body: `{"to":"2126-03-01T00:00:00Z"}`, Status: 422},
		apitest.Call{What: "none", As: w.asAdmin, Path: reconciliationPath + "/" + uuid.NewString(), Status: 404},
		apitest.Call{What: "no id", As: w.asAdmin, Path: reconciliationPath + "/latest", Status: 422},
	)
}
