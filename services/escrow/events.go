package escrow

import (
	"context"
	"fmt"

	"tulifo/event"
	"tulifo/platform/postgres"
)

const (
	bookingService = "service:booking"
	paymentService = "service:payment"
	system         = "system"
)

// onPaymentCompleted holds the money for the worker.
func (s *Service) onPaymentCompleted(ctx context.Context, tx postgres.Tx, e event.PaymentCompleted) error {
	_, err := s.open(ctx, tx, e.Payment, paymentService)
	return err
}

// onChargedBack stops what remains: the client's bank has taken the money back. A second chargeback counts as one more.
func (s *Service) onChargedBack(ctx context.Context, tx postgres.Tx, e event.PaymentChargedBack) error {
	d := directive{BookingID: e.BookingID, Kind: chargedBack, Detail: detail{Reason: byChargeback}, At: s.now()}
	a, ok, fresh, err := put(ctx, tx, d, nil, 0)
	if err != nil || !ok {
		return err
	}
	c := change{Account: a}
	c.freeze(byChargeback, byChargeback)
	if fresh {
		applied(tx, e.BookingID, d.At)
	}
	return s.keep(ctx, tx, c, paymentService, d.At)
}

// onChargebackWon lets the money move again: the bank has given it back.
func (s *Service) onChargebackWon(ctx context.Context, tx postgres.Tx, e event.PaymentChargebackWon) error {
	a, ok, err := lockByBooking(ctx, tx, e.BookingID)
	if err != nil {
		return err
	}
	if !ok {
		return forget(ctx, tx, e.BookingID, chargedBack)
	}
	c, at := change{Account: a}, s.now()
	if err := c.unfreeze(byChargeback, paymentService, at); err != nil {
		return err
	}
	return s.keep(ctx, tx, c, paymentService, at)
}

// onChargebackLost gives what is held for what the bank keeps, whoever else holds it: the client has it already. What is left may move again.
func (s *Service) onChargebackLost(ctx context.Context, tx postgres.Tx, e event.PaymentChargebackLost) error {
	a, ok, err := lockByBooking(ctx, tx, e.BookingID)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("a chargeback of booking %s is lost before its account is here", e.BookingID)
	}
	if a.Currency != e.Owed.Currency {
		return fmt.Errorf("a chargeback of booking %s is in %s, and %s is held", e.BookingID, e.Owed.Currency, a.Currency)
	}
	c, at := change{Account: a}, s.now()
	if err := c.move(refund, min(e.Owed.Minor, a.remaining()), byChargeback, paymentService, at); err != nil {
		return err
	}
	if err := c.unfreeze(byChargeback, paymentService, at); err != nil {
		return err
	}
	return s.keep(ctx, tx, c, paymentService, at)
}

func (s *Service) onBookingConfirmed(ctx context.Context, tx postgres.Tx, e event.BookingConfirmed) error {
	return keepStart(ctx, tx, e.BookingID, e.Start, e.Version)
}

func (s *Service) onBookingRescheduled(ctx context.Context, tx postgres.Tx, e event.BookingRescheduled) error {
	return keepStart(ctx, tx, e.BookingID, e.Start, e.Version)
}

// onBookingCompleted has the money released when nobody objects until then.
func (s *Service) onBookingCompleted(ctx context.Context, tx postgres.Tx, e event.BookingCompleted) error {
	return s.directed(ctx, tx, e.Booking, completed, detail{ReleaseAt: &e.ReleaseAt})
}

// onBookingCancelled divides the money as booking has decided. A payment that arrives later is divided in the same way.
func (s *Service) onBookingCancelled(ctx context.Context, tx postgres.Tx, e event.BookingCancelled) error {
	return s.directed(ctx, tx, e.Booking, cancelled, detail{WorkerShare: e.Shares.Worker.Minor, Currency: e.Shares.Worker.Currency, Reason: e.Cause})
}

// onNoShow divides the money once the time to object is over.
func (s *Service) onNoShow(ctx context.Context, tx postgres.Tx, e event.BookingNoShow) error {
	return s.directed(ctx, tx, e.Booking, noShow, detail{SettleAt: &e.SettleAt, WorkerShare: e.Shares.Worker.Minor, Currency: e.Shares.Worker.Currency})
}

// onNoShowContested stops the money until an admin decides, or lets go, which leaves the division as it was decided.
func (s *Service) onNoShowContested(ctx context.Context, tx postgres.Tx, e event.BookingNoShowContested) error {
	return s.directed(ctx, tx, e.Booking, contested, detail{Reason: e.Reason})
}

func (s *Service) directed(ctx context.Context, tx postgres.Tx, b event.Booking, kind string, d detail) error {
	_, err := s.direct(ctx, tx, directive{BookingID: b.BookingID, Kind: kind, Detail: d}, &b.Start, b.Version, bookingService)
	return err
}
