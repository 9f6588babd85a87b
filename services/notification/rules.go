package notification

import (
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/outbox"
)

// to is one person who is told of an event.
type to struct {
	user         uuid.UUID
	as           string // the part of the wording that is meant for them
	inApp, email bool
	address      string    // where the mail goes when that is not the person's address
	link         uuid.UUID // of auth's link that stands in the mail; else it leads to the rule's page
}

// The parts of a wording: for the sides of a booking, and for whom only one is told.
const (
	client = "client"
	worker = "worker"
	user   = "user"
)

// told is somebody who is told in the app and by e-mail.
func told(id uuid.UUID, as string) to { return to{user: id, as: as, inApp: true, email: true} }

// noted is somebody who finds it in the app.
func noted(id uuid.UUID, as string) to { return to{user: id, as: as, inApp: true} }

// written is somebody who gets an e-mail only.
func written(id uuid.UUID, as string) to { return to{user: id, as: as, email: true} }

// Pages of the web app; what stands in braces is a field of the event.
const (
	home       = "/"
	booking    = "/bookings/{bookingId}"
	earnings   = "/worker/earnings"
	myReviews  = "/worker/reviews"
	security   = "/settings/security"
	myDevices  = "/settings/sessions"
	clientDues = "/client/payments"
)

// table is who is told of what. An event is in here, or it is learned or silent.
func table() map[string]rule {
	return index(
		on(Account, home, func(e event.UserCreated) []to {
			if e.LinkID == uuid.Nil {
				return nil // made by an operator, who tells them
			}
			return []to{{user: e.UserID, as: user, inApp: true, email: true, address: e.Email, link: e.LinkID}}
		}),
		on(Account, home, func(e event.LinkIssued) []to {
			return []to{{user: e.UserID, as: e.Purpose, email: true, address: e.Email, link: e.LinkID}}
		}),
		on(Account, security, func(e event.UserEmailChanged) []to {
			return []to{{user: e.UserID, as: user, inApp: true, email: true, address: e.Previous}}
		}),
		on(Account, security, func(e event.UserPasswordChanged) []to { return []to{told(e.UserID, user)} }),
		on(Account, home, func(e event.UserDeleted) []to {
			if e.Email == "" {
				return nil
			}
			return []to{{user: e.UserID, as: user, email: true, address: e.Email}}
		}),
		on(Account, home, func(e event.UserDeletionRefused) []to { return []to{written(e.UserID, user)} }),
		on(Account, security, func(e event.UserIdentityAdded) []to { return []to{told(e.UserID, user)} }),
		on(Account, security, func(e event.UserIdentityRemoved) []to { return []to{told(e.UserID, user)} }),
		on(Account, security, func(e event.UserFactorAdded) []to { return []to{told(e.UserID, user)} }),
		on(Account, security, func(e event.UserFactorRemoved) []to { return []to{told(e.UserID, user)} }),
		on(Account, security, func(e event.UserRecoveryCodeUsed) []to { return []to{told(e.UserID, user)} }),
		on(Account, security, func(e event.UserRecoveryCodesRenewed) []to { return []to{told(e.UserID, user)} }),
		on(Account, myDevices, func(e event.SessionStolen) []to { return []to{told(e.UserID, user)} }),
		on(Account, home, func(e event.UserSuspended) []to { return []to{written(e.UserID, user)} }),
		on(Account, home, func(e event.UserReinstated) []to { return []to{written(e.UserID, user)} }),

		on(Bookings, booking, func(e event.BookingCreated) []to {
			if e.Again() {
				return nil
			}
			return []to{told(e.WorkerID, worker)}
		}),
		on(Bookings, booking, func(e event.BookingConfirmed) []to {
			if e.Again() {
				return nil
			}
			return []to{told(e.ClientID, client), noted(e.WorkerID, worker)}
		}),
		on(Bookings, booking, func(e event.BookingCancelled) []to {
			if e.Again() {
				return nil
			}
			switch e.Cause {
			case client:
				return []to{noted(e.ClientID, client), told(e.WorkerID, worker)}
			case worker:
				return []to{told(e.ClientID, client), noted(e.WorkerID, worker)}
			}
			return []to{told(e.ClientID, client), told(e.WorkerID, worker)}
		}),
		on(Bookings, booking, func(e event.BookingRescheduleProposed) []to {
			if e.By == client {
				return []to{told(e.WorkerID, worker)}
			}
			return []to{told(e.ClientID, client)}
		}),
		on(Bookings, booking, func(e event.BookingRescheduled) []to { return []to{told(e.ClientID, client), told(e.WorkerID, worker)} }),
		on(Bookings, booking, func(e event.BookingStarted) []to { return []to{noted(e.ClientID, client)} }),
		on(Bookings, booking, func(e event.BookingCompleted) []to { return []to{told(e.ClientID, client), noted(e.WorkerID, worker)} }),
		on(Bookings, booking, func(e event.BookingExpired) []to { return []to{told(e.ClientID, client), noted(e.WorkerID, worker)} }),
		on(Bookings, booking, func(e event.BookingNoShow) []to { return []to{told(e.ClientID, client), told(e.WorkerID, worker)} }),
		on(Bookings, booking, func(e event.BookingNoShowContested) []to {
			return []to{told(e.ClientID, client), told(e.WorkerID, worker)}
		}),
		own(on(Reminders, booking, func(e bookingStartsSoon) []to { return []to{told(e.ClientID, client), told(e.WorkerID, worker)} }),
			func(e bookingStartsSoon) time.Time { return e.Start }),

		on(Payments, booking, func(e event.PaymentCompleted) []to { return []to{told(e.ClientID, client)} }),
		on(Payments, booking, func(e event.PaymentFailed) []to { return []to{told(e.ClientID, client)} }),
		on(Payments, clientDues, func(e event.PaymentRefunded) []to { return []to{told(e.ClientID, client)} }),
		on(Payments, booking, func(e event.PaymentChargedBack) []to { return []to{told(e.ClientID, client), told(e.WorkerID, worker)} }),
		on(Payments, booking, func(e event.PaymentChargebackWon) []to {
			return []to{noted(e.ClientID, client), told(e.WorkerID, worker)}
		}),
		on(Payments, booking, func(e event.PaymentChargebackLost) []to {
			return []to{noted(e.ClientID, client), told(e.WorkerID, worker)}
		}),
		on(Payments, booking, func(e event.EscrowHeld) []to { return []to{told(e.WorkerID, worker)} }),
		on(Payments, booking, func(e event.EscrowReleased) []to { return []to{noted(e.ClientID, client), told(e.WorkerID, worker)} }),
		on(Payments, booking, func(e event.EscrowRefunded) []to { return []to{noted(e.ClientID, client), noted(e.WorkerID, worker)} }),
		on(Payments, booking, func(e event.EscrowFrozen) []to { return []to{told(e.ClientID, client), told(e.WorkerID, worker)} }),
		on(Payments, booking, func(e event.EscrowUnfrozen) []to { return []to{noted(e.ClientID, client), noted(e.WorkerID, worker)} }),
		on(Payments, earnings, func(e event.PayoutPaid) []to { return []to{told(e.UserID, user)} }),
		on(Payments, earnings, func(e event.PayoutFailed) []to { return []to{told(e.UserID, user)} }),
		on(Payments, earnings, func(e event.PayoutSchedulePaused) []to { return []to{told(e.UserID, user)} }),

		on(Reviews, booking, func(e event.ReviewCreated) []to { return []to{told(e.RevieweeID, user)} }),
		on(Reviews, booking, func(e event.ReviewRevealed) []to { return []to{told(e.RevieweeID, user)} }),
		on(Reviews, myReviews, func(e event.BadgeAwarded) []to { return []to{told(e.UserID, user)} }),
	)
}

// learned are events that nobody is told of, but that say how people are to be told.
var learned = map[string]func(*Service, *outbox.Inbox){
	event.UserVerified{}.Type(): hear[event.UserVerified],
	event.UserUpdated{}.Type():  hear[event.UserUpdated],
}

// Silent are the types of the events that are nothing to people, or that another one of the same moment says better.
func Silent() []string {
	return []string{
		event.UserRoleChanged{}.Type(), event.SessionRevoked{}.Type(), event.WorkerUpdated{}.Type(),
		event.PaymentCreated{}.Type(), event.BadgeRevoked{}.Type(),
	}
}
