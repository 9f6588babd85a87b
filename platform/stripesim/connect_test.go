package stripesim_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stripe/stripe-go/v85"

	"tulifo/platform/stripesim"
)

func TestAccounts(t *testing.T) {
	w := start(t)
	ctx := t.Context()
	a := w.worker("Ada Lovelace")
	if !a.PayoutsEnabled || !a.DetailsSubmitted || a.Capabilities.Transfers != "active" || a.Country != "DE" || a.Type != "express" {
		t.Fatalf("%+v", a)
	}
	e := w.hooks.until(func(e []stripe.Event) bool { return len(e) == 1 })[0]
	if e.Type != "account.updated" || e.Account != a.ID || e.Data.Object["payouts_enabled"] != true {
		t.Fatalf("%+v", e)
	}
	a = must(w.client.V1Accounts.Update(ctx, a.ID, &stripe.AccountUpdateParams{Email: stripe.String("new@example.com"), Metadata: map[string]string{"tulifo_id": "018f"}}))(w)
	if a.Email != "new@example.com" || a.Metadata["tulifo_id"] != "018f" {
		t.Fatalf("%+v", a)
	}
	for _, name := range []string{"Refuse Me", "refuse.me"} {
		a := w.worker(name)
		if a.PayoutsEnabled || !a.DetailsSubmitted || a.Requirements.DisabledReason != "rejected.other" {
			t.Fatalf("%s: %+v", name, a)
		}
	}
	n := 0
	for _, err := range w.client.V1Accounts.List(ctx, nil).All(ctx) {
		must(0, err)(w)
		n++
	}
	if n != 3 {
		t.Fatal(n)
	}
}

func TestOnboarding(t *testing.T) {
	w := start(t)
	ctx := t.Context()
	browser := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	link := func(account string) string {
		l := must(w.client.V1AccountLinks.Create(ctx, &stripe.AccountLinkCreateParams{Account: &account, Type: stripe.String("account_onboarding"),
			ReturnURL: stripe.String("http://localhost:8000/wallet"), RefreshURL: stripe.String("http://localhost:8000/again")}))(w)
		return l.URL
	}
	for name, enabled := range map[string]bool{"Grace Hopper": true, "Refuse Me": false} {
		a := w.worker("Verify Later")
		if a.PayoutsEnabled || a.DetailsSubmitted || len(a.Requirements.CurrentlyDue) == 0 {
			t.Fatalf("%+v", a)
		}
		_, err := w.send(100, a.ID)
		w.fails(err, 400, "insufficient_capabilities_for_transfer")
		at := link(a.ID)
		page := must(browser.Get(at))(w)
		page.Body.Close()
		if page.StatusCode != 200 || !strings.Contains(page.Header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Fatal(page.Status, page.Header)
		}
		done := must(browser.PostForm(at, url.Values{"name": {name}}))(w)
		done.Body.Close()
		if done.StatusCode != 303 || done.Header.Get("Location") != "http://localhost:8000/wallet" {
			t.Fatal(done.Status, done.Header)
		}
		a = must(w.client.V1Accounts.GetByID(ctx, a.ID, nil))(w)
		if a.PayoutsEnabled != enabled || !a.DetailsSubmitted {
			t.Fatalf("%s: %+v", name, a)
		}
		again := must(browser.Get(at))(w)
		again.Body.Close()
		if again.Header.Get("Location") != "http://localhost:8000/again" {
			t.Fatal("a used link is not refreshed: " + again.Status)
		}
	}
	late := link(w.worker("Verify Later").ID)
	w.control(stripesim.Control{Clock: 301})
	res := must(browser.Get(late))(w)
	res.Body.Close()
	if res.Header.Get("Location") != "http://localhost:8000/again" {
		t.Fatal("an expired link still works")
	}
	for path, status := range map[string]int{"/connect/setup/alink_none": 404, "/connect/setup/acct_none": 404, "/connect/authenticate/pi_x/y": 404} {
		res := must(browser.Get(w.raw + path))(w)
		res.Body.Close()
		if res.StatusCode != status {
			t.Error(path, res.Status)
		}
	}
}

