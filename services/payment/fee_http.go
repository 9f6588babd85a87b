package payment

import (
	"context"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/money"
	"tulifo/platform/token"
)

// FeeRule is what the platform takes in a category and a period.
type FeeRule struct {
	ID          uuid.UUID  `json:"id"`
	Category    string     `json:"category" doc:"empty: any that has no rule of its own"`
	BasisPoints int        `json:"basisPoints" doc:"hundredths of a percent of the gross"`
	ValidFrom   time.Time  `json:"validFrom"`
	ValidUntil  *time.Time `json:"validUntil" doc:"exclusive; open when null"`
	Current     bool       `json:"current" doc:"it applies to payments made now"`
	Reason      string     `json:"reason,omitempty" doc:"for admins"`
	CreatedBy   *uuid.UUID `json:"createdBy,omitempty" doc:"for admins"`
}

func viewFeeRule(r feeRule, by token.Caller, now time.Time) FeeRule {
	v := FeeRule{ID: r.ID, Category: r.Category, BasisPoints: r.BasisPoints, ValidFrom: r.ValidFrom.UTC(), ValidUntil: r.ValidUntil,
		Current: !r.ValidFrom.After(now) && (r.ValidUntil == nil || r.ValidUntil.After(now))}
	if by.Is(token.Admin) {
		v.Reason, v.CreatedBy = r.Reason, &r.CreatedBy
	}
	return v
}

// Fee is what the platform takes of a gross, and what the worker gets.
type Fee struct {
	Amount      money.Decimal `json:"amount" doc:"gross"`
	Fee         money.Decimal `json:"fee"`
	Net         money.Decimal `json:"net"`
	Currency    string        `json:"currency"`
	BasisPoints int           `json:"basisPoints"`
	RuleID      *uuid.UUID    `json:"ruleId,omitempty" doc:"absent: the platform's default"`
}

func (s *Service) feeRoutes(r *api.Router) {
	api.Get(r, "/api/payments/fees", s.getFee, api.For(token.Worker, token.Admin), api.Of(api.NoOne), api.Summary("What the platform would take of an amount now, and what is left."))
	api.List(r, "/api/payments/fee-rules", s.listFeeRules, api.For(token.Worker, token.Admin), api.Of(api.NoOne), api.Summary("What the platform takes by category and period, the latest first."))
	api.Post(r, "/api/payments/fee-rules", s.postFeeRule, api.For(token.Admin), api.Of(api.NoOne), api.StepUpFor(token.Admin), api.Created, api.Once, api.Summary("Set what the platform takes of new payments of a category."))
	api.Put(r, "/api/payments/fee-rules/{id}", s.putFeeRule, api.For(token.Admin), api.Of(api.NoOne), api.StepUpFor(token.Admin), api.Summary("End a rule, now or later. Payments that exist keep it."))
}

type getFeeIn struct {
	Category string `query:"category" maxLength:"60" required:"false"`
	Amount   string `query:"amount" pattern:"^[0-9]{1,12}(\\.[0-9]{1,4})?$" patternDescription:"an amount, such as 75 or 75.50" required:"true"`
	Currency string `query:"currency" pattern:"^[A-Z]{3}$" patternDescription:"a currency, such as USD" default:"USD"`
}

func (s *Service) getFee(ctx context.Context, in *getFeeIn) (Fee, error) {
	return s.FeeOf(ctx, in.Category, money.Decimal(in.Amount), in.Currency)
}

func (s *Service) listFeeRules(ctx context.Context, in *api.Paging) (api.Page[FeeRule], error) {
	return s.FeeRules(ctx, token.From(ctx), *in)
}

type postFeeRuleIn struct {
	Body struct {
		Category    string     `json:"category,omitempty" maxLength:"60" doc:"as workers' offers name it; absent: any that has no rule of its own"`
		BasisPoints int        `json:"basisPoints" minimum:"0" maximum:"10000" doc:"hundredths of a percent of the gross: 1000 is 10 %"`
		ValidFrom   *time.Time `json:"validFrom,omitempty" doc:"default: now"`
		ValidUntil  *time.Time `json:"validUntil,omitempty" doc:"exclusive; default: open"`
		Reason      string     `json:"reason" minLength:"3" maxLength:"500"`
	}
}

func (s *Service) postFeeRule(ctx context.Context, in *postFeeRuleIn) (FeeRule, error) {
	b := in.Body
	return s.SetFee(ctx, token.From(ctx), b.Category, b.BasisPoints, b.ValidFrom, b.ValidUntil, b.Reason)
}

type putFeeRuleIn struct {
	ID   uuid.UUID `path:"id"`
	Body struct {
		ValidUntil *time.Time `json:"validUntil,omitempty" doc:"exclusive, not in the past; default: now"`
	}
}

func (s *Service) putFeeRule(ctx context.Context, in *putFeeRuleIn) (FeeRule, error) {
	return s.EndFee(ctx, token.From(ctx), in.ID, in.Body.ValidUntil)
}
