package payment

import (
	"context"
	"time"

	"tulifo/event"
	"tulifo/platform/postgres"
)

// onBookingConfirmed asks the client to pay; the fee is the rule of now.
func (s *Service) onBookingConfirmed(ctx context.Context, tx postgres.Tx, e event.BookingConfirmed) error {
	return s.open(ctx, tx, s.newPayment(e), e.Category)
}

// onBookingCancelled closes a payment that has not arrived; what has arrived is escrow's to divide.
func (s *Service) onBookingCancelled(_ context.Context, tx postgres.Tx, e event.BookingCancelled) error {
	s.closeUnpaid(tx, e.Booking)
	return nil
}

func (s *Service) onBookingExpired(_ context.Context, tx postgres.Tx, e event.BookingExpired) error {
	s.closeUnpaid(tx, e.Booking)
	return nil
}

// closeUnpaid also has the retry loop take back what the rail may have been asked for.
func (s *Service) closeUnpaid(tx postgres.Tx, b event.Booking) {
	tx.Later(`UPDATE payments SET status = 'cancelled', next_try_at = CASE WHEN asked_at IS NULL THEN NULL ELSE $2::timestamptz END, attempts = 0
		WHERE booking_id = $1 AND status IN ('created', 'processing')`, b.BookingID, time.Now().UTC())
	poke(tx)
}

// What follows keeps what a held payment waits for; see wallet.go.

func (s *Service) onBookingRescheduled(_ context.Context, tx postgres.Tx, e event.BookingRescheduled) error {
	tx.Later(`UPDATE payments SET ends_at = $2, pay_by = coalesce($3, pay_by) WHERE booking_id = $1`, e.BookingID, e.End, e.PayBy)
	return nil
}

func (s *Service) onBookingCompleted(_ context.Context, tx postgres.Tx, e event.BookingCompleted) error {
	tx.Later(`UPDATE payments SET release_at = $2, blocked = '' WHERE booking_id = $1`, e.BookingID, e.ReleaseAt)
	return nil
}

func (s *Service) onBookingNoShow(_ context.Context, tx postgres.Tx, e event.BookingNoShow) error {
	tx.Later(`UPDATE payments SET release_at = $2, blocked = 'no_show', absent = $3 WHERE booking_id = $1`, e.BookingID, e.SettleAt, e.Absent)
	return nil
}

func (s *Service) onNoShowContested(_ context.Context, tx postgres.Tx, e event.BookingNoShowContested) error {
	tx.Later(`UPDATE payments SET blocked = 'no_show_contested' WHERE booking_id = $1`, e.BookingID)
	return nil
}

func (s *Service) onEscrowFrozen(_ context.Context, tx postgres.Tx, e event.EscrowFrozen) error {
	tx.Later(`UPDATE payments SET frozen = true WHERE booking_id = $1`, e.BookingID)
	return nil
}

// onEscrowUnfrozen also ends an objection to a no-show: the division takes place as if there had been none.
func (s *Service) onEscrowUnfrozen(_ context.Context, tx postgres.Tx, e event.EscrowUnfrozen) error {
	tx.Later(`UPDATE payments SET frozen = false, blocked = CASE blocked WHEN 'no_show_contested' THEN 'no_show' ELSE blocked END WHERE booking_id = $1`, e.BookingID)
	return nil
}

// The copy of whose address is proven: told in any order, proven stays proven.

func (s *Service) onUserCreated(_ context.Context, tx postgres.Tx, e event.UserCreated) error {
	tx.Later(`INSERT INTO people (user_id, email, verified) VALUES ($1, $2, $3)
		ON CONFLICT (user_id) DO UPDATE SET verified = people.verified OR excluded.verified`, e.UserID, e.Email, e.Verified)
	return nil
}

func (s *Service) onUserVerified(_ context.Context, tx postgres.Tx, e event.UserVerified) error {
	tx.Later(provenPerson, e.UserID, e.Email)
	return nil
}

func (s *Service) onUserEmailChanged(_ context.Context, tx postgres.Tx, e event.UserEmailChanged) error {
	tx.Later(provenPerson, e.UserID, e.Email)
	return nil
}

const provenPerson = `INSERT INTO people (user_id, email, verified) VALUES ($1, $2, true)
	ON CONFLICT (user_id) DO UPDATE SET email = excluded.email, verified = true`