func TestTransfers(t *testing.T) {
	w := start(t)
	ctx := t.Context()
	a := w.worker("Ada")
	_, err := w.send(14400, a.ID)
	w.fails(err, 400, stripe.ErrorCodeBalanceInsufficient)
	pi := w.paid(16000)
	before := w.balance("")
	tr := must(w.client.V1Transfers.Create(ctx, &stripe.TransferCreateParams{Amount: stripe.Int64(14400), Currency: stripe.String("usd"), Destination: &a.ID,
		SourceTransaction: &pi.LatestCharge.ID, TransferGroup: stripe.String("booking_1"), Metadata: map[string]string{"tulifo_id": "t"}}))(w)
	if tr.Destination.ID != a.ID || tr.BalanceTransaction == nil || w.balance("") != before-14400 || w.balance(a.ID) != 14400 {
		t.Fatalf("%+v", tr)
	}
	_, err = w.client.V1Transfers.Create(ctx, &stripe.TransferCreateParams{Amount: stripe.Int64(1601), Currency: stripe.String("usd"), Destination: &a.ID, SourceTransaction: &pi.LatestCharge.ID})
	w.fails(err, 400, "")
	_, err = w.send(100_000, a.ID)
	w.fails(err, 400, stripe.ErrorCodeBalanceInsufficient)
	_, err = w.send(100, "acct_unknown")
	if se := w.fails(err, 404, stripe.ErrorCodeResourceMissing); se.Param != "destination" {
		t.Fatalf("%+v", se)
	}
	rv := must(w.client.V1TransferReversals.Create(ctx, &stripe.TransferReversalCreateParams{ID: &tr.ID, Amount: stripe.Int64(400)}))(w)
	if rv.Amount != 400 || w.balance(a.ID) != 14000 || w.balance("") != before-14000 {
		t.Fatalf("%+v", rv)
	}
	_, err = w.client.V1TransferReversals.Create(ctx, &stripe.TransferReversalCreateParams{ID: &tr.ID, Amount: stripe.Int64(14001)})
	w.fails(err, 400, "")
	must(w.withdraw(14000, a.ID))(w)
	_, err = w.client.V1TransferReversals.Create(ctx, &stripe.TransferReversalCreateParams{ID: &tr.ID})
	w.fails(err, 400, stripe.ErrorCodeBalanceInsufficient)
	tr = must(w.client.V1Transfers.Retrieve(ctx, tr.ID, nil))(w)
	if tr.AmountReversed != 400 || tr.Reversed || len(tr.Reversals.Data) != 1 {
		t.Fatalf("%+v", tr)
	}
	for rv, err := range w.client.V1TransferReversals.List(ctx, &stripe.TransferReversalListParams{ID: &tr.ID}).All(ctx) {
		got := must(w.client.V1TransferReversals.Retrieve(ctx, must(rv, err)(w).ID, &stripe.TransferReversalRetrieveParams{ID: &tr.ID}))(w)
		if got.Transfer.ID != tr.ID {
			t.Fatalf("%+v", got)
		}
	}
	var found []string
	for tr, err := range w.client.V1Transfers.List(ctx, &stripe.TransferListParams{TransferGroup: stripe.String("booking_1")}).All(ctx) {
		found = append(found, must(tr, err)(w).ID)
	}
	if !slices.Equal(found, []string{tr.ID}) {
		t.Fatal(found)
	}
	e := about(w.hooks.until(func(e []stripe.Event) bool { return len(about(e, tr.ID)) >= 2 }), tr.ID)
	if got := kinds(e); !slices.Equal(got, []string{"transfer.created", "transfer.reversed"}) {
		t.Fatal(got)
	}
}

