package payment

import (
	"context"
	"time"

	"tulifo/platform/api"
	"tulifo/platform/money"
	"tulifo/platform/token"
)

// PayoutSchedule is when a worker's wallet is paid out by itself.
type PayoutSchedule struct {
	Every        string                   `json:"every" enum:"manual,daily,weekly,monthly"`
	Day          int                      `json:"day,omitempty" doc:"of the week, from 0 for Sunday; or of the month, whose last day counts when it is shorter"`
	Minimums     map[string]money.Decimal `json:"minimums" doc:"by currency: less stays in the wallet"`
	Timezone     string                   `json:"timezone,omitempty" doc:"IANA; payouts leave at nine in the morning there"`
	NextAt       *time.Time               `json:"nextAt"`
	PausedAt     *time.Time               `json:"pausedAt,omitempty" doc:"three in a row failed; a change starts it again"`
	PausedReason string                   `json:"pausedReason,omitempty" doc:"as Stripe names it"`
	LastAt       *time.Time               `json:"lastAt,omitempty"`
	LastOutcome  string                   `json:"lastOutcome,omitempty" doc:"paid, or why nothing was: nothing_to_pay, below_minimum, debt, email_unverified, payout_account_missing, payout_account_incomplete, payout_account_refused"`
}

func viewSchedule(sc schedule) PayoutSchedule {
	v := PayoutSchedule{Every: sc.Every, Day: sc.Day, Minimums: map[string]money.Decimal{}, Timezone: sc.Zone, NextAt: sc.NextAt, PausedAt: sc.PausedAt,
		PausedReason: sc.PausedReason, LastAt: sc.LastAt, LastOutcome: sc.LastOutcome}
	for currency, minor := range sc.Minimums {
		v.Minimums[currency] = money.Of(minor, currency).Decimal()
	}
	return v
}

func (s *Service) scheduleRoutes(r *api.Router) {
	api.Get(r, "/api/payments/payout-schedule", s.getPayoutSchedule, api.For(token.Worker), api.Of(api.NoOne), api.Summary("When the caller's wallet is paid out by itself."))
	api.Put(r, "/api/payments/payout-schedule", s.putPayoutSchedule, api.For(token.Worker), api.Of(api.NoOne), api.StepUp,
		api.Summary("Change when the caller's wallet is paid out; what is not sent stays. A paused schedule starts again."))
}

func (s *Service) getPayoutSchedule(ctx context.Context, _ *struct{}) (PayoutSchedule, error) {
	return s.PayoutScheduleOf(ctx, token.From(ctx))
}

type putPayoutScheduleIn struct {
	Body struct {
		Every    *string                   `json:"every,omitempty" enum:"manual,daily,weekly,monthly"`
		Day      *int                      `json:"day,omitempty" minimum:"0" maximum:"31" doc:"default: Monday, or the first"`
		Minimums *map[string]money.Decimal `json:"minimums,omitempty" doc:"replaces all of them"`
		Timezone *string                   `json:"timezone,omitempty" maxLength:"60" doc:"default: the profile's"`
	}
}

func (s *Service) putPayoutSchedule(ctx context.Context, in *putPayoutScheduleIn) (PayoutSchedule, error) {
	b := in.Body
	return s.SetPayoutSchedule(ctx, token.From(ctx), scheduleChange{b.Every, b.Day, b.Minimums, b.Timezone})
}
