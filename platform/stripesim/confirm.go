package stripesim

func confirmPaymentIntent(t *tx, r *request) (any, error) {
	pi, err := t.intent(r)
	if err != nil {
		return nil, err
	}
	if r.has("return_url") {
		pi.ReturnURL = r.address("return_url")
	}
	if r.has("receipt_email") {
		pi.ReceiptEmail = r.opt("receipt_email")
	}
	pm, err := t.method(r)
	if err != nil {
		return nil, err
	}
	r.ignore("off_session", "error_on_requires_action", "use_stripe_sdk", "expected_payment_method_type", "setup_future_usage", "payment_method_options", "mandate_data", "shipping", "client_context")
	if err := r.done(); err != nil {
		return nil, err
	}
	return t.confirm(r, pi, pm)
}

// confirm charges pi with pm, or with the method it has. A confirmation without a method of a payment that waits for
// authentication counts as authenticated.
func (t *tx) confirm(r *request, pi *paymentIntent, pm *paymentMethod) (any, error) {
	switch {
	case pi.Status == "succeeded":
		return nil, pi.unexpected("You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed.")
	case pi.Status == "canceled":
		return nil, pi.unexpected("You cannot confirm this PaymentIntent because it has a status of canceled.")
	case pm != nil:
		pi.PaymentMethod, pi.Authenticated = &pm.ID, false
	case pi.PaymentMethod == nil:
		return nil, pi.unexpected("You cannot confirm this PaymentIntent because it's missing a payment method. You can either update the PaymentIntent with a payment method and then confirm it again, or confirm it again directly with a payment method.")
	default:
		var err error
		if pm, err = fetch[paymentMethod](t, r.account, "payment_method", *pi.PaymentMethod); err != nil {
			return nil, err
		}
		pi.Authenticated = pi.Authenticated || pi.Status == "requires_action"
	}
	c, err := pm.behavior()
	if err != nil {
		return nil, err
	}
	if c.action && !pi.Authenticated {
		return pi, t.askForAction(r, pi)
	}
	return t.settle(r, pi, pm, c)
}

func (t *tx) askForAction(r *request, pi *paymentIntent) error {
	to := &redirect{URL: r.base + "/connect/authenticate/" + pi.ID + "/" + pi.ClientSecret}
	if pi.ReturnURL != "" {
		to.ReturnURL = &pi.ReturnURL
	}
	pi.Status, pi.NextAction = "requires_action", &nextAction{Type: "redirect_to_url", RedirectToURL: to}
	if err := t.update(pi); err != nil {
		return err
	}
	return t.emit(r, r.account, "payment_intent.requires_action", pi.ID, pi, nil)
}

// settle makes the charge and what follows from it.
func (t *tx) settle(r *request, pi *paymentIntent, pm *paymentMethod, c card) (any, error) {
	ch, no, err := t.charge(r, pi, pm, c)
	if err != nil {
		return nil, err
	}
	pi.LatestCharge, pi.NextAction, pi.Authenticated = &ch.ID, nil, false
	if no != nil {
		return nil, t.decline(r, pi, pm, no)
	}
	pi.Status, pi.AmountReceived, pi.LastPaymentError = "succeeded", pi.Amount, nil
	if err := t.update(pi); err != nil {
		return nil, err
	}
	if err := t.emit(r, r.account, "payment_intent.succeeded", pi.ID, pi, nil); err != nil {
		return nil, err
	}
	if c.dispute != "" {
		if _, err := t.openDispute(r, ch, ch.Amount, c.dispute, c.inquiry); err != nil {
			return nil, err
		}
	}
	return pi, nil
}

// decline records no as pi's last error and answers it.
func (t *tx) decline(r *request, pi *paymentIntent, pm *paymentMethod, no *fault) error {
	face, err := t.render(pm, nil)
	if err != nil {
		return err
	}
	no.body.PaymentMethod = face
	last := no.body
	pi.Status, pi.PaymentMethod, pi.LastPaymentError = "requires_payment_method", nil, &last
	if err := t.update(pi); err != nil {
		return err
	}
	if err := t.emit(r, r.account, "payment_intent.payment_failed", pi.ID, pi, nil); err != nil {
		return err
	}
	return no.about(t, r, pi)
}
