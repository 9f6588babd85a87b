package payment

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/stripe/stripe-go/v85"

	"tulifo/platform/errs"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// States of a worker's account at the rail.
const (
	accountPending  = "pending" // the worker has to complete it
	accountVerified = "verified"
	accountRefused  = "refused"
)

// payoutAccount is a row of payout_accounts: through which account at the rail a worker is paid.
type payoutAccount struct {
	UserID    uuid.UUID
	AccountID *string
	Country   string
	Email     string
	Status    string
	Reason    string
	CreatedAt time.Time
	AskedAt   *time.Time
	NextTryAt *time.Time
	Attempts  int
	Turn      int64 // how often it was claimed
}

const payoutAccountColumns = `user_id, account_id, country, email, status, reason, created_at, asked_at, next_try_at, attempts, turn`

// PayoutAccount is what a worker sees of his account at the rail.
type PayoutAccount struct {
	Status    string     `json:"status" enum:"pending,verified,refused"`
	Reason    string     `json:"reason,omitempty" doc:"why it is not verified, as Stripe names it"`
	URL       string     `json:"url,omitempty" doc:"where to complete it; good once, until expiresAt"`
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
}

// OpenPayoutAccount opens the worker's account at the rail, once, and answers the page where it is completed. Asking again answers a new page.
// Forbidden: his e-mail address is not proven. Unavailable: the rail is away; asking again goes on where this stopped.
func (s *Service) OpenPayoutAccount(ctx context.Context, by token.Caller, country string) (PayoutAccount, error) {
	email, err := s.provenEmail(ctx, by.ID)
	if err != nil {
		return PayoutAccount{}, err
	}
	a, err := postgres.One[payoutAccount](ctx, s.db, `
		INSERT INTO payout_accounts (user_id, country, email, status, created_at, asked_at) VALUES ($1, $2, $3, 'pending', $4, $5)
		ON CONFLICT (user_id) DO UPDATE SET user_id = excluded.user_id RETURNING `+payoutAccountColumns,
		by.ID, country, email, s.clock.Now(), time.Now().UTC())
	if err != nil {
		return PayoutAccount{}, err
	}
	if a, err = s.connect(ctx, a); err != nil {
		return PayoutAccount{}, err
	}
	out := PayoutAccount{Status: a.Status, Reason: a.Reason}
	if a.Status == accountVerified {
		return out, nil
	}
	page, err := s.rail.accountPage(ctx, *a.AccountID, s.config.PublicURL+"/wallet")
	if err != nil {
		return PayoutAccount{}, away(err)
	}
	until := time.Unix(page.ExpiresAt, 0).UTC()
	out.URL, out.ExpiresAt = page.URL, &until
	return out, nil
}

// connect makes sure that the rail has the account, and stores how it stands there, unless somebody asks again since.
func (s *Service) connect(ctx context.Context, a payoutAccount) (payoutAccount, error) {
	var at *stripe.Account
	var err error
	if a.AccountID == nil {
		at, err = awaited(ctx, func() (*stripe.Account, error) { return s.rail.openAccount(ctx, a) })
	} else {
		at, err = s.rail.account(ctx, *a.AccountID)
	}
	if code, no := refused(err); no {
		return a, errs.Coded(errs.Conflict, "payout_account_refused", "Stripe does not open an account with these details.").Because(fmt.Errorf("%s: %w", code, err))
	}
	if err != nil {
		return a, away(err)
	}
	status, reason := standing(at)
	return postgres.One[payoutAccount](ctx, s.db, `
		UPDATE payout_accounts SET account_id = coalesce(account_id, $2),
			status = CASE WHEN turn = $5 THEN $3 ELSE status END, reason = CASE WHEN turn = $5 THEN $4 ELSE reason END,
			attempts = CASE WHEN turn = $5 THEN 0 ELSE attempts END, next_try_at = CASE WHEN turn <> $5 OR next_try_at <= $6 THEN next_try_at END
		WHERE user_id = $1 RETURNING `+payoutAccountColumns, a.UserID, at.ID, status, reason, a.Turn, time.Now().UTC())
}

// standing is how an account stands at the rail.
func standing(a *stripe.Account) (status, reason string) {
	if a.PayoutsEnabled {
		return accountVerified, ""
	}
	if a.Requirements != nil {
		reason = string(a.Requirements.DisabledReason)
	}
	if len(reason) > 8 && reason[:8] == "rejected" {
		return accountRefused, reason
	}
	return accountPending, reason
}

// verifiedAccount is the account that a worker can be paid through. A copy that says no is asked about first.
func (s *Service) verifiedAccount(ctx context.Context, user uuid.UUID) (payoutAccount, error) {
	a, err := postgres.One[payoutAccount](ctx, s.db, `SELECT `+payoutAccountColumns+` FROM payout_accounts WHERE user_id = $1`, user)
	if errs.KindOf(err) == errs.NotFound {
		return a, errs.Coded(errs.Conflict, "payout_account_missing", "Set up your payout account first.")
	}
	if err != nil || a.Status == accountVerified && a.AccountID != nil {
		return a, err
	}
	if a, err = s.connect(ctx, a); err != nil {
		return a, err
	}
	switch a.Status {
	case accountVerified:
		return a, nil
	case accountRefused:
		return a, errs.Coded(errs.Conflict, "payout_account_refused", "Stripe has refused your payout account.")
	}
	return a, errs.Coded(errs.Conflict, "payout_account_incomplete", "Complete your payout account first.")
}

// retryAccount asks how an account stands.
func (s *Service) retryAccount(ctx context.Context, a payoutAccount) error {
	if a.AccountID == nil {
		return s.rest(ctx, "payout_accounts", a.UserID.String(), *a.NextTryAt, nil)
	}
	_, err := s.connect(ctx, a)
	return err
}
