package stripesim_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBadRequests(t *testing.T) {
	w := start(t)
	pi := w.paid(5000)
	for what, c := range map[string]struct {
		method, path string
		form         url.Values
		status       int
		code         string
	}{
		"no amount":                  {"POST", "/v1/payment_intents", url.Values{"currency": {"usd"}}, 400, "parameter_missing"},
		"negative amount":            {"POST", "/v1/payment_intents", url.Values{"amount": {"-5"}, "currency": {"usd"}}, 400, "parameter_invalid_integer"},
		"a float":                    {"POST", "/v1/payment_intents", url.Values{"amount": {"10.35"}, "currency": {"usd"}}, 400, "parameter_invalid_integer"},
		"huge":                       {"POST", "/v1/payment_intents", url.Values{"amount": {"99999999999999999999"}, "currency": {"usd"}}, 400, "parameter_invalid_integer"},
		"too much":                   {"POST", "/v1/payment_intents", url.Values{"amount": {"100000000"}, "currency": {"usd"}}, 400, "amount_too_large"},
		"too little":                 {"POST", "/v1/payment_intents", url.Values{"amount": {"49"}, "currency": {"usd"}}, 400, "amount_too_small"},
		"no such currency":           {"POST", "/v1/payment_intents", url.Values{"amount": {"500"}, "currency": {"dollar"}}, 400, ""},
		"no currency at all":         {"POST", "/v1/payment_intents", url.Values{"amount": {"500"}, "currency": {"zzz"}}, 400, ""},
		"unknown field":              {"POST", "/v1/payment_intents", url.Values{"amount": {"500"}, "currency": {"usd"}, "status": {"succeeded"}}, 400, "parameter_unknown"},
		"own field":                  {"POST", "/v1/payment_intents", url.Values{"amount": {"500"}, "currency": {"usd"}, "_authenticated": {"true"}}, 400, "parameter_unknown"},
		"unknown payment method":     {"POST", "/v1/payment_intents", url.Values{"amount": {"500"}, "currency": {"usd"}, "payment_method": {"pm_nobody"}}, 404, "resource_missing"},
		"an intent as method":        {"POST", "/v1/payment_intents", url.Values{"amount": {"500"}, "currency": {"usd"}, "payment_method": {pi.ID}}, 400, "resource_missing"},
		"manual capture":             {"POST", "/v1/payment_intents", url.Values{"amount": {"500"}, "currency": {"usd"}, "capture_method": {"manual"}}, 400, "parameter_invalid_enum"},
		"bad flag":                   {"POST", "/v1/payment_intents", url.Values{"amount": {"500"}, "currency": {"usd"}, "confirm": {"perhaps"}}, 400, "parameter_invalid_boolean"},
		"long metadata":              {"POST", "/v1/payment_intents", url.Values{"amount": {"500"}, "currency": {"usd"}, "metadata[x]": {strings.Repeat("x", 501)}}, 400, ""},
		"long metadata key":          {"POST", "/v1/payment_intents", url.Values{"amount": {"500"}, "currency": {"usd"}, "metadata[" + strings.Repeat("x", 41) + "]": {"x"}}, 400, ""},
		"not UTF-8":                  {"POST", "/v1/payment_intents", url.Values{"amount": {"500"}, "currency": {"usd"}, "description": {"\xff"}}, 400, "parameter_invalid_string_length"},
		"javascript as return":       {"POST", "/v1/payment_intents/" + pi.ID + "/confirm", url.Values{"return_url": {"javascript:alert(1)"}}, 400, "url_invalid"},
		"no refund target":           {"POST", "/v1/refunds", url.Values{"amount": {"5"}}, 400, "parameter_missing"},
		"zero refund":                {"POST", "/v1/refunds", url.Values{"payment_intent": {pi.ID}, "amount": {"0"}}, 400, "parameter_invalid_integer"},
		"refund in own words":        {"POST", "/v1/refunds", url.Values{"payment_intent": {pi.ID}, "reason": {"because"}}, 400, "parameter_invalid_enum"},
		"refund of a charge not its": {"POST", "/v1/refunds", url.Values{"payment_intent": {pi.ID}, "charge": {"ch_other"}}, 400, ""},
		"a charge as intent":         {"GET", "/v1/payment_intents/" + pi.LatestCharge.ID, nil, 404, "resource_missing"},
		"no id":                      {"GET", "/v1/charges/%00", nil, 404, "resource_missing"},
		"limit 0":                    {"GET", "/v1/refunds", url.Values{"limit": {"0"}}, 400, "parameter_invalid_integer"},
		"limit 1e9":                  {"GET", "/v1/refunds", url.Values{"limit": {"1000000000"}}, 400, "parameter_invalid_integer"},
		"limit abc":                  {"GET", "/v1/refunds", url.Values{"limit": {"abc"}}, 400, "parameter_invalid_integer"},
		"cursor of nobody":           {"GET", "/v1/refunds", url.Values{"starting_after": {"re_none"}}, 400, "resource_missing"},
		"two cursors":                {"GET", "/v1/refunds", url.Values{"starting_after": {"a"}, "ending_before": {"b"}}, 400, ""},
		"bad query":                  {"GET", "/v1/payment_intents/search", url.Values{"query": {"metadata['a']:'b' OR 1=1"}}, 400, ""},
		"no query":                   {"GET", "/v1/payment_intents/search", nil, 400, "parameter_missing"},
		"expand nothing":             {"GET", "/v1/payment_intents/" + pi.ID, url.Values{"expand[]": {"secret"}}, 400, ""},
		"expand deep":                {"GET", "/v1/payment_intents/" + pi.ID, url.Values{"expand[]": {"a.b.c.d.e.f"}}, 400, ""},
		"payout of the platform":     {"POST", "/v1/payouts", url.Values{"amount": {"500"}, "currency": {"usd"}}, 400, "payouts_not_allowed"},
		"transfer to an intent":      {"POST", "/v1/transfers", url.Values{"amount": {"500"}, "currency": {"usd"}, "destination": {pi.ID}}, 404, "resource_missing"},
		"account link to hell":       {"POST", "/v1/account_links", url.Values{"account": {"acct_x"}, "type": {"account_onboarding"}, "return_url": {"file:///etc/passwd"}}, 400, "url_invalid"},
		"unknown address":            {"GET", "/v1/customers", nil, 404, ""},
		"wrong method":               {"DELETE", "/v1/payment_intents/" + pi.ID, nil, 404, ""},
	} {
		status, out, h := w.call(c.method, c.path, c.form)
		e, _ := out["error"].(map[string]any)
		if status != c.status || code(out) != c.code || e["type"] == "" || e["message"] == "" || !strings.HasPrefix(h.Get("Request-Id"), "req_") {
			t.Errorf("%s: %d %v", what, status, out)
		}
	}
	for what, key := range map[string]string{"none": "", "another": "Bearer sk_test_other", "half": "Bearer " + secretKey[:8], "publishable": "Bearer " + publicKey, "no kind": secretKey} {
		status, out, _ := w.call("GET", "/v1/balance", nil, "Authorization", key)
		if status != 401 && (what != "publishable" || status != 403) || strings.Contains(out["error"].(map[string]any)["message"].(string), "sk_test") {
			t.Errorf("key %s: %d %v", what, status, out)
		}
	}
	req := must(http.NewRequest("GET", w.raw+"/v1/balance", nil))(w)
	req.SetBasicAuth(secretKey, "")
	res := must(http.DefaultClient.Do(req))(w)
	res.Body.Close()
	if res.StatusCode != 200 {
		t.Error("basic auth:", res.Status)
	}
	if status, out, _ := w.call("POST", "/v1/payment_intents", url.Values{"description": {strings.Repeat("x", 2<<20)}}); status != 413 {
		t.Error("a large body:", status, out)
	}
	if status, out, _ := w.call("POST", "/v1/payment_intents", url.Values{"amount": {"500"}, "currency": {"usd"}}, "Idempotency-Key", strings.Repeat("k", 256)); status != 400 {
		t.Error("a long key:", status, out)
	}
}

