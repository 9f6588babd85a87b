package app

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/clock"
	"tulifo/platform/money"
)

// TestCancelRacingPayment has a client cancel while his card is being charged. Whatever comes first, the money goes back to him whole and
// is never released, however long nobody does anything.
func TestCancelRacingPayment(t *testing.T) {
	v := clock.NewVirtual(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))
	p := startPlatform(t, v)
	tour, ctx := p.tour(v), t.Context()
	for _, step := range []func(context.Context) error{tour.offers, tour.finds} {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}
	monday := time.Date(2026, 3, 9, 8, 0, 0, 0, time.UTC) // 9:00 in Berlin
	var paid []uuid.UUID
	for round := range 8 {
		start := monday.AddDate(0, 0, round%5).Add(time.Duration(round/5) * 4 * time.Hour)
		tour.start, tour.end = start, start.Add(2*time.Hour)
		if err := tour.reserve(ctx); err != nil {
			t.Fatal(err)
		}
		paid = append(paid, tour.booking)
		if err := tour.confirms(ctx); err != nil {
			t.Fatal(err)
		}
		var asked struct{ ClientSecret, PublishableKey string }
		if err := tour.call(ctx, http.MethodPost, "/api/payments", tour.client.token, map[string]any{"bookingId": tour.booking}, http.StatusCreated, &asked); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var pay, cancel error
		wg.Go(func() { pay = tour.card(ctx, asked.ClientSecret, asked.PublishableKey, "pm_card_visa", http.StatusOK) })
		wg.Go(func() {
			cancel = tour.call(ctx, http.MethodPost, "/api/bookings/"+tour.booking.String()+"/cancel", tour.client.token, map[string]any{"reason": "changed my mind"}, http.StatusOK, nil)
		})
		wg.Wait()
		if cancel != nil {
			t.Fatalf("round %d: cancel: %v (payment: %v)", round, cancel, pay)
		}
	}
	p.settle(t)
	if err := p.machine.stripe.Idle(ctx); err != nil {
		t.Fatal(err)
	}
	v.Advance(30 * 24 * time.Hour)
	p.settle(t)
	for _, booking := range paid {
		_, err := until(ctx, tour, "/api/v1/escrow?bookingId="+booking.String(), tour.client.token, func(accounts []struct {
			Status                          string
			ReleasedAmount, RemainingAmount money.Decimal
		}) bool {
			return len(accounts) == 0 || accounts[0].Status == "refunded" && accounts[0].ReleasedAmount == "0.00" && accounts[0].RemainingAmount == "0.00"
		})
		if err != nil {
			t.Error(err)
		}
	}
	var w wallet
	if err := tour.call(ctx, http.MethodGet, "/api/payments/wallet", tour.worker.token, nil, http.StatusOK, &w); err != nil || w.Available != "0.00" {
		t.Errorf("the worker has %s, %v", w.Available, err)
	}
	p.intact(t)
}

// TestWebhooksTwiceAndReordered walks the main job while the rail sends everything three times and out of order.
func TestWebhooksTwiceAndReordered(t *testing.T) {
	v := clock.NewVirtual(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))
	p := startPlatform(t, v)
	c := p.machine.stripe.Control()
	c.Repeat, c.Together, c.Reorder, c.Seed = 3, true, 4, 7
	if err := p.machine.stripe.SetControl(c); err != nil {
		t.Fatal(err)
	}
	if err := p.tour(v).walk(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.machine.stripe.Idle(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.intact(t)
}

// TestAutoRelease leaves a paid booking alone: it completes itself, and three days later the money is the worker's.
func TestAutoRelease(t *testing.T) {
	v := clock.NewVirtual(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC))
	p := startPlatform(t, v)
	tour, ctx := p.tour(v), t.Context()
	for _, step := range []func(context.Context) error{tour.offers, tour.finds, tour.books, tour.confirms, tour.pays} {
		if err := step(ctx); err != nil {
			t.Fatal(err)
		}
	}
	v.Set(tour.end.Add(24*time.Hour + time.Minute))
	if _, err := until(ctx, tour, "/api/bookings/"+tour.booking.String(), tour.client.token, func(b struct{ Status string }) bool { return b.Status == "completed" }); err != nil {
		t.Fatal(err)
	}
	p.settle(t)
	v.Set(tour.end.Add(24*time.Hour + 71*time.Hour))
	p.settle(t)
	if err := tour.wallet(ctx, "0.00"); err != nil {
		t.Errorf("released too early: %v", err)
	}
	v.Set(tour.end.Add(24*time.Hour + 72*time.Hour + time.Minute))
	if err := tour.wallet(ctx, "144.00"); err != nil {
		t.Error(errors.Join(errors.New("not released in time"), err))
	}
	p.intact(t)
}
