package stripesim

import (
	"errors"
	"net/http"
	"strings"
)

// askBank shows what is to be agreed to.
func (s *Simulator) askBank(w http.ResponseWriter, hr *http.Request) {
	id := hr.PathValue("id")
	r := &request{form: newForm(map[string][]string{"client_secret": {hr.PathValue("secret")}}), browser: true, path: func(string) string { return id }}
	var pi *paymentIntent
	err := s.store.view(func(t *tx) (err error) {
		pi, err = t.intent(r)
		return err
	})
	if err != nil {
		s.pageFault(w, err)
		return
	}
	s.show(w, http.StatusOK, "bank", sum(pi.Amount, pi.Currency))
}

// authenticate is the bank's page of a card that wants it: the holder of the client secret agrees or refuses.
func (s *Simulator) authenticate(w http.ResponseWriter, hr *http.Request) {
	id, secret, agree := hr.PathValue("id"), hr.PathValue("secret"), hr.PostFormValue("answer") == "yes"
	r := &request{form: newForm(nil), id: newID("req_"), now: s.now().Unix(), base: base(hr), path: func(string) string { return id }, browser: true}
	r.values = map[string][]string{"client_secret": {secret}}
	back := ""
	err := s.store.write(hr.Context(), func(t *tx) error {
		pi, err := t.intent(r)
		if err != nil {
			return err
		}
		back = pi.ReturnURL
		if pi.Status != "requires_action" {
			return nil
		}
		if agree {
			_, err = t.confirm(r, pi, nil)
			if f, ok := errors.AsType[*fault](err); ok && f.kept {
				return nil
			}
			return err
		}
		pm, err := fetch[paymentMethod](t, r.account, "payment_method", *pi.PaymentMethod)
		if err != nil {
			return err
		}
		no := cardFault("payment_intent_authentication_failure", "", "We are unable to authenticate your payment method. Please choose a different payment method and try again.", "")
		pi.NextAction, pi.Authenticated = nil, false
		err = t.decline(r, pi, pm, no)
		if _, ok := errors.AsType[*fault](err); ok {
			return nil
		}
		return err
	})
	s.poke()
	if err != nil {
		s.pageFault(w, err)
		return
	}
	if back != "" {
		sep := "?"
		if strings.Contains(back, "?") {
			sep = "&"
		}
		http.Redirect(w, hr, back+sep+"payment_intent="+id+"&payment_intent_client_secret="+secret, http.StatusSeeOther)
		return
	}
	s.pageText(w, "Thank you", "You may close this page.")
}
