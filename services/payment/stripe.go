package payment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/stripe/stripe-go/v85"

	"tulifo/platform/crash"
	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/pause"
)

// forgets is after which age of a call the rail may no longer know its key (it promises a day), so that the object is looked for first.
const forgets = 20 * time.Hour

// Metadata that every object at the rail carries.
const (
	ourID   = "tulifo_id"      // of the row it was made for
	attempt = "tulifo_attempt" // which PaymentIntent of the payment it is
)

var errUndecided = errors.New("the rail has more than one object for the row")

// rail is Stripe, or the simulator that speaks its API.
type rail struct {
	stripe *stripe.Client
}

func newRail(c Config) *rail {
	config := &stripe.BackendConfig{
		HTTPClient:        &http.Client{Timeout: c.Timeout, Transport: crashing{http.DefaultTransport}},
		MaxNetworkRetries: stripe.Int64(0), // the rows' own retries are the one retry layer
		EnableTelemetry:   stripe.Bool(false),
		LeveledLogger:     &stripe.LeveledLogger{Level: stripe.LevelNull},
	}
	if c.APIURL != "" {
		config.URL = stripe.String(c.APIURL)
	}
	return &rail{stripe.NewClient(c.SecretKey, stripe.WithBackends(stripe.NewBackendsWithConfig(config)))}
}

// crashing is a transport with a point before and after each call that changes something at the rail.
type crashing struct{ http.RoundTripper }

func (c crashing) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet {
		return c.RoundTripper.RoundTrip(r)
	}
	what := path.Base(r.URL.Path)
	crash.Before(r.Context(), "payment", crash.Call, what)
	res, err := c.RoundTripper.RoundTrip(r)
	crash.After(r.Context(), "payment", crash.Call, what)
	return res, err
}

// railError is an answer of the rail that is an error, without the objects that come with it: those hold client secrets.
type railError struct {
	Status  int
	Type    stripe.ErrorType
	Code    stripe.ErrorCode
	Message string
	Request string
}

func (e *railError) Error() string {
	return fmt.Sprintf("the rail answered %d %s %s: %s (%s)", e.Status, e.Type, e.Code, e.Message, e.Request)
}

// bare is err as a railError when the rail answered it.
func bare(err error) error {
	if e, is := errors.AsType[*stripe.Error](err); is {
		return &railError{e.HTTPStatusCode, e.Type, e.Code, e.Msg, e.RequestID}
	}
	return err
}

// answered is what a call came to.
func answered[T any](v T, err error) (T, error) { return v, bare(err) }

// refused tells an answer of the rail that repeating the call will not change, with the rail's code for it.
func refused(err error) (code string, ok bool) {
	e, is := errors.AsType[*railError](err)
	if !is || e.Status < 400 || e.Status >= 500 {
		return "", false
	}
	switch {
	case e.Status == http.StatusConflict, e.Status == http.StatusTooManyRequests, e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden,
		e.Code == stripe.ErrorCodeBalanceInsufficient, e.Code == stripe.ErrorCodeLockTimeout, e.Type == stripe.ErrorTypeIdempotency:
		return "", false
	}
	return cmp.Or(string(e.Code), string(e.Type)), true
}

// awaited asks again while another click's call with the same key is being answered: then ours gets the same. It gives up after five seconds.
func awaited[T any](ctx context.Context, ask func() (T, error)) (T, error) {
	out, err := ask()
	for n := 0; inUse(err) && n < 50; n++ {
		if err := pause.For(ctx, 100*time.Millisecond); err != nil {
			return out, err
		}
		out, err = ask()
	}
	return out, err
}

// inUse tells that a call with the same key is being answered just now.
func inUse(err error) bool {
	e, is := errors.AsType[*railError](err)
	return is && e.Status == http.StatusConflict
}

// away is what a person is told when the rail did not answer as it should.
func away(err error) error {
	return errs.New(errs.Unavailable, "Payments cannot be reached right now. Try again in a moment.").After(2 * time.Second).Because(err)
}

