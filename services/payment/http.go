package payment

import (
	"cmp"
	"context"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api"
	"tulifo/platform/money"
	"tulifo/platform/token"
)

// Payment is what a client pays for a booking.
type Payment struct {
	ID          uuid.UUID      `json:"id"`
	BookingID   uuid.UUID      `json:"bookingId"`
	ClientID    uuid.UUID      `json:"clientId"`
	WorkerID    uuid.UUID      `json:"workerId"`
	Title       string         `json:"title"`
	Amount      money.Decimal  `json:"amount" doc:"gross"`
	Fee         *money.Decimal `json:"fee,omitempty" doc:"the platform's part when all that is not sent back is released; not shown to the client"`
	Net         *money.Decimal `json:"net,omitempty" doc:"the worker's part of it; not shown to the client"`
	Currency    string         `json:"currency"`
	Status      Status         `json:"status" enum:"created,processing,completed,refunded,charged_back,cancelled,needs_review"`
	Released    money.Decimal  `json:"released" doc:"of the gross, to the worker"`
	Refunded    money.Decimal  `json:"refunded" doc:"back with the client"`
	ChargedBack money.Decimal  `json:"chargedBack" doc:"taken back by the client's bank"`
	Failure     string         `json:"failure,omitempty" doc:"why the last attempt was declined"`
	Review      string         `json:"review,omitempty" doc:"why a person must look"`
	PayBy       time.Time      `json:"payBy"`
	CreatedAt   time.Time      `json:"createdAt"`
	CompletedAt *time.Time     `json:"completedAt"`
}

type postPaymentIn struct {
	Body struct {
		BookingID uuid.UUID `json:"bookingId"`
	}
}

func (s *Service) postPayment(ctx context.Context, in *postPaymentIn) (Checkout, error) {
	return s.Pay(ctx, token.From(ctx), in.Body.BookingID)
}

type listPaymentsIn struct {
	api.Paging
	Status Status `query:"status" enum:"created,processing,completed,refunded,charged_back,cancelled,needs_review" required:"false"`
}

func (s *Service) listPayments(ctx context.Context, in *listPaymentsIn) (api.Page[Payment], error) {
	return s.Payments(ctx, token.From(ctx), in.Status, in.Paging)
}

type byIDIn struct {
	ID uuid.UUID `path:"id"`
}

func (s *Service) getPayment(ctx context.Context, in *byIDIn) (Payment, error) {
	return s.Payment(ctx, token.From(ctx), in.ID)
}

type postRefundIn struct {
	ID   uuid.UUID `path:"id"`
	Body struct {
		Amount *money.Decimal `json:"amount,omitempty" doc:"default: all that is held"`
		Reason string         `json:"reason" minLength:"3" maxLength:"500"`
	}
}

func (s *Service) postRefund(ctx context.Context, in *postRefundIn) (Payment, error) {
	return s.Refund(ctx, token.From(ctx), in.ID, in.Body.Amount, in.Body.Reason)
}

type postWebhookIn struct {
	Signature string `header:"Stripe-Signature" maxLength:"1024"`
	RawBody   []byte `contentType:"application/json"`
}

func (s *Service) postWebhook(ctx context.Context, in *postWebhookIn) (api.Nothing, error) {
	return api.Nothing{}, s.Hear(ctx, in.RawBody, in.Signature)
}

func (s *Service) getWallet(ctx context.Context, _ *struct{}) (Wallet, error) {
	return s.Wallet(ctx, token.From(ctx))
}

func (s *Service) listHeld(ctx context.Context, in *api.Paging) (api.Page[Held], error) {
	return s.HeldOf(ctx, token.From(ctx), *in)
}

type postPayoutAccountIn struct {
	Body struct {
		Country string `json:"country,omitempty" pattern:"^[A-Z]{2}$" patternDescription:"a country, such as US" default:"US" doc:"ISO 3166-1 alpha-2, where the bank account is"`
	}
}

