package payment

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/audit"
	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

// Review is a payment, refund or payout about which the rail says what cannot be, so that a person has to look.
type Review struct {
	Kind       string        `json:"kind" enum:"payment,refund,payout"`
	ID         uuid.UUID     `json:"id"`
	Status     string        `json:"status"`
	Why        string        `json:"why"`
	Amount     money.Decimal `json:"amount"`
	Currency   string        `json:"currency"`
	RailID     string        `json:"railId,omitempty"`
	CreatedAt  time.Time     `json:"createdAt"`
	Resolution string        `json:"resolution,omitempty" doc:"what a person wrote when closing it"`
}

// What a person may decide; money moves by neither.
const (
	askAgain    = "recheck" // ask the rail once more, and do what it says
	closeReview = "close"   // it is settled outside; resolution says how
)

// reviewed are the rows that need review, each kind alike.
var reviewed = map[string]string{
	"payment": `SELECT 'payment' AS kind, id, status, review AS why, amount, currency, coalesce(intent_id, '') AS rail_id, created_at, resolution FROM payments WHERE review <> ''`,
	"refund":  `SELECT 'refund' AS kind, id, status, review AS why, rail_amount AS amount, currency, coalesce(rail_id, '') AS rail_id, created_at, resolution FROM refunds WHERE status = 'needs_review'`,
	"payout":  `SELECT 'payout' AS kind, id, status, review AS why, amount, currency, coalesce(rail_id, transfer_id, '') AS rail_id, created_at, resolution FROM payouts WHERE status = 'needs_review'`,
}

// review is a row of reviewed.
type review struct {
	Kind       string
	ID         uuid.UUID
	Status     string
	Why        string
	Amount     int64
	Currency   string
	RailID     string
	CreatedAt  time.Time
	Resolution string
}

func (r review) view() Review {
	return Review{r.Kind, r.ID, r.Status, r.Why, money.Of(r.Amount, r.Currency).Decimal(), r.Currency, r.RailID, r.CreatedAt.UTC(), r.Resolution}
}

// Reviews is a page of what waits for a person.
func (s *Service) Reviews(ctx context.Context, paging api.Paging) (api.Page[Review], error) {
	var after uuid.UUID
	if paging.Cursor != "" {
		if err := api.DecodeCursor(paging.Cursor, &after); err != nil {
			return api.Page[Review]{}, err
		}
	}
	rows, err := postgres.All[review](ctx, s.db, `SELECT kind, id, status, why, amount, currency, rail_id, created_at, resolution FROM (`+reviewed["payment"]+` UNION ALL `+reviewed["refund"]+` UNION ALL `+reviewed["payout"]+`) AS rows
		WHERE resolution = '' AND id > $1 ORDER BY id LIMIT $2`, after, paging.Limit+1)
	if err != nil {
		return api.Page[Review]{}, err
	}
	cut := api.Slice(rows, paging.Limit, func(r review) string { return api.EncodeCursor(r.ID) })
	return api.View(cut, review.view), nil
}

// again is the SQL that has the retry loop look at a row once more: objects are looked for before any is made, as after a day, so that nothing
// happens twice. A payment that has arrived has nothing to ask.
var again = map[string]string{
	"payment": `UPDATE payments SET status = 'processing', review = '', resolution = '', attempts = 0, asked_at = 'epoch', next_try_at = $2 WHERE id = $1 AND status = 'needs_review' AND completed_at IS NULL`,
	"refund":  `UPDATE refunds SET status = CASE WHEN rail_id IS NULL THEN 'pending' ELSE 'sent' END, review = '', resolution = '', attempts = 0, asked_at = 'epoch', next_try_at = $2 WHERE id = $1 AND status = 'needs_review'`,
	"payout": `UPDATE payouts SET status = CASE WHEN rail_id IS NOT NULL THEN 'in_transit' WHEN transfer_id IS NOT NULL THEN 'transferred' ELSE 'pending' END, review = '', resolution = '', attempts = 0, asked_at = 'epoch', next_try_at = $2
		WHERE id = $1 AND status = 'needs_review' AND settled_at IS NULL`,
}

// closed is the SQL that notes what a person wrote.
var closed = map[string]string{
	"payment": `UPDATE payments SET resolution = $2 WHERE id = $1 AND review <> '' AND resolution = ''`,
	"refund":  `UPDATE refunds SET resolution = $2 WHERE id = $1 AND status = 'needs_review' AND resolution = ''`,
	"payout":  `UPDATE payouts SET resolution = $2 WHERE id = $1 AND status = 'needs_review' AND resolution = ''`,
}

// Resolve has the rail asked once more about what needs review, or closes it with a written reason. Neither books anything that the rail does not
// say. NotFound: there is no such row. Conflict: it needs no review, or has nothing to ask.
func (s *Service) Resolve(ctx context.Context, kind string, id uuid.UUID, decision, reason string) (Review, error) {
	sql, arg := again[kind], any(time.Now().UTC())
	if decision == closeReview {
		sql, arg = closed[kind], reason
	}
	var r review
	err := s.db.InTx(ctx, func(tx postgres.Tx) error {
		found, err := postgres.All[review](ctx, tx, reviewed[kind]+` AND id = $1 FOR NO KEY UPDATE`, id)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			if _, err := postgres.One[uuid.UUID](ctx, tx, `SELECT id FROM `+kind+`s WHERE id = $1`, id); err != nil {
				if errs.KindOf(err) == errs.NotFound {
					err = errs.New(errs.NotFound, "There is no such "+kind+".")
				}
				return err
			}
			return errs.Coded(errs.Conflict, "no_review", "This "+kind+" needs no review.")
		}
		r = found[0]
		tag, err := tx.Exec(ctx, sql, id, arg)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return errs.Coded(errs.Conflict, "no_review", "There is nothing left to decide about this "+kind+".")
		}
		if decision == closeReview {
			r.Resolution = reason
		} else {
			poke(tx)
		}
		return audit.Add(ctx, tx, audit.Entry{Action: fmt.Sprint(kind, ".review_", map[string]string{askAgain: "rechecked", closeReview: "closed"}[decision]), Subject: id, Detail: map[string]string{"why": r.Why, "reason": reason}})
	})
	return r.view(), err
}

func (s *Service) reviewRoutes(r *api.Router) {
	api.List(r, "/api/payments/reviews", s.listReviews, api.For(token.Admin), api.Of(api.NoOne), api.Summary("Payments, refunds and payouts about which a person has to look."))
	api.Post(r, "/api/payments/reviews/{kind}/{id}", s.postReview, api.For(token.Admin), api.Of(api.NoOne), api.StepUpFor(token.Admin), api.While(NeedsReview), api.Once,
		api.Summary("Have Stripe asked once more and do what it says, or close it with a written reason. No money moves by it."))
}

func (s *Service) listReviews(ctx context.Context, in *api.Paging) (api.Page[Review], error) {
	return s.Reviews(ctx, *in)
}

type postReviewIn struct {
	Kind string    `path:"kind" enum:"payment,refund,payout"`
	ID   uuid.UUID `path:"id"`
	Body struct {
		Decision string `json:"decision" enum:"recheck,close"`
		Reason   string `json:"reason" minLength:"3" maxLength:"500"`
	}
}

func (s *Service) postReview(ctx context.Context, in *postReviewIn) (Review, error) {
	return s.Resolve(ctx, in.Kind, in.ID, in.Body.Decision, in.Body.Reason)
}
