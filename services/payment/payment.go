package payment

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/stripe/stripe-go/v85"

	"tulifo/event"
	"tulifo/platform/audit"
	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
	"tulifo/platform/timer"
	"tulifo/platform/token"
)

// Status is where a payment stands.
type Status string

// The states of a payment; the package comment draws the moves between them.
const (
	Created     Status = "created"      // asked for
	Processing  Status = "processing"   // the client has the form
	Completed   Status = "completed"    // the money has arrived
	Refunded    Status = "refunded"     // all of it is back with the client
	ChargedBack Status = "charged_back" // the client's bank took money back, for now or for good
	Cancelled   Status = "cancelled"    // the booking ended unpaid
	NeedsReview Status = "needs_review" // a person must look: review says why
)

// open tells that no money has arrived.
func (s Status) open() bool { return s == Created || s == Processing }

// payment is a row of payments. Amounts are minor units.
type payment struct {
	ID             uuid.UUID
	BookingID      uuid.UUID
	ClientID       uuid.UUID
	WorkerID       uuid.UUID
	Title          string
	Amount         int64
	Currency       string
	FeeBasisPoints int
	FeeRuleID      *uuid.UUID // nil: of the configuration
	Status         Status
	PayBy          time.Time
	CreatedAt      time.Time
	CompletedAt    *time.Time
	Released       int64 // gross, out of escrow
	FeeTaken       int64
	Refunded       int64 // out of escrow
	RefundDone     int64 // back with the client
	ChargedBack    int64 // taken back and not given back again
	ClientOwes     int64 // of what was taken back
	EndsAt         time.Time
	ReleaseAt      *time.Time
	Blocked        string // no_show or no_show_contested
	Absent         string // client or worker, of a no-show
	Frozen         bool   // escrow lets nothing move
	Failure        string
	FailedEvent    string // the rail's time and id of the event that Failure is of
	Review         string
	IntentID       *string
	IntentNo       int
	ChargeID       string
	RailFee        *int64
	AskedAt        *time.Time // system time of the first call for an intent
	NextTryAt      *time.Time // system time
	Attempts       int
}

func (p payment) gross() money.Amount { return money.Of(p.Amount, p.Currency) }

func (p payment) holding() holding {
	return holding{p.ID, p.BookingID, p.ClientID, p.WorkerID, p.Currency, p.Amount, p.FeeBasisPoints, p.Released, p.FeeTaken, p.Refunded}
}

func (p payment) event() event.Payment {
	return event.Payment{PaymentID: p.ID, BookingID: p.BookingID, ClientID: p.ClientID, WorkerID: p.WorkerID, Amount: p.gross()}
}

const (
	asksAgain = 10 * time.Minute // what is processing for so long is asked for
	asksLate  = time.Hour        // and then so often
)

// Checkout is what the client's browser needs to pay.
type Checkout struct {
	Payment        Payment `json:"payment"`
	ClientSecret   string  `json:"clientSecret" doc:"for Stripe's form; not to be stored"`
	PublishableKey string  `json:"publishableKey"`
}

// Pay answers the client what he needs to pay for his booking. It may be asked again and again: the booking has one payment, and the payment
// one PaymentIntent. NotFound: the booking is not his. Conflict: it is not to be paid (yet, any more, or at all).
// Unavailable: the rail is away; asking again goes on where this stopped.
func (s *Service) Pay(ctx context.Context, by token.Caller, booking uuid.UUID) (Checkout, error) {
	now := time.Now().UTC()
	p, err := ask(ctx, s.db, booking, by.ID, now)
	if errs.KindOf(err) == errs.NotFound {
		if p, err = s.create(ctx, by, booking); err == nil {
			p, err = ask(ctx, s.db, booking, by.ID, now)
		}
	}
	if err != nil {
		return Checkout{}, err
	}
	if !p.Status.open() {
		return Checkout{}, notPayable(p)
	}
	if err := payable(p.gross()); err != nil {
		return Checkout{}, err
	}
	pi, err := awaited(ctx, func() (*stripe.PaymentIntent, error) { return s.rail.intent(ctx, p, now) })
	if code, no := refused(err); no {
		return Checkout{}, errs.Coded(errs.Conflict, "payment_refused", "This amount cannot be paid online.").Because(fmt.Errorf("%s: %w", code, err))
	}
	if err != nil {
		return Checkout{}, away(err)
	}
	if p, err = s.learnIntent(ctx, p.ID, pi); err != nil {
		return Checkout{}, err
	}
	if !p.Status.open() {
		return Checkout{}, notPayable(p)
	}
	if p.IntentID == nil {
		// The rail has cancelled the PaymentIntent by itself; the next one has another number.
		return s.Pay(ctx, by, booking)
	}
	return Checkout{view(p, by), pi.ClientSecret, s.config.PublishableKey}, nil
}

func notPayable(p payment) error {
	switch p.Status {
	case Cancelled:
		return errs.Coded(errs.Conflict, "booking_closed", "The booking is cancelled, so there is nothing to pay.")
	case NeedsReview:
		return errs.Coded(errs.Conflict, "needs_review", "Something about this payment is not clear. We are looking into it.")
	}
	return errs.Coded(errs.Conflict, "already_paid", "This booking is paid.")
}

