package payment_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tulifo/platform/api/apitest"
	"tulifo/platform/clock"
	"tulifo/platform/errs"
	"tulifo/platform/stripesim"
	"tulifo/services/payment"
)

// What is not signed by the rail is refused before anything is asked of the database, of which there is none at that door. What is signed is taken or
// refused, whatever is in it, and nothing in it ends the process.
func FuzzWebhook(f *testing.F) {
	event := func(kind, object string) string {
		return `{"id":"evt_1","object":"event","api_version":"` + stripesim.APIVersion + `","created":1,"type":"` + kind + `","data":{"object":` + object + `}}`
	}
	const ours = `"metadata":{"tulifo_id":"01890a5d-ac96-774b-bcce-b302099a8057","tulifo_attempt":"x"}`
	for i, body := range []string{
		"", "{", "null", "[]", "{}", "\xff", `{"id":1}`, `{"id":"evt_1"}`, `{"id":"evt_1","data":null}`, `{"id":"evt_1","data":{"object":null}}`,
		event("payment_intent.succeeded", `{"id":"pi_1","object":"payment_intent","amount_received":-1,"currency":"xxx",`+ours+`}`),
		event("payment_intent.succeeded", `{"id":"pi_1","object":"payment_intent","latest_charge":{},"last_payment_error":{},`+ours+`}`),
		event("payment_intent.payment_failed", `{"id":"pi_1","last_payment_error":[],`+ours+`}`), event("payment_intent.created", `"x"`), event("payment_intent.created", `[]`),
		event("charge.dispute.created", `{"id":"du_1","payment_intent":"pi_1","amount":1e400}`), event("charge.dispute.closed", `{"payment_intent":{},"balance_transactions":[null]}`), event("charge.dispute.created", `{}`),
		event("refund.updated", `{"id":"re_1","payment_intent":{"id":1},`+ours+`}`), event("refund.updated", `{"payment_intent":"pi_1","metadata":[]}`),
		event("payout.paid", `{`+ours+`}`), event("account.updated", `{"id":"acct_1",`+ours+`}`), event("account.updated", `{"metadata":{"tulifo_id":"\u0000"}}`),
		event("customer.created", `{"id":"cus_1"}`), strings.Replace(event("x", "{}"), "evt_1", `evt_\u0000`, 1),
		event("x", strings.Repeat("[", 5000)+strings.Repeat("]", 5000)),
	} {
		f.Add([]byte(body), []string{"", "t=1,v1=" + strings.Repeat("0", 64), "t=,v1=", "t=9999999999999999999,v1=00", "v1=zz,t=1", ",,=", "é\x00"}[i%7])
	}
	w := open(f)
	log := slog.New(slog.DiscardHandler)
	door := apitest.New(f, apitest.Options{Service: "payment", Register: payment.New(nil, clock.System, nil, w.config, log).Routes})
	f.Fuzz(func(t *testing.T, body []byte, signature string) {
		req := httptest.NewRequest(http.MethodPost, "/api/payments/webhook", bytes.NewReader(body))
		req.Header = http.Header{"Content-Type": {"application/json"}, "Stripe-Signature": {signature}}
		answer := httptest.NewRecorder()
		door.Router.ServeHTTP(answer, req)
		if answer.Code < 400 || answer.Code >= 500 || !json.Valid(answer.Body.Bytes()) {
			t.Errorf("%q signed %q answers %d %s", body, signature, answer.Code, answer.Body)
		}
		if err := w.pay.Hear(t.Context(), body, signed(body).Get("Stripe-Signature")); err != nil && errs.KindOf(err) != errs.Malformed && errs.KindOf(err) != errs.Invalid {
			t.Errorf("%q, signed: %v", body, err)
		}
		// An event is applied once: the next may have the same id.
		if _, err := w.db.Exec(t.Context(), `DELETE FROM webhook_events`); err != nil {
			t.Fatal(err)
		}
	})
}

// Whatever is asked for as a period, it is refused as invalid, or is one that can be written and read.
func FuzzStatementPeriod(f *testing.F) {
	for _, s := range [][3]string{
		{"", "", ""}, {"2026-01-01", "2026-03-01", "Europe/Berlin"}, {"2026-03-01", "", "America/New_York"}, {"", "2000-01-01", "UTC"}, {"0000-01-01", "0000-01-02", "Asia/Tokyo"},
		{"0001-01-01", "0001-01-02", "UTC"}, {"9999-12-01", "9999-12-31", "UTC"}, {"9999-12-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "UTC"}, {"2000-01-01T00:00:00+14:00", "2000-02-01", "UTC"},
		{"2026-02-30", "", "UTC"}, {"2011-12-30", "2011-12-30", "Pacific/Apia"}, {"2026-03-02", "2026-03-01", "UTC"}, {"2024-01-01", "2026-01-01", "UTC"},
		{"x", "", "Local"}, {"", "\x00", "../../etc/passwd"}, {"", "", "/etc/localtime"}, {"", "", "\x00"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, from, to, tz string) {
		start, end, err := payment.PeriodOf(from, to, tz, monday)
		if err != nil {
			if errs.KindOf(err) != errs.Invalid {
				t.Errorf("%q to %q in %q: %v", from, to, tz, err)
			}
			return
		}
		if raw, err := json.Marshal([]time.Time{start, end}); err != nil || !start.Before(end) || end.Sub(start) > 366*24*time.Hour {
			t.Errorf("%q to %q in %q is %s, %v", from, to, tz, raw, err)
		}
	})
}
