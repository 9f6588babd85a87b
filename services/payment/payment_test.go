package payment_test

import (
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/stripesim"
	"tulifo/services/payment"
)

func TestMainJob(t *testing.T) {
	w := start(t)
	b := w.booking(16000, "USD")
	w.told(map[string]int{"payment.created": 1})
	c := w.checkout(b)
	if c.PublishableKey != publicKey || c.Payment.Status != payment.Processing || c.Payment.Amount != "160.00" {
		t.Fatalf("checkout %+v", c)
	}
	if status := w.card(c, "pm_card_visa"); status != 200 {
		t.Fatalf("the card answered %d", status)
	}
	w.settle()
	w.status(c, payment.Completed)
	w.told(map[string]int{"payment.completed": 1})
	w.has("paid", map[string]int64{"escrow USD": 16000, "rail_clearing USD": -16000 + 494, "rail_fees USD": -494})
	w.sound()

	w.tell(b.BookingID, w.released(b, 16000))
	w.settle()
	w.has("released", map[string]int64{"escrow USD": 0, "wallet USD": 14400, "fees USD": 1600})
	w.Call(apitest.Call{What: "her wallet", As: w.asWorker, Path: "/api/payments/wallet", Status: 200, Has: `"available":144.00,"pending":0.00,"held":0.00,"owed":0.00,"currency":"USD","disputed":0.00,"others":[]`})

	w.verify(w.worker)
	w.Call(apitest.Call{What: "without an account", As: w.asWorker, Path: "/api/payments/payouts", Body: `{}`, Status: 409, Has: "payout_account_missing"})
	w.Call(apitest.Call{What: "open an account", As: w.asWorker, Path: "/api/payments/payout-account", Body: `{"country":"DE"}`, Status: 201, Has: `"status":"verified"`})
	first := w.Call(apitest.Call{What: "withdraw", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":144}`, Key: "k-1", Status: 201, Has: `"amount":144.00`})
	again := w.Call(apitest.Call{What: "the same key", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":144}`, Key: "k-1", Status: 201})
	if string(first.Body) != string(again.Body) {
		t.Errorf("the replay %s is not %s", again.Body, first.Body)
	}
	w.settle()
	w.Call(apitest.Call{What: "paid out", As: w.asWorker, Path: "/api/payments/payouts", Status: 200, Has: `"status":"paid"`})
	w.told(map[string]int{"payout.paid": 1, "payout.failed": 0})
	w.has("paid out", map[string]int64{"wallet USD": 0, "payout_clearing USD": 0, "fees USD": 1600, "rail_clearing USD": -1600 + 494, "rail_fees USD": -494})
	w.sound()
}

func TestDoubleClick(t *testing.T) {
	w := start(t)
	b := w.booking(16000, "USD")
	var mu sync.Mutex
	secrets := map[string]bool{}
	var clicks sync.WaitGroup
	for range 8 {
		clicks.Go(func() {
			a := w.Do(apitest.Call{As: w.asClient, Path: "/api/payments", Body: map[string]any{"bookingId": b.BookingID}})
			var c checkout
			a.Data(&c)
			mu.Lock()
			defer mu.Unlock()
			if a.Status != 201 {
				t.Errorf("a click answered %s", a)
			}
			if a.Status == 201 {
				secrets[c.ClientSecret] = true
			}
		})
	}
	clicks.Wait()
	secrets[w.checkout(b).ClientSecret] = true
	if len(secrets) != 1 {
		t.Errorf("%d client secrets", len(secrets))
	}
	w.sound()
}

func TestWhoMayPay(t *testing.T) {
	w := start(t)
	b := w.booking(16000, "USD")
	stranger := w.Token("client", uuid.New())
	body := map[string]any{"bookingId": b.BookingID}
	c := w.checkout(b)
	one := "/api/payments/" + c.Payment.ID.String()
	w.Calls(
		apitest.Call{What: "nobody", Path: "/api/payments", Body: body, Status: 401},
		apitest.Call{What: "the worker", As: w.asWorker, Path: "/api/payments", Body: body, Status: 403},
		apitest.Call{What: "another client", As: stranger, Path: "/api/payments", Body: body, Status: 404},
		apitest.Call{What: "no such booking", As: w.asClient, Path: "/api/payments", Body: map[string]any{"bookingId": uuid.New()}, Status: 404},
		apitest.Call{What: "an amount of the client's choosing", As: w.asClient, Path: "/api/payments", Body: map[string]any{"bookingId": b.BookingID, "amount": 1}, Status: 422},
		apitest.Call{What: "not an id", As: w.asClient, Path: "/api/payments", Body: `{"bookingId":"1; drop table"}`, Status: 422},
		apitest.Call{What: "not JSON", As: w.asClient, Path: "/api/payments", Body: `{`, Status: 400},
		apitest.Call{What: "his own", As: w.asClient, Path: one, Status: 200, HasNot: `"fee"`},
		apitest.Call{What: "hers, with the fee", As: w.asWorker, Path: one, Status: 200, Has: `"fee":16.00,"net":144.00`},
		apitest.Call{What: "a stranger's look", As: stranger, Path: one, Status: 404},
		apitest.Call{What: "a strange worker's look", As: w.Token("worker", uuid.New()), Path: one, Status: 404},
		apitest.Call{What: "no such payment", As: w.asClient, Path: "/api/payments/" + uuid.NewString(), Status: 404},
		apitest.Call{What: "a stranger's list", As: stranger, Path: "/api/payments", Status: 200, Has: `"data":[]`},
		apitest.Call{What: "his list", As: w.asClient, Path: "/api/payments", Status: 200, Has: c.Payment.ID.String()},
		apitest.Call{What: "by status", As: w.asClient, Path: "/api/payments?status=processing", Status: 200, Has: c.Payment.ID.String()},
		apitest.Call{What: "what a person must look at", As: w.asAdmin, Path: "/api/payments?status=needs_review", Status: 200, Has: `"data":[]`},
		apitest.Call{What: "a status that is none", As: w.asClient, Path: "/api/payments?status=lost", Status: 422},
		apitest.Call{What: "her list", As: w.asWorker, Path: "/api/payments", Status: 200, Has: c.Payment.ID.String()},
		apitest.Call{What: "a person on a route of services", As: w.asAdmin, Path: "/api/payments/booking/" + b.BookingID.String(), Status: 403},
		apitest.Call{What: "a service", As: w.ServiceToken("escrow", "payment"), Path: "/api/payments/booking/" + b.BookingID.String(), Status: 200, Has: `"amount":{"minor":16000,"currency":"USD"},"status":"processing","completedAt":null`},
		apitest.Call{What: "the ledger for people", As: w.asWorker, Path: "/api/payments/ledger/escrow", Status: 403},
		apitest.Call{What: "a limit of everything", As: w.asClient, Path: "/api/payments?limit=1000000000", Status: 422},
		apitest.Call{What: "a limit of letters", As: w.asClient, Path: "/api/payments?limit=abc", Status: 422},
		apitest.Call{What: "a made-up cursor", As: w.asClient, Path: "/api/payments?cursor=abc", Status: 400},
	)
}

func TestBookingThatNoEventHasToldOf(t *testing.T) {
	w := start(t)
	b := w.unheard(16000, "USD")
	facts := map[string]any{"id": b.BookingID, "workerId": b.WorkerID, "clientId": b.ClientID, "title": b.Title, "startTime": b.Start, "endTime": b.End,
		"status": "pending", "totalAmount": 160.00, "currency": "USD"}
	w.peers.bookings[b.BookingID] = facts
	body := map[string]any{"bookingId": b.BookingID}
	w.Call(apitest.Call{What: "a pending one", As: w.asClient, Path: "/api/payments", Body: body, Status: 409, Has: "not_confirmed"})
	facts["status"] = "confirmed"
	w.Call(apitest.Call{What: "another's", As: w.Token("client", uuid.New()), Path: "/api/payments", Body: body, Status: 404})
	c := w.checkout(b)
	w.tell(b.BookingID, event.BookingConfirmed{Booking: b, PayBy: monday.Add(time.Hour)})
	w.settle()
	if p := w.get(c); !p.PayBy.Equal(monday.Add(time.Hour)) || p.Amount != "160.00" {
		t.Errorf("after the event: %+v", p)
	}
	w.told(map[string]int{"payment.created": 1})
}

func TestDeclinedThenAnotherCard(t *testing.T) {
	w := start(t)
	b := w.booking(16000, "USD")
	c := w.checkout(b)
	if status := w.card(c, "pm_card_chargeDeclinedInsufficientFunds"); status != 402 {
		t.Fatalf("the declined card answered %d", status)
	}
	w.settle()
	w.told(map[string]int{"payment.failed": 1, "payment.completed": 0})
	if p := w.status(c, payment.Processing); p.Failure != "insufficient_funds" {
		t.Errorf("failure %q", p.Failure)
	}
	if again := w.checkout(b); again.ClientSecret != c.ClientSecret {
		t.Error("asking again made another PaymentIntent")
	}
	w.card(c, "pm_card_visa")
	w.settle()
	if p := w.status(c, payment.Completed); p.Failure != "" {
		t.Errorf("failure %q of a paid one", p.Failure)
	}
	w.Call(apitest.Call{What: "pay twice", As: w.asClient, Path: "/api/payments", Body: map[string]any{"bookingId": b.BookingID}, Status: 409, Has: "already_paid"})
	w.sound()
}

func TestFeeOfCategoryIsFrozen(t *testing.T) {
	w := start(t)
	b := w.unheard(10035, "USD")
	b.Category = "charity"
	w.tell(b.BookingID, event.BookingConfirmed{Booking: b, PayBy: monday.Add(time.Hour)})
	w.settle()
	c := w.checkout(b)
	w.card(c, "pm_card_visa")
	w.settle()
	w.tell(b.BookingID, w.released(b, 10035))
	w.settle()
	w.has("no fee", map[string]int64{"wallet USD": 10035, "fees USD": 0, "escrow USD": 0})
	w.sound()
}

func TestCancelledUnpaid(t *testing.T) {
	w := start(t)
	b, asked := w.booking(16000, "USD"), w.booking(16000, "USD")
	c := w.checkout(asked)
	w.tell(b.BookingID, event.BookingCancelled{Booking: b, Cause: "unpaid"})
	w.tell(asked.BookingID, event.BookingCancelled{Booking: asked, Cause: "unpaid"})
	w.settle()
	w.Call(apitest.Call{What: "pay after the end", As: w.asClient, Path: "/api/payments", Body: map[string]any{"bookingId": b.BookingID}, Status: 409, Has: "booking_closed"})
	if status := w.card(c, "pm_card_visa"); status != 400 {
		t.Errorf("the PaymentIntent of a cancelled booking can be paid: %d", status)
	}
	w.status(c, payment.Cancelled)
	w.sound()
}

// The client pays while his booking is being cancelled: the money is taken into the books, told of, and sent back as escrow says.
func TestCancelRacesPayment(t *testing.T) {
	w := start(t)
	for i := range 6 {
		b := w.booking(16000, "USD")
		c := w.checkout(b)
		var status int
		var race sync.WaitGroup
		race.Go(func() { status = w.card(c, "pm_card_visa") })
		race.Go(func() { w.tell(b.BookingID, event.BookingCancelled{Booking: b, Cause: "unpaid"}) })
		race.Wait()
		w.settle()
		if status != 200 {
			w.status(c, payment.Cancelled)
			continue
		}
		w.status(c, payment.Completed)
		if n := w.events("payment.completed"); n == 0 {
			t.Fatalf("round %d: escrow does not know of the money", i)
		}
		w.tell(b.BookingID, w.refunded(b, 16000))
		w.settle()
		w.status(c, payment.Refunded)
	}
	// One that surely loses the race.
	b := w.booking(16000, "USD")
	c := w.checkout(b)
	if err := w.sim.SetControl(hold("payment_intent.*")); err != nil {
		t.Fatal(err)
	}
	w.card(c, "pm_card_visa")
	w.tell(b.BookingID, event.BookingCancelled{Booking: b, Cause: "unpaid"})
	w.settle()
	w.status(c, payment.Completed)
	w.tell(b.BookingID, w.refunded(b, 16000))
	w.settle()
	w.status(c, payment.Refunded)
	w.has("all of it is back", map[string]int64{"escrow USD": 0, "wallet USD": 0, "fees USD": 0, "refunds_payable USD": 0})
	w.sound()
}

func TestProcessingIsAskedFor(t *testing.T) {
	w := start(t)
	b := w.booking(16000, "USD")
	c := w.checkout(b)
	w.settle()
	if err := w.sim.SetControl(hold("*")); err != nil {
		t.Fatal(err)
	}
	if status := w.card(c, "pm_card_visa"); status != 200 {
		t.Fatalf("the card answered %d", status)
	}
	w.settle()
	w.status(c, payment.Processing)
	w.later(11 * time.Minute)
	w.settle()
	w.status(c, payment.Completed)
	w.has("without a webhook", map[string]int64{"escrow USD": 16000, "rail_fees USD": -494})
	w.sound()
}

// The call was made and its answer lost: the next attempt finds the same object.
func TestAnswerOfTheRailLost(t *testing.T) {
	w := start(t)
	b := w.booking(16000, "USD")
	body := map[string]any{"bookingId": b.BookingID}
	for _, mode := range []string{"drop_after", "drop", "garbage", "status"} {
		control := fails(mode, "/v1/payment_intents")
		control.Hold = []string{"*"}
		if err := w.sim.SetControl(control); err != nil {
			t.Fatal(err)
		}
		a := w.Call(apitest.Call{What: mode, As: w.asClient, Path: "/api/payments", Body: body, Status: 503})
		if a.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	c := w.checkout(b)
	_, list := w.rail(secretKey, "GET", "/v1/payment_intents", nil, "")
	if n := len(list["data"].([]any)); n != 1 {
		t.Errorf("%d PaymentIntents", n)
	}
	if err := w.sim.SetControl(stripesim.Control{}); err != nil {
		t.Fatal(err)
	}
	w.card(c, "pm_card_visa")
	w.settle()
	w.status(c, payment.Completed)

	if err := w.sim.SetControl(fails("drop_after", "/v1/refunds")); err != nil {
		t.Fatal(err)
	}
	w.tell(b.BookingID, w.refunded(b, 6000))
	w.settle()
	w.later(time.Minute)
	w.settle()
	w.has("one refund", map[string]int64{"refunds_payable USD": 0, "escrow USD": 10000})
	_, refunds := w.rail(secretKey, "GET", "/v1/refunds", nil, "")
	if n := len(refunds["data"].([]any)); n != 1 {
		t.Errorf("%d refunds", n)
	}

	w.tell(b.BookingID, w.released(b, 10000))
	w.verify(w.worker)
	w.account()
	for _, path := range []string{"/v1/transfers", "/v1/payouts"} {
		if err := w.sim.SetControl(fails("drop_after", path)); err != nil {
			t.Fatal(err)
		}
		w.Call(apitest.Call{What: "withdraw", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":10}`, Status: 201})
		w.settle()
		w.later(time.Minute)
		w.settle()
	}
	w.has("two withdrawals", map[string]int64{"payout_clearing USD": 0, "wallet USD": 9000 - 2000})
	_, transfers := w.rail(secretKey, "GET", "/v1/transfers", nil, "")
	if n := len(transfers["data"].([]any)); n != 2 {
		t.Errorf("%d transfers", n)
	}
	w.told(map[string]int{"payout.paid": 2})
	w.sound()
}

// Who repeats a call is told how things stood when it was first made: the bank may have paid since, and its word have come too early.
func TestARepeatedCallAsksHowThingsStandNow(t *testing.T) {
	w := start(t)
	b, _ := w.paid(16000, "USD")
	w.tell(b.BookingID, w.released(b, 16000))
	w.verify(w.worker)
	w.account()
	w.settle()
	if err := w.sim.SetControl(hold("payout.*", "transfer.*")); err != nil {
		t.Fatal(err)
	}
	w.Call(apitest.Call{What: "withdraw", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":10}`, Status: 201})
	w.transferred()
	lost := w.line.hold("POST", "/v1/payouts")
	lost.lost = true
	ends := w.step(lost)
	w.idle() // the bank has paid, and no word of it has come
	ends()
	w.later(time.Minute)
	w.heard(t.Context())
	w.told(map[string]int{"payout.paid": 1})
	w.sound()
}

// The rail has forgotten the keys, so objects are looked for before they are made again.
func TestRetryAfterADay(t *testing.T) {
	w := start(t)
	b := w.booking(16000, "USD")
	if err := w.sim.SetControl(fails("drop_after", "/v1/payment_intents")); err != nil {
		t.Fatal(err)
	}
	w.Call(apitest.Call{What: "lost", As: w.asClient, Path: "/api/payments", Body: map[string]any{"bookingId": b.BookingID}, Status: 503})
	if _, err := w.db.Exec(t.Context(), `UPDATE payments SET asked_at = asked_at - interval '25 hours'`); err != nil {
		t.Fatal(err)
	}
	ahead := w.sim.Control()
	ahead.Clock = 25 * 3600
	if err := w.sim.SetControl(ahead); err != nil {
		t.Fatal(err)
	}
	c := w.checkout(b)
	_, list := w.rail(secretKey, "GET", "/v1/payment_intents", nil, "")
	if n := len(list["data"].([]any)); n != 1 {
		t.Errorf("%d PaymentIntents", n)
	}
	w.card(c, "pm_card_visa")
	w.settle()
	ahead.Fail = fails("drop_after", "/v1/refunds").Fail
	if err := w.sim.SetControl(ahead); err != nil {
		t.Fatal(err)
	}
	w.tell(b.BookingID, w.refunded(b, 16000))
	w.settle()
	if _, err := w.db.Exec(t.Context(), `UPDATE refunds SET asked_at = asked_at - interval '25 hours'`); err != nil {
		t.Fatal(err)
	}
	ahead.Clock, ahead.Fail = 50*3600, nil
	if err := w.sim.SetControl(ahead); err != nil {
		t.Fatal(err)
	}
	w.later(time.Minute)
	w.settle()
	w.status(c, payment.Refunded)
	_, refunds := w.rail(secretKey, "GET", "/v1/refunds", nil, "")
	if n := len(refunds["data"].([]any)); n != 1 {
		t.Errorf("%d refunds", n)
	}
	w.sound()
}

func TestCurrencies(t *testing.T) {
	w := start(t)
	for _, c := range []struct {
		currency       string
		gross          int64
		net, fee       int64
		shown, railGot string
	}{
		{"JPY", 12345, 11110, 1235, "12345", "12345"},
		{"KWD", 12350, 11110, 1240, "12.350", "12350"},
		{"ISK", 12345, 11110, 1235, "12345", "1234500"},
		{"EUR", 1035, 931, 104, "10.35", "1035"},
	} {
		b, out := w.paid(c.gross, c.currency)
		if string(out.Payment.Amount) != c.shown {
			t.Errorf("%s: shown as %s", c.currency, out.Payment.Amount)
		}
		_, pi := w.rail(secretKey, "GET", "/v1/payment_intents/"+out.intent(), url.Values{}, "")
		if got := strings.TrimSuffix(strings.TrimRight(strings.TrimRight(sprint(pi["amount_received"]), "0"), "."), ""); !strings.HasPrefix(c.railGot, got) {
			t.Errorf("%s: the rail got %v", c.currency, pi["amount_received"])
		}
		w.tell(b.BookingID, w.released(b, c.gross))
		w.settle()
		w.has(c.currency, map[string]int64{"wallet " + c.currency: c.net, "fees " + c.currency: c.fee, "escrow " + c.currency: 0})
	}
	w.verify(w.worker)
	w.Calls(
		apitest.Call{What: "each on its own", As: w.asWorker, Path: "/api/payments/wallet", Status: 200, Has: `"available":11110`},
		apitest.Call{What: "open an account", As: w.asWorker, Path: "/api/payments/payout-account", Body: `{}`, Status: 201},
		apitest.Call{What: "which currency?", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":1}`, Status: 422, Has: `"currency"`},
		apitest.Call{What: "half a yen", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":1.5,"currency":"JPY"}`, Status: 422, Has: `"amount"`},
		apitest.Call{What: "yen", As: w.asWorker, Path: "/api/payments/payouts", Body: `{"amount":110,"currency":"JPY"}`, Status: 201, Has: `"amount":110,"currency":"JPY"`},
	)
	w.settle()
	w.sound()
}

// A process died with the row in its hands, after the call and before the outcome was stored: another goes on when the lease is over.
func TestLeaseOfADeadProcess(t *testing.T) {
	w := start(t)
	b, c := w.paid(16000, "USD")
	control := fails("drop_after", "/v1/refunds")
	control.Hold, control.Fail.Times = []string{"*"}, 10 // the transport repeats keyed calls by itself
	if err := w.sim.SetControl(control); err != nil {
		t.Fatal(err)
	}
	w.tell(b.BookingID, w.refunded(b, 16000))
	w.settle()
	if _, err := w.db.Exec(t.Context(), `UPDATE refunds SET next_try_at = clock_timestamp() + interval '2 minutes', attempts = 1`); err != nil {
		t.Fatal(err)
	}
	w.settle()
	w.status(c, payment.Completed)
	w.has("not yet", map[string]int64{"refunds_payable USD": 16000})
	control.Fail = nil
	if err := w.sim.SetControl(control); err != nil {
		t.Fatal(err)
	}
	w.later(3 * time.Minute)
	w.settle()
	w.status(c, payment.Refunded)
	_, refunds := w.rail(secretKey, "GET", "/v1/refunds", nil, "")
	if n := len(refunds["data"].([]any)); n != 1 {
		t.Errorf("%d refunds", n)
	}
	w.has("once", map[string]int64{"refunds_payable USD": 0, "escrow USD": 0})
	w.told(map[string]int{"payment.refunded": 1})
	w.sound()
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	good := payment.Config{SecretKey: "sk", PublishableKey: "pk", WebhookSecrets: []string{"whsec"}, PublicURL: "http://tulifo.test", Fee: 1000}
	for want, change := range map[string]func(*payment.Config){
		"STRIPE_SECRET_KEY":      func(c *payment.Config) { c.SecretKey = "" },
		"STRIPE_PUBLISHABLE_KEY": func(c *payment.Config) { c.PublishableKey = "" },
		"STRIPE_WEBHOOK_SECRET":  func(c *payment.Config) { c.WebhookSecrets = nil },
		"PUBLIC_URL":             func(c *payment.Config) { c.PublicURL = "" },
		"FEE_BASIS_POINTS":       func(c *payment.Config) { c.Fee = 10_001 },
		"FEE_BY_CATEGORY":        func(c *payment.Config) { c.FeeByCategory = map[string]int{"x": -1} },
	} {
		c := good
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to name %s", err, want)
		}
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}

func TestCheckFindsWhatIsWrong(t *testing.T) {
	w := start(t)
	w.paid(16000, "USD")
	w.sound()
	for want, sql := range map[string]string{
		"I3: escrow:":               `UPDATE balances SET balance = balance + 1 WHERE account LIKE 'escrow:%'`,
		"I3: rail_clearing":         `INSERT INTO rollup (account, currency, amount) VALUES ('rail_clearing', 'USD', 1)`,
		"I2: ledger transaction":    `INSERT INTO ledger_transactions (key, kind, subject, posted_at) VALUES ('payment:x', 'payment', gen_random_uuid(), clock_timestamp())`,
		"I4: escrow of booking":     `UPDATE payments SET released = 1`,
		"I5: payment":               `UPDATE payments SET status = 'cancelled'`,
		"nothing will move it":      `INSERT INTO webhook_events (id, type, payload, received_at, outcome) VALUES ('evt_1', 'x', '', clock_timestamp(), 'received')`,
		"waited for the retry loop": `UPDATE payments SET next_try_at = clock_timestamp() - interval '1 hour'`,
	} {
		if _, err := w.db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
		breaches, err := w.pay.Check(t.Context())
		if err != nil || !strings.Contains(strings.Join(breaches, "\n"), want) {
			t.Errorf("%q is not found: %q, %v", want, breaches, err)
		}
	}
	reg := prometheus.NewPedanticRegistry()
	for _, c := range w.pay.Collectors() {
		reg.MustRegister(c)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += "/" + l.GetValue()
			}
			shown[name] = m.GetGauge().GetValue()
		}
	}
	for series, want := range map[string]float64{"tulifo_payment_held/USD": 159.99, "tulifo_payment_payments/needs_review": 0} {
		if got, is := shown[series]; !is || got != want {
			t.Errorf("%s is not %v: %v", series, want, shown)
		}
	}
}

// The rail has given up a PaymentIntent that nobody paid: the client gets another, and the first one's events have no say any more.
func TestRailCancelsByItself(t *testing.T) {
	w := start(t)
	b := w.booking(16000, "USD")
	first := w.checkout(b)
	w.rail(secretKey, "POST", "/v1/payment_intents/"+first.intent()+"/cancel", nil, "")
	second := w.checkout(b)
	w.settle()
	if again := w.checkout(b); second.intent() == first.intent() || again.intent() != second.intent() {
		t.Fatalf("intents %s, %s, %s", first.intent(), second.intent(), again.intent())
	}
	w.card(second, "pm_card_visa")
	w.settle()
	w.status(second, payment.Completed)
	w.has("once", map[string]int64{"escrow USD": 16000})
	w.sound()
}
