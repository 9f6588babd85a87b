package payment

import (
	"context"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
)

// bookingFacts is what booking answers about a booking.
type bookingFacts struct {
	ID       uuid.UUID     `json:"id"`
	WorkerID uuid.UUID     `json:"workerId"`
	ClientID uuid.UUID     `json:"clientId"`
	Title    string        `json:"title"`
	Category string        `json:"category"`
	Start    time.Time     `json:"startTime"`
	End      time.Time     `json:"endTime"`
	Status   string        `json:"status"`
	Total    money.Decimal `json:"totalAmount"`
	Currency string        `json:"currency"`
	PayBy    *time.Time    `json:"payBy"`
}

// askBooking asks booking for one that no event has told of yet. NotFound: there is none.
func (s *Service) askBooking(ctx context.Context, id uuid.UUID) (bookingFacts, error) {
	return peer.Get[bookingFacts](ctx, s.peers.To("booking"), "/api/bookings/"+id.String())
}

// confirmed is the event that booking's answer amounts to.
func (b bookingFacts) confirmed() (event.BookingConfirmed, error) {
	price, err := b.Total.In(b.Currency)
	if err != nil || price.Minor <= 0 {
		return event.BookingConfirmed{}, errs.Coded(errs.Conflict, "not_payable", "This booking has no price.").Because(err)
	}
	e := event.BookingConfirmed{Booking: event.Booking{BookingID: b.ID, WorkerID: b.WorkerID, ClientID: b.ClientID, Title: b.Title, Category: b.Category,
		Start: b.Start, End: b.End, Amount: price}, PayBy: b.Start}
	if b.PayBy != nil {
		e.PayBy = *b.PayBy
	}
	return e, nil
}

// provenEmail is the user's address. Forbidden: it is not proven; auth is asked before that is said.
func (s *Service) provenEmail(ctx context.Context, user uuid.UUID) (string, error) {
	known, err := postgres.All[string](ctx, s.db, `SELECT email FROM people WHERE user_id = $1 AND verified`, user)
	if err != nil || len(known) > 0 {
		return first(known), err
	}
	u, err := peer.Get[struct {
		Email         string `json:"email"`
		EmailVerified bool   `json:"emailVerified"`
	}](ctx, s.peers.To("auth"), "/api/auth/users/"+user.String())
	if err != nil && errs.KindOf(err) != errs.NotFound {
		return "", err
	}
	if !u.EmailVerified {
		return "", errs.Coded(errs.Forbidden, "email_unverified", "Verify your e-mail address first, then you can be paid.")
	}
	_, err = s.db.Exec(ctx, provenPerson, user, u.Email)
	return u.Email, err
}

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

// escrowAccount is what escrow answers about an account, as far as it matters here.
type escrowAccount struct {
	ID uuid.UUID `json:"id"`
}

// askEscrow asks escrow for the account of a payment that has arrived, and has it make the account when the word of that is still on its way.
func (s *Service) askEscrow(ctx context.Context, p payment) (uuid.UUID, error) {
	accounts, err := peer.Get[[]escrowAccount](ctx, s.peers.To("escrow"), "/api/v1/escrow?bookingId="+p.BookingID.String())
	if err != nil {
		return uuid.Nil, err
	}
	if len(accounts) > 0 {
		return accounts[0].ID, nil
	}
	made, err := peer.Post[escrowAccount](ctx, s.peers.To("escrow"), "/api/v1/escrow", "", map[string]any{"paymentId": p.ID})
	return made.ID, err
}