// The rail counts currencies in two digits but for these; króna and Ugandan shillings have two there and none in ISO 4217.
// https://docs.stripe.com/currencies#zero-decimal
var railDigits = map[string]int{
	"BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "JPY": 0, "KMF": 0, "KRW": 0, "MGA": 0, "PYG": 0, "RWF": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
	"BHD": 3, "JOD": 3, "KWD": 3, "OMR": 3, "TND": 3,
}

// railUnits says by how much the rail's count of the currency is finer, or coarser, than minor units.
func railUnits(code string) (finer, coarser int64) {
	ours, err := money.Digits(code)
	theirs, listed := railDigits[code]
	if !listed {
		theirs = 2
	}
	finer, coarser = 1, 1
	if err == nil {
		for ; theirs > ours; theirs-- {
			finer *= 10
		}
		for ; theirs < ours; theirs++ {
			coarser *= 10
		}
	}
	return finer, coarser
}

// inRailUnits is an amount as the rail counts it. a is a multiple of its currency's step.
func inRailUnits(a money.Amount) int64 {
	finer, coarser := railUnits(a.Currency)
	return a.Minor * finer / coarser
}

// payable refuses a currency that the rail does not count as we do, and an amount that it cannot move. Conflict.
func payable(a money.Amount) error {
	switch a.Currency {
	case "CLF", "UYW", "IQD", "LYD", "UYI":
		return errs.Coded(errs.Conflict, "payment_refused", "This currency cannot be paid online.")
	}
	if a != a.Whole() {
		return errs.Coded(errs.Conflict, "payment_refused", "This amount is finer than what can be paid in "+a.Currency+".")
	}
	return nil
}

// railAmount is the reverse; ok is false when the rail's amount is finer than the currency.
func railAmount(minor int64, currency stripe.Currency) (a money.Amount, ok bool) {
	code := strings.ToUpper(string(currency))
	finer, coarser := railUnits(code)
	return money.Of(minor/finer*coarser, code), minor%finer == 0
}

func railCurrency(a money.Amount) *string { return stripe.String(strings.ToLower(a.Currency)) }

func metadata(id string) map[string]string { return map[string]string{ourID: id} }

// keyed is the parameters of a call that is repeated under the same key for the same row.
func keyed(key string) stripe.Params { return stripe.Params{IdempotencyKey: stripe.String(key)} }

// intent is the PaymentIntent of a payment: the known one, else the one made for it before, else a new one.
func (r *rail) intent(ctx context.Context, p payment, now time.Time) (*stripe.PaymentIntent, error) {
	if p.IntentID != nil {
		return answered(r.stripe.V1PaymentIntents.Retrieve(ctx, *p.IntentID, nil))
	}
	if p.AskedAt != nil && now.Sub(*p.AskedAt) > forgets {
		if found, err := r.findIntent(ctx, p); found != nil || err != nil {
			return found, err
		}
	}
	in := &stripe.PaymentIntentCreateParams{
		Params:                  keyed(fmt.Sprintf("payment:%s:%d", p.ID, p.IntentNo)),
		Amount:                  stripe.Int64(inRailUnits(p.gross())),
		Currency:                railCurrency(p.gross()),
		AutomaticPaymentMethods: &stripe.PaymentIntentCreateAutomaticPaymentMethodsParams{Enabled: stripe.Bool(true)},
		TransferGroup:           stripe.String(p.BookingID.String()),
		Metadata:                metadata(p.ID.String()),
	}
	in.Metadata[attempt] = fmt.Sprint(p.IntentNo)
	return answered(r.stripe.V1PaymentIntents.Create(ctx, in))
}

func (r *rail) findIntent(ctx context.Context, p payment) (*stripe.PaymentIntent, error) {
	search := &stripe.PaymentIntentSearchParams{}
	search.Query = fmt.Sprintf("metadata['%s']:'%s'", ourID, p.ID)
	var found *stripe.PaymentIntent
	for pi, err := range r.stripe.V1PaymentIntents.Search(ctx, search).All(ctx) {
		switch {
		case err != nil:
			return nil, bare(err)
		case pi.Metadata[attempt] != fmt.Sprint(p.IntentNo):
		case found != nil:
			return nil, errUndecided
		default:
			found = pi
		}
	}
	return found, nil
}

