package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// deal is one booking of the demo and what becomes of it.
type deal struct {
	id         uuid.UUID
	worker     *demoPerson
	client     *demoPerson
	start, end time.Time
	status     string
	fate       fate
}

// fate is how a deal goes.
type fate int

const (
	done fate = iota
	doneUntouched
	cancelledEarly
	cancelledLate
	cancelledByWorker
	absentClient
	neverPaid
	neverAnswered
	moved
)

// fates are drawn from with these weights: most deals are simply done.
var fates = []struct {
	fate   fate
	weight int
}{{done, 60}, {doneUntouched, 10}, {cancelledEarly, 6}, {cancelledLate, 5}, {cancelledByWorker, 4}, {absentClient, 3}, {neverPaid, 5}, {neverAnswered, 4}, {moved, 3}}

func (d *demo) fate() fate {
	total := 0
	for _, f := range fates {
		total += f.weight
	}
	n := d.r.IntN(total)
	for _, f := range fates {
		if n -= f.weight; n < 0 {
			return f.fate
		}
	}
	return done
}

// trade has clients book, workers answer and clients pay, and puts what follows on the agenda.
func (d *demo) trade(ctx context.Context, last bool) error {
	var deals []*deal
	count := d.deals
	if last {
		count *= 2 // so that the demo ends with a full calendar ahead
	}
	for range count {
		deal, err := d.book(ctx, last)
		if err != nil {
			return err
		}
		if deal != nil {
			deals = append(deals, deal)
		}
	}
	if err := d.settle(ctx); err != nil {
		return err
	}
	for i, x := range deals {
		if x.fate == neverAnswered || last && i%6 == 0 || x.status == "confirmed" {
			continue
		}
		if err := d.act(ctx, x.worker, x, "confirm", nil); err != nil {
			return err
		}
	}
	if err := d.settle(ctx); err != nil {
		return err
	}
	for i, x := range deals {
		if x.fate == neverAnswered || x.fate == neverPaid || last && (i%6 == 0 || i%6 == 1) {
			continue
		}
		if err := d.pay(ctx, x); err != nil {
			return err
		}
	}
	if err := d.settle(ctx); err != nil {
		return err
	}
	for _, x := range deals {
		d.plan(x)
	}
	return d.payouts(ctx)
}

// book takes a random free time of a random worker; nil when there is none that suits.
func (d *demo) book(ctx context.Context, last bool) (*deal, error) {
	x := &deal{worker: &d.workers[d.r.IntN(len(d.workers))], client: &d.clients[d.r.IntN(len(d.clients))], fate: d.fate()}
	if d.r.IntN(3) > 0 {
		x.worker = &d.workers[d.r.IntN(d.stars)] // some are in demand, so that there are ratings and badges to see
	}
	minutes := []int{60, 60, 90, 120}[d.r.IntN(4)]
	now := d.clock.Now()
	from := now.AddDate(0, 0, 2)
	if last {
		from = now.AddDate(0, 0, d.r.IntN(8))
	}
	var slots []struct {
		StartTime, EndTime time.Time
		IsAvailable        bool
	}
	query := url.Values{"from": {from.Format(time.DateOnly)}, "to": {from.AddDate(0, 0, 3).Format(time.DateOnly)}, "duration": {fmt.Sprint(minutes)}}
	if err := d.call(ctx, http.MethodGet, "/api/availability/worker/"+x.worker.id.String()+"/slots?"+query.Encode(), x.client, nil, http.StatusOK, &slots); err != nil {
		return nil, err
	}
	if len(slots) == 0 {
		return nil, nil
	}
	slot := slots[d.r.IntN(len(slots))]
	if !slot.IsAvailable {
		return nil, nil
	}
	jobs := demoTrades[x.worker.trade].jobs
	var made struct {
		ID     uuid.UUID
		Status string
	}
	err := d.call(ctx, http.MethodPost, "/api/bookings", x.client, map[string]any{
		"workerId": x.worker.id, "title": jobs[d.r.IntN(len(jobs))], "startTime": slot.StartTime, "endTime": slot.EndTime,
	}, http.StatusCreated, &made)
	if no, ok := errors.AsType[refused](err); ok && no.status == http.StatusConflict {
		return nil, nil // too many unpaid holds, for instance
	}
	if err != nil {
		return nil, err
	}
	d.counts["booked"]++
	x.id, x.status, x.start, x.end = made.ID, made.Status, slot.StartTime, slot.EndTime
	return x, nil
}

// act has somebody take a step of a booking; a step that came too late is no fault of the demo.
func (d *demo) act(ctx context.Context, p *demoPerson, x *deal, step string, body map[string]any) error {
	if body == nil {
		body = map[string]any{}
	}
	err := d.call(ctx, http.MethodPost, "/api/bookings/"+x.id.String()+"/"+step, p, body, http.StatusOK, nil)
	if no, ok := errors.AsType[refused](err); ok && (no.status == http.StatusConflict || no.status == http.StatusUnprocessableEntity) {
		return nil
	}
	return err
}

