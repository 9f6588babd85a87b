// Package payment takes clients' money for bookings, keeps the books about it, and pays workers.
//
// It knows two truths and keeps them equal: the ledger, in which every movement is a transfer between two accounts and nothing is ever
// changed, and the rail (Stripe), which really moves the money. What happens to held money is decided by escrow alone; payment carries it out.
//
// Always: every ledger transaction is balanced and has the permanent key of its one cause; no wallet and no escrow account is below zero;
// each call to the rail is keyed by the row that it is for, so that repeating it after a crash has no second effect; what the rail tells us
// is stored before it is applied, and ends in the same state in any order and number.
//
//	created ──▶ processing ──▶ completed ◀──▶ charged_back
//	   │             │             └──▶ refunded
//	   └──▶ cancelled ◀┘      cancelled ──▶ completed   (paid while it was being cancelled; escrow sends it back)
//	   any of the open ──▶ needs_review                (the rail says what cannot be: a person decides)
package payment

import (
	"embed"
	"log/slog"
	"time"

	"tulifo/platform/api"
	"tulifo/platform/clock"
	"tulifo/platform/export"
	"tulifo/platform/outbox"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Migration is payment's schema.
func Migration() postgres.Migration {
	return postgres.Migration{Schema: "tulifo_payment", FS: migrations}
}

// Service is payment-service.
type Service struct {
	db     *postgres.DB
	clock  clock.Clock
	peers  *peer.Directory
	rail   *rail
	config Config
	log    *slog.Logger
	gauges *gauges
}

// New is payment on its database, with the rail that the configuration names.
func New(db *postgres.DB, clock clock.Clock, peers *peer.Directory, config Config, log *slog.Logger) *Service {
	return &Service{db: db, clock: clock, peers: peers, rail: newRail(config), config: config, log: log, gauges: newGauges(db)}
}

// Routes declares what the service answers.
func (s *Service) Routes(r *api.Router) {
	export.Routes(r, "/api/payments", s.heldBy()...)
	s.departureRoutes(r)
	api.Post(r, "/api/payments", s.postPayment, api.For("client"), api.Of(api.Owner), api.While(Created, Processing), api.Created, api.Secret, api.Deadline(30*time.Second),
		api.Summary("Pay for a confirmed booking: answers what Stripe's form needs. A booking has one payment; asking again answers the same."))
	api.List(r, "/api/payments", s.listPayments, api.For("client", "worker", "admin"), api.Of(api.NoOne), api.Summary("The caller's payments, newest first; all of them for an admin."))
	api.Get(r, "/api/payments/{id}", s.getPayment, api.For("client", "worker", "admin", "service"), api.Of(api.Party, "admin"), api.Summary("One payment."))
	api.Post(r, "/api/payments/{id}/refund", s.postRefund, api.For("admin"), api.Of(api.NoOne), api.StepUpFor("admin"), api.While(Completed, ChargedBack), api.Once, api.Summary("Have escrow send back what is held of a payment, or a part of it."))
	api.Post(r, "/api/payments/webhook", s.postWebhook, api.Public, api.RawBody, api.Summary("What Stripe tells us; signed."))
	api.Get(r, "/api/payments/wallet", s.getWallet, api.For("client", "worker"), api.Of(api.NoOne), api.Summary("What the caller has, waits for and owes."))
	api.List(r, "/api/payments/wallet/held", s.listHeld, api.For("client", "worker"), api.Of(api.NoOne), api.Heavy, api.Summary("The caller's held money, and for each booking what it waits for."))
	api.Post(r, "/api/payments/payout-account", s.postPayoutAccount, api.For("worker"), api.Of(api.NoOne), api.StepUp, api.Created, api.Secret, api.Deadline(30*time.Second),
		api.Summary("Open the worker's account at Stripe, and the page where it is completed."))
	api.Post(r, "/api/payments/payouts", s.postPayout, api.For("worker"), api.Of(api.NoOne), api.StepUp, api.Created, api.Once, api.Summary("Withdraw from the wallet to the bank."))
	api.List(r, "/api/payments/payouts", s.listPayouts, api.For("worker"), api.Of(api.NoOne), api.Summary("The caller's withdrawals, newest first."))
	api.Get(r, "/api/payments/statement", s.getStatement, api.For("client", "worker"), api.Of(api.NoOne), api.Heavy, api.Summary("Every entry of a period with the running balance, as JSON, CSV, or a page for printing."))
	s.feeRoutes(r)
	s.scheduleRoutes(r)
	s.statementRoutes(r)
	s.reviewRoutes(r)
	s.reconciliationRoutes(r)
	api.Get(r, "/api/payments/booking/{bookingId}", s.getForBooking, api.For("service"), api.Summary("The payment of a booking."))
	api.List(r, "/api/payments/ledger/escrow", s.listLedgerEscrow, api.For("service"), api.Heavy, api.Summary("What the ledger holds for each booking."))
}

// Subscribe names what the service listens to.
func (s *Service) Subscribe(in *outbox.Inbox) {
	outbox.On(in, s.onBookingConfirmed)
	outbox.On(in, s.onBookingCancelled)
	outbox.On(in, s.onBookingExpired)
	outbox.On(in, s.onBookingRescheduled)
	outbox.On(in, s.onBookingCompleted)
	outbox.On(in, s.onBookingNoShow)
	outbox.On(in, s.onNoShowContested)
	outbox.OnBatch(in, s.onEscrowReleased)
	outbox.OnBatch(in, s.onEscrowRefunded)
	outbox.On(in, s.onEscrowFrozen)
	outbox.On(in, s.onEscrowUnfrozen)
	outbox.On(in, s.onUserCreated)
	outbox.On(in, s.onUserVerified)
	outbox.On(in, s.onUserEmailChanged)
	outbox.On(in, s.onUserDeleted)
}
