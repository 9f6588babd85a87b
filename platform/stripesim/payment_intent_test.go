package stripesim_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stripe/stripe-go/v85"
)

func TestPayment(t *testing.T) {
	w := start(t)
	ctx := t.Context()
	pi := must(w.client.V1PaymentIntents.Create(ctx, &stripe.PaymentIntentCreateParams{Amount: stripe.Int64(16000), Currency: stripe.String("usd"),
		Description: stripe.String("An hour"), Metadata: map[string]string{"tulifo_id": "018f", "kind": "booking"}}))(w)
	if pi.Status != "requires_payment_method" || pi.ClientSecret == "" || pi.Metadata["kind"] != "booking" {
		t.Fatalf("%+v", pi)
	}
	confirm := &stripe.PaymentIntentConfirmParams{PaymentMethod: stripe.String("pm_card_visa")}
	confirm.AddExpand("latest_charge.balance_transaction")
	pi = must(w.client.V1PaymentIntents.Confirm(ctx, pi.ID, confirm))(w)
	txn := pi.LatestCharge.BalanceTransaction
	if pi.Status != "succeeded" || pi.AmountReceived != 16000 || txn == nil || txn.Fee != 16000*29/1000+30 || txn.Net != 16000-txn.Fee || txn.FeeDetails[0].Type != "stripe_fee" {
		t.Fatalf("%+v %+v", pi, txn)
	}
	if b := w.balance(""); b != txn.Net {
		t.Fatalf("balance %d, want %d", b, txn.Net)
	}
	events := w.hooks.until(func(e []stripe.Event) bool { return len(e) == 3 })
	if got := kinds(events); !slices.Equal(got, []string{"payment_intent.created", "charge.succeeded", "payment_intent.succeeded"}) {
		t.Fatal(got)
	}
	_, err := w.client.V1PaymentIntents.Confirm(ctx, pi.ID, confirm)
	w.fails(err, 400, "payment_intent_unexpected_state")
	_, err = w.client.V1PaymentIntents.Cancel(ctx, pi.ID, nil)
	w.fails(err, 400, "payment_intent_unexpected_state")
	ch := must(w.client.V1Charges.Retrieve(ctx, pi.LatestCharge.ID, nil))(w)
	if !ch.Paid || ch.PaymentIntent.ID != pi.ID || ch.PaymentMethodDetails.Card.Last4 != "4242" {
		t.Fatalf("%+v", ch)
	}
	must(w.client.V1BalanceTransactions.Retrieve(ctx, txn.ID, nil))(w)
	must(w.client.V1PaymentMethods.Retrieve(ctx, ch.PaymentMethod, nil))(w)
}

func TestCards(t *testing.T) {
	w := start(t)
	for number, want := range map[string]struct{ status, code, decline string }{
		"4242424242424242":    {"succeeded", "", ""},
		"4242 4242 4242 4242": {"succeeded", "", ""},
		"5555555555554444":    {"succeeded", "", ""},
		"4000000000000002":    {"", "card_declined", "generic_decline"},
		"4000000000009995":    {"", "card_declined", "insufficient_funds"},
		"4000000000009987":    {"", "card_declined", "lost_card"},
		"4000000000000069":    {"", "expired_card", ""},
		"4000000000000127":    {"", "incorrect_cvc", ""},
		"4000000000000119":    {"", "processing_error", ""},
		"4242424242424241":    {"", "incorrect_number", ""},
		"4012888888881881":    {"", "card_declined", "test_mode_live_card"},
		"4000002500003155":    {"requires_action", "", ""},
		"4000000000000259":    {"succeeded", "", ""},
	} {
		form := url.Values{"amount": {"2000"}, "currency": {"usd"}, "confirm": {"true"}, "payment_method_data[type]": {"card"}, "payment_method_data[card][number]": {number},
			"payment_method_data[card][exp_month]": {"12"}, "payment_method_data[card][exp_year]": {"34"}, "payment_method_data[card][cvc]": {"123"}}
		status, out, _ := w.call("POST", "/v1/payment_intents", form)
		e, _ := out["error"].(map[string]any)
		decline, _ := e["decline_code"].(string)
		got, _ := out["status"].(string)
		if got != want.status || code(out) != want.code || decline != want.decline || (status == 402) != (want.code != "") {
			t.Errorf("card %s: %d %v", number, status, out)
		}
	}
}

