package stripesim

import (
	"crypto/subtle"
)

// paymentIntent is one payment: requires_payment_method → requires_confirmation → requires_action → succeeded; canceled from
// any but succeeded. A decline leads back to requires_payment_method.
type paymentIntent struct {
	head
	Amount             int64             `json:"amount"`
	AmountCapturable   int64             `json:"amount_capturable"`
	AmountDetails      amountDetails     `json:"amount_details"`
	AmountReceived     int64             `json:"amount_received"`
	Automatic          *automaticMethods `json:"automatic_payment_methods"`
	CanceledAt         *int64            `json:"canceled_at"`
	CancellationReason *string           `json:"cancellation_reason"`
	CaptureMethod      string            `json:"capture_method"`
	ClientSecret       string            `json:"client_secret"`
	ConfirmationMethod string            `json:"confirmation_method"`
	Currency           string            `json:"currency"`
	Customer           *string           `json:"customer"`
	Description        *string           `json:"description"`
	LastPaymentError   any               `json:"last_payment_error"`
	LatestCharge       *string           `json:"latest_charge"`
	Livemode           bool              `json:"livemode"`
	Metadata           map[string]string `json:"metadata"`
	NextAction         *nextAction       `json:"next_action"`
	PaymentMethod      *string           `json:"payment_method"`
	PaymentMethodTypes []string          `json:"payment_method_types"`
	Processing         *struct{}         `json:"processing"`
	ReceiptEmail       *string           `json:"receipt_email"`
	ReturnURL          string            `json:"_return_url"`
	Authenticated      bool              `json:"_authenticated"`
	Status             string            `json:"status"`
	Suffix             *string           `json:"statement_descriptor_suffix"`
	TransferGroup      *string           `json:"transfer_group"`
}

type amountDetails struct {
	Tip struct{} `json:"tip"`
}

type automaticMethods struct {
	AllowRedirects string `json:"allow_redirects"`
	Enabled        bool   `json:"enabled"`
}

type nextAction struct {
	RedirectToURL *redirect `json:"redirect_to_url,omitempty"`
	Type          string    `json:"type"`
}

type redirect struct {
	ReturnURL *string `json:"return_url"`
	URL       string  `json:"url"`
}

// smallest is the least amount Stripe charges in the currency, where it has one.
var smallest = map[string]int64{"usd": 50, "eur": 50, "gbp": 30, "cad": 50, "aud": 50, "chf": 50, "jpy": 50}

func createPaymentIntent(t *tx, r *request) (any, error) {
	pi := &paymentIntent{head: head{newID("pi_"), "payment_intent", r.now}, ConfirmationMethod: "automatic", Status: "requires_payment_method", PaymentMethodTypes: []string{"card"}}
	pi.ClientSecret = newID(pi.ID + "_secret_")
	pi.Amount, pi.Currency = r.amount("amount"), r.currency("currency")
	pi.CaptureMethod = r.one("capture_method", "automatic", "automatic_async")
	if r.flag("automatic_payment_methods[enabled]") {
		pi.Automatic = &automaticMethods{Enabled: true, AllowRedirects: r.one("automatic_payment_methods[allow_redirects]", "always", "never")}
	}
	for _, kind := range r.list("payment_method_types") {
		if kind != "card" {
			r.fail(invalid("payment_method_types", "payment_intent_invalid_parameter", "The simulator takes cards only: payment_method_types must be card."))
		}
	}
	pi.read(r)
	confirm := r.flag("confirm")
	pm, err := t.method(r)
	if err != nil {
		return nil, err
	}
	r.ignore("off_session", "error_on_requires_action", "use_stripe_sdk", "confirmation_method", "setup_future_usage", "payment_method_options", "shipping", "return_url")
	if err := r.done(); err != nil {
		return nil, err
	}
	if pm != nil {
		pi.PaymentMethod, pi.Status = &pm.ID, "requires_confirmation"
	}
	var scopes []string
	if pi.TransferGroup != nil {
		scopes = append(scopes, under("payment_intent", r.account, "transfer_group", *pi.TransferGroup))
	}
	if err := t.insert(r.account, pi, scopes...); err != nil {
		return nil, err
	}
	if err := t.noteMetadata(pi, r.account, pi.Metadata); err != nil {
		return nil, err
	}
	if err := t.emit(r, r.account, "payment_intent.created", pi.ID, pi, nil); err != nil {
		return nil, err
	}
	if !confirm {
		return pi, nil
	}
	return t.confirm(r, pi, pm)
}

