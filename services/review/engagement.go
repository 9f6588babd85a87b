package review

import (
	"context"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/errs"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// engagement is a completed booking.
type engagement struct {
	BookingID   uuid.UUID
	WorkerID    uuid.UUID
	ClientID    uuid.UUID
	Category    string
	CompletedAt time.Time
}

var errNoBooking = errs.New(errs.NotFound, "There is no such booking.")

// other is whom the user worked with. NotFound: the user took no part.
func (e engagement) other(user uuid.UUID) (uuid.UUID, error) {
	switch user {
	case e.ClientID:
		return e.WorkerID, nil
	case e.WorkerID:
		return e.ClientID, nil
	}
	return uuid.Nil, errNoBooking
}

// onBookingCompleted notes that its sides may write about each other.
func (s *Service) onBookingCompleted(ctx context.Context, tx postgres.Tx, e event.BookingCompleted) error {
	return keepEngagement(ctx, tx, engagement{e.BookingID, e.WorkerID, e.ClientID, e.Category, e.CompletedAt})
}

// askBooking is the engagement that booking-service knows of, before somebody is refused for want of it. NotFound: no such booking, or the
// caller took no part. Conflict (not_completed): it is not completed.
func (s *Service) askBooking(ctx context.Context, by token.Caller, id uuid.UUID) (engagement, error) {
	b, err := peer.Get[struct {
		WorkerID    uuid.UUID  `json:"workerId"`
		ClientID    uuid.UUID  `json:"clientId"`
		Category    string     `json:"category"`
		Status      string     `json:"status"`
		CompletedAt *time.Time `json:"completedAt"`
	}](ctx, s.peers.To("booking"), "/api/bookings/"+id.String())
	if errs.KindOf(err) == errs.NotFound {
		return engagement{}, errNoBooking
	}
	if err != nil {
		return engagement{}, err
	}
	e := engagement{BookingID: id, WorkerID: b.WorkerID, ClientID: b.ClientID, Category: b.Category}
	if _, err := e.other(by.ID); err != nil {
		return engagement{}, err
	}
	if b.Status != "completed" || b.CompletedAt == nil {
		return engagement{}, errs.Coded(errs.Conflict, "not_completed", "Only a completed booking can be reviewed.")
	}
	e.CompletedAt = *b.CompletedAt
	return e, nil
}