func (d *demo) pay(ctx context.Context, x *deal) error {
	var asked struct{ ClientSecret, PublishableKey string }
	err := d.call(ctx, http.MethodPost, "/api/payments", x.client, map[string]any{"bookingId": x.id}, http.StatusCreated, &asked)
	if no, ok := errors.AsType[refused](err); ok && no.status == http.StatusConflict {
		return nil
	}
	if err != nil {
		return err
	}
	t := &tour{stripe: d.m.rail.url(), http: d.http}
	if d.r.IntN(8) == 0 {
		if err := t.card(ctx, asked.ClientSecret, asked.PublishableKey, "pm_card_visa_chargeDeclined", http.StatusPaymentRequired); err != nil {
			return err
		}
	}
	card := "pm_card_visa"
	if d.r.IntN(40) == 0 {
		card = "pm_card_createDispute" // his bank takes the money back
	}
	return t.card(ctx, asked.ClientSecret, asked.PublishableKey, card, http.StatusOK)
}

// plan puts on the agenda what becomes of a deal.
func (d *demo) plan(x *deal) {
	step := func(p *demoPerson, what string, body map[string]any) func(context.Context) error {
		return func(ctx context.Context) error { return d.act(ctx, p, x, what, body) }
	}
	switch x.fate {
	case done, moved:
		if x.fate == moved {
			d.later(x.start.Add(-40*time.Hour), step(x.client, "reschedule", map[string]any{"startTime": x.start.Add(30 * time.Minute)}))
		}
		d.later(x.start, step(x.worker, "start", nil))
		d.later(x.end, step(x.client, "complete", nil))
		if d.r.IntN(3) > 0 {
			d.later(x.end.Add(time.Duration(1+d.r.IntN(40))*time.Hour), func(ctx context.Context) error { return d.release(ctx, x) })
		}
		d.review(x)
	case doneUntouched:
		d.later(x.start, step(x.worker, "start", nil))
		d.review(x)
	case cancelledEarly:
		d.later(x.start.Add(-30*time.Hour), step(x.client, "cancel", map[string]any{"reason": "Our plans have changed."}))
	case cancelledLate:
		d.later(x.start.Add(-2*time.Hour), step(x.client, "cancel", map[string]any{"reason": "Something came up."}))
	case cancelledByWorker:
		d.later(x.start.Add(-6*time.Hour), step(x.worker, "cancel", map[string]any{"reason": "I am ill."}))
	case absentClient:
		d.later(x.start.Add(20*time.Minute), step(x.worker, "no-show", nil))
	}
}

func (d *demo) release(ctx context.Context, x *deal) error {
	var accounts []struct {
		ID     uuid.UUID
		Status string
	}
	if err := d.call(ctx, http.MethodGet, "/api/v1/escrow?bookingId="+x.id.String(), x.client, nil, http.StatusOK, &accounts); err != nil {
		return err
	}
	if len(accounts) == 0 || accounts[0].Status != "active" {
		return nil
	}
	err := d.call(ctx, http.MethodPost, "/api/v1/escrow/"+accounts[0].ID.String()+"/release", x.client, map[string]any{}, http.StatusOK, nil)
	if no, ok := errors.AsType[refused](err); ok && no.status == http.StatusConflict {
		return nil
	}
	return err
}

// review has both sides, one or none write about it a day later.
func (d *demo) review(x *deal) {
	ratings := []int{5, 5, 5, 5, 5, 4, 4, 3}
	if slices.IndexFunc(d.workers, func(w demoPerson) bool { return w.id == x.worker.id }) < d.stars/4 {
		ratings = []int{5}
	}
	write := func(p *demoPerson) func(context.Context) error {
		rating, comment := ratings[d.r.IntN(len(ratings))], demoPraise[d.r.IntN(len(demoPraise))]
		return func(ctx context.Context) error {
			body := map[string]any{"bookingId": x.id, "rating": rating}
			if strings.TrimSpace(comment) != "" {
				body["comment"] = comment
			}
			err := d.call(ctx, http.MethodPost, "/api/v1/reviews", p, body, http.StatusCreated, nil)
			if no, ok := errors.AsType[refused](err); ok && no.status != http.StatusInternalServerError {
				return nil // not completed after all
			}
			return err
		}
	}
	at := x.end.Add(time.Duration(25+d.r.IntN(30)) * time.Hour)
	if d.r.IntN(5) > 0 {
		d.later(at, write(x.client))
	}
	if d.r.IntN(5) > 1 {
		d.later(at.Add(time.Hour), write(x.worker))
	}
}

// payouts has workers withdraw what they have earned.
func (d *demo) payouts(ctx context.Context) error {
	for i := range d.workers {
		w := &d.workers[i]
		if d.r.IntN(6) > 0 {
			continue
		}
		var purse wallet
		if err := d.call(ctx, http.MethodGet, "/api/payments/wallet", w, nil, http.StatusOK, &purse); err != nil {
			return err
		}
		if strings.Trim(string(purse.Available), "0.-") == "" {
			continue
		}
		if !w.paid {
			if err := d.call(ctx, http.MethodPost, "/api/payments/payout-account", w, map[string]any{"country": "US"}, http.StatusCreated, nil); err != nil {
				return err
			}
			w.paid = true
			if err := d.settle(ctx); err != nil {
				return err
			}
		}
		err := d.call(ctx, http.MethodPost, "/api/payments/payouts", w, map[string]any{}, http.StatusCreated, nil)
		if no, ok := errors.AsType[refused](err); err != nil && !(ok && no.status == http.StatusConflict) {
			return err
		}
	}
	return d.settle(ctx)
}
