package payment

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/audit"
	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// feeRule is a row of fee_rules: what the platform takes of a gross in a category from ValidFrom up to ValidUntil.
type feeRule struct {
	ID          uuid.UUID
	Category    string // empty: any that has no rule of its own
	BasisPoints int
	ValidFrom   time.Time
	ValidUntil  *time.Time
	Reason      string
	CreatedBy   uuid.UUID
	CreatedAt   time.Time
}

const feeRuleColumns = `id, category, basis_points, valid_from, valid_until, reason, created_by, created_at`

// categoryKey is a category as workers' offers have it.
func categoryKey(name string) string { return strings.ToLower(strings.Join(strings.Fields(name), " ")) }

var errFeeRulesOverlap = errs.Coded(errs.Conflict, "fee_rules_overlap", "This category has a rule in that period. End it first.")

// SetFee makes a rule for new payments of a category, for any when category is empty. from is now when nil; it is not in the past. until is open
// when nil. Payments that exist keep the rule that they were made with. Conflict: the category has another rule in the period.
func (s *Service) SetFee(ctx context.Context, by token.Caller, category string, basisPoints int, from, until *time.Time, reason string) (FeeRule, error) {
	now := s.clock.Now()
	category = categoryKey(category)
	r := feeRule{ID: uuid.Must(uuid.NewV7()), Category: category, BasisPoints: basisPoints, ValidFrom: now, Reason: reason, CreatedBy: by.ID, CreatedAt: now}
	if from != nil {
		r.ValidFrom = from.UTC().Truncate(time.Microsecond)
	}
	if until != nil {
		end := until.UTC().Truncate(time.Microsecond)
		r.ValidUntil = &end
	}
	switch {
	case strings.Contains(category, ","):
		return FeeRule{}, errs.Field("category", "must be one name, without commas")
	case r.ValidFrom.Before(now):
		return FeeRule{}, errs.Field("validFrom", "is in the past")
	case r.ValidUntil != nil && !r.ValidUntil.After(r.ValidFrom):
		return FeeRule{}, errs.Field("validUntil", "must be after validFrom")
	case r.ValidFrom.After(now.AddDate(10, 0, 0)), r.ValidUntil != nil && r.ValidUntil.After(now.AddDate(100, 0, 0)):
		return FeeRule{}, errs.Field("validFrom", "is too far away")
	}
	err := s.db.InTx(ctx, func(tx postgres.Tx) error {
		// Two that check each other for an overlap would wait for each other.
		if _, err := tx.Exec(ctx, `LOCK TABLE fee_rules IN SHARE ROW EXCLUSIVE MODE`); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO fee_rules (`+feeRuleColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			r.ID, r.Category, r.BasisPoints, r.ValidFrom, r.ValidUntil, r.Reason, r.CreatedBy, r.CreatedAt)
		if err != nil {
			return err
		}
		return audit.Add(ctx, tx, audit.Entry{Action: "fee_rule.created", Subject: r.ID, Detail: r.detail()})
	})
	if postgres.Violates(err, "fee_rules_apart") {
		err = errFeeRulesOverlap
	}
	return viewFeeRule(r, by, now), err
}

// EndFee has a rule end at until, or now when nil; one that has not begun then never applies. What was is not changed: until is not in the past.
// NotFound: there is no such rule. Conflict: it has ended, or would run into the next one.
func (s *Service) EndFee(ctx context.Context, by token.Caller, id uuid.UUID, until *time.Time) (FeeRule, error) {
	now := s.clock.Now()
	end := now
	if until != nil {
		if end = until.UTC().Truncate(time.Microsecond); end.Before(now) {
			return FeeRule{}, errs.Field("validUntil", "is in the past")
		}
		if end.After(now.AddDate(100, 0, 0)) {
			return FeeRule{}, errs.Field("validUntil", "is too far away")
		}
	}
	var r feeRule
	err := s.db.InTx(ctx, func(tx postgres.Tx) error {
		found, err := postgres.All[feeRule](ctx, tx, `UPDATE fee_rules SET valid_until = greatest($2::timestamptz, valid_from)
			WHERE id = $1 AND (valid_until IS NULL OR valid_until > $3) RETURNING `+feeRuleColumns, id, end, now)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			if _, err := postgres.One[uuid.UUID](ctx, tx, `SELECT id FROM fee_rules WHERE id = $1`, id); err != nil {
				if errs.KindOf(err) == errs.NotFound {
					err = errs.New(errs.NotFound, "There is no such rule.")
				}
				return err
			}
			return errs.Coded(errs.Conflict, "fee_rule_ended", "This rule has ended.")
		}
		r = found[0]
		return audit.Add(ctx, tx, audit.Entry{Action: "fee_rule.ended", Subject: r.ID, Detail: r.detail()})
	})
	if postgres.Violates(err, "fee_rules_apart") {
		err = errFeeRulesOverlap
	}
	return viewFeeRule(r, by, now), err
}

func (r feeRule) detail() map[string]string {
	d := map[string]string{"category": r.Category, "percent": percent(r.BasisPoints), "from": r.ValidFrom.Format(time.RFC3339), "reason": r.Reason}
	if r.ValidUntil != nil {
		d["until"] = r.ValidUntil.Format(time.RFC3339)
	}
	return d
}

// percent is basis points as a person reads them: 12.5 %.
func percent(basisPoints int) string {
	return string(money.Of(int64(basisPoints), "USD").Decimal()) + " %"
}

// FeeRules is a page of all rules, those that begin last first.
func (s *Service) FeeRules(ctx context.Context, by token.Caller, paging api.Paging) (api.Page[FeeRule], error) {
	before := key{CreatedAt: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}
	if paging.Cursor != "" {
		if err := api.DecodeCursor(paging.Cursor, &before.CreatedAt, &before.ID); err != nil {
			return api.Page[FeeRule]{}, err
		}
	}
	rows, err := postgres.All[feeRule](ctx, s.db, `SELECT `+feeRuleColumns+` FROM fee_rules WHERE (valid_from, id) < ($1, $2) ORDER BY valid_from DESC, id DESC LIMIT $3`,
		before.CreatedAt, before.ID, paging.Limit+1)
	if err != nil {
		return api.Page[FeeRule]{}, err
	}
	now := s.clock.Now()
	cut := api.Slice(rows, paging.Limit, func(r feeRule) string { return api.EncodeCursor(r.ValidFrom, r.ID) })
	return api.View(cut, func(r feeRule) FeeRule { return viewFeeRule(r, by, now) }), nil
}

// frozenFee is the rule that a payment is made with.
type frozenFee struct {
	RuleID      *uuid.UUID
	BasisPoints int
}

// ruleAt is the SQL of the rule for a category at a time, each given by the name of its parameter: the category's own, else the configuration's
// for it, else that for any, else the configuration's.
func ruleAt(category, at, own, other string) string {
	return `SELECT CASE WHEN o.id IS NOT NULL THEN o.id WHEN ` + own + `::int IS NULL THEN e.id END AS rule_id,
			coalesce(o.basis_points, ` + own + `::int, e.basis_points, ` + other + `::int) AS basis_points
		FROM (SELECT 1) AS one
		LEFT JOIN fee_rules o ON o.category = ` + category + `::text AND o.category <> '' AND tstzrange(o.valid_from, o.valid_until) @> ` + at + `::timestamptz
		LEFT JOIN fee_rules e ON e.category = '' AND tstzrange(e.valid_from, e.valid_until) @> ` + at + `::timestamptz`
}

// feeOfCategory is what the configuration says of a category; nil when nothing.
func (c Config) feeOfCategory(category string) *int {
	if fee, ok := c.FeeByCategory[category]; ok {
		return &fee
	}
	return nil
}

func (s *Service) feeAt(ctx context.Context, q postgres.Querier, category string, at time.Time) (frozenFee, error) {
	return postgres.One[frozenFee](ctx, q, ruleAt("$1", "$2", "$3", "$4"), category, at, s.config.feeOfCategory(category), s.config.Fee)
}

// FeeOf answers what the platform would take of a gross in the category now, and what is left of it.
func (s *Service) FeeOf(ctx context.Context, category string, gross money.Decimal, currency string) (Fee, error) {
	a, err := gross.Payable(currency)
	switch {
	case errors.Is(err, money.ErrCurrency):
		return Fee{}, errs.Field("currency", "must be a currency, such as USD")
	case err != nil:
		return Fee{}, errs.Field("amount", err.Error())
	case a.Minor <= 0:
		return Fee{}, errs.Field("amount", "must be above 0")
	}
	f, err := s.feeAt(ctx, s.db, categoryKey(category), s.clock.Now())
	if err != nil {
		return Fee{}, err
	}
	fee := a.Share(f.BasisPoints)
	return Fee{Amount: a.Decimal(), Fee: fee.Decimal(), Net: money.Of(a.Minor-fee.Minor, currency).Decimal(), Currency: currency, BasisPoints: f.BasisPoints, RuleID: f.RuleID}, nil
}
