package event

import (
	"github.com/google/uuid"

	"tulifo/platform/money"
)

// Escrow is an account of held money; every escrow event carries it. Amounts are gross.
type Escrow struct {
	EscrowID  uuid.UUID    `json:"escrowId"`
	BookingID uuid.UUID    `json:"bookingId"`
	PaymentID uuid.UUID    `json:"paymentId"`
	ClientID  uuid.UUID    `json:"clientId"`
	WorkerID  uuid.UUID    `json:"workerId"`
	Held      money.Amount `json:"held"`      // what was funded; never changes
	Remaining money.Amount `json:"remaining"` // after the event
}

// EscrowHeld says that a payment is held for the worker.
type EscrowHeld struct{ Escrow }

func (EscrowHeld) Type() string { return "escrow.held" }

// EscrowReleased says that Amount of the held gross is the worker's.
type EscrowReleased struct {
	Escrow
	MoveID uuid.UUID    `json:"moveId"` // of this move; the ledger's business key
	Amount money.Amount `json:"amount"`
	Cause  string       `json:"cause"` // client, auto, cancelled, no_show, resolution or admin
}

func (EscrowReleased) Type() string { return "escrow.released" }

// EscrowRefunded says that Amount of the held gross goes back to the client.
type EscrowRefunded struct {
	Escrow
	MoveID uuid.UUID    `json:"moveId"`
	Amount money.Amount `json:"amount"`
	Cause  string       `json:"cause"` // cancelled, no_show, resolution, admin, or chargeback: the client has it from the bank already
}

func (EscrowRefunded) Type() string { return "escrow.refunded" }

// EscrowFrozen says that nothing moves until somebody decides.
type EscrowFrozen struct {
	Escrow
	Reason string `json:"reason"`
}

func (EscrowFrozen) Type() string { return "escrow.frozen" }

// EscrowUnfrozen says that it may move again.
type EscrowUnfrozen struct{ Escrow }

func (EscrowUnfrozen) Type() string { return "escrow.unfrozen" }
