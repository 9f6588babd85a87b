package escrow

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/peer"
)

// bookingFacts is what booking answers about a booking, as far as it matters here.
type bookingFacts struct {
	Start  time.Time `json:"startTime"`
	NoShow *struct {
		Contested *time.Time `json:"contestedAt"`
	} `json:"noShow"`
}

func (s *Service) askBooking(ctx context.Context, id uuid.UUID) (bookingFacts, error) {
	return peer.Get[bookingFacts](ctx, s.peers.To("booking"), "/api/bookings/"+id.String())
}

// askPayment asks payment-service what was paid, and whether it has arrived. NotFound: there is no such payment.
func (s *Service) askPayment(ctx context.Context, id uuid.UUID) (event.Payment, bool, error) {
	p, err := peer.Get[struct {
		ID          uuid.UUID     `json:"id"`
		BookingID   uuid.UUID     `json:"bookingId"`
		ClientID    uuid.UUID     `json:"clientId"`
		WorkerID    uuid.UUID     `json:"workerId"`
		Amount      money.Decimal `json:"amount"`
		Currency    string        `json:"currency"`
		CompletedAt *time.Time    `json:"completedAt"`
	}](ctx, s.peers.To("payment"), "/api/payments/"+id.String())
	if errs.KindOf(err) == errs.NotFound {
		return event.Payment{}, false, errNoPayment
	}
	if err != nil {
		return event.Payment{}, false, err
	}
	amount, err := p.Amount.In(p.Currency)
	if err != nil {
		return event.Payment{}, false, fmt.Errorf("amount of payment %s: %w", id, err)
	}
	return event.Payment{PaymentID: p.ID, BookingID: p.BookingID, ClientID: p.ClientID, WorkerID: p.WorkerID, Amount: amount}, p.CompletedAt != nil, nil
}

// ledgerRow is what payment's ledger holds for a booking, in minor units.
type ledgerRow struct {
	BookingID uuid.UUID `json:"bookingId"`
	Remaining int64     `json:"remaining"`
	Currency  string    `json:"currency"`
}

// askLedger reads all that the ledger holds, page by page.
func (s *Service) askLedger(ctx context.Context) (map[uuid.UUID]ledgerRow, error) {
	held := map[uuid.UUID]ledgerRow{}
	for cursor := ""; ; {
		rows, next, err := peer.List[ledgerRow](ctx, s.peers.To("payment"), "/api/payments/ledger/escrow?limit=100", cursor)
		if err != nil {
			return nil, fmt.Errorf("ask for the ledger: %w", err)
		}
		for _, r := range rows {
			held[r.BookingID] = r
		}
		if next == "" {
			return held, nil
		}
		cursor = next
	}
}
