package stripesim_test

import (
	"net/url"
	"strconv"
	"testing"

	"github.com/stripe/stripe-go/v85"
	"pgregory.net/rapid"

	"tulifo/platform/stripesim"
)

// Whatever is asked, money is neither made nor lost: each balance is the sum of its transactions, what came in and did not go
// out is in the balances, and no connected account falls below zero.
func TestMoneyIsConserved(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := start(t)
		defer w.stop()
		w.control(stripesim.Control{Hold: []string{"*"}})
		accounts := []string{w.worker("Ada").ID, w.worker("Fail Payout").ID}
		var intents, transfers, disputes []string
		pick := func(ids []string, label string) (string, bool) {
			if len(ids) == 0 {
				return "", false
			}
			return rapid.SampledFrom(ids).Draw(rt, label), true
		}
		post := func(path string, form url.Values, headers ...string) (map[string]any, bool) {
			status, out, _ := w.call("POST", path, form, headers...)
			if status >= 500 {
				rt.Fatalf("%s %v: %d %v", path, form, status, out)
			}
			return out, status == 200
		}
		id := func(out map[string]any) string { s, _ := out["id"].(string); return s }
		amount := func() string { return strconv.FormatInt(rapid.Int64Range(1, 20_000).Draw(rt, "amount"), 10) }
		rt.Repeat(map[string]func(*rapid.T){
			"pay": func(rt *rapid.T) {
				method := rapid.SampledFrom([]string{"pm_card_visa", "pm_card_chargeDeclined", "pm_card_createDispute", "pm_card_pendingRefund", "pm_card_refundFail"}).Draw(rt, "method")
				if out, ok := post("/v1/payment_intents", url.Values{"amount": {amount()}, "currency": {"usd"}, "confirm": {"true"}, "payment_method": {method}}); ok {
					intents = append(intents, id(out))
				}
			},
			"refund": func(rt *rapid.T) {
				if pi, ok := pick(intents, "intent"); ok {
					post("/v1/refunds", url.Values{"payment_intent": {pi}, "amount": {amount()}})
				}
			},
			"transfer": func(rt *rapid.T) {
				to, _ := pick(accounts, "account")
				if out, ok := post("/v1/transfers", url.Values{"amount": {amount()}, "currency": {"usd"}, "destination": {to}}); ok {
					transfers = append(transfers, id(out))
				}
			},
			"reverse": func(rt *rapid.T) {
				if tr, ok := pick(transfers, "transfer"); ok {
					post("/v1/transfers/"+tr+"/reversals", url.Values{"amount": {amount()}})
				}
			},
			"withdraw": func(rt *rapid.T) {
				from, _ := pick(accounts, "account")
				post("/v1/payouts", url.Values{"amount": {amount()}, "currency": {"usd"}}, "Stripe-Account", from)
			},
			"dispute": func(rt *rapid.T) {
				if pi, ok := pick(intents, "intent"); ok {
					if out, ok := post("/_control/disputes", url.Values{"payment_intent": {pi}}); ok {
						disputes = append(disputes, id(out))
					}
				}
			},
			"judge": func(rt *rapid.T) {
				if d, ok := pick(disputes, "dispute"); ok {
					post("/_control/disputes/"+d+"/"+rapid.SampledFrom([]string{"win", "lose"}).Draw(rt, "how"), nil)
				}
			},
		})
		w.idle()
		conserved(w, rt, accounts)
	})
}

func conserved(w *world, rt *rapid.T, accounts []string) {
	ctx := w.Context()
	var total, outside int64
	for _, account := range append([]string{""}, accounts...) {
		p := &stripe.BalanceTransactionListParams{ListParams: stripe.ListParams{Limit: stripe.Int64(100)}}
		if account != "" {
			p.SetStripeAccount(account)
		}
		var sum int64
		for txn, err := range w.client.V1BalanceTransactions.List(ctx, p).All(ctx) {
			txn := must(txn, err)(w)
			if txn.Net != txn.Amount-txn.Fee {
				rt.Fatalf("%+v", txn)
			}
			sum += txn.Net
			switch txn.Type {
			case "transfer", "transfer_refund", "payment", "payment_refund": // between balances
			default:
				outside += txn.Net
			}
		}
		held := w.balance(account)
		if held != sum || account != "" && held < 0 {
			rt.Fatalf("account %q holds %d, its transactions make %d", account, held, sum)
		}
		total += held
	}
	if total != outside {
		rt.Fatalf("balances hold %d, %d came from outside", total, outside)
	}
	for ch, err := range w.client.V1Charges.List(ctx, &stripe.ChargeListParams{ListParams: stripe.ListParams{Limit: stripe.Int64(100)}}).All(ctx) {
		ch := must(ch, err)(w)
		var refunded int64
		for re, err := range w.client.V1Refunds.List(ctx, &stripe.RefundListParams{Charge: &ch.ID}).All(ctx) {
			if re := must(re, err)(w); re.Status != "failed" {
				refunded += re.Amount
			}
		}
		if refunded != ch.AmountRefunded || refunded > ch.Amount {
			rt.Fatalf("charge %s of %d says %d refunded, refunds make %d", ch.ID, ch.Amount, ch.AmountRefunded, refunded)
		}
	}
}