// create asks booking for a booking that we have not heard of yet, and makes its payment.
func (s *Service) create(ctx context.Context, by token.Caller, id uuid.UUID) (payment, error) {
	b, err := s.askBooking(ctx, id)
	if err != nil {
		return payment{}, err
	}
	if b.ClientID != by.ID {
		return payment{}, errs.New(errs.NotFound, "There is no such booking.")
	}
	if b.Status != "confirmed" {
		return payment{}, errs.Coded(errs.Conflict, "not_confirmed", "The worker has not confirmed the booking, or it has ended.")
	}
	e, err := b.confirmed()
	if err != nil {
		return payment{}, err
	}
	p := s.newPayment(e)
	return p, s.db.InTx(ctx, func(tx postgres.Tx) error { return s.open(ctx, tx, p, e.Category) })
}

func (s *Service) newPayment(e event.BookingConfirmed) payment {
	return payment{
		ID: uuid.Must(uuid.NewV7()), BookingID: e.BookingID, ClientID: e.ClientID, WorkerID: e.WorkerID, Title: e.Title,
		Amount: e.Amount.Minor, Currency: e.Amount.Currency,
		Status: Created, PayBy: e.PayBy, EndsAt: e.End, CreatedAt: s.clock.Now(),
	}
}

// open stores a new payment and tells of it, unless the booking has one.
func (s *Service) open(ctx context.Context, tx postgres.Tx, p payment, category string) error {
	isNew, err := s.insert(ctx, tx, p, category)
	if err != nil || !isNew {
		return err
	}
	s.wake(tx, "", p.ID.String())
	return outbox.Add(ctx, tx, p.BookingID, event.PaymentCreated{Payment: p.event(), PayBy: p.PayBy})
}

// fact is what a PaymentIntent says, from an answer or from a webhook.
type fact struct {
	IntentID string
	Attempt  int
	Status   stripe.PaymentIntentStatus
	Received int64
	Currency stripe.Currency
	ChargeID string
	Failure  string // the code of the last decline
	Event    string // the rail's time and id of a webhook that tells of a decline; empty for everything else
}

func factOf(pi *stripe.PaymentIntent) fact {
	f := fact{IntentID: pi.ID, Status: pi.Status, Received: pi.AmountReceived, Currency: pi.Currency}
	f.Attempt, _ = strconv.Atoi(pi.Metadata[attempt])
	if pi.LatestCharge != nil {
		f.ChargeID = pi.LatestCharge.ID
	}
	if e := pi.LastPaymentError; e != nil {
		f.Failure = string(e.Code)
		if e.DeclineCode != "" {
			f.Failure = string(e.DeclineCode)
		}
	}
	return f
}

// learnIntent has the payment follow what the rail answered about its intent.
func (s *Service) learnIntent(ctx context.Context, id uuid.UUID, pi *stripe.PaymentIntent) (payment, error) {
	var p payment
	err := s.db.InTx(ctx, func(tx postgres.Tx) error {
		var err error
		if p, err = lock(ctx, tx, id); err != nil {
			return err
		}
		p, err = s.follow(ctx, tx, p, factOf(pi))
		return err
	})
	return p, err
}

// follow moves p, whose row is locked, to where f says, and stores it. Told in any order and number, the facts of a payment's intents end in
// the same state: success stays, an older intent has no say, and money that has arrived counts even when the booking has ended.
func (s *Service) follow(ctx context.Context, tx postgres.Tx, p payment, f fact) (payment, error) {
	succeeded := f.Status == stripe.PaymentIntentStatusSucceeded
	if (f.Attempt != 0 && f.Attempt != p.IntentNo) || (p.IntentID != nil && *p.IntentID != f.IntentID) {
		if succeeded && (p.ChargeID == "" || p.ChargeID != f.ChargeID) {
			return p, s.review(ctx, tx, p, "another PaymentIntent of this payment succeeded: "+f.IntentID)
		}
		return p, nil
	}
	system := time.Now().UTC()
	if p.IntentID == nil {
		p.IntentID = &f.IntentID
		s.wake(tx, f.IntentID, "")
	}
	if p.Status == Created {
		p.Status = Processing
	}
	switch {
	case p.CompletedAt != nil:
		return p, nil
	case succeeded:
		if got, whole := railAmount(f.Received, f.Currency); !whole || got != p.gross() {
			return p, s.review(ctx, tx, p, fmt.Sprintf("the rail received %d %s instead of %s", f.Received, f.Currency, p.gross()))
		}
		return s.complete(ctx, tx, p, f, system)
	case f.Status == stripe.PaymentIntentStatusCanceled && p.Status.open():
		p.Status, p.IntentID, p.IntentNo, p.AskedAt, p.NextTryAt = Created, nil, p.IntentNo+1, nil, nil
	case f.Status == stripe.PaymentIntentStatusCanceled:
		p.NextTryAt, p.Attempts = nil, 0
	case p.Status == Cancelled:
		p.NextTryAt, p.Attempts = &system, 0
	case f.Event != "" && f.Failure != "" && f.Event > p.FailedEvent:
		p.Failure, p.FailedEvent = f.Failure, f.Event
		if err := outbox.Add(ctx, tx, p.BookingID, event.PaymentFailed{Payment: p.event(), Reason: f.Failure}); err != nil {
			return p, err
		}
		fallthrough
	default:
		next := system.Add(asksAgain)
		if p.Attempts > 0 {
			next = system.Add(asksLate)
		}
		if p.NextTryAt == nil || p.NextTryAt.Before(next) {
			p.NextTryAt = &next
		}
	}
	s.save(tx, p)
	return p, nil
}

