package payment

import (
	"context"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/money"
	"tulifo/platform/token"
)

// Reconciliation is a comparison of the books with the rail.
type Reconciliation struct {
	ID          uuid.UUID                `json:"id"`
	At          time.Time                `json:"at" doc:"business time"`
	From        time.Time                `json:"from" doc:"what came about from here on was compared, by the machine's time"`
	To          time.Time                `json:"to"`
	Status      string                   `json:"status" enum:"running,clean,different,failed"`
	Failure     string                   `json:"failure,omitempty"`
	Differences int                      `json:"differences"`
	Sums        []Sum                    `json:"sums"`
	Own         map[string]money.Decimal `json:"own" doc:"by currency, what the rail has more than the books say: the platform's own money"`
	List        []Difference             `json:"list,omitempty" doc:"the differences; in the report itself only"`
	FinishedAt  *time.Time               `json:"finishedAt"`
}

// Sum is how much of one kind of object there is on both sides.
type Sum struct {
	Object     string        `json:"object"`
	Currency   string        `json:"currency"`
	HereCount  int           `json:"hereCount"`
	Here       money.Decimal `json:"here"`
	ThereCount int           `json:"thereCount"`
	There      money.Decimal `json:"there"`

	here, there int64
}

// Difference is one thing in which the books and the rail differ.
type Difference struct {
	Kind     string `json:"kind" enum:"missing_here,missing_there,amount,status,unknown,balance"`
	Object   string `json:"object" enum:"payment,refund,chargeback,transfer,payout,balance"`
	OurID    string `json:"ourId,omitempty"`
	RailID   string `json:"railId,omitempty"`
	Sentence string `json:"sentence"`
}

// reconciliation is a row of reconciliations.
type reconciliation struct {
	ID          uuid.UUID
	At          time.Time
	Since       time.Time
	Until       time.Time
	Status      string
	Failure     string
	Differences int
	Sums        []Sum
	Own         map[string]int64
	FinishedAt  *time.Time
}

const reconciliationColumns = `id, at, since, until, status, failure, differences, sums, own, finished_at`

func (r reconciliation) view() Reconciliation {
	v := Reconciliation{ID: r.ID, At: r.At.UTC(), From: r.Since.UTC(), To: r.Until.UTC(), Status: r.Status, Failure: r.Failure, Differences: r.Differences, Sums: r.Sums,
		Own: map[string]money.Decimal{}, FinishedAt: r.FinishedAt}
	for currency, minor := range r.Own {
		v.Own[currency] = money.Of(minor, currency).Decimal()
	}
	return v
}

func (s *Service) reconciliationRoutes(r *api.Router) {
	api.List(r, "/api/payments/reconciliation", s.listReconciliations, api.For(token.Admin), api.Of(api.NoOne), api.Summary("Comparisons of the books with Stripe, newest first."))
	api.Get(r, "/api/payments/reconciliation/{id}", s.getReconciliation, api.For(token.Admin), api.Of(api.NoOne), api.Summary("One of them, with each difference in a sentence."))
	api.Post(r, "/api/payments/reconciliation", s.postReconciliation, api.For(token.Admin), api.Of(api.NoOne), api.Created, api.Deadline(25*time.Second), api.Heavy, api.Summary("Compare the books with Stripe now."))
}

func (s *Service) listReconciliations(ctx context.Context, in *api.Paging) (api.Page[Reconciliation], error) {
	return s.Reconciliations(ctx, *in)
}

func (s *Service) getReconciliation(ctx context.Context, in *byIDIn) (Reconciliation, error) {
	return s.ReconciliationOf(ctx, in.ID)
}

type postReconciliationIn struct {
	Body *struct {
		From *time.Time `json:"from,omitempty" doc:"default: 48 hours before to"`
		To   *time.Time `json:"to,omitempty" doc:"default: now"`
	} `required:"false"`
}

func (s *Service) postReconciliation(ctx context.Context, in *postReconciliationIn) (Reconciliation, error) {
	if in.Body == nil {
		return s.Reconcile(ctx, nil, nil)
	}
	return s.Reconcile(ctx, in.Body.From, in.Body.To)
}
