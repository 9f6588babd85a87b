package payment_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/bus"
	"tulifo/platform/bus/bustest"
	"tulifo/platform/money"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/stripesim"
	"tulifo/services/payment"
)

func TestRefunds(t *testing.T) {
	w := start(t)
	b, c := w.paid(16000, "USD")
	half := w.refunded(b, 8000)
	w.tell(b.BookingID, half, w.released(b, 8000))
	w.settle()
	w.has("half and half", map[string]int64{"escrow USD": 0, "wallet USD": 7200, "fees USD": 800, "refunds_payable USD": 0, "rail_clearing USD": -8000 + 494})
	p := w.status(c, payment.Completed)
	if p.Refunded != "80.00" || p.Released != "80.00" {
		t.Errorf("%+v", p)
	}
	w.Call(apitest.Call{What: "her part of the half", As: w.asWorker, Path: "/api/payments/" + c.Payment.ID.String(), Status: 200, Has: `"fee":8.00,"net":72.00`})
	w.told(map[string]int{"payment.refunded": 1})
	// Told once more, with the inbox forgotten: the business key still knows.
	w.tell(b.BookingID, half)
	w.settle()
	w.has("the same move again", map[string]int64{"escrow USD": 0, "refunds_payable USD": 0})
	_, refunds := w.rail(secretKey, "GET", "/v1/refunds", nil, "")
	if n := len(refunds["data"].([]any)); n != 1 {
		t.Errorf("%d refunds at the rail", n)
	}
	w.sound()
}

func TestRefundThatIsSlowOrFails(t *testing.T) {
	w := start(t)
	for _, c := range []struct {
		card, status string
		payable      int64
	}{{"pm_card_pendingRefund", "refunded", 0}, {"pm_card_refundFail", "completed", 16000}} {
		b := w.booking(16000, "USD")
		out := w.checkout(b)
		w.card(out, c.card)
		w.settle()
		w.tell(b.BookingID, w.refunded(b, 16000))
		w.settle()
		w.later(11 * time.Minute)
		w.settle()
		w.status(out, payment.Status(c.status))
		w.has(c.card, map[string]int64{"refunds_payable USD": c.payable, "escrow USD": 0})
	}
	w.sound()
}

func TestAdminRefund(t *testing.T) {
	w := start(t)
	b, c := w.paid(16000, "USD")
	path := "/api/payments/" + c.Payment.ID.String() + "/refund"
	unpaid := w.checkout(w.booking(5000, "USD"))
	w.Calls(
		apitest.Call{What: "the client", As: w.asClient, Path: path, Body: `{"reason":"I want it"}`, Status: 403},
		apitest.Call{What: "the worker", As: w.asWorker, Path: path, Body: `{"reason":"I want it"}`, Status: 403},
		apitest.Call{What: "more than the payment", As: w.asAdmin, Path: path, Body: `{"amount":160.01,"reason":"too much"}`, Status: 422},
		apitest.Call{What: "nothing", As: w.asAdmin, Path: path, Body: `{"amount":0,"reason":"nothing"}`, Status: 422},
		apitest.Call{What: "less than nothing", As: w.asAdmin, Path: path, Body: `{"amount":-1,"reason":"negative"}`, Status: 422},
		apitest.Call{What: "half a cent", As: w.asAdmin, Path: path, Body: `{"amount":1.005,"reason":"half"}`, Status: 422},
		apitest.Call{What: "without a reason", As: w.asAdmin, Path: path, Body: `{"amount":1}`, Status: 422},
		apitest.Call{What: "an unpaid one", As: w.asAdmin, Path: "/api/payments/" + unpaid.Payment.ID.String() + "/refund", Body: `{"reason":"unpaid"}`, Status: 409, Has: "not_paid"},
		apitest.Call{What: "none", As: w.asAdmin, Path: "/api/payments/" + uuid.NewString() + "/refund", Body: `{"reason":"none"}`, Status: 404},
		apitest.Call{What: "a part", As: w.asAdmin, Path: path, Body: `{"amount":10.5,"reason":"late"}`, Key: "a", Status: 200},
	)
	if len(w.peers.refunds) != 1 || !strings.Contains(w.peers.refunds[0], `"amount":10.5`) {
		t.Errorf("escrow was told %q", w.peers.refunds)
	}
	w.has("escrow decides", map[string]int64{"escrow USD": 16000})
	_ = b
}