func (r *rail) cancelIntent(ctx context.Context, p payment) (*stripe.PaymentIntent, error) {
	pi, err := r.stripe.V1PaymentIntents.Cancel(ctx, *p.IntentID, &stripe.PaymentIntentCancelParams{CancellationReason: stripe.String("abandoned")})
	if e, is := errors.AsType[*stripe.Error](err); is && e.Code == stripe.ErrorCodePaymentIntentUnexpectedState {
		return answered(r.stripe.V1PaymentIntents.Retrieve(ctx, *p.IntentID, nil))
	}
	return pi, bare(err)
}

// cost is what the rail kept of a payment; ok is false while it does not say.
func (r *rail) cost(ctx context.Context, p payment) (fee money.Amount, ok bool, err error) {
	in := &stripe.PaymentIntentRetrieveParams{}
	in.AddExpand("latest_charge.balance_transaction")
	pi, err := r.stripe.V1PaymentIntents.Retrieve(ctx, *p.IntentID, in)
	if err != nil || pi.LatestCharge == nil || pi.LatestCharge.BalanceTransaction == nil || pi.LatestCharge.BalanceTransaction.Currency == "" {
		return money.Amount{}, false, bare(err)
	}
	fee, ok = railAmount(pi.LatestCharge.BalanceTransaction.Fee, pi.LatestCharge.BalanceTransaction.Currency)
	return fee, ok, nil
}

// refund sends money of a payment back.
func (r *rail) refund(ctx context.Context, f refund, intent string, now time.Time) (*stripe.Refund, error) {
	if f.RailID != nil {
		return answered(r.stripe.V1Refunds.Retrieve(ctx, *f.RailID, nil))
	}
	if f.AskedAt != nil && now.Sub(*f.AskedAt) > forgets {
		var found *stripe.Refund
		for one, err := range r.stripe.V1Refunds.List(ctx, &stripe.RefundListParams{PaymentIntent: stripe.String(intent)}).All(ctx) {
			switch {
			case err != nil:
				return nil, bare(err)
			case one.Metadata[ourID] != f.ID.String():
			case found != nil:
				return nil, errUndecided
			default:
				found = one
			}
		}
		if found != nil {
			return found, nil
		}
	}
	made, err := r.stripe.V1Refunds.Create(ctx, &stripe.RefundCreateParams{
		Params:        keyed(fmt.Sprint("refund:", f.ID, ":", f.RailAmount)), // what is to be sent may have become less
		PaymentIntent: stripe.String(intent),
		Amount:        stripe.Int64(inRailUnits(f.sent())),
		Metadata:      metadata(f.ID.String()),
	})
	if err == nil && replayed(made.LastResponse) {
		f.RailID = &made.ID
		return r.refund(ctx, f, intent, now)
	}
	return made, bare(err)
}

// dispute is how a chargeback stands.
func (r *rail) dispute(ctx context.Context, id string) (*stripe.Dispute, error) {
	return answered(r.stripe.V1Disputes.Retrieve(ctx, id, nil))
}

// openAccount is the connected account of a worker.
func (r *rail) openAccount(ctx context.Context, a payoutAccount) (*stripe.Account, error) {
	return answered(r.stripe.V1Accounts.Create(ctx, &stripe.AccountCreateParams{
		Params:       keyed(fmt.Sprint("payout_account:", a.UserID)),
		Type:         stripe.String("express"),
		Country:      stripe.String(a.Country),
		Email:        stripe.String(a.Email),
		Capabilities: &stripe.AccountCreateCapabilitiesParams{Transfers: &stripe.AccountCreateCapabilitiesTransfersParams{Requested: stripe.Bool(true)}},
		Metadata:     metadata(a.UserID.String()),
	}))
}

func (r *rail) account(ctx context.Context, id string) (*stripe.Account, error) {
	return answered(r.stripe.V1Accounts.GetByID(ctx, id, nil))
}

