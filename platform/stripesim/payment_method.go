package stripesim

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// paymentMethod is a card as it is kept: Token names its behavior.
type paymentMethod struct {
	head
	Token          string            `json:"_token"`
	AllowRedisplay string            `json:"allow_redisplay"`
	BillingDetails billing           `json:"billing_details"`
	Card           cardFace          `json:"card"`
	Customer       *string           `json:"customer"`
	Livemode       bool              `json:"livemode"`
	Metadata       map[string]string `json:"metadata"`
	Type           string            `json:"type"`
}

type billing struct {
	Address address `json:"address"`
	Email   *string `json:"email"`
	Name    *string `json:"name"`
	Phone   *string `json:"phone"`
	TaxID   *string `json:"tax_id"`
}

type address struct {
	City       *string `json:"city"`
	Country    *string `json:"country"`
	Line1      *string `json:"line1"`
	Line2      *string `json:"line2"`
	PostalCode *string `json:"postal_code"`
	State      *string `json:"state"`
}

type cardFace struct {
	Brand        string `json:"brand"`
	Country      string `json:"country"`
	DisplayBrand string `json:"display_brand,omitempty"`
	ExpMonth     int64  `json:"exp_month"`
	ExpYear      int64  `json:"exp_year"`
	Funding      string `json:"funding"`
	Last4        string `json:"last4"`
}

func createPaymentMethod(t *tx, r *request) (any, error) {
	if kind := r.one("type", "card"); kind != "card" {
		return nil, r.done()
	}
	pm, err := r.cardFrom("")
	if err != nil {
		return nil, err
	}
	pm.Metadata = r.metadata(nil)
	r.ignore("allow_redisplay", "payment_user_agent", "guid", "muid", "sid", "referrer", "time_on_page", "radar_options", "client_attribution_metadata")
	if err := r.done(); err != nil {
		return nil, err
	}
	return pm, t.insert(r.account, pm)
}

func getPaymentMethod(t *tx, r *request) (any, error) {
	if err := r.done(); err != nil {
		return nil, err
	}
	return fetch[paymentMethod](t, r.account, "payment_method", r.path("id"))
}

// method is the payment method that a request names or describes; nil when it does neither. It is stored when it is new.
func (t *tx) method(r *request) (*paymentMethod, error) {
	name := r.str("payment_method")
	described := r.form.values.Has("payment_method_data[type]")
	switch {
	case described:
		r.one("payment_method_data[type]", "card")
		r.ignore("payment_method_data[metadata]")
		pm, err := r.cardFrom("payment_method_data")
		if err != nil {
			return nil, err
		}
		return pm, t.insert(r.account, pm)
	case name == "":
		return nil, nil
	}
	if c, ok := cardByToken(name); ok {
		pm := r.newMethod(c)
		return pm, t.insert(r.account, pm)
	}
	if !strings.HasPrefix(name, "pm_") {
		return nil, invalid("payment_method", "resource_missing", "No such PaymentMethod: '"+clip(name)+"'")
	}
	pm, err := fetch[paymentMethod](t, r.account, "payment_method", name)
	if f, ok := errors.AsType[*fault](err); ok {
		f.body.Param, f.body.Message = "payment_method", "No such PaymentMethod: '"+clip(name)+"'"
	}
	return pm, err
}

// cardFrom reads a card described by number or token under prefix.
func (r *request) cardFrom(prefix string) (*paymentMethod, error) {
	in := func(path ...string) string {
		if prefix == "" {
			return path[0] + "[" + strings.Join(path[1:], "][") + "]"
		}
		return prefix + "[" + strings.Join(path, "][") + "]"
	}
	number, token := r.str(in("card", "number")), r.str(in("card", "token"))
	month, hasMonth := r.whole(in("card", "exp_month"))
	year, hasYear := r.whole(in("card", "exp_year"))
	r.str(in("card", "cvc"))
	var c card
	switch {
	case token != "":
		var ok bool
		if c, ok = cardByToken("pm_card_" + strings.TrimPrefix(token, "tok_")); !ok {
			return nil, invalid(in("card", "token"), "resource_missing", "No such token: '"+clip(token)+"'")
		}
	case number == "":
		return nil, missingParam(in("card", "number"))
	default:
		var err error
		if c, err = cardByNumber(number); err != nil {
			return nil, err
		}
		if !hasMonth || !hasYear {
			return nil, missingParam(in("card", "exp_month"))
		}
	}
	pm := r.newMethod(c)
	if hasMonth && hasYear {
		if year < 100 {
			year += 2000
		}
		now := time.Unix(r.now, 0).UTC()
		switch {
		case month < 1 || month > 12:
			return nil, cardFault("invalid_expiry_month", "", "Your card's expiration month is invalid.", "exp_month")
		case year < int64(now.Year()) || year > int64(now.Year())+50 || year == int64(now.Year()) && month < int64(now.Month()):
			return nil, cardFault("invalid_expiry_year", "", "Your card's expiration year is invalid.", "exp_year")
		}
		pm.Card.ExpMonth, pm.Card.ExpYear = month, year
	}
	pm.BillingDetails = billing{
		Address: address{
			City: r.opt(in("billing_details", "address", "city")), Country: r.opt(in("billing_details", "address", "country")),
			Line1: r.opt(in("billing_details", "address", "line1")), Line2: r.opt(in("billing_details", "address", "line2")),
			PostalCode: r.opt(in("billing_details", "address", "postal_code")), State: r.opt(in("billing_details", "address", "state")),
		},
		Email: r.opt(in("billing_details", "email")), Name: r.opt(in("billing_details", "name")), Phone: r.opt(in("billing_details", "phone")),
	}
	return pm, nil
}

func (r *request) newMethod(c card) *paymentMethod {
	country := "US"
	if rest, ok := strings.CutPrefix(c.token, "pm_card_"); ok && len(rest) == 2 {
		country = strings.ToUpper(rest)
	}
	return &paymentMethod{
		head: head{newID("pm_"), "payment_method", r.now}, Token: c.token, AllowRedisplay: "unspecified", Metadata: map[string]string{}, Type: "card",
		Card: cardFace{Brand: c.brand, Country: country, DisplayBrand: c.brand, ExpMonth: 12, ExpYear: int64(time.Unix(r.now, 0).UTC().Year()) + 3, Funding: "credit", Last4: c.last4()},
	}
}

func (pm *paymentMethod) behavior() (card, error) {
	c, ok := cardByToken(pm.Token)
	if !ok {
		return c, fmt.Errorf("stripesim: %s behaves like unknown card %q", pm.ID, pm.Token)
	}
	return c, nil
}