// read takes what both create and update set.
func (pi *paymentIntent) read(r *request) {
	pi.Metadata = r.metadata(pi.Metadata)
	for name, field := range map[string]**string{
		"description": &pi.Description, "receipt_email": &pi.ReceiptEmail,
		"statement_descriptor_suffix": &pi.Suffix, "transfer_group": &pi.TransferGroup,
	} {
		if r.has(name) {
			*field = r.opt(name)
		}
	}
	if r.has("return_url") {
		pi.ReturnURL = r.address("return_url")
	}
	r.inSteps(pi.Amount, pi.Currency, steps)
	if pi.Amount < smallest[pi.Currency] && pi.Amount > 0 {
		r.fail(invalid("amount", "amount_too_small", "Amount must convert to at least the smallest charge of the currency."))
	}
}

func (t *tx) intent(r *request) (*paymentIntent, error) {
	pi, err := fetch[paymentIntent](t, r.account, "payment_intent", r.path("id"))
	if err != nil {
		return nil, err
	}
	secret := r.str("client_secret")
	if r.browser && subtle.ConstantTimeCompare([]byte(secret), []byte(pi.ClientSecret)) != 1 {
		return nil, missing("payment_intent", pi.ID)
	}
	return pi, nil
}

func getPaymentIntent(t *tx, r *request) (any, error) {
	pi, err := t.intent(r)
	if err != nil {
		return nil, err
	}
	return pi, r.done()
}

func updatePaymentIntent(t *tx, r *request) (any, error) {
	pi, err := t.intent(r)
	if err != nil {
		return nil, err
	}
	if pi.Status == "succeeded" || pi.Status == "canceled" {
		if r.has("amount") || r.has("currency") || r.has("payment_method") {
			return nil, pi.unexpected("This PaymentIntent's amount could not be updated because it has a status of " + pi.Status + ".")
		}
	}
	if r.has("amount") {
		pi.Amount = r.amount("amount")
	}
	if r.has("currency") {
		pi.Currency = r.currency("currency")
	}
	pi.read(r)
	pm, err := t.method(r)
	if err != nil {
		return nil, err
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	if pm != nil {
		pi.PaymentMethod, pi.Status, pi.NextAction, pi.Authenticated = &pm.ID, "requires_confirmation", nil, false
	}
	if err := t.update(pi); err != nil {
		return nil, err
	}
	return pi, t.noteMetadata(pi, r.account, pi.Metadata)
}

// about puts pi into the answer.
func (f *fault) about(t *tx, r *request, pi *paymentIntent) error {
	tree, err := t.render(pi, nil)
	if err != nil {
		return err
	}
	if r.browser {
		tree = forBrowser(tree)
	}
	f.body.PaymentIntent = tree
	return f
}

func (pi *paymentIntent) unexpected(message string) *fault {
	f := refused("payment_intent_unexpected_state", message)
	f.body.PaymentIntent = map[string]any{
		"id": pi.ID, "object": pi.Object, "status": pi.Status, "amount": pi.Amount, "currency": pi.Currency, "created": pi.Created,
		"client_secret": pi.ClientSecret, "latest_charge": pi.LatestCharge, "livemode": false,
	}
	return f
}

func cancelPaymentIntent(t *tx, r *request) (any, error) {
	pi, err := t.intent(r)
	if err != nil {
		return nil, err
	}
	reason := r.one("cancellation_reason", "", "duplicate", "fraudulent", "requested_by_customer", "abandoned")
	if err := r.done(); err != nil {
		return nil, err
	}
	if pi.Status == "succeeded" || pi.Status == "canceled" {
		return nil, pi.unexpected("You cannot cancel this PaymentIntent because it has a status of " + pi.Status + ".")
	}
	pi.Status, pi.CanceledAt, pi.NextAction = "canceled", &r.now, nil
	if reason != "" {
		pi.CancellationReason = &reason
	}
	if err := t.update(pi); err != nil {
		return nil, err
	}
	return pi, t.emit(r, r.account, "payment_intent.canceled", pi.ID, pi, nil)
}

func listPaymentIntents(t *tx, r *request) (any, error) {
	return t.listing(r, "/v1/payment_intents", all("payment_intent", r.account), nil)
}

func searchPaymentIntents(t *tx, r *request) (any, error) {
	return t.searching(r, "/v1/payment_intents/search", "payment_intent")
}
