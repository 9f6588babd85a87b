// Package event is the vocabulary that services share: what each one publishes, as plain structs.
//
// A struct is a fact that has happened, in the past tense. It carries what its consumers need to act and what a message about it says,
// but no names or addresses of people (only user events do) and never a secret. Fields are added, never renamed or given a new meaning.
// Money is money.Amount in minor units; times are UTC.
//
// The subject under which an event is published, and within which order is kept, is the booking's id for booking, payment, escrow, review
// and link-less deal events, and the user's id for user, worker, session, link, badge and payout events.
package event
