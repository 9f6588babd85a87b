package event

import (
	"time"

	"github.com/google/uuid"

	"tulifo/platform/money"
)

// Payment is what a client pays for a booking; every payment event carries it.
type Payment struct {
	PaymentID uuid.UUID    `json:"paymentId"`
	BookingID uuid.UUID    `json:"bookingId"`
	ClientID  uuid.UUID    `json:"clientId"`
	WorkerID  uuid.UUID    `json:"workerId"`
	Amount    money.Amount `json:"amount"` // gross
}

// PaymentCreated says that a payment is asked for.
type PaymentCreated struct {
	Payment
	PayBy time.Time `json:"payBy"`
}

func (PaymentCreated) Type() string { return "payment.created" }

// PaymentCompleted says that the client's money has arrived.
type PaymentCompleted struct {
	Payment
	CompletedAt time.Time `json:"completedAt"`
}

func (PaymentCompleted) Type() string { return "payment.completed" }

// PaymentFailed says that an attempt was declined; the client may try again.
type PaymentFailed struct {
	Payment
	Reason string `json:"reason"` // the rail's code, such as card_declined
}

func (PaymentFailed) Type() string { return "payment.failed" }

// PaymentRefunded says that Refund of the payment is back with the client.
type PaymentRefunded struct {
	Payment
	RefundID uuid.UUID    `json:"refundId"`
	Refund   money.Amount `json:"refund"`
}

func (PaymentRefunded) Type() string { return "payment.refunded" }

// PaymentChargedBack says that the client's bank took the money back.
type PaymentChargedBack struct {
	Payment
	Charged money.Amount `json:"charged"`
}

func (PaymentChargedBack) Type() string { return "payment.charged_back" }

// PaymentChargebackWon says that the bank gave it back.
type PaymentChargebackWon struct {
	Payment
	Charged money.Amount `json:"charged"`
}

func (PaymentChargebackWon) Type() string { return "payment.chargeback_won" }

// PaymentChargebackLost says that the bank keeps what it took back. Owed is what the client, who has it from the bank, still owes of the payment:
// what is held pays for it.
type PaymentChargebackLost struct {
	Payment
	Charged money.Amount `json:"charged"`
	Owed    money.Amount `json:"owed"`
}

func (PaymentChargebackLost) Type() string { return "payment.chargeback_lost" }

// PayoutPaid says that the worker's bank has the money.
type PayoutPaid struct {
	PayoutID uuid.UUID    `json:"payoutId"`
	UserID   uuid.UUID    `json:"userId"`
	Amount   money.Amount `json:"amount"`
}

func (PayoutPaid) Type() string { return "payout.paid" }

// PayoutFailed says that a payout did not go through and is back in the wallet.
type PayoutFailed struct {
	PayoutID uuid.UUID    `json:"payoutId"`
	UserID   uuid.UUID    `json:"userId"`
	Amount   money.Amount `json:"amount"`
	Reason   string       `json:"reason"`
}

func (PayoutFailed) Type() string { return "payout.failed" }

// PayoutSchedulePaused says that scheduled payouts have stopped after several failed in a row; the user starts them again.
type PayoutSchedulePaused struct {
	UserID   uuid.UUID `json:"userId"`
	Failures int       `json:"failures"`
	Reason   string    `json:"reason"` // of the last failure, as the rail names it
}

func (PayoutSchedulePaused) Type() string { return "payout.schedule_paused" }
