package stripesim

import (
	"strings"
)

// account is a connected account, of somebody who is to be paid.
type account struct {
	head
	BusinessProfile  businessProfile   `json:"business_profile"`
	BusinessType     *string           `json:"business_type"`
	Capabilities     map[string]string `json:"capabilities"`
	ChargesEnabled   bool              `json:"charges_enabled"`
	Company          *company          `json:"company,omitempty"`
	Controller       controller        `json:"controller"`
	Country          string            `json:"country"`
	DefaultCurrency  string            `json:"default_currency"`
	DetailsSubmitted bool              `json:"details_submitted"`
	Email            *string           `json:"email"`
	ExternalAccounts banks             `json:"external_accounts"`
	Individual       *individual       `json:"individual,omitempty"`
	Metadata         map[string]string `json:"metadata"`
	PayoutsEnabled   bool              `json:"payouts_enabled"`
	Requirements     requirements      `json:"requirements"`
	Type             string            `json:"type"`
}

type businessProfile struct {
	Name *string `json:"name"`
	URL  *string `json:"url"`
	MCC  *string `json:"mcc"`
	Text *string `json:"product_description"`
}

type company struct {
	Name *string `json:"name"`
}

type individual struct {
	ID        string  `json:"id"`
	Object    string  `json:"object"`
	Account   string  `json:"account"`
	Created   int64   `json:"created"`
	FirstName *string `json:"first_name,omitempty"`
	LastName  *string `json:"last_name,omitempty"`
	Email     *string `json:"email,omitempty"`
}

type controller struct {
	Type         string `json:"type"`
	IsController bool   `json:"is_controller"`
}

type requirements struct {
	Alternatives        []string `json:"alternatives"`
	CurrentDeadline     *int64   `json:"current_deadline"`
	CurrentlyDue        []string `json:"currently_due"`
	DisabledReason      *string  `json:"disabled_reason"`
	Errors              []string `json:"errors"`
	EventuallyDue       []string `json:"eventually_due"`
	PastDue             []string `json:"past_due"`
	PendingVerification []string `json:"pending_verification"`
}

type banks struct {
	Object  string `json:"object"`
	URL     string `json:"url"`
	HasMore bool   `json:"has_more"`
	Data    []bank `json:"data"`
}

type bank struct {
	ID                 string            `json:"id"`
	Object             string            `json:"object"`
	Account            string            `json:"account"`
	BankName           string            `json:"bank_name"`
	Country            string            `json:"country"`
	Currency           string            `json:"currency"`
	DefaultForCurrency bool              `json:"default_for_currency"`
	Last4              string            `json:"last4"`
	Metadata           map[string]string `json:"metadata"`
	Number             string            `json:"_number"`
	Status             string            `json:"status"`
}

// verification is what an account's requirements say.
type verification string

const (
	verified verification = "verified"
	rejected verification = "refused"
	awaited  verification = "pending"
)

// newVerification is what becomes of an account by its names and e-mail addresses: one that holds "refuse me" is refused, one that
// holds "verify later" waits for its account link to be filled in, every other is verified. Punctuation counts as a space.
func (a *account) newVerification() verification {
	switch {
	case a.says("refuse me"):
		return rejected
	case a.says("verify later"):
		return awaited
	}
	return verified
}

