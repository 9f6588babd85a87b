package payment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/stripe/stripe-go/v85"
	"github.com/stripe/stripe-go/v85/webhook"

	"tulifo/platform/crash"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
)

// Outcomes of a webhook: received → applied, ignored, or waiting for our row → applied; given_up when none came in givesUp.
const (
	outcomeWaiting = "waiting"
	outcomeApplied = "applied"
	outcomeIgnored = "ignored"
	outcomeGivenUp = "given_up"
)

const givesUp = 3 * 24 * time.Hour

// told is a row of webhook_events: what the rail told us, as it was signed.
type told struct {
	ID         string
	Type       string
	Payload    []byte
	ReceivedAt time.Time
	Outcome    string
	Attempts   int
}

// Hear stores what the rail tells us and applies it. It answers nil once it is stored: what cannot be applied now is tried again.
// Malformed: it is not signed by the rail, or not an event.
func (s *Service) Hear(ctx context.Context, payload []byte, signature string) error {
	crash.Before(ctx, "payment", crash.Hear, "")
	e, err := s.verified(payload, signature)
	if err != nil {
		return errs.New(errs.Malformed, "This is not a signed event.").Because(err)
	}
	intent, ours := concerns(e)
	now := time.Now().UTC()
	ctx = crash.Because(ctx, string(e.Type))
	crash.Before(ctx, "payment", crash.Store, "")
	tag, err := s.db.Exec(ctx, `INSERT INTO webhook_events (id, type, intent_id, tulifo_id, payload, received_at, outcome, next_try_at)
		VALUES ($1, $2, $3, $4, $5, $6, 'received', $7) ON CONFLICT (id) DO NOTHING`,
		e.ID, string(e.Type), intent, ours, payload, now, now.Add(5*time.Second))
	if err != nil || tag.RowsAffected() == 0 {
		return err
	}
	crash.After(ctx, "payment", crash.Store, "")
	if err := s.applyTold(ctx, told{ID: e.ID, ReceivedAt: now}, e, now); err != nil {
		s.log.WarnContext(ctx, "a webhook is stored and could not be applied yet", "event", e.ID, "type", string(e.Type), "error", err)
	}
	crash.After(ctx, "payment", crash.Hear, "")
	return nil
}

// verified is the event that was signed with one of our secrets. The bytes are those that came: an event that was encoded again does not verify.
func (s *Service) verified(payload []byte, signature string) (e stripe.Event, err error) {
	for _, secret := range s.config.WebhookSecrets {
		if e, err = webhook.ConstructEvent(payload, signature, secret); err == nil {
			if e.ID == "" || e.Data == nil || len(e.Data.Raw) == 0 {
				return e, errors.New("the event has no id or no object")
			}
			return e, nil
		}
	}
	return e, err
}

// concerns says which PaymentIntent an event is about, and which of our rows its object names.
func concerns(e stripe.Event) (intent, ours string) {
	var o struct {
		ID            string            `json:"id"`
		Object        string            `json:"object"`
		PaymentIntent json.RawMessage   `json:"payment_intent"`
		Metadata      map[string]string `json:"metadata"`
	}
	if json.Unmarshal(e.Data.Raw, &o) != nil {
		return "", ""
	}
	if o.Object == "payment_intent" {
		return o.ID, o.Metadata[ourID]
	}
	var pi stripe.PaymentIntent
	if len(o.PaymentIntent) > 0 && pi.UnmarshalJSON(o.PaymentIntent) == nil {
		intent = pi.ID
	}
	return intent, o.Metadata[ourID]
}

// retryTold applies a webhook that could not be applied when it came.
func (s *Service) retryTold(ctx context.Context, t told, now time.Time) error {
	var e stripe.Event
	if err := json.Unmarshal(t.Payload, &e); err != nil {
		return s.finishTold(ctx, t.ID, outcomeGivenUp)
	}
	return s.applyTold(ctx, t, e, now)
}

// applyTold applies one event, once, and notes its outcome, in one transaction.
func (s *Service) applyTold(ctx context.Context, t told, e stripe.Event, now time.Time) error {
	return s.db.InTx(ctx, func(tx postgres.Tx) error {
		open, err := postgres.All[string](ctx, tx, `SELECT outcome FROM webhook_events WHERE id = $1 AND outcome IN ('received', 'waiting') FOR NO KEY UPDATE`, t.ID)
		if err != nil || len(open) == 0 {
			return err
		}
		outcome, err := s.apply(ctx, tx, e)
		if errs.KindOf(err) == errs.NotFound {
			outcome, err = outcomeWaiting, nil
		}
		if err != nil {
			return fmt.Errorf("apply %s: %w", e.Type, err)
		}
		var next *time.Time
		if outcome == outcomeWaiting {
			again := now.Add(min(time.Minute<<min(t.Attempts, 10), time.Hour))
			next = &again
			if now.Sub(t.ReceivedAt) > givesUp {
				outcome, next = outcomeGivenUp, nil
			}
		}
		tx.Later(`UPDATE webhook_events SET outcome = $2, next_try_at = $3 WHERE id = $1`, t.ID, outcome, next)
		return nil
	})
}