func TestDeclinedThenAnotherCard(t *testing.T) {
	w := start(t)
	ctx := t.Context()
	pi := must(w.client.V1PaymentIntents.Create(ctx, &stripe.PaymentIntentCreateParams{Amount: stripe.Int64(5000), Currency: stripe.String("usd")}))(w)
	_, err := w.client.V1PaymentIntents.Confirm(ctx, pi.ID, &stripe.PaymentIntentConfirmParams{PaymentMethod: stripe.String("pm_card_chargeDeclinedInsufficientFunds")})
	se := w.fails(err, 402, stripe.ErrorCodeCardDeclined)
	if se.Type != stripe.ErrorTypeCard || se.DeclineCode != "insufficient_funds" || se.PaymentIntent == nil || se.PaymentIntent.Status != "requires_payment_method" || se.ChargeID == "" {
		t.Fatalf("%+v", se)
	}
	pi = must(w.client.V1PaymentIntents.Retrieve(ctx, pi.ID, nil))(w)
	if pi.LastPaymentError == nil || pi.LastPaymentError.Code != "card_declined" || pi.LatestCharge.ID != se.ChargeID {
		t.Fatalf("%+v", pi)
	}
	if w.balance("") != 0 {
		t.Fatal("a declined card moved money")
	}
	pi = must(w.client.V1PaymentIntents.Confirm(ctx, pi.ID, &stripe.PaymentIntentConfirmParams{PaymentMethod: stripe.String("pm_card_mastercard")}))(w)
	if pi.Status != "succeeded" || pi.LastPaymentError != nil {
		t.Fatalf("%+v", pi)
	}
	events := w.hooks.until(func(e []stripe.Event) bool { return len(e) == 5 })
	want := []string{"payment_intent.created", "charge.failed", "payment_intent.payment_failed", "charge.succeeded", "payment_intent.succeeded"}
	if got := kinds(events); !slices.Equal(got, want) {
		t.Fatal(got)
	}
}

func TestAuthentication(t *testing.T) {
	w := start(t)
	ctx := t.Context()
	pi := must(w.pay(3000, "pm_card_authenticationRequired"))(w)
	if pi.Status != "requires_action" || pi.NextAction.Type != "redirect_to_url" {
		t.Fatalf("%+v", pi)
	}
	t.Run("confirmed again", func(t *testing.T) {
		if pi := must(w.client.V1PaymentIntents.Confirm(ctx, pi.ID, nil))(w); pi.Status != "succeeded" {
			t.Fatal(pi.Status)
		}
	})
	for _, answer := range []string{"yes", "no"} {
		t.Run("the bank's page: "+answer, func(t *testing.T) {
			pi := must(w.pay(3000, "pm_card_threeDSecure2Required"))(w)
			page := must(http.Get(pi.NextAction.RedirectToURL.URL))(w)
			page.Body.Close()
			res := must(http.PostForm(pi.NextAction.RedirectToURL.URL, url.Values{"answer": {answer}}))(w)
			res.Body.Close()
			pi = must(w.client.V1PaymentIntents.Retrieve(ctx, pi.ID, nil))(w)
			want := map[string]string{"yes": "succeeded", "no": "requires_payment_method"}[answer]
			if page.StatusCode != 200 || res.StatusCode != 200 || string(pi.Status) != want {
				t.Fatal(page.Status, res.Status, pi.Status)
			}
			if answer == "no" && pi.LastPaymentError.Code != "payment_intent_authentication_failure" {
				t.Fatalf("%+v", pi.LastPaymentError)
			}
		})
	}
	t.Run("the bank's page with a wrong secret", func(t *testing.T) {
		pi := must(w.pay(3000, "pm_card_threeDSecure2Required"))(w)
		res := must(http.PostForm(strings.TrimSuffix(pi.NextAction.RedirectToURL.URL, pi.ClientSecret)+"guess", url.Values{"answer": {"yes"}}))(w)
		res.Body.Close()
		if pi = must(w.client.V1PaymentIntents.Retrieve(ctx, pi.ID, nil))(w); res.StatusCode != 404 || pi.Status != "requires_action" {
			t.Fatal(res.Status, pi.Status)
		}
	})
	t.Run("authenticated, then declined", func(t *testing.T) {
		pi := must(w.pay(3000, "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds"))(w)
		_, err := w.client.V1PaymentIntents.Confirm(ctx, pi.ID, nil)
		w.fails(err, 402, "card_declined")
	})
}

