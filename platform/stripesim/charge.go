package stripesim

// charge is one attempt to take the money of a PaymentIntent.
type charge struct {
	head
	Amount             int64             `json:"amount"`
	AmountCaptured     int64             `json:"amount_captured"`
	AmountRefunded     int64             `json:"amount_refunded"`
	BalanceTransaction *string           `json:"balance_transaction"`
	BillingDetails     billing           `json:"billing_details"`
	Captured           bool              `json:"captured"`
	Currency           string            `json:"currency"`
	Customer           *string           `json:"customer"`
	Description        *string           `json:"description"`
	Dispute            string            `json:"_dispute"`
	Disputed           bool              `json:"disputed"`
	FailureCode        *string           `json:"failure_code"`
	FailureMessage     *string           `json:"failure_message"`
	FraudDetails       struct{}          `json:"fraud_details"`
	Livemode           bool              `json:"livemode"`
	Metadata           map[string]string `json:"metadata"`
	Outcome            *outcome          `json:"outcome"`
	Paid               bool              `json:"paid"`
	PaymentIntent      string            `json:"payment_intent"`
	PaymentMethod      string            `json:"payment_method"`
	MethodDetails      methodDetails     `json:"payment_method_details"`
	ReceiptEmail       *string           `json:"receipt_email"`
	Refunded           bool              `json:"refunded"`
	Status             string            `json:"status"`
	TransferGroup      *string           `json:"transfer_group"`
	Transferred        int64             `json:"_transferred"` // by transfers that name it as their source
}

type outcome struct {
	NetworkStatus string  `json:"network_status"`
	Reason        *string `json:"reason"`
	SellerMessage string  `json:"seller_message"`
	Type          string  `json:"type"`
}

type methodDetails struct {
	Card cardFace `json:"card"`
	Type string   `json:"type"`
}

// Stripe's price for a card: 2.9 % and 30 minor units, rounded half up; whole crowns and shillings where those have no minor unit.
func cardFee(amount int64, currency string) int64 {
	fee := (amount*29+500)/1000 + 30
	if step := steps[currency]; step == 100 {
		fee = (fee + step/2) / step * step
	}
	return fee
}

// charge tries to take pi's amount from pm; declined says why it could not.
func (t *tx) charge(r *request, pi *paymentIntent, pm *paymentMethod, c card) (ch *charge, no *fault, err error) {
	ch = &charge{
		head: head{newID("ch_"), "charge", r.now}, Amount: pi.Amount, BillingDetails: pm.BillingDetails, Currency: pi.Currency,
		Customer: pi.Customer, Description: pi.Description, Metadata: pi.Metadata, PaymentIntent: pi.ID, PaymentMethod: pm.ID,
		MethodDetails: methodDetails{Card: pm.Card, Type: "card"}, ReceiptEmail: pi.ReceiptEmail, TransferGroup: pi.TransferGroup,
	}
	ch.MethodDetails.Card.DisplayBrand = "" // only payment methods have one
	scopes := []string{under("charge", r.account, "payment_intent", pi.ID)}
	if pi.TransferGroup != nil {
		scopes = append(scopes, under("charge", r.account, "transfer_group", *pi.TransferGroup))
	}
	if c.code != "" {
		reason := c.decline
		if reason == "" {
			reason = c.code
		}
		ch.Status, ch.FailureCode, ch.FailureMessage = "failed", &c.code, &c.message
		ch.Outcome = &outcome{NetworkStatus: "declined_by_network", Reason: &reason, SellerMessage: "The bank did not return any further details with this decline.", Type: "issuer_declined"}
		no = cardFault(c.code, c.decline, c.message, "")
		no.body.Charge, no.kept = ch.ID, true
		if err := t.insert(r.account, ch, scopes...); err != nil {
			return nil, nil, err
		}
		return ch, no, t.emit(r, r.account, "charge.failed", pi.ID, ch, nil)
	}
	ch.Status, ch.Paid, ch.Captured, ch.AmountCaptured = "succeeded", true, true, ch.Amount
	ch.Outcome = &outcome{NetworkStatus: "approved_by_network", SellerMessage: "Payment complete.", Type: "authorized"}
	txn, err := t.move(r, movement{r.account, "charge", "charge", ch.ID, ch.Currency, ch.Amount, cardFee(ch.Amount, ch.Currency), "Stripe processing fees"})
	if err != nil {
		return nil, nil, err
	}
	ch.BalanceTransaction = &txn
	if err := t.insert(r.account, ch, scopes...); err != nil {
		return nil, nil, err
	}
	return ch, nil, t.emit(r, r.account, "charge.succeeded", pi.ID, ch, nil)
}

func getCharge(t *tx, r *request) (any, error) {
	if err := r.done(); err != nil {
		return nil, err
	}
	return fetch[charge](t, r.account, "charge", r.path("id"))
}

func updateCharge(t *tx, r *request) (any, error) {
	ch, err := fetch[charge](t, r.account, "charge", r.path("id"))
	if err != nil {
		return nil, err
	}
	ch.Metadata = r.metadata(ch.Metadata)
	if d := r.opt("description"); d != nil {
		ch.Description = d
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	return ch, t.update(ch)
}

func listCharges(t *tx, r *request) (any, error) {
	scope := all("charge", r.account)
	if group := r.str("transfer_group"); group != "" {
		scope = under("charge", r.account, "transfer_group", group)
	}
	if pi := r.str("payment_intent"); pi != "" {
		scope = under("charge", r.account, "payment_intent", pi)
	}
	return t.listing(r, "/v1/charges", scope, nil)
}