func TestTwoRefundsAtOnceNeverExceed(t *testing.T) {
	w := start(t)
	b, c := w.paid(16000, "USD")
	// Escrow never decides so; if it did, the second would not be posted.
	w.tell(b.BookingID, w.refunded(b, 10000))
	w.settle()
	var race sync.WaitGroup
	for range 4 {
		race.Go(func() { _ = w.pay.Retry(t.Context(), time.Now()) })
	}
	race.Wait()
	w.settle()
	w.has("one refund", map[string]int64{"escrow USD": 6000, "refunds_payable USD": 0, "rail_clearing USD": -6000 + 494})
	w.tell(uuid.New(), w.refunded(b, 6001))
	if reason := w.refusal(); !strings.Contains(reason, "holds 6000") {
		t.Errorf("the event fails because %q", reason)
	}
	w.has("still", map[string]int64{"escrow USD": 6000, "refunds_payable USD": 0})
	w.status(c, payment.Completed)
}

// refusal waits until an event has failed, and says why.
func (w *world) refusal() string {
	w.t.Helper()
	tick, end := time.NewTicker(2*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for {
		parked, err := postgres.All[string](w.t.Context(), w.db, `SELECT reason FROM parked`)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(parked) > 0 {
			return parked[0]
		}
		select {
		case <-end:
			w.t.Fatal("no event has failed")
		case <-tick.C:
		}
	}
}

// dispute opens a dispute of a payment and answers how it is ended.
func (w *world) dispute(c checkout) (end func(how string)) {
	w.t.Helper()
	status, d := w.rail(secretKey, "POST", "/_control/disputes", url.Values{"payment_intent": {c.intent()}}, "")
	if status != 200 {
		w.t.Fatalf("%d %v", status, d)
	}
	w.settle()
	return func(how string) {
		w.t.Helper()
		if status, out := w.rail(secretKey, "POST", "/_control/disputes/"+d["id"].(string)+"/"+how, nil, ""); status != 200 {
			w.t.Fatalf("%d %v", status, out)
		}
		w.settle()
	}
}

func TestChargebackAfterRelease(t *testing.T) {
	w := start(t)
	b, c := w.paid(16000, "USD")
	w.tell(b.BookingID, w.released(b, 16000))
	w.verify(w.worker)
	w.account()
	w.Call(apitest.Call{As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":100}`, Status: 201})
	w.settle()
	end := w.dispute(c)
	w.status(c, payment.ChargedBack)
	w.told(map[string]int{"payment.charged_back": 1})
	w.has("she owes what she has withdrawn", map[string]int64{"wallet USD": 0, "chargeback_debt:worker USD": -10000, "fees USD": 0})
	w.Call(apitest.Call{What: "shown", As: w.asWorker, Path: "/api/payments/wallet", Status: 200, Has: `"available":0.00,"pending":0.00,"held":0.00,"owed":100.00`})
	w.Call(apitest.Call{What: "with its reason", As: w.asWorker, Path: "/api/payments/statement", Status: 200, Has: `"description":"Owed because of a chargeback: Fix my Go service","bookingId":"` + b.BookingID.String() + `","amount":-100.00,"balance":-100.00`})
	w.sound()

	second, _ := w.paid(10000, "USD")
	w.tell(second.BookingID, w.released(second, 10000))
	w.settle()
	w.has("paid from what comes in", map[string]int64{"wallet USD": 0, "chargeback_debt:worker USD": -1000, "fees USD": 1000})
	w.Call(apitest.Call{What: "nothing to withdraw", As: w.asWorker, Path: "/api/payments/payouts", Body: `{}`, Status: 409, Has: "insufficient_funds"})
	w.sound()

	end("win")
	w.status(c, payment.Completed)
	w.has("given back", map[string]int64{"wallet USD": 13400, "chargeback_debt:worker USD": 0, "fees USD": 2600})
	w.told(map[string]int{"payment.chargeback_won": 1})
	w.sound()
}

func TestChargebackWhileHeld(t *testing.T) {
	w := start(t)
	b, c := w.paid(16000, "USD")
	end := w.dispute(c)
	w.has("escrow is escrow's", map[string]int64{"escrow USD": 16000, "chargeback_debt:client USD": -16000})
	w.tell(b.BookingID, w.refunded(b, 16000))
	w.settle()
	w.has("his refund pays what he owes", map[string]int64{"escrow USD": 0, "chargeback_debt:client USD": 0, "refunds_payable USD": 0})
	w.sound()
	end("win")
	w.has("then it is sent", map[string]int64{"escrow USD": 0, "chargeback_debt:client USD": 0, "refunds_payable USD": 0, "rail_clearing USD": 494 + 1500})
	w.status(c, payment.Refunded)
	w.sound()

	lost, lostOut := w.paid(16000, "USD")
	w.dispute(lostOut)("lose")
	w.status(lostOut, payment.ChargedBack)
	w.told(map[string]int{"payment.chargeback_lost": 1})
	w.tell(lost.BookingID, w.refunded(lost, 16000))
	w.settle()
	w.has("nothing is sent twice", map[string]int64{"refunds_payable USD": 0, "chargeback_debt:client USD": 0, "escrow USD": 0})
	w.sound()
}

func TestChargebackIsAskedAbout(t *testing.T) {
	w := start(t)
	_, c := w.paid(16000, "USD")
	_, other := w.paid(16000, "USD")
	won, lost := w.dispute(c), w.dispute(other)
	w.later(25 * time.Hour)
	w.status(c, payment.ChargedBack)
	if err := w.sim.SetControl(hold("*")); err != nil {
		t.Fatal(err)
	}
	won("win")
	lost("lose")
	w.status(c, payment.ChargedBack)
	w.later(50 * time.Hour)
	w.status(c, payment.Completed)
	w.status(other, payment.ChargedBack)
	if open, err := postgres.One[int64](t.Context(), w.db, `SELECT count(*) FROM chargebacks WHERE status = 'open' OR next_try_at IS NOT NULL`); err != nil || open != 0 {
		t.Errorf("%d chargebacks are still asked about, %v", open, err)
	}
	w.settle()
	w.sound()
}

func TestInquiryMovesNothing(t *testing.T) {
	w := start(t)
	b := w.booking(16000, "USD")
	c := w.checkout(b)
	w.card(c, "pm_card_createDisputeInquiry")
	w.settle()
	w.status(c, payment.Completed)
	w.has("held", map[string]int64{"escrow USD": 16000, "chargeback_debt:client USD": 0})
	w.sound()
}

// funded is a world whose worker has 144.00 and a payout account, which is the one at the rail that is answered.
func funded(t *testing.T) (w *world, account string) {
	w = start(t)
	b, _ := w.paid(16000, "USD")
	w.tell(b.BookingID, w.released(b, 16000))
	w.verify(w.worker)
	w.account()
	account, err := postgres.One[string](t.Context(), w.db, `SELECT account_id FROM payout_accounts`)
	if err != nil {
		t.Fatal(err)
	}
	return w, account
}

func (w *world) payouts() []map[string]any {
	w.t.Helper()
	rows, err := postgres.All[string](w.t.Context(), w.db, `SELECT coalesce(rail_id, '') FROM payouts ORDER BY id`)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []map[string]any
	for _, id := range rows {
		out = append(out, map[string]any{"id": id})
	}
	return out
}

func TestPayoutFails(t *testing.T) {
	w, account := funded(t)
	if err := w.sim.SetControl(stripesim.Control{HoldPayouts: true}); err != nil {
		t.Fatal(err)
	}
	w.Call(apitest.Call{What: "withdraw all", As: w.asWorker, Method: "POST", Path: "/api/payments/payouts", Status: 201, Has: `"amount":144.00`})
	w.settle()
	w.Call(apitest.Call{What: "on its way", As: w.asWorker, Path: "/api/payments/wallet", Status: 200, Has: `"available":0.00,"pending":144.00`})
	w.sound()
	id := w.payouts()[0]["id"].(string)
	if status, out := w.rail(secretKey, "POST", "/_control/payouts/"+id+"/fail", url.Values{"code": {"account_closed"}}, account); status != 200 {
		t.Fatalf("%d %v", status, out)
	}
	w.settle()
	w.Call(apitest.Call{What: "back", As: w.asWorker, Path: "/api/payments/payouts", Status: 200, Has: `"status":"failed","failure":"account_closed"`})
	w.has("back once", map[string]int64{"wallet USD": 14400, "payout_clearing USD": 0})
	w.told(map[string]int{"payout.failed": 1, "payout.paid": 0})
	// The same news again, and again.
	for range 3 {
		if _, err := w.db.Exec(t.Context(), `UPDATE payouts SET next_try_at = clock_timestamp()`); err != nil {
			t.Fatal(err)
		}
		w.settle()
	}
	w.has("once only", map[string]int64{"wallet USD": 14400, "payout_clearing USD": 0})
	w.told(map[string]int{"payout.failed": 1})
	w.sound()
}

// A bank may send a payout back that was paid: then the wallet has it, once. News that it failed when it did not changes nothing.
func TestSettledPayout(t *testing.T) {
	w, account := funded(t)
	w.Call(apitest.Call{What: "withdraw", As: w.asWorker, Path: "/api/payments/payouts", Body: `{}`, Status: 201})
	w.settle()
	id := w.payouts()[0]["id"].(string)
	ours, err := postgres.One[uuid.UUID](t.Context(), w.db, `SELECT id FROM payouts`)
	if err != nil {
		t.Fatal(err)
	}
	lie := fmt.Appendf(nil, `{"id":"evt_lie","object":"event","api_version":%q,"account":%q,"created":1,"type":"payout.failed","data":{"object":{"id":%q,"object":"payout","status":"failed","metadata":{"tulifo_id":%q}}}}`,
		stripesim.APIVersion, account, id, ours)
	if status := w.hook(lie); status != 200 {
		t.Fatalf("answered %d", status)
	}
	w.settle()
	w.has("settled stays settled", map[string]int64{"wallet USD": 0, "payout_clearing USD": 0})
	if status, out := w.rail(secretKey, "POST", "/_control/payouts/"+id+"/fail", url.Values{"code": {"no_account"}}, account); status != 200 {
		t.Fatalf("%d %v", status, out)
	}
	w.settle()
	w.has("really sent back", map[string]int64{"wallet USD": 14400, "payout_clearing USD": 0})
	w.told(map[string]int{"payout.paid": 1, "payout.failed": 1})
	w.sound()
}

func TestPayoutAccounts(t *testing.T) {
	w := start(t)
	w.Call(apitest.Call{What: "unverified", As: w.asWorker, Path: "/api/payments/payout-account", Body: `{}`, Status: 403, Has: "email_unverified"})
	w.Call(apitest.Call{What: "unverified", As: w.asWorker, Path: "/api/payments/payouts", Body: `{}`, Status: 403, Has: "email_unverified"})
	w.peers.mu.Lock()
	w.peers.verified[w.worker] = true
	w.peers.mu.Unlock()
	for range 2 {
		w.Call(apitest.Call{What: "auth says yes", As: w.asWorker, Path: "/api/payments/payout-account", Body: `{}`, Status: 201, Has: `"status":"verified"`})
	}
	_, list := w.rail(secretKey, "GET", "/v1/accounts", nil, "")
	if n := len(list["data"].([]any)); n != 1 {
		t.Errorf("%d accounts", n)
	}
	w.Calls(
		apitest.Call{What: "a client", As: w.asClient, Path: "/api/payments/payout-account", Body: `{}`, Status: 403},
		apitest.Call{What: "no country", As: w.asWorker, Path: "/api/payments/payout-account", Body: `{"country":"Germany"}`, Status: 422},
		apitest.Call{What: "nothing there", As: w.asWorker, Path: "/api/payments/payouts", Body: `{}`, Status: 409, Has: "insufficient_funds"},
	)

	refused, late := uuid.New(), uuid.New()
	w.tell(refused, event.UserCreated{UserID: refused, Email: "refuse.me@example.com", Role: "worker", Verified: true})
	w.tell(late, event.UserCreated{UserID: late, Email: "verify.later@example.com", Role: "worker", Verified: true})
	w.settle()
	w.Call(apitest.Call{What: "refused", As: w.Token("worker", refused), Path: "/api/payments/payout-account", Body: `{}`, Status: 201, Has: `"status":"refused"`})
	w.Call(apitest.Call{What: "refused", As: w.Token("worker", refused), Path: "/api/payments/payouts", Body: `{}`, Status: 409, Has: "payout_account_refused"})
	a := w.Call(apitest.Call{What: "to be completed", As: w.Token("worker", late), Path: "/api/payments/payout-account", Body: `{}`, Status: 201, Has: `"status":"pending"`})
	var account payment.PayoutAccount
	a.Data(&account)
	if account.URL == "" || account.ExpiresAt == nil || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%+v", account)
	}
	w.Call(apitest.Call{What: "not complete", As: w.Token("worker", late), Path: "/api/payments/payouts", Body: `{}`, Status: 409, Has: "payout_account_incomplete"})
	id, err := postgres.One[string](t.Context(), w.db, `SELECT account_id FROM payout_accounts WHERE user_id = $1`, late)
	if err != nil {
		t.Fatal(err)
	}
	w.rail(secretKey, "POST", "/_control/accounts/"+id, url.Values{"verification": {"verified"}}, "")
	w.settle()
	status, err := postgres.One[string](t.Context(), w.db, `SELECT status FROM payout_accounts WHERE user_id = $1`, late)
	if err != nil || status != "verified" {
		t.Errorf("the account is %s, %v", status, err)
	}
}

func TestWithdrawalsAtOnce(t *testing.T) {
	w, _ := funded(t)
	var mu sync.Mutex
	statuses := map[int]int{}
	var race sync.WaitGroup
	for range 12 {
		race.Go(func() {
			a := w.Do(apitest.Call{As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":50}`})
			mu.Lock()
			statuses[a.Status]++
			mu.Unlock()
		})
	}
	race.Wait()
	if statuses[201] != 2 || statuses[409] != 10 {
		t.Errorf("answers %v", statuses)
	}
	w.settle()
	w.has("two of fifty", map[string]int64{"wallet USD": 4400, "payout_clearing USD": 0})
	w.Calls(
		apitest.Call{What: "another's key is not mine", As: w.Token("worker", uuid.New()), Path: "/api/payments/payouts", Body: `{}`, Key: "x", Status: 403},
		apitest.Call{What: "with a key", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":1}`, Key: "x", Status: 201},
		apitest.Call{What: "the key with another body", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":2}`, Key: "x", Status: 422, Has: "idempotency_key_reused"},
		apitest.Call{What: "more than all", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":44}`, Status: 409},
		apitest.Call{What: "nothing", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":0}`, Status: 422},
		apitest.Call{What: "negative", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":-1}`, Status: 422},
		apitest.Call{What: "too fine", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":0.001}`, Status: 422},
		apitest.Call{What: "huge", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":1e30}`, Status: 422},
		apitest.Call{What: "a string", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":"1"}`, Status: 422},
		apitest.Call{What: "a currency that is not there", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":1,"currency":"EUR"}`, Status: 409},
		apitest.Call{What: "to another's account", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":1,"accountId":"acct_1"}`, Status: 422},
		apitest.Call{What: "a client", As: w.asClient, Path: "/api/payments/payouts", Body: `{}`, Status: 403},
	)
	w.settle()
	w.sound()
}

func TestHeld(t *testing.T) {
	w := start(t)
	b, _ := w.paid(16000, "USD")
	strange := w.Token("worker", uuid.New())
	see := func(what, as, has string) {
		t.Helper()
		w.Call(apitest.Call{What: what, As: as, Path: "/api/payments/wallet/held", Status: 200, Has: has})
	}
	see("before the work", w.asWorker, `"amount":144.00,"currency":"USD","blockedBy":"work_not_done","whoCanUnblock":"worker","eta":"2026-03-08T10:00:00Z"`)
	see("what he paid", w.asClient, `"amount":160.00`)
	see("a stranger", strange, `"data":[]`)
	w.Call(apitest.Call{What: "her wallet", As: w.asWorker, Path: "/api/payments/wallet", Status: 200, Has: `"held":144.00`})
	w.Call(apitest.Call{What: "his wallet", As: w.asClient, Path: "/api/payments/wallet", Status: 200, Has: `"held":160.00`})
	w.Call(apitest.Call{What: "a stranger's wallet", As: strange, Path: "/api/payments/wallet", Status: 200, Has: `"available":0.00,"pending":0.00,"held":0.00,"owed":0.00,"currency":"USD"`})
	w.tell(b.BookingID, event.BookingCompleted{Booking: b, CompletedAt: b.End, ReleaseAt: b.End.Add(72 * time.Hour)})
	w.settle()
	see("done", w.asWorker, `"blockedBy":"client_release","whoCanUnblock":"client","eta":"2026-03-07T10:00:00Z"`)
	w.tell(b.BookingID, event.EscrowFrozen{Escrow: w.escrowOf(b, 16000), Reason: "dispute"})
	w.settle()
	see("frozen", w.asWorker, `"blockedBy":"frozen","whoCanUnblock":"admin","eta":null`)
	w.tell(b.BookingID, event.EscrowUnfrozen{Escrow: w.escrowOf(b, 16000)}, w.released(b, 10000))
	w.settle()
	see("the rest", w.asWorker, `"amount":54.00,"currency":"USD","blockedBy":"client_release"`)
	gone, _ := w.paid(1000, "USD")
	settle := gone.Start.Add(25 * time.Hour)
	w.tell(gone.BookingID, event.BookingNoShow{Booking: gone, Absent: "client", SettleAt: settle})
	w.settle()
	see("nobody came", w.asWorker, `"blockedBy":"no_show","whoCanUnblock":"client","eta":"`+settle.Format(time.RFC3339)+`"`)
	w.tell(gone.BookingID, event.BookingNoShowContested{Booking: gone, Reason: "I was there."}, event.EscrowFrozen{Escrow: w.escrowOf(gone, 1000), Reason: "I was there."})
	w.settle()
	see("he objects", w.asWorker, `"blockedBy":"no_show_contested","whoCanUnblock":"admin","eta":null`)
	w.tell(gone.BookingID, event.EscrowUnfrozen{Escrow: w.escrowOf(gone, 1000)})
	w.settle()
	see("without ground", w.asWorker, `"blockedBy":"no_show","whoCanUnblock":"client","eta":"`+settle.Format(time.RFC3339)+`"`)
	w.Call(apitest.Call{What: "the ledger, for escrow", As: w.ServiceToken("escrow", "payment"), Path: "/api/payments/ledger/escrow", Status: 200, Has: `{"bookingId":"` + b.BookingID.String() + `","remaining":6000,"currency":"USD"}`})
	w.sound()
}

func TestStatement(t *testing.T) {
	w, _ := funded(t)
	w.clock.Advance(24 * time.Hour)
	b := w.unheard(1035, "USD")
	b.Title = `=HYPERLINK("http://evil","x")`
	w.tell(b.BookingID, event.BookingConfirmed{Booking: b, PayBy: monday.Add(time.Hour)})
	w.settle()
	c := w.checkout(b)
	w.card(c, "pm_card_visa")
	w.settle()
	w.tell(b.BookingID, w.released(b, 345), w.released(b, 690))
	w.settle()
	w.Call(apitest.Call{What: "withdraw", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":100.35}`, Status: 201})
	w.settle()
	a := w.Call(apitest.Call{What: "as CSV", As: w.asWorker, Path: "/api/payments/statement?format=csv&from=2026-03-03&to=2026-03-03", Status: 200})
	if got := a.Header.Get("Content-Type"); got != "text/csv; charset=utf-8" || !strings.Contains(a.Header.Get("Content-Disposition"), "attachment") {
		t.Errorf("headers %v", a.Header)
	}
	rows, err := csv.NewReader(strings.NewReader(string(a.Body))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range rows[1:] {
		got = append(got, strings.Join([]string{r[1], r[5], r[6]}, " "))
		for _, i := range []int{2} {
			if strings.HasPrefix(r[i], "=") {
				t.Errorf("a formula: %q", r[i])
			}
		}
	}
	want := []string{"opening  144.00", "release 3.10 147.10", "release 6.21 153.31", "payout -100.35 52.96", "closing  52.96"}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("lines %q, want %q", got, want)
	}
	var st payment.Statement
	w.Call(apitest.Call{What: "as JSON", As: w.asWorker, Path: "/api/payments/statement", Status: 200}).Data(&st)
	if len(st.Lines) != 4 || st.Closing[0].Balance != "52.96" || len(st.Opening) != 0 {
		t.Errorf("%+v", st)
	}
	w.Call(apitest.Call{What: "the client's", As: w.asClient, Path: "/api/payments/statement", Status: 200, Has: `"kind":"payment","description":"Paid: Fix my Go service","bookingId":`, HasNot: "Earned"})
	w.Calls(
		apitest.Call{What: "a stranger's", As: w.Token("worker", uuid.New()), Path: "/api/payments/statement", Status: 200, Has: `"opening":[],"lines":[],"closing":[]`},
		apitest.Call{What: "an admin has none", As: w.asAdmin, Path: "/api/payments/statement", Status: 403},
		apitest.Call{What: "no date", As: w.asWorker, Path: "/api/payments/statement?from=yesterday", Status: 422},
		apitest.Call{What: "backwards", As: w.asWorker, Path: "/api/payments/statement?from=2026-03-03&to=2026-03-01", Status: 422},
		apitest.Call{What: "a thousand years", As: w.asWorker, Path: "/api/payments/statement?from=1026-03-03&to=2026-03-01", Status: 422},
		apitest.Call{What: "the year 0", As: w.asWorker, Path: "/api/payments/statement?from=0000-01-01", Status: 422},
		apitest.Call{What: "another format", As: w.asWorker, Path: "/api/payments/statement?format=xls", Status: 422},
	)
	w.sound()
}

func TestRoundTrips(t *testing.T) {
	w, _ := funded(t)
	b, c := w.paid(16000, "USD")
	w.deaf() // the inbox shares the pool
	for _, path := range []string{"/api/payments", "/api/payments/" + c.Payment.ID.String(), "/api/payments/wallet", "/api/payments/wallet/held", "/api/payments/payouts", "/api/payments/statement",
		"/api/payments/statement?format=html", "/api/payments/statements", "/api/payments/payout-schedule", "/api/payments/fees?amount=1", "/api/payments/fee-rules"} {
		if n := pgtest.Trips(w.db, func() { w.Call(apitest.Call{What: path, As: w.asWorker, Path: path, Status: 200}) }); n > 2 {
			t.Errorf("%s takes %d round trips", path, n)
		}
	}
	if n := pgtest.Trips(w.db, func() {
		w.Call(apitest.Call{What: "withdraw", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":1}`, Key: "trips", Status: 201})
	}); n > 4 {
		t.Errorf("a withdrawal takes %d round trips", n)
	}
	w.settle()
	in := outbox.NewInbox(w.db, "payment", slog.New(slog.DiscardHandler))
	w.pay.Subscribe(in)
	take, release := bustest.Hand(t, in.Run), w.envelope(b.BookingID, w.released(b, 16000))
	if n := pgtest.Trips(w.db, func() {
		if err := take(t.Context(), []bus.Envelope{release}); err != nil {
			t.Error(err)
		}
	}); n != 3 {
		t.Errorf("a release takes %d round trips, want 3", n)
	}
	w.has("released", map[string]int64{"escrow USD": 0})
	w.sound()
}

// Many releases for few workers, in batches, from many bookings, with their inverse orders mixed: no deadlock, to the cent.
func TestReleasesOfManyBookings(t *testing.T) {
	w := start(t)
	const bookings = 60
	workers := []uuid.UUID{uuid.New(), uuid.New(), uuid.New()}
	var wg sync.WaitGroup
	for i := range bookings {
		b := w.unheard(10000+int64(i), "USD")
		b.WorkerID = workers[i%len(workers)]
		w.tell(b.BookingID, event.BookingConfirmed{Booking: b, PayBy: monday.Add(time.Hour)})
		w.heard(t.Context())
		if _, err := w.db.Exec(t.Context(), `UPDATE payments SET asked_at = clock_timestamp() WHERE booking_id = $1`, b.BookingID); err != nil {
			t.Fatal(err)
		}
		id, err := postgres.One[uuid.UUID](t.Context(), w.db, `SELECT id FROM payments WHERE booking_id = $1`, b.BookingID)
		if err != nil {
			t.Fatal(err)
		}
		e, err := json.Marshal(map[string]any{"id": "evt_" + id.String(), "object": "event", "api_version": stripesim.APIVersion, "created": 1, "type": "payment_intent.succeeded",
			"data": map[string]any{"object": map[string]any{"id": "pi_" + id.String(), "object": "payment_intent", "status": "succeeded", "amount_received": b.Amount.Minor, "currency": "usd", "metadata": map[string]string{"tulifo_id": id.String()}}}})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if status := w.hook(e); status != http.StatusOK {
				t.Errorf("answered %d", status)
			}
			w.tell(b.BookingID, w.released(b, 5000), w.released(b, b.Amount.Minor-5000))
		})
	}
	wg.Wait()
	w.heard(t.Context())
	var want, fee int64
	for i := range bookings {
		one := money.Of(10000+int64(i), "USD")
		fee += one.Share(1000).Minor
		want += one.Minor - one.Share(1000).Minor
	}
	w.has("all of them", map[string]int64{"wallet USD": want, "fees USD": fee, "escrow USD": 0})
	if _, err := w.db.Exec(t.Context(), `UPDATE payments SET next_try_at = NULL`); err != nil {
		t.Fatal(err)
	}
	w.sound()
}