// accountPage is where the account's owner completes it; it is good for minutes and for one visit.
func (r *rail) accountPage(ctx context.Context, id, back string) (*stripe.AccountLink, error) {
	return answered(r.stripe.V1AccountLinks.Create(ctx, &stripe.AccountLinkCreateParams{
		Account: stripe.String(id), Type: stripe.String("account_onboarding"), RefreshURL: stripe.String(back), ReturnURL: stripe.String(back),
	}))
}

// transfer moves a withdrawal to the worker's connected account.
func (r *rail) transfer(ctx context.Context, p payout, now time.Time) (*stripe.Transfer, error) {
	if p.AskedAt != nil && now.Sub(*p.AskedAt) > forgets {
		var found *stripe.Transfer
		for one, err := range r.stripe.V1Transfers.List(ctx, &stripe.TransferListParams{TransferGroup: stripe.String(p.ID.String())}).All(ctx) {
			switch {
			case err != nil:
				return nil, bare(err)
			case found != nil:
				return nil, errUndecided
			}
			found = one
		}
		if found != nil {
			return found, nil
		}
	}
	return answered(r.stripe.V1Transfers.Create(ctx, &stripe.TransferCreateParams{
		Params:        keyed(fmt.Sprint("payout:", p.ID, ":transfer")),
		Amount:        stripe.Int64(inRailUnits(p.total())),
		Currency:      railCurrency(p.total()),
		Destination:   stripe.String(p.AccountID),
		TransferGroup: stripe.String(p.ID.String()),
		Metadata:      metadata(p.ID.String()),
	}))
}

// payout has the rail send what was transferred to the worker's bank.
func (r *rail) payout(ctx context.Context, p payout, now time.Time) (*stripe.Payout, error) {
	if p.RailID != nil {
		in := &stripe.PayoutRetrieveParams{}
		in.SetStripeAccount(p.AccountID)
		return answered(r.stripe.V1Payouts.Retrieve(ctx, *p.RailID, in))
	}
	if p.AskedAt != nil && now.Sub(*p.AskedAt) > forgets {
		list := &stripe.PayoutListParams{}
		list.SetStripeAccount(p.AccountID)
		var found *stripe.Payout
		for one, err := range r.stripe.V1Payouts.List(ctx, list).All(ctx) {
			switch {
			case err != nil:
				return nil, bare(err)
			case one.Metadata[ourID] != p.ID.String():
			case found != nil:
				return nil, errUndecided
			default:
				found = one
			}
		}
		if found != nil {
			return found, nil
		}
	}
	in := &stripe.PayoutCreateParams{
		Params:   keyed(fmt.Sprint("payout:", p.ID, ":payout")),
		Amount:   stripe.Int64(inRailUnits(p.total())),
		Currency: railCurrency(p.total()),
		Metadata: metadata(p.ID.String()),
	}
	in.SetStripeAccount(p.AccountID)
	made, err := r.stripe.V1Payouts.Create(ctx, in)
	if err == nil && replayed(made.LastResponse) {
		p.RailID = &made.ID
		return r.payout(ctx, p, now)
	}
	return made, bare(err)
}

// replayed tells that the rail has repeated its first answer to a key, which says how things stood then.
func replayed(r *stripe.APIResponse) bool {
	return r != nil && r.Header.Get("Idempotent-Replayed") == "true"
}

// takeBack reverses the transfer of a withdrawal that the bank refused.
func (r *rail) takeBack(ctx context.Context, p payout, now time.Time) error {
	if p.AskedAt != nil && now.Sub(*p.AskedAt) > forgets {
		t, err := r.stripe.V1Transfers.Retrieve(ctx, *p.TransferID, nil)
		if err != nil || t.Reversed {
			return bare(err)
		}
	}
	_, err := r.stripe.V1TransferReversals.Create(ctx, &stripe.TransferReversalCreateParams{
		Params: keyed(fmt.Sprint("payout:", p.ID, ":reversal")), ID: p.TransferID, Metadata: metadata(p.ID.String()),
	})
	return bare(err)
}
