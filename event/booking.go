package event

import (
	"time"

	"github.com/google/uuid"

	"tulifo/platform/money"
)

// Booking is who books whom, when and for how much; every booking event carries it as it is after the event.
type Booking struct {
	BookingID uuid.UUID    `json:"bookingId"`
	WorkerID  uuid.UUID    `json:"workerId"`
	ClientID  uuid.UUID    `json:"clientId"`
	Title     string       `json:"title"`
	Category  string       `json:"category"` // for the fee rule; empty when there is none
	Start     time.Time    `json:"start"`
	End       time.Time    `json:"end"`
	Amount    money.Amount `json:"amount"` // gross price
	Version   int64        `json:"version"`
	Series    *Series      `json:"series,omitempty"` // when one act was about several bookings at once
}

// Series is which of the bookings that one act was about a booking is. Who is told of the first is told of them all.
type Series struct {
	SeriesID uuid.UUID `json:"seriesId"`
	N        int       `json:"n"` // from 1 on, by start
	Of       int       `json:"of"`
}

// Again says whether word of this act has been given with another booking.
func (b Booking) Again() bool { return b.Series != nil && b.Series.N > 1 }

// Shares is how the held gross is divided when a booking ends without being done.
type Shares struct {
	Client money.Amount `json:"client"`
	Worker money.Amount `json:"worker"` // gross; the platform's fee comes off it
}

// BookingCreated says that a time is held for a client and waits for the worker's word.
type BookingCreated struct {
	Booking
	ExpiresAt time.Time `json:"expiresAt"`
}

func (BookingCreated) Type() string { return "booking.created" }

// BookingConfirmed says that the worker will come, and until when the client has to pay.
type BookingConfirmed struct {
	Booking
	PayBy time.Time `json:"payBy"`
}

func (BookingConfirmed) Type() string { return "booking.confirmed" }

// BookingCancelled says that it will not take place, and whose the money is if any was paid.
type BookingCancelled struct {
	Booking
	Cause  string `json:"cause"` // client, worker, admin, unpaid or suspended
	Reason string `json:"reason"`
	Shares Shares `json:"shares"`
}

func (BookingCancelled) Type() string { return "booking.cancelled" }

// BookingRescheduleProposed says that one side asks the other for another start.
type BookingRescheduleProposed struct {
	Booking
	By       string    `json:"by"` // client or worker
	NewStart time.Time `json:"newStart"`
	NewEnd   time.Time `json:"newEnd"`
}

func (BookingRescheduleProposed) Type() string { return "booking.reschedule_proposed" }

// BookingRescheduled says that it has moved.
type BookingRescheduled struct {
	Booking
	PreviousStart time.Time `json:"previousStart"`
	PreviousEnd   time.Time `json:"previousEnd"`
	// Of a confirmed booking that is not paid: until when it has to be, now that it starts at another time.
	PayBy *time.Time `json:"payBy,omitempty"`
}

func (BookingRescheduled) Type() string { return "booking.rescheduled" }

// BookingStarted says that the work has begun.
type BookingStarted struct{ Booking }

func (BookingStarted) Type() string { return "booking.started" }

// BookingCompleted says that the work is done; unless somebody objects, the money is released at ReleaseAt.
type BookingCompleted struct {
	Booking
	CompletedAt time.Time `json:"completedAt"`
	ReleaseAt   time.Time `json:"releaseAt"`
}

func (BookingCompleted) Type() string { return "booking.completed" }

// BookingExpired says that the worker did not answer in time.
type BookingExpired struct{ Booking }

func (BookingExpired) Type() string { return "booking.expired" }

// BookingNoShow says that one side did not come. The shares take effect at SettleAt unless that side objects before.
type BookingNoShow struct {
	Booking
	Absent   string    `json:"absent"` // client or worker
	Shares   Shares    `json:"shares"`
	SettleAt time.Time `json:"settleAt"`
}

func (BookingNoShow) Type() string { return "booking.no_show" }

// BookingNoShowContested says that the side said to be absent objects; the money stays where it is until somebody decides.
type BookingNoShowContested struct {
	Booking
	Reason string `json:"reason"`
}

func (BookingNoShowContested) Type() string { return "booking.no_show_contested" }
