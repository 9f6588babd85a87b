package stripesim

import (
	"net/http"
	"strings"
	"time"
)

// accountLink is an address at which the account's owner fills in what is asked, once, within five minutes.
type accountLink struct {
	Object    string `json:"object"`
	Created   int64  `json:"created"`
	ExpiresAt int64  `json:"expires_at"`
	URL       string `json:"url"`
}

// onboarding is what the simulator remembers of a link.
type onboarding struct {
	head
	Account   string `json:"account"`
	ExpiresAt int64  `json:"expires_at"`
	ReturnURL string `json:"return_url"`
	Refresh   string `json:"refresh_url"`
	Used      bool   `json:"used"`
}

const linkLives = 5 * time.Minute

func createAccountLink(t *tx, r *request) (any, error) {
	o := &onboarding{head: head{newID("alink_"), "simulator.onboarding", r.now}, Account: r.need("account"), ExpiresAt: r.now + int64(linkLives/time.Second),
		ReturnURL: r.address("return_url"), Refresh: r.address("refresh_url")}
	r.one("type", "account_onboarding", "account_update")
	r.ignore("collect", "collection_options")
	if r.str("type") == "" {
		r.fail(missingParam("type"))
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	if _, err := fetch[account](t, "", "account", o.Account); err != nil {
		return nil, err
	}
	link := accountLink{Object: "account_link", Created: r.now, ExpiresAt: o.ExpiresAt, URL: r.base + "/connect/setup/" + o.ID}
	return link, t.insert("", o)
}

// onboard is the form behind an account link: GET shows it, POST verifies the account, or refuses it when a name asks for that.
func (s *Simulator) onboard(w http.ResponseWriter, hr *http.Request) {
	id := hr.PathValue("id")
	r := &request{id: newID("req_"), now: s.now().Unix()}
	name := clip(strings.TrimSpace(hr.PostFormValue("name")))
	var o *onboarding
	var a *account
	look := func(t *tx) (err error) {
		if o, err = fetch[onboarding](t, "", "simulator.onboarding", id); err != nil {
			return err
		}
		a, err = fetch[account](t, "", "account", o.Account)
		return err
	}
	var err error
	if hr.Method != http.MethodPost {
		err = s.store.view(look)
	} else {
		err = s.store.write(hr.Context(), func(t *tx) error {
			if err := look(t); err != nil || o.Used || o.ExpiresAt < r.now {
				return err
			}
			o.Used = true
			if err := t.update(o); err != nil {
				return err
			}
			if name != "" {
				a.BusinessProfile.Name = &name
			}
			v := verified
			if a.says("refuse me") {
				v = rejected
			}
			a.set(v)
			if err := t.update(a); err != nil {
				return err
			}
			return t.emit(r, a.ID, "account.updated", a.ID, a, nil)
		})
		s.poke()
	}
	switch {
	case err != nil:
		s.pageFault(w, err)
	case o.ExpiresAt < r.now || hr.Method != http.MethodPost && o.Used:
		if o.Refresh == "" {
			s.pageText(w, "This link has expired", "Ask for a new one.")
			return
		}
		http.Redirect(w, hr, o.Refresh, http.StatusSeeOther)
	case hr.Method != http.MethodPost:
		s.pageOnboarding(w, a)
	case o.ReturnURL != "":
		http.Redirect(w, hr, o.ReturnURL, http.StatusSeeOther)
	default:
		s.pageText(w, "Thank you", "You may close this page.")
	}
}