// complete takes the money into the books.
func (s *Service) complete(ctx context.Context, tx postgres.Tx, p payment, f fact, system time.Time) (payment, error) {
	at := s.clock.Now()
	p.Status, p.CompletedAt, p.ChargeID, p.Failure, p.FailedEvent, p.Review = Completed, &at, f.ChargeID, "", "", ""
	p.NextTryAt, p.Attempts = &system, 0 // for the rail's fee
	s.save(tx, p)
	s.wake(tx, *p.IntentID, "")
	post(tx, planPayment(p.holding(), at))
	if err := s.audited(ctx, tx, "payment.completed", p.ID, p.gross()); err != nil {
		return p, err
	}
	return p, outbox.Add(ctx, tx, p.BookingID, event.PaymentCompleted{Payment: p.event(), CompletedAt: at})
}

// review sets p aside for a person. Money that has arrived keeps its state.
func (s *Service) review(ctx context.Context, tx postgres.Tx, p payment, why string) error {
	if p.Review == why {
		return nil
	}
	p.Review, p.NextTryAt = why, nil
	if p.CompletedAt == nil {
		p.Status = NeedsReview
	}
	s.save(tx, p)
	return audit.Add(ctx, tx, audit.Entry{Actor: "service:payment", Action: "payment.needs_review", Subject: p.ID, Detail: map[string]string{"why": why}})
}

// audited writes who moved how much.
func (s *Service) audited(ctx context.Context, tx postgres.Tx, action string, subject uuid.UUID, a money.Amount) error {
	return audit.Add(ctx, tx, moved(ctx, action, subject, a))
}

// moved is the audit row of who moved how much.
func moved(ctx context.Context, action string, subject uuid.UUID, a money.Amount) audit.Entry {
	e := audit.Entry{Action: action, Subject: subject, Detail: map[string]string{"amount": a.String()}}
	if token.From(ctx).Role == "" {
		e.Actor = "service:payment"
	}
	return e
}

// settled is the state of a payment whose money has arrived, from what became of it.
func (p payment) settled() Status {
	switch {
	case p.ChargedBack > 0:
		return ChargedBack
	case p.RefundDone >= p.Amount:
		return Refunded
	}
	return Completed
}

// retryPayment does what is left to be done at the rail for a payment.
func (s *Service) retryPayment(ctx context.Context, p payment, now time.Time) error {
	switch {
	case p.CompletedAt != nil:
		return s.bookRailFee(ctx, p)
	case p.Status == NeedsReview, p.AskedAt == nil && p.IntentID == nil:
		return s.rest(ctx, "payments", p.ID.String(), *p.NextTryAt, nil)
	}
	pi, err := s.rail.intent(ctx, p, now)
	if err == nil && p.Status == Cancelled && pi.Status != stripe.PaymentIntentStatusSucceeded && pi.Status != stripe.PaymentIntentStatusCanceled {
		p.IntentID = &pi.ID
		pi, err = s.rail.cancelIntent(ctx, p)
	}
	if _, no := refused(err); no || errors.Is(err, errUndecided) {
		return s.reviewPayment(ctx, p.ID, err.Error())
	}
	if err != nil {
		return err
	}
	_, err = s.learnIntent(ctx, p.ID, pi)
	return err
}

func (s *Service) reviewPayment(ctx context.Context, id uuid.UUID, why string) error {
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		p, err := lock(ctx, tx, id)
		if err != nil {
			return err
		}
		return s.review(ctx, tx, p, why)
	})
}

// bookRailFee asks what the rail kept of a payment, and books it once.
func (s *Service) bookRailFee(ctx context.Context, p payment) error {
	if p.RailFee != nil {
		return s.rest(ctx, "payments", p.ID.String(), *p.NextTryAt, nil)
	}
	fee, known, err := s.rail.cost(ctx, p)
	if err != nil {
		return err
	}
	if !known {
		return errors.New("the rail does not say yet what it kept")
	}
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		first, err := noteRailFee(ctx, tx, p.ID, fee.Minor)
		if err != nil || !first {
			return err
		}
		post(tx, planRailFee(p.holding(), fee, s.clock.Now()))
		return nil
	})
}

// poke has the retry loop look at once after COMMIT.
func poke(tx postgres.Tx) {
	tx.Committed(func() { timer.Poke("payment") })
}
