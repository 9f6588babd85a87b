package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/money"
)

// offers makes the worker, her profile and her calendar: Monday to Friday 9 to 17 in Berlin with a lunch block and a buffer, and one window
// that opens a minute from now, so that the tour need not wait until tomorrow.
func (t *tour) offers(ctx context.Context) (err error) {
	if t.worker, err = t.register(ctx, "Wanda", "worker"); err != nil {
		return err
	}
	_, err = until(ctx, t, "/api/workers/me", t.worker.token, func(w struct{ ID uuid.UUID }) bool { return w.ID == t.worker.id })
	if err != nil {
		return err
	}
	err = t.call(ctx, http.MethodPut, "/api/users/me", t.worker.token, map[string]any{
		"bio": "I keep clusters calm.", "timezone": "Europe/Berlin", "location": map[string]any{"city": "Berlin", "country": "DE"},
	}, http.StatusOK, nil)
	if err != nil {
		return err
	}
	err = t.call(ctx, http.MethodPut, "/api/workers/me", t.worker.token, map[string]any{
		"title": "Platform engineer", "hourlyRate": json.Number("80"), "currency": "USD", "instantBooking": false,
		"skills": []map[string]any{{"name": "Go", "proficiency": 5}, {"name": "Kubernetes", "proficiency": 4}}, "categories": []string{"engineering"},
	}, http.StatusOK, nil)
	if err != nil {
		return err
	}
	if err := t.calendar(ctx); err != nil {
		return err
	}
	t.say("Her offer: 80.00 USD an hour, Monday to Friday 9 to 17 in Berlin, lunch blocked, 15 minutes between bookings")
	return nil
}

func (t *tour) calendar(ctx context.Context) error {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		return err
	}
	t.start = t.now().Add(90 * time.Second).Truncate(time.Minute)
	t.end = t.start.Add(2 * time.Hour)
	from, to := t.start.In(berlin), t.end.In(berlin)
	window := map[string]string{"startTime": from.Format("15:04"), "endTime": to.Format("15:04")}
	weekly := []map[string]any{}
	for day := 1; day <= 5; day++ {
		weekly = append(weekly, map[string]any{"dayOfWeek": day, "startTime": "09:00", "endTime": "17:00"})
	}
	var current struct{ Version int64 }
	if err := t.call(ctx, http.MethodGet, "/api/availability/worker/"+t.worker.id.String(), "", nil, http.StatusOK, &current); err != nil {
		return err
	}
	err = t.call(ctx, http.MethodPut, "/api/availability/worker/me", t.worker.token, map[string]any{
		"timezone": "Europe/Berlin", "weekly": weekly, "bufferBefore": 0, "bufferAfter": 15, "minNotice": 0, "horizonDays": 60, "version": current.Version,
		"overrides": []map[string]any{{"date": from.Format(time.DateOnly), "windows": []any{window}}},
	}, http.StatusOK, nil)
	if err != nil {
		return err
	}
	lunch := time.Date(from.Year(), from.Month(), from.Day(), 12, 0, 0, 0, berlin).AddDate(0, 0, 2)
	return t.call(ctx, http.MethodPost, "/api/availability/worker/me/block", t.worker.token,
		map[string]any{"startTime": lunch.UTC(), "endTime": lunch.Add(time.Hour).UTC(), "reason": "lunch"}, http.StatusCreated, nil)
}

// finds has the client look for her skill and see free slots in his own zone.
func (t *tour) finds(ctx context.Context) (err error) {
	if t.client, err = t.register(ctx, "Carl", "client"); err != nil {
		return err
	}
	_, err = until(ctx, t, "/api/workers?skills=Go&minRate=70&maxRate=90&limit=100", t.client.token, func(found []struct{ ID uuid.UUID }) bool {
		for _, w := range found {
			if w.ID == t.worker.id {
				return true
			}
		}
		return false
	})
	if err != nil {
		return err
	}
	var slots []struct {
		StartTime   time.Time
		Local       json.RawMessage
		IsAvailable bool
	}
	query := url.Values{"from": {t.start.UTC().Format(time.RFC3339)}, "to": {t.end.UTC().Format(time.RFC3339)}, "duration": {"120"}, "tz": {"America/New_York"}}
	path := "/api/availability/worker/" + t.worker.id.String() + "/slots?" + query.Encode()
	if err := t.call(ctx, http.MethodGet, path, t.client.token, nil, http.StatusOK, &slots); err != nil {
		return err
	}
	for _, s := range slots {
		if s.StartTime.Equal(t.start) && s.IsAvailable {
			t.say("She is free at %s; his clock in New York shows %s", t.start.UTC().Format("15:04 MST"), s.Local)
			return nil
		}
	}
	return fmt.Errorf("the start %s is not among her %d slots", t.start.UTC().Format(time.RFC3339), len(slots))
}

