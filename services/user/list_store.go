package user

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
)

// Order is how workers are listed.
type Order string

// The orders.
const (
	ByRating Order = "rating" // the best first, of equals those with more reviews
	ByRate   Order = "rate"   // the cheapest first, within one currency
	Newest   Order = "newest"
)

// WorkerFilter says which workers are wanted; zero values do not matter.
type WorkerFilter struct {
	Skills   []string // all of them, in any case of letters
	Text     string   // all its words, each at the beginning of a word in name, title, skills, categories or bio
	Country  string   // ISO 3166-1 alpha-2
	Currency string   // needed with rates and with ByRate
	MinRate  *int64   // an hour, in minor units
	MaxRate  *int64
	Sort     Order
	Cursor   string
}

// after is the cursor that continues behind w.
func (o Order) after(w Worker) string {
	switch o {
	case ByRate:
		return api.EncodeCursor(string(o), w.Currency, w.rate, w.ID)
	case Newest:
		return api.EncodeCursor(string(o), w.MemberSince, w.ID)
	}
	return api.EncodeCursor(string(ByRating), w.rank, w.TotalReviews, w.ID)
}

// query is a WHERE clause in the making.
type query struct {
	where []string
	args  []any
}

// and adds a condition, in which %s stands for each argument.
func (q *query) and(condition string, args ...any) {
	names := make([]any, len(args))
	for i, a := range args {
		q.args = append(q.args, a)
		names[i] = fmt.Sprintf("$%d", len(q.args))
	}
	q.where = append(q.where, fmt.Sprintf(condition, names...))
}

func (q *query) String() string { return " WHERE " + strings.Join(q.where, " AND ") }

// workers are one page of those who fit, in one round trip.
func workers(ctx context.Context, db postgres.Querier, want WorkerFilter, limit int) ([]person, error) {
	q := query{where: []string{"w.active"}}
	if len(want.Skills) > 0 {
		q.and("w.skill_keys @> %s", want.Skills)
	}
	if want.Text != "" {
		q.and("w.words @@ %s::tsquery", lookup(want.Text))
	}
	if want.Country != "" {
		q.and("w.country = %s", want.Country)
	}
	if want.Currency != "" {
		q.and("w.currency = %s", want.Currency)
	}
	if want.MinRate != nil {
		q.and("w.rate_minor >= %s", *want.MinRate)
	}
	if want.MaxRate != nil {
		q.and("w.rate_minor <= %s", *want.MaxRate)
	}
	order, err := want.resume(&q)
	if err != nil {
		return nil, err
	}
	q.args = append(q.args, limit)
	return postgres.All[person](ctx, db, `SELECT `+personColumns+`
		FROM workers w JOIN user_profiles p ON p.user_id = w.worker_id LEFT JOIN clients c ON c.client_id = p.user_id`+
		q.String()+order+fmt.Sprintf(" LIMIT $%d", len(q.args)), q.args...)
}

// resume answers the order, and continues q behind the cursor. Malformed: it is not a cursor of this order.
func (f WorkerFilter) resume(q *query) (string, error) {
	var (
		id          uuid.UUID
		of, code    string
		at          time.Time
		rank, count int64
		err         error
	)
	switch f.Sort {
	case ByRate:
		if f.Cursor != "" {
			if err = api.DecodeCursor(f.Cursor, &of, &code, &rank, &id); err == nil && code != f.Currency {
				of = ""
			}
			q.and("(w.rate_minor, w.worker_id) > (%s, %s)", rank, id)
		}
		return " ORDER BY w.rate_minor, w.worker_id", f.resumed(of, err)
	case Newest:
		if f.Cursor != "" {
			err = api.DecodeCursor(f.Cursor, &of, &at, &id)
			q.and("(w.created_at, w.worker_id) < (%s, %s)", at, id)
		}
		return " ORDER BY w.created_at DESC, w.worker_id DESC", f.resumed(of, err)
	}
	if f.Cursor != "" {
		err = api.DecodeCursor(f.Cursor, &of, &rank, &count, &id)
		q.and("(w.rating, w.reviews, w.worker_id) < (%s, %s, %s)", rank, count, id)
	}
	return " ORDER BY w.rating DESC, w.reviews DESC, w.worker_id DESC", f.resumed(of, err)
}

func (f WorkerFilter) resumed(of string, err error) error {
	if err == nil && f.Cursor != "" && of != string(f.Sort) {
		return errs.New(errs.Malformed, "The cursor is not one that this list gave out.")
	}
	return err
}

// UserFilter says which users are wanted; zero values do not matter.
type UserFilter struct {
	Text   string // part of the name or the e-mail address
	Role   string
	Status string
	Cursor string
}

// users are one page of those who fit, the newest first, without deleted ones.
func users(ctx context.Context, db postgres.Querier, want UserFilter, limit int) ([]person, error) {
	q := query{where: []string{"p.status <> 'deleted'"}}
	if want.Text != "" {
		q.and("strpos(lower(p.name || ' ' || p.email), lower(%s)) > 0", want.Text)
	}
	if want.Role != "" {
		q.and("p.role = %s", want.Role)
	}
	if want.Status != "" {
		q.and("p.status = %s", want.Status)
	}
	if want.Cursor != "" {
		var at time.Time
		var id uuid.UUID
		if err := api.DecodeCursor(want.Cursor, &at, &id); err != nil {
			return nil, err
		}
		q.and("(p.created_at, p.user_id) < (%s, %s)", at, id)
	}
	q.args = append(q.args, limit)
	return postgres.All[person](ctx, db, `SELECT `+personColumns+people+q.String()+
		fmt.Sprintf(" ORDER BY p.created_at DESC, p.user_id DESC LIMIT $%d", len(q.args)), q.args...)
}
