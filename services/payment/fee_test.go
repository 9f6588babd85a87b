package payment_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/money"
	"tulifo/platform/postgres"
	"tulifo/services/payment"
)

func at(d time.Duration) string { return monday.Add(d).Format(time.RFC3339) }

func (w *world) rule(body string) (r payment.FeeRule) {
	w.t.Helper()
	w.Call(apitest.Call{What: "set a fee", As: w.asAdmin, Path: "/api/payments/fee-rules", Body: body, Status: 201}).Data(&r)
	return r
}

func (w *world) of(category string) (c checkout) {
	w.t.Helper()
	b := w.unheard(10000, "USD")
	b.Category = category
	w.tell(b.BookingID, event.BookingConfirmed{Booking: b, PayBy: w.clock.Now().Add(24 * time.Hour)})
	w.settle()
	return w.checkout(b)
}

func TestFeeRules(t *testing.T) {
	w := start(t)
	const path = "/api/payments/fee-rules"
	fee := func(what string, c checkout, want money.Decimal) {
		t.Helper()
		if p := w.get(c); *p.Fee != want {
			t.Errorf("%s: the fee is %s, want %s", what, *p.Fee, want)
		}
	}
	before := w.of("software")
	r := w.rule(`{"category":" Software ","basisPoints":1250,"validUntil":"` + at(48*time.Hour) + `","reason":"spring"}`)
	any := w.rule(`{"basisPoints":500,"reason":"everybody"}`)
	w.rule(`{"category":"software","basisPoints":100,"validFrom":"` + at(48*time.Hour) + `","reason":"after spring"}`)
	during := w.of("software")
	fee("made before the rule", before, "10.00")
	fee("made under it", during, "12.50")
	fee("a category without one", w.of("garden"), "5.00")
	fee("a category of the configuration", w.of("charity"), "0.00")
	fee("no category", w.of(""), "5.00")

	w.Calls(
		apitest.Call{What: "overlapping", As: w.asAdmin, Path: path, Body: `{"category":"software","basisPoints":1,"reason":"why not"}`, Status: 409, Has: "fee_rules_overlap"},
		apitest.Call{What: "in the past", As: w.asAdmin, Path: path, Body: `{"basisPoints":1,"validFrom":"` + at(-time.Hour) + `","reason":"why not"}`, Status: 422, Has: "validFrom"},
		apitest.Call{What: "ends before it begins", As: w.asAdmin, Path: path, Body: `{"category":"x","basisPoints":1,"validFrom":"` + at(2*time.Hour) + `","validUntil":"` + at(time.Hour) + `","reason":"why not"}`, Status: 422},
		apitest.Call{What: "more than all", As: w.asAdmin, Path: path, Body: `{"category":"x","basisPoints":10001,"reason":"why not"}`, Status: 422},
		apitest.Call{What: "below 0", As: w.asAdmin, Path: path, Body: `{"category":"x","basisPoints":-1,"reason":"why not"}`, Status: 422},
		apitest.Call{What: "two names in one", As: w.asAdmin, Path: path, Body: `{"category":"x,y","basisPoints":1,"reason":"why not"}`, Status: 422},
		apitest.Call{What: "an id of one's own", As: w.asAdmin, Path: path, Body: `{"category":"x","basisPoints":1,"reason":"why not","id":"` + uuid.NewString() + `"}`, Status: 422},
		apitest.Call{What: "by a worker", As: w.asWorker, Path: path, Body: `{"basisPoints":0,"reason":"for me"}`, Status: 403},
		apitest.Call{What: "ended by a worker", As: w.asWorker, Method: "PUT", Path: path + "/" + r.ID.String(), Body: `{}`, Status: 403},
		apitest.Call{What: "that there is not", As: w.asAdmin, Method: "PUT", Path: path + "/" + uuid.NewString(), Body: `{}`, Status: 404},
		apitest.Call{What: "an end in the past", As: w.asAdmin, Method: "PUT", Path: path + "/" + r.ID.String(), Body: `{"validUntil":"` + at(-time.Hour) + `"}`, Status: 422},
		apitest.Call{What: "an end in the next one's time", As: w.asAdmin, Method: "PUT", Path: path + "/" + r.ID.String(), Body: `{"validUntil":"` + at(72*time.Hour) + `"}`, Status: 409, Has: "fee_rules_overlap"},
		apitest.Call{What: "the worker sees what is taken, not why", As: w.asWorker, Path: path, Status: 200, Has: `"basisPoints":1250`, HasNot: "spring"},
		apitest.Call{What: "the admin sees why", As: w.asAdmin, Path: path + "?limit=1", Status: 200, Has: "after spring"},
		apitest.Call{What: "the client has no part in it", As: w.asClient, Path: path, Status: 403},
	)
	w.clock.Set(monday.Add(48 * time.Hour))
	fee("the next one follows", w.of("software"), "1.00")
	w.Calls(
		apitest.Call{What: "end it", As: w.asAdmin, Method: "PUT", Path: path + "/" + any.ID.String(), Body: `{}`, Status: 200, Has: `"current":false`},
		apitest.Call{What: "end it again", As: w.asAdmin, Method: "PUT", Path: path + "/" + any.ID.String(), Body: `{}`, Status: 409, Has: "fee_rule_ended"},
		apitest.Call{What: "one that is over stays as it was", As: w.asAdmin, Method: "PUT", Path: path + "/" + r.ID.String(), Body: `{"validUntil":"` + at(72*time.Hour) + `"}`, Status: 409, Has: "fee_rule_ended"},
	)
	fee("the default again", w.of("garden"), "10.00")
	fee("still what it was made under", during, "12.50")
	n, err := postgres.One[int](t.Context(), w.db, `SELECT count(*)::int FROM audit WHERE action LIKE 'fee_rule.%'`)
	if err != nil || n != 4 {
		t.Errorf("%d rows in the audit log, %v", n, err)
	}
	w.sound()
}

