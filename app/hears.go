package app

// hears is THE table of events: which types each service consumes. Every process makes the queues of all services by it, those too whose
// services run elsewhere or have never run, so that nothing is told before its hearer can be told.
var hears = map[string][]string{
	"auth": {
		"user.updated",
	},
	"user": {
		"badge.awarded", "badge.revoked", "booking.confirmed", "booking.created", "review.created", "review.revealed", "user.created", "user.deleted",
		"user.email_changed", "user.reinstated", "user.role_changed", "user.suspended", "user.verified",
	},
	"payment": {
		"booking.cancelled", "booking.completed", "booking.confirmed", "booking.expired", "booking.no_show", "booking.no_show_contested",
		"booking.rescheduled", "escrow.frozen", "escrow.refunded", "escrow.released", "escrow.unfrozen", "user.created", "user.deleted",
		"user.email_changed", "user.verified",
	},
	"notification": {
		"badge.awarded", "booking.cancelled", "booking.completed", "booking.confirmed", "booking.created", "booking.expired", "booking.no_show",
		"booking.no_show_contested", "booking.reschedule_proposed", "booking.rescheduled", "booking.started", "escrow.frozen", "escrow.held",
		"escrow.refunded", "escrow.released", "escrow.unfrozen", "link.issued", "payment.chargeback_lost", "payment.chargeback_won", "payment.charged_back",
		"payment.completed", "payment.failed", "payment.refunded", "payout.failed", "payout.paid", "payout.schedule_paused", "review.created",
		"review.revealed", "session.stolen", "user.created", "user.deleted", "user.deletion_refused", "user.email_changed", "user.factor_added",
		"user.factor_removed", "user.identity_added", "user.identity_removed", "user.password_changed", "user.recovery_code_used", "user.recovery_codes_renewed",
		"user.reinstated", "user.suspended", "user.updated", "user.verified",
	},
	"booking": {
		"payment.completed", "user.created", "user.deleted", "user.reinstated", "user.suspended", "user.verified", "worker.updated",
	},
	"escrow": {
		"booking.cancelled", "booking.completed", "booking.confirmed", "booking.no_show", "booking.no_show_contested", "booking.rescheduled",
		"payment.chargeback_lost", "payment.chargeback_won", "payment.charged_back", "payment.completed",
	},
	"review": {
		"booking.completed",
	},
}
