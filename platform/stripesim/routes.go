package stripesim

import (
	"net/http"
)

// routes is every address the simulator answers.
func (s *Simulator) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, ep := range map[string]endpoint{
		"POST /v1/accounts":                           createAccount,
		"GET /v1/account":                             getOwnAccount,
		"GET /v1/accounts":                            listAccounts,
		"GET /v1/accounts/{id}":                       getAccount,
		"POST /v1/accounts/{id}":                      updateAccount,
		"POST /v1/account_links":                      createAccountLink,
		"GET /v1/balance":                             getBalance,
		"GET /v1/balance_transactions":                listBalanceTransactions,
		"GET /v1/balance_transactions/{id}":           getBalanceTransaction,
		"GET /v1/payment_methods/{id}":                getPaymentMethod,
		"POST /v1/payment_intents":                    createPaymentIntent,
		"GET /v1/payment_intents":                     listPaymentIntents,
		"GET /v1/payment_intents/search":              searchPaymentIntents,
		"POST /v1/payment_intents/{id}":               updatePaymentIntent,
		"POST /v1/payment_intents/{id}/cancel":        cancelPaymentIntent,
		"GET /v1/charges":                             listCharges,
		"GET /v1/charges/{id}":                        getCharge,
		"POST /v1/charges/{id}":                       updateCharge,
		"POST /v1/refunds":                            createRefund,
		"GET /v1/refunds":                             listRefunds,
		"GET /v1/refunds/{id}":                        getRefund,
		"POST /v1/refunds/{id}":                       updateRefund,
		"POST /v1/transfers":                          createTransfer,
		"GET /v1/transfers":                           listTransfers,
		"GET /v1/transfers/{id}":                      getTransfer,
		"POST /v1/transfers/{id}":                     updateTransfer,
		"POST /v1/transfers/{id}/reversals":           createReversal,
		"GET /v1/transfers/{id}/reversals":            listReversals,
		"GET /v1/transfers/{id}/reversals/{reversal}": getReversal,
		"POST /v1/payouts":                            createPayout,
		"GET /v1/payouts":                             listPayouts,
		"GET /v1/payouts/{id}":                        getPayout,
		"POST /v1/payouts/{id}":                       updatePayout,
		"POST /v1/payouts/{id}/cancel":                cancelPayout,
		"GET /v1/disputes":                            listDisputes,
		"GET /v1/disputes/{id}":                       getDispute,
		"POST /v1/disputes/{id}":                      updateDispute,
		"POST /v1/disputes/{id}/close":                closeDispute,
		"GET /v1/events":                              listEvents,
		"GET /v1/events/{id}":                         getEvent,
	} {
		mux.HandleFunc(pattern, s.serve(ep, false))
	}
	mux.HandleFunc("POST /v1/payment_methods", s.serve(createPaymentMethod, true))
	mux.HandleFunc("GET /v1/payment_intents/{id}", s.serve(getPaymentIntent, true))
	mux.HandleFunc("POST /v1/payment_intents/{id}/confirm", s.serve(confirmPaymentIntent, true))
	mux.HandleFunc("OPTIONS /v1/", preflight)
	mux.HandleFunc("/v1/", s.serve(unknown, false))
	s.controlRoutes(mux)
	s.pages(mux)
	return mux
}

// controlRoutes are for tests and operators; all want the secret key. Those that change settings take JSON, those that act on objects a form.
func (s *Simulator) controlRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /_control/", s.operator(s.serveControl))
	mux.HandleFunc("PUT /_control/", s.operator(s.serveControl))
	mux.HandleFunc("PATCH /_control/", s.operator(s.serveControl))
	mux.HandleFunc("DELETE /_control/", s.operator(s.serveControl))
	mux.HandleFunc("PUT /_control/webhook", s.operator(s.serveWebhookURL))
	mux.HandleFunc("GET /_control/undelivered", s.operator(s.serveUndelivered))
	mux.HandleFunc("GET /_control/idle", s.operator(s.serveIdle))
	for pattern, ep := range map[string]endpoint{
		"POST /_control/disputes":            controlDispute,
		"POST /_control/disputes/{id}/{how}": controlDisputeEnd,
		"POST /_control/payouts/{id}/{how}":  controlPayout,
		"POST /_control/accounts/{id}":       controlAccount,
		"POST /_control/balance":             controlTopUp,
		"POST /_control/objects/{id}":        controlObject,
		"POST /_control/events/{id}/resend":  resendEvent,
	} {
		mux.HandleFunc(pattern, s.serve(ep, false))
	}
}

func (s *Simulator) operator(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !same(bearer(r), s.o.SecretKey) {
			http.Error(w, `{"error":{"type":"invalid_request_error","message":"Invalid API Key provided."}}`, http.StatusUnauthorized)
			return
		}
		next(w, r)
	}
}

func unknown(_ *tx, r *request) (any, error) {
	return nil, newFault(http.StatusNotFound, "invalid_request_error", "", "Unrecognized request URL. The simulator does not know it, or Stripe does not.")
}

// preflight lets any page call what takes the publishable key; there are no cookies here to protect.
func preflight(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, Stripe-Version, Stripe-Account")
	h.Set("Access-Control-Max-Age", "300")
	w.WriteHeader(http.StatusNoContent)
}