func (t *tour) books(ctx context.Context) error {
	if err := t.reserve(ctx); err != nil {
		return err
	}
	late, err := t.register(ctx, "Late", "client")
	if err != nil {
		return err
	}
	return t.call(ctx, http.MethodPost, "/api/bookings", late.token, t.wanted(), http.StatusConflict, nil)
}

func (t *tour) wanted() map[string]any {
	return map[string]any{"workerId": t.worker.id, "title": "Calm the cluster", "startTime": t.start.UTC(), "endTime": t.end.UTC()}
}

// reserve books the two hours and looks at the price.
func (t *tour) reserve(ctx context.Context) error {
	var made struct {
		ID          uuid.UUID
		Status      string
		TotalAmount money.Decimal
		Currency    string
	}
	if err := t.call(ctx, http.MethodPost, "/api/bookings", t.client.token, t.wanted(), http.StatusCreated, &made); err != nil {
		return err
	}
	t.booking = made.ID
	amount, err := made.TotalAmount.In(made.Currency)
	if err != nil || amount != money.Of(16000, "USD") {
		return fmt.Errorf("the price is %s %s instead of 160.00 USD", made.TotalAmount, made.Currency)
	}
	t.price, t.currency = amount.Minor, amount.Currency
	t.say("Held for him: %s, %s %s", made.Status, made.TotalAmount, made.Currency)
	return nil
}

func (t *tour) confirms(ctx context.Context) error {
	if err := t.told(ctx, t.worker, "booking.created"); err != nil {
		return err
	}
	if err := t.call(ctx, http.MethodPost, "/api/bookings/"+t.booking.String()+"/confirm", t.worker.token, map[string]any{}, http.StatusOK, nil); err != nil {
		return err
	}
	return t.told(ctx, t.client, "booking.confirmed")
}

// told waits until somebody's in-app notifications have one of the type.
func (t *tour) told(ctx context.Context, p person, event string) error {
	_, err := until(ctx, t, "/api/notifications?limit=50", p.token, func(list []struct{ Type string }) bool {
		for _, n := range list {
			if n.Type == event {
				return true
			}
		}
		return false
	})
	if err == nil {
		t.say("%s was told: %s", p.email, event)
	}
	return err
}

func (t *tour) pays(ctx context.Context) error {
	var asked struct {
		Payment                      struct{ ID uuid.UUID }
		ClientSecret, PublishableKey string
	}
	if err := t.call(ctx, http.MethodPost, "/api/payments", t.client.token, map[string]any{"bookingId": t.booking}, http.StatusCreated, &asked); err != nil {
		return err
	}
	t.payment = asked.Payment.ID
	if err := t.card(ctx, asked.ClientSecret, asked.PublishableKey, "pm_card_visa_chargeDeclined", http.StatusPaymentRequired); err != nil {
		return err
	}
	t.say("The first card was declined")
	if err := t.card(ctx, asked.ClientSecret, asked.PublishableKey, "pm_card_visa", http.StatusOK); err != nil {
		return err
	}
	held, err := until(ctx, t, "/api/v1/escrow?bookingId="+t.booking.String(), t.client.token, func(list []struct{ ID uuid.UUID }) bool { return len(list) == 1 })
	if err != nil {
		return err
	}
	t.escrow = held[0].ID
	return nil
}