func (s *Service) postPayoutAccount(ctx context.Context, in *postPayoutAccountIn) (PayoutAccount, error) {
	return s.OpenPayoutAccount(ctx, token.From(ctx), in.Body.Country)
}

// Payout is a withdrawal.
type Payout struct {
	ID        uuid.UUID     `json:"id"`
	Amount    money.Decimal `json:"amount"`
	Currency  string        `json:"currency"`
	Status    string        `json:"status" enum:"pending,transferred,in_transit,paid,returning,failed,needs_review"`
	Failure   string        `json:"failure,omitempty" doc:"why the bank or Stripe refused, as Stripe names it"`
	Scheduled bool          `json:"scheduled" doc:"by the payout schedule"`
	CreatedAt time.Time     `json:"createdAt"`
	SettledAt *time.Time    `json:"settledAt" doc:"when it was paid, or was back in the wallet"`
}

func viewPayout(p payout) Payout {
	return Payout{p.ID, p.total().Decimal(), p.Currency, p.Status, p.Failure, p.Scheduled, p.CreatedAt, p.SettledAt}
}

type postPayoutIn struct {
	Body *struct {
		Amount   *money.Decimal `json:"amount,omitempty" doc:"default: all there is"`
		Currency string         `json:"currency,omitempty" pattern:"^[A-Z]{3}$" patternDescription:"a currency, such as USD" doc:"needed when the wallet has several"`
	} `required:"false"`
}

func (s *Service) postPayout(ctx context.Context, in *postPayoutIn) (Payout, error) {
	if in.Body == nil {
		return s.Withdraw(ctx, token.From(ctx), nil, "")
	}
	return s.Withdraw(ctx, token.From(ctx), in.Body.Amount, in.Body.Currency)
}

func (s *Service) listPayouts(ctx context.Context, in *api.Paging) (api.Page[Payout], error) {
	return s.Payouts(ctx, token.From(ctx), *in)
}

// ForBooking is what other services are told of a booking's payment.
type ForBooking struct {
	event.Payment
	Status      Status     `json:"status"`
	CompletedAt *time.Time `json:"completedAt"`
}

type forBookingIn struct {
	BookingID uuid.UUID `path:"bookingId"`
}

func (s *Service) getForBooking(ctx context.Context, in *forBookingIn) (ForBooking, error) {
	p, err := byBooking(ctx, s.db, in.BookingID)
	return ForBooking{p.event(), p.Status, p.CompletedAt}, err
}

// LedgerEscrow is what the ledger holds for a booking, in minor units.
type LedgerEscrow struct {
	BookingID uuid.UUID `json:"bookingId"`
	Remaining int64     `json:"remaining"`
	Currency  string    `json:"currency"`
}

func (s *Service) listLedgerEscrow(ctx context.Context, in *api.Paging) (api.Page[LedgerEscrow], error) {
	return s.LedgerEscrows(ctx, *in)
}

type getStatementIn struct {
	From   string `query:"from" maxLength:"40" doc:"a date or an RFC 3339 time, inclusive; default: 90 days before to"`
	To     string `query:"to" maxLength:"40" doc:"exclusive when a time, inclusive when a date; default: now"`
	Format string `query:"format" enum:"json,csv,html" default:"json"`
	TZ     string `query:"tz" maxLength:"60" required:"false" doc:"in which dates are, and what the page shows; IANA; default: UTC"`
}

// getStatement answers a Statement, or an api.File of it.
func (s *Service) getStatement(ctx context.Context, in *getStatementIn) (any, error) {
	loc, err := zoneNamed("tz", cmp.Or(in.TZ, "UTC"))
	if err != nil {
		return nil, err
	}
	now := s.clock.Now()
	from, to, err := period(in.From, in.To, now, loc)
	if err != nil {
		return nil, err
	}
	by := token.From(ctx)
	st, err := s.StatementOf(ctx, by, from, to)
	if err != nil {
		return nil, err
	}
	switch in.Format {
	case "csv":
		return st.csv()
	case "html":
		return st.html(by.ID, loc, now)
	}
	return st, nil
}