// No card number reaches the disk or an answer, nor do fields of the simulator's own.
func TestSecretsStayOut(t *testing.T) {
	dir := t.TempDir()
	w := startIn(t, options(dir), newReceiver(t))
	for _, number := range []string{"4242424242424242", "4000000000000002", "4242424242424241", "4012888888881881"} {
		form := url.Values{"amount": {"2000"}, "currency": {"usd"}, "confirm": {"true"}, "payment_method_data[type]": {"card"}, "payment_method_data[card][number]": {number},
			"payment_method_data[card][exp_month]": {"12"}, "payment_method_data[card][exp_year]": {"34"}, "payment_method_data[card][cvc]": {"987"}}
		_, out, _ := w.call("POST", "/v1/payment_intents", form, "Idempotency-Key", number[12:])
		if text := strings.ToLower(toJSON(t, out)); strings.Contains(text, number) || strings.Contains(text, `"_`) {
			t.Error(text)
		}
	}
	w.idle()
	w.stop()
	disk, err := os.ReadFile(filepath.Join(dir, "stripe.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"4242424242424242", "4000000000000002", "4242424242424241", "4012888888881881", secretKey, hookKey} {
		if strings.Contains(string(disk), secret) {
			t.Errorf("the disk holds %s", secret)
		}
	}
}

func TestPage(t *testing.T) {
	w := start(t)
	w.pay(5000, "pm_card_createDispute")
	w.call("POST", "/v1/payment_intents", url.Values{"amount": {"500"}, "currency": {"usd"}, "description": {"<script>alert(1)</script>"}})
	w.worker("<script>alert(1)</script>")
	res := must(http.Get(w.raw + "/"))(w)
	body := must(readAll(res))(w)
	if res.StatusCode != 200 || !strings.Contains(body, "charge.dispute.created") || strings.Contains(body, "<script") || strings.Contains(body, "_secret_") {
		t.Fatal(res.Status, body)
	}
	if !strings.Contains(res.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Fatal(res.Header)
	}
}