// Two admins at once: one rule a category and time.
func TestTwoOverlappingFeeRulesAtOnce(t *testing.T) {
	w := start(t)
	const admins = 8
	var got [admins]int
	var wg sync.WaitGroup
	for i := range admins {
		wg.Go(func() {
			got[i] = w.Do(apitest.Call{As: w.Token("admin", uuid.New()), Path: "/api/payments/fee-rules", Body: fmt.Sprintf(`{"category":"garden","basisPoints":%d,"reason":"mine"}`, i), Key: fmt.Sprint(i)}).Status
		})
	}
	wg.Wait()
	count := map[int]int{}
	for _, status := range got {
		count[status]++
	}
	if count[201] != 1 || count[409] != admins-1 {
		t.Errorf("answers: %v", count)
	}
}

func TestFeePreview(t *testing.T) {
	w := start(t)
	w.rule(`{"category":"software","basisPoints":1250,"reason":"spring"}`)
	w.Calls(
		apitest.Call{What: "the default", As: w.asWorker, Path: "/api/payments/fees?amount=10.35", Status: 200, Has: `"amount":10.35,"fee":1.04,"net":9.31,"currency":"USD","basisPoints":1000}`},
		apitest.Call{What: "a category", As: w.asWorker, Path: "/api/payments/fees?amount=160&category=software", Status: 200, Has: `"fee":20.00,"net":140.00`},
		apitest.Call{What: "yen", As: w.asWorker, Path: "/api/payments/fees?amount=1005&currency=JPY", Status: 200, Has: `"fee":101,"net":904`},
		apitest.Call{What: "dinars come in tens of fils", As: w.asWorker, Path: "/api/payments/fees?amount=12.34&currency=KWD", Status: 200, Has: `"fee":1.230,"net":11.110`},
		apitest.Call{What: "finer than can be paid", As: w.asWorker, Path: "/api/payments/fees?amount=12.345&currency=KWD", Status: 422, Has: "finer"},
		apitest.Call{What: "half a cent", As: w.asWorker, Path: "/api/payments/fees?amount=0.005", Status: 422},
		apitest.Call{What: "nothing", As: w.asWorker, Path: "/api/payments/fees?amount=0", Status: 422},
		apitest.Call{What: "no amount", As: w.asWorker, Path: "/api/payments/fees", Status: 422},
		apitest.Call{What: "no such currency", As: w.asWorker, Path: "/api/payments/fees?amount=1&currency=XXY", Status: 422, Has: "currency"},
		apitest.Call{What: "a formula", As: w.asWorker, Path: "/api/payments/fees?amount=1e9", Status: 422},
		apitest.Call{What: "a client", As: w.asClient, Path: "/api/payments/fees?amount=1", Status: 403},
	)
}