// card confirms the payment as Stripe's script in a browser does, with the client secret.
func (t *tour) card(ctx context.Context, secret, key, method string, want int) error {
	intent, _, ok := strings.Cut(secret, "_secret_")
	if !ok {
		return errors.New("the client secret is not one of Stripe's")
	}
	form := url.Values{"payment_method": {method}, "client_secret": {secret}, "key": {key}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.stripe+"/v1/payment_intents/"+intent+"/confirm", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := t.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != want {
		said, _ := io.ReadAll(res.Body)
		return fmt.Errorf("the rail answered %d instead of %d: %s", res.StatusCode, want, said)
	}
	return nil
}

// works waits for the start, and has the worker begin and both agree that it is done.
func (t *tour) works(ctx context.Context) error {
	t.say("The work begins at %s", t.start.UTC().Format("15:04:05 MST"))
	if err := t.wait(ctx, t.start); err != nil {
		return err
	}
	path := "/api/bookings/" + t.booking.String()
	if err := t.call(ctx, http.MethodPost, path+"/start", t.worker.token, map[string]any{}, http.StatusOK, nil); err != nil {
		return err
	}
	if err := t.call(ctx, http.MethodPost, path+"/complete", t.client.token, map[string]any{}, http.StatusOK, nil); err != nil {
		return err
	}
	t.say("He says it is done")
	return nil
}

func (t *tour) releases(ctx context.Context) error {
	if err := t.call(ctx, http.MethodPost, "/api/v1/escrow/"+t.escrow.String()+"/release", t.client.token, map[string]any{}, http.StatusOK, nil); err != nil {
		return err
	}
	return t.wallet(ctx, "144.00")
}

type wallet struct {
	Available, Held, Owed, Pending money.Decimal
	Currency                       string
}

// wallet waits until the worker's wallet has so much available.
func (t *tour) wallet(ctx context.Context, available money.Decimal) error {
	_, err := until(ctx, t, "/api/payments/wallet", t.worker.token, func(w wallet) bool { return w.Available == available })
	return err
}

func (t *tour) withdraws(ctx context.Context) error {
	if err := t.call(ctx, http.MethodPost, "/api/payments/payout-account", t.worker.token, map[string]any{"country": "DE"}, http.StatusCreated, nil); err != nil {
		return err
	}
	var made struct{ ID uuid.UUID }
	if err := t.call(ctx, http.MethodPost, "/api/payments/payouts", t.worker.token, map[string]any{}, http.StatusCreated, &made); err != nil {
		return err
	}
	_, err := until(ctx, t, "/api/payments/payouts", t.worker.token, func(list []struct{ Status string }) bool {
		return len(list) == 1 && list[0].Status == "paid"
	})
	if err != nil {
		return err
	}
	t.say("Her bank has the money")
	return t.wallet(ctx, "0.00")
}

func (t *tour) reviews(ctx context.Context) error {
	if err := t.review(ctx, t.client, 5, "Calm as promised."); err != nil {
		return err
	}
	var before []struct{ Rating int }
	if err := t.call(ctx, http.MethodGet, "/api/v1/reviews/user/"+t.worker.id.String(), "", nil, http.StatusOK, &before); err != nil {
		return err
	}
	if len(before) != 0 {
		return errors.New("a review can be read before both have written")
	}
	if err := t.review(ctx, t.worker, 4, "Paid at once."); err != nil {
		return err
	}
	_, err := until(ctx, t, "/api/v1/reviews/stats/"+t.worker.id.String(), "", func(s struct {
		AverageRating float64
		TotalReviews  int
	}) bool {
		return s.TotalReviews == 1 && s.AverageRating == 5
	})
	if err != nil {
		return err
	}
	_, err = until(ctx, t, "/api/workers/"+t.worker.id.String(), "", func(w struct {
		AverageRating float64
		TotalReviews  int
	}) bool {
		return w.TotalReviews == 1 && w.AverageRating == 5
	})
	if err == nil {
		t.say("Her profile shows 5.0 from 1 review")
	}
	return err
}

// review writes one; the service may not have heard yet that the booking is completed, which it finds out by asking.
func (t *tour) review(ctx context.Context, by person, rating int, comment string) error {
	return t.call(ctx, http.MethodPost, "/api/v1/reviews", by.token, map[string]any{"bookingId": t.booking, "rating": rating, "comment": comment, "private": noteOf(by)}, http.StatusCreated, nil)
}

// noteOf is what somebody notes for himself with a review.
func noteOf(by person) string { return "Note to self " + by.id.String() }

func (t *tour) statement(ctx context.Context) error {
	raw, err := t.authorized(ctx, "/api/payments/statement?format=csv", t.worker.token)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	if len(lines) < 3 {
		return fmt.Errorf("the statement has %d lines", len(lines))
	}
	for _, line := range lines {
		t.say("%s", strings.TrimRight(line, "\r"))
	}
	return nil
}

func (t *tour) authorized(ctx context.Context, path, token string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.gateway+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := t.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %d: %s", path, res.StatusCode, raw)
	}
	return raw, err
}