func TestPayouts(t *testing.T) {
	w := start(t)
	ctx := t.Context()
	w.paid(50000)
	a := w.worker("Ada")
	must(w.send(14400, a.ID))(w)
	_, err := w.withdraw(14401, a.ID)
	w.fails(err, 400, stripe.ErrorCodeBalanceInsufficient)
	po := must(w.withdraw(14400, a.ID))(w)
	if po.Status != "pending" || w.balance(a.ID) != 0 {
		t.Fatalf("%+v", po)
	}
	events := about(w.hooks.until(func(e []stripe.Event) bool { return len(about(e, po.ID)) == 2 }), po.ID)
	if got := kinds(events); !slices.Equal(got, []string{"payout.created", "payout.paid"}) || events[1].Account != a.ID {
		t.Fatal(got)
	}
	get := func(id, account string) (*stripe.Payout, error) {
		p := &stripe.PayoutRetrieveParams{}
		p.SetStripeAccount(account)
		return w.client.V1Payouts.Retrieve(ctx, id, p)
	}
	if po = must(get(po.ID, a.ID))(w); po.Status != "paid" {
		t.Fatal(po.Status)
	}
	b := w.worker("Bob")
	_, err = get(po.ID, b.ID)
	w.fails(err, 404, stripe.ErrorCodeResourceMissing)
	_, err = get(po.ID, "acct_none")
	w.fails(err, 403, "account_invalid")
	_, err = w.withdraw(100, w.worker("Refuse Me").ID)
	w.fails(err, 400, "payouts_not_allowed")

	t.Run("sent back after it was paid", func(t *testing.T) {
		for range 2 {
			status, out, _ := w.call("POST", "/_control/payouts/"+po.ID+"/fail", url.Values{"code": {"account_closed"}}, "Stripe-Account", a.ID)
			if status != 200 || out["status"] != "failed" || out["failure_code"] != "account_closed" {
				t.Fatal(status, out)
			}
		}
		if got := w.balance(a.ID); got != 14400 {
			t.Fatalf("the money came back %d times", got/14400)
		}
	})
	t.Run("a bank that fails", func(t *testing.T) {
		// Stripe takes the account's number here; its description, and so stripe-mock, knows only a token.
		_, out, _ := w.call("POST", "/v1/accounts", url.Values{"type": {"custom"}, "country": {"US"}, "external_account[object]": {"bank_account"}, "external_account[country]": {"US"},
			"external_account[currency]": {"usd"}, "external_account[routing_number]": {"110000000"}, "external_account[account_number]": {"000111111116"}})
		a := must(w.client.V1Accounts.GetByID(ctx, out["id"].(string), nil))(w)
		must(w.send(1000, a.ID))(w)
		po := must(w.withdraw(1000, a.ID))(w)
		w.hooks.until(func(e []stripe.Event) bool { return len(about(e, po.ID)) == 2 })
		if po = must(get(po.ID, a.ID))(w); po.Status != "failed" || po.FailureCode != "no_account" || w.balance(a.ID) != 1000 {
			t.Fatalf("%+v", po)
		}
	})
	t.Run("a name that fails", func(t *testing.T) {
		a := w.worker("Fail Payout")
		must(w.send(1000, a.ID))(w)
		po := must(w.withdraw(1000, a.ID))(w)
		e := about(w.hooks.until(func(e []stripe.Event) bool { return len(about(e, po.ID)) == 2 }), po.ID)
		if e[1].Type != "payout.failed" || w.balance(a.ID) != 1000 {
			t.Fatal(kinds(e), w.balance(a.ID))
		}
	})
	t.Run("held, then canceled", func(t *testing.T) {
		w.control(stripesim.Control{HoldPayouts: true})
		a := w.worker("Carl")
		must(w.send(1000, a.ID))(w)
		po := must(w.withdraw(600, a.ID))(w)
		w.idle()
		if po = must(get(po.ID, a.ID))(w); po.Status != "pending" {
			t.Fatal(po.Status)
		}
		// stripe-go 85.0.0 sends V1Payouts.Cancel to /v1/topups.
		if _, out, _ := w.call("POST", "/v1/payouts/"+po.ID+"/cancel", nil, "Stripe-Account", a.ID); out["status"] != "canceled" || w.balance(a.ID) != 1000 {
			t.Fatal(out)
		}
		w.control(stripesim.Control{})
		w.idle()
		if po = must(get(po.ID, a.ID))(w); po.Status != "canceled" {
			t.Fatal(po.Status)
		}
	})
	list := &stripe.PayoutListParams{Status: stripe.String("failed")}
	list.SetStripeAccount(a.ID)
	n := 0
	for po, err := range w.client.V1Payouts.List(ctx, list).All(ctx) {
		if must(po, err)(w).Metadata["tulifo_id"] != "payout" {
			t.Fatalf("%+v", po)
		}
		n++
	}
	if n != 1 {
		t.Fatal(n)
	}
}