func TestBrowser(t *testing.T) {
	w := start(t)
	pi := must(w.client.V1PaymentIntents.Create(t.Context(), &stripe.PaymentIntentCreateParams{Amount: stripe.Int64(5000), Currency: stripe.String("usd"), Metadata: map[string]string{"tulifo_id": "secret"}}))(w)
	path := "/v1/payment_intents/" + pi.ID
	with := []string{"Authorization", "Bearer " + publicKey, "Origin", "http://localhost:8000"}
	card := url.Values{"payment_method": {"pm_card_visa"}, "client_secret": {pi.ClientSecret}}
	for what, c := range map[string]struct {
		method, path string
		form         url.Values
		status       int
	}{
		"confirm without the secret":     {"POST", path + "/confirm", url.Values{"payment_method": {"pm_card_visa"}}, 404},
		"confirm with another secret":    {"POST", path + "/confirm", url.Values{"client_secret": {"pi_x_secret_y"}}, 404},
		"read without the secret":        {"GET", path, nil, 404},
		"cancel":                         {"POST", path + "/cancel", card, 403},
		"change the amount":              {"POST", path, url.Values{"amount": {"100"}, "client_secret": {pi.ClientSecret}}, 403},
		"refund":                         {"POST", "/v1/refunds", url.Values{"payment_intent": {pi.ID}}, 403},
		"change the amount while paying": {"POST", path + "/confirm", url.Values{"amount": {"100"}, "client_secret": {pi.ClientSecret}}, 400},
		"list":                           {"GET", "/v1/payment_intents", nil, 403},
		"operate":                        {"POST", "/_control/disputes", card, 403},
	} {
		if status, out, _ := w.call(c.method, c.path, c.form, with...); status != c.status {
			t.Errorf("%s: %d %v", what, status, out)
		}
	}
	status, out, h := w.call("POST", path+"/confirm", card, with...)
	if status != 200 || out["status"] != "succeeded" || h.Get("Access-Control-Allow-Origin") != "*" {
		t.Fatal(status, out, h)
	}
	if _, ok := out["metadata"]; ok {
		t.Fatal("a browser saw the metadata")
	}
	if status, _, h := w.call("OPTIONS", path+"/confirm", nil); status != 204 || !strings.Contains(h.Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Fatal(status, h)
	}
	status, out, _ = w.call("POST", "/v1/payment_methods", url.Values{"type": {"card"}, "card[number]": {"4000000000000002"}, "card[exp_month]": {"1"}, "card[exp_year]": {"2040"}, "key": {publicKey}}, "Authorization", "")
	if status != 200 || !strings.HasPrefix(out["id"].(string), "pm_") {
		t.Fatal(status, out)
	}
}

func TestCancelAndUpdate(t *testing.T) {
	w := start(t)
	ctx := t.Context()
	pi := must(w.client.V1PaymentIntents.Create(ctx, &stripe.PaymentIntentCreateParams{Amount: stripe.Int64(5000), Currency: stripe.String("eur"), Metadata: map[string]string{"a": "1", "b": "2"}}))(w)
	pi = must(w.client.V1PaymentIntents.Update(ctx, pi.ID, &stripe.PaymentIntentUpdateParams{Amount: stripe.Int64(6000), Metadata: map[string]string{"a": "", "c": "3"}}))(w)
	if pi.Amount != 6000 || len(pi.Metadata) != 2 || pi.Metadata["b"] != "2" || pi.Metadata["c"] != "3" {
		t.Fatalf("%+v", pi)
	}
	pi = must(w.client.V1PaymentIntents.Cancel(ctx, pi.ID, &stripe.PaymentIntentCancelParams{CancellationReason: stripe.String("abandoned")}))(w)
	if pi.Status != "canceled" || pi.CanceledAt == 0 || pi.CancellationReason != "abandoned" {
		t.Fatalf("%+v", pi)
	}
	_, err := w.client.V1PaymentIntents.Confirm(ctx, pi.ID, &stripe.PaymentIntentConfirmParams{PaymentMethod: stripe.String("pm_card_visa")})
	w.fails(err, 400, "payment_intent_unexpected_state")
}

func TestSearchAndList(t *testing.T) {
	w := start(t)
	ctx := t.Context()
	var ids []string
	for i := range 25 {
		value := "plain"
		if i == 7 {
			value = `it's "018f"`
		}
		pi := must(w.client.V1PaymentIntents.Create(ctx, &stripe.PaymentIntentCreateParams{Amount: stripe.Int64(int64(1000 + i)), Currency: stripe.String("usd"), Metadata: map[string]string{"tulifo_id": value}}))(w)
		ids = append([]string{pi.ID}, ids...)
	}
	var seen []string
	for pi, err := range w.client.V1PaymentIntents.List(ctx, &stripe.PaymentIntentListParams{ListParams: stripe.ListParams{Limit: stripe.Int64(7)}}).All(ctx) {
		seen = append(seen, must(pi, err)(w).ID)
	}
	if !slices.Equal(seen, ids) {
		t.Fatalf("listed %d of %d, or in another order", len(seen), len(ids))
	}
	find := func(query string) (found []int64) {
		for pi, err := range w.client.V1PaymentIntents.Search(ctx, &stripe.PaymentIntentSearchParams{SearchParams: stripe.SearchParams{Query: query, Limit: stripe.Int64(5)}}).All(ctx) {
			found = append(found, must(pi, err)(w).Amount)
		}
		return found
	}
	if got := find(`metadata['tulifo_id']:'it\'s "018f"'`); !slices.Equal(got, []int64{1007}) {
		t.Fatal(got)
	}
	if got := find(`metadata["tulifo_id"]:"plain" AND amount>1020`); !slices.Equal(got, []int64{1024, 1023, 1022, 1021}) {
		t.Fatal(got)
	}
	if got := find(`status:'requires_payment_method' AND currency:'usd'`); len(got) != 25 {
		t.Fatal(got)
	}
	if got := find(`metadata['tulifo_id']:'none'`); got != nil {
		t.Fatal(got)
	}
	_, back, _ := w.call("GET", "/v1/payment_intents", url.Values{"ending_before": {ids[10]}, "limit": {"3"}})
	data := back["data"].([]any)
	if len(data) != 3 || data[2].(map[string]any)["id"] != ids[9] || back["has_more"] != true {
		t.Fatal(back)
	}
}