// says tells whether a name or e-mail address of the account holds the words.
func (a *account) says(words string) bool {
	texts := []*string{a.Email, a.BusinessProfile.Name}
	if a.Company != nil {
		texts = append(texts, a.Company.Name)
	}
	if a.Individual != nil {
		full := deref(a.Individual.FirstName) + " " + deref(a.Individual.LastName)
		texts = append(texts, &full, a.Individual.Email)
	}
	for _, text := range texts {
		if strings.Contains(strings.ToLower(strings.NewReplacer(".", " ", "_", " ", "-", " ", "+", " ").Replace(deref(text))), words) {
			return true
		}
	}
	return false
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func (a *account) set(v verification) {
	none := []string{}
	a.Requirements = requirements{Alternatives: none, CurrentlyDue: none, Errors: none, EventuallyDue: none, PastDue: none, PendingVerification: none}
	a.DetailsSubmitted = v != awaited
	a.PayoutsEnabled, a.ChargesEnabled = v == verified, v == verified
	state := "inactive"
	switch v {
	case verified:
		state = "active"
	case rejected:
		why := "rejected.other"
		a.Requirements.DisabledReason = &why
	case awaited:
		why, due := "requirements.past_due", []string{"external_account", "individual.first_name", "individual.last_name", "tos_acceptance.date"}
		a.Requirements.DisabledReason, a.Requirements.CurrentlyDue, a.Requirements.EventuallyDue, a.Requirements.PastDue = &why, due, due, due
	}
	for name := range a.Capabilities {
		a.Capabilities[name] = state
	}
}

func (a *account) bank() bank {
	if len(a.ExternalAccounts.Data) == 0 {
		return bank{}
	}
	return a.ExternalAccounts.Data[0]
}

func createAccount(t *tx, r *request) (any, error) {
	a := &account{head: head{newID("acct_"), "account", r.now}, Capabilities: map[string]string{"transfers": "inactive"},
		Controller: controller{Type: "application", IsController: true}, Type: r.one("type", "custom", "express")}
	a.Country = strings.ToUpper(r.str("country"))
	if a.Country == "" {
		a.Country = "US"
	}
	if len(a.Country) != 2 {
		r.fail(invalid("country", "country_unsupported", "Country '"+clip(a.Country)+"' is unknown."))
	}
	a.DefaultCurrency = "usd"
	if r.has("default_currency") {
		a.DefaultCurrency = r.currency("default_currency")
	}
	if r.has("controller[stripe_dashboard][type]") && !r.has("type") {
		a.Type = r.one("controller[stripe_dashboard][type]", "none", "express")
		if a.Type == "none" {
			a.Type = "custom"
		}
	}
	a.ExternalAccounts = banks{Object: "list", URL: "/v1/accounts/" + a.ID + "/external_accounts", Data: []bank{{
		ID: newID("ba_"), Object: "bank_account", Account: a.ID, BankName: "STRIPE TEST BANK", Country: a.Country, Currency: a.DefaultCurrency,
		DefaultForCurrency: true, Last4: "6789", Number: "000123456789", Metadata: map[string]string{}, Status: "new",
	}}}
	a.read(r)
	if err := r.done(); err != nil {
		return nil, err
	}
	a.set(a.newVerification())
	if err := t.insert("", a); err != nil {
		return nil, err
	}
	if err := t.noteMetadata(a, "", a.Metadata); err != nil {
		return nil, err
	}
	return a, t.emit(r, a.ID, "account.updated", a.ID, a, nil)
}

// read takes what both create and update set.
func (a *account) read(r *request) {
	for name, field := range map[string]**string{
		"email": &a.Email, "business_profile[name]": &a.BusinessProfile.Name, "business_profile[mcc]": &a.BusinessProfile.MCC,
		"business_profile[product_description]": &a.BusinessProfile.Text,
	} {
		if r.has(name) {
			*field = r.opt(name)
		}
	}
	if r.has("business_profile[url]") {
		link := r.address("business_profile[url]")
		a.BusinessProfile.URL = &link
	}
	if kind := r.one("business_type", "", "individual", "company", "non_profit", "government_entity"); kind != "" {
		a.BusinessType = &kind
	}
	if r.has("company[name]") {
		a.Company = &company{Name: r.opt("company[name]")}
	}
	if r.has("individual[first_name]") || r.has("individual[last_name]") || r.has("individual[email]") {
		if a.Individual == nil {
			a.Individual = &individual{ID: newID("person_"), Object: "person", Account: a.ID, Created: r.now}
		}
		for name, field := range map[string]**string{"first_name": &a.Individual.FirstName, "last_name": &a.Individual.LastName, "email": &a.Individual.Email} {
			if v := r.opt("individual[" + name + "]"); v != nil {
				*field = v
			}
		}
	}
	for _, name := range []string{"transfers", "card_payments"} {
		if r.flag("capabilities[" + name + "][requested]") {
			if _, ok := a.Capabilities[name]; !ok {
				a.Capabilities[name] = a.Capabilities["transfers"]
			}
		}
	}
	if number := r.str("external_account[account_number]"); number != "" {
		a.readBank(r, number)
	}
	a.Metadata = r.metadata(a.Metadata)
	r.ignore("tos_acceptance", "settings", "controller", "business_profile", "individual", "company", "external_account", "capabilities")
}

func (a *account) readBank(r *request, number string) {
	if len(number) < 4 || len(number) > 34 || strings.Trim(number, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		r.fail(invalid("external_account[account_number]", "account_number_invalid", "The bank account number provided is invalid."))
		return
	}
	b := &a.ExternalAccounts.Data[0]
	b.ID, b.Last4, b.Number = newID("ba_"), number[len(number)-4:], ""
	if failingBanks[number] != "" {
		b.Number = number
	}
	if c := r.str("external_account[country]"); len(c) == 2 {
		b.Country = strings.ToUpper(c)
	}
	if r.has("external_account[currency]") {
		b.Currency = r.currency("external_account[currency]")
	}
}

func getAccount(t *tx, r *request) (any, error) {
	if err := r.done(); err != nil {
		return nil, err
	}
	return fetch[account](t, "", "account", r.path("id"))
}

// getOwnAccount is the account that Stripe-Account names, else the platform's, which has nothing to set.
func getOwnAccount(t *tx, r *request) (any, error) {
	if err := r.done(); err != nil {
		return nil, err
	}
	if r.account != "" {
		return fetch[account](t, "", "account", r.account)
	}
	a := &account{head: head{"acct_platform", "account", r.now}, Capabilities: map[string]string{"card_payments": "", "transfers": ""}, Controller: controller{Type: "account"},
		Country: "US", DefaultCurrency: "usd", ExternalAccounts: banks{Object: "list", URL: "/v1/accounts/acct_platform/external_accounts", Data: []bank{}}, Metadata: map[string]string{}, Type: "standard"}
	a.set(verified)
	return a, nil
}

func updateAccount(t *tx, r *request) (any, error) {
	a, err := fetch[account](t, "", "account", r.path("id"))
	if err != nil {
		return nil, err
	}
	a.read(r)
	if err := r.done(); err != nil {
		return nil, err
	}
	if err := t.update(a); err != nil {
		return nil, err
	}
	if err := t.noteMetadata(a, "", a.Metadata); err != nil {
		return nil, err
	}
	return a, t.emit(r, a.ID, "account.updated", a.ID, a, nil)
}

func listAccounts(t *tx, r *request) (any, error) {
	return t.listing(r, "/v1/accounts", all("account", ""), nil)
}