func (s *Service) finishTold(ctx context.Context, id, outcome string) error {
	_, err := s.db.Exec(ctx, `UPDATE webhook_events SET outcome = $2, next_try_at = NULL WHERE id = $1`, id, outcome)
	return err
}

// apply has our rows follow an event. NotFound: our row is not there yet. Of refunds, payouts and accounts an event is only a hint to ask the
// rail, whose answer has no order to get wrong.
func (s *Service) apply(ctx context.Context, tx postgres.Tx, e stripe.Event) (outcome string, err error) {
	switch e.Type {
	case stripe.EventTypePaymentIntentCreated, stripe.EventTypePaymentIntentProcessing, stripe.EventTypePaymentIntentRequiresAction,
		stripe.EventTypePaymentIntentSucceeded, stripe.EventTypePaymentIntentPaymentFailed, stripe.EventTypePaymentIntentCanceled:
		return s.applyIntent(ctx, tx, e)
	case stripe.EventTypeChargeDisputeCreated, stripe.EventTypeChargeDisputeUpdated, stripe.EventTypeChargeDisputeClosed,
		stripe.EventTypeChargeDisputeFundsWithdrawn, stripe.EventTypeChargeDisputeFundsReinstated:
		return s.applyDispute(ctx, tx, e)
	case stripe.EventTypeRefundCreated, stripe.EventTypeRefundUpdated, stripe.EventTypeRefundFailed, stripe.EventTypeChargeRefundUpdated:
		return s.lookAgain(ctx, tx, e, "refunds")
	case stripe.EventTypePayoutPaid, stripe.EventTypePayoutFailed, stripe.EventTypePayoutCanceled, stripe.EventTypePayoutUpdated, stripe.EventTypeTransferCreated, stripe.EventTypeTransferReversed:
		return s.lookAgain(ctx, tx, e, "payouts")
	case stripe.EventTypeAccountUpdated:
		return s.applyAccount(ctx, tx, e)
	}
	return outcomeIgnored, nil
}

func (s *Service) applyIntent(ctx context.Context, tx postgres.Tx, e stripe.Event) (string, error) {
	var pi stripe.PaymentIntent
	if err := json.Unmarshal(e.Data.Raw, &pi); err != nil {
		return "", err
	}
	id, err := uuid.Parse(pi.Metadata[ourID])
	if err != nil {
		return outcomeIgnored, nil // made by somebody else with the same account
	}
	p, err := lock(ctx, tx, id)
	if err != nil {
		return "", err
	}
	f := factOf(&pi)
	if e.Type == stripe.EventTypePaymentIntentPaymentFailed {
		// What comes after a decline may still carry its error, and is no other one.
		f.Event = fmt.Sprintf("%012d %s", e.Created, e.ID)
	}
	_, err = s.follow(ctx, tx, p, f)
	return outcomeApplied, err
}

func (s *Service) applyDispute(ctx context.Context, tx postgres.Tx, e stripe.Event) (string, error) {
	var d stripe.Dispute
	if err := json.Unmarshal(e.Data.Raw, &d); err != nil {
		return "", err
	}
	if d.PaymentIntent == nil {
		return outcomeIgnored, nil
	}
	p, err := postgres.One[payment](ctx, tx, `SELECT `+columns+` FROM payments WHERE intent_id = $1 FOR NO KEY UPDATE`, d.PaymentIntent.ID)
	if err != nil {
		return "", err
	}
	if p.CompletedAt == nil {
		return outcomeWaiting, nil
	}
	return outcomeApplied, s.followDispute(ctx, tx, p, &d)
}

// lookAgain has the retry loop ask the rail about the row that the event's object names.
func (s *Service) lookAgain(ctx context.Context, tx postgres.Tx, e stripe.Event, table string) (string, error) {
	_, ours := concerns(e)
	id, err := uuid.Parse(ours)
	if err != nil {
		return outcomeIgnored, nil
	}
	tag, err := tx.Exec(ctx, `UPDATE `+table+` SET next_try_at = $2 WHERE id = $1`, id, time.Now().UTC())
	if err != nil {
		return "", err
	}
	if tag.RowsAffected() == 0 {
		return outcomeWaiting, nil
	}
	poke(tx)
	return outcomeApplied, nil
}

func (s *Service) applyAccount(ctx context.Context, tx postgres.Tx, e stripe.Event) (string, error) {
	var a stripe.Account
	if err := json.Unmarshal(e.Data.Raw, &a); err != nil {
		return "", err
	}
	if _, err := uuid.Parse(a.Metadata[ourID]); err != nil {
		return outcomeIgnored, nil
	}
	tag, err := tx.Exec(ctx, `UPDATE payout_accounts SET next_try_at = $2 WHERE account_id = $1`, a.ID, time.Now().UTC())
	if err != nil {
		return "", err
	}
	if tag.RowsAffected() == 0 {
		return outcomeWaiting, nil
	}
	poke(tx)
	return outcomeApplied, nil
}
