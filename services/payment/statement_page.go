package payment

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/page"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

//go:embed pages/page.css
var pageStyle string

//go:embed pages/statement.html
var statementText string

//go:embed pages/receipt.html
var receiptText string

var statementPage, receiptPage = page.New(statementText, pageStyle), page.New(receiptText, pageStyle)

// zoneNamed is the zone of a name in a field. Invalid: there is none; no name and Local would be the machine's.
func zoneNamed(field, name string) (*time.Location, error) {
	loc, err := time.LoadLocation(name)
	if err != nil || name == "" || name == "Local" {
		return nil, errs.Field(field, "is not a time zone, such as Europe/Berlin")
	}
	return loc, nil
}

const onPage = "2 January 2006, 15:04"

type currencyPart struct {
	Currency, Opening, Closing string
	Lines                      []pageLine
}

type pageLine struct{ Date, Description, Reference, Amount, Balance string }

// html is the statement as a page, a table for each currency, times in loc.
func (st Statement) html(of uuid.UUID, loc *time.Location, now time.Time) (api.File, error) {
	parts := map[string]*currencyPart{}
	var order []*currencyPart
	for _, b := range st.Closing {
		p := &currencyPart{Currency: b.Currency, Opening: string(money.Of(0, b.Currency).Decimal()), Closing: string(b.Balance)}
		parts[b.Currency], order = p, append(order, p)
	}
	for _, b := range st.Opening {
		parts[b.Currency].Opening = string(b.Balance)
	}
	for _, l := range st.Lines {
		p := parts[l.Currency]
		p.Lines = append(p.Lines, pageLine{l.At.In(loc).Format(onPage), l.Description, cmp.Or(idText(l.BookingID), idText(l.PayoutID)), string(l.Amount), string(l.Balance)})
	}
	return statementPage.File(0, map[string]any{"From": st.From.In(loc).Format(onPage), "To": st.To.In(loc).Format(onPage),
		"Zone": loc.String(), "Account": of, "Made": now.In(loc).Format(onPage), "Currencies": order})
}

// Month is a month in which something of the caller's moved.
type Month struct {
	Month      string       `json:"month" doc:"such as 2026-03, in the zone"`
	From       time.Time    `json:"from"`
	To         time.Time    `json:"to" doc:"exclusive"`
	Currencies []MonthMoney `json:"currencies"`
}

// MonthMoney is what moved in a month in one currency.
type MonthMoney struct {
	Currency string        `json:"currency"`
	Entries  int           `json:"entries"`
	In       money.Decimal `json:"in"`
	Out      money.Decimal `json:"out"`
}

// Months is a page of the months in which something of the caller's moved, the latest first.
func (s *Service) Months(ctx context.Context, by token.Caller, loc *time.Location, paging api.Paging) (api.Page[Month], error) {
	before := "9999-12"
	if paging.Cursor != "" {
		if err := api.DecodeCursor(paging.Cursor, &before); err != nil {
			return api.Page[Month]{}, err
		}
	}
	entries, sign := workerEntries, "e.amount"
	if by.Role == token.Client {
		entries, sign = clientEntries, "-e.amount"
	}
	rows, err := postgres.All[struct {
		Month, Currency string
		Entries         int
		In, Out         int64
	}](ctx, s.db, `WITH moved AS (SELECT to_char(l.posted_at AT TIME ZONE $2, 'YYYY-MM') AS month, e.currency, `+sign+` AS amount `+entries+`),
			months AS (SELECT DISTINCT month FROM moved WHERE month < $3 ORDER BY month DESC LIMIT $4)
		SELECT month, currency, count(*)::int AS entries, coalesce(sum(amount) FILTER (WHERE amount > 0), 0)::bigint AS in, coalesce(-sum(amount) FILTER (WHERE amount < 0), 0)::bigint AS out
		FROM moved JOIN months USING (month) GROUP BY month, currency ORDER BY month DESC, currency`, by.ID, loc.String(), before, paging.Limit+1)
	if err != nil {
		return api.Page[Month]{}, err
	}
	var months []Month
	for _, r := range rows {
		if len(months) == 0 || months[len(months)-1].Month != r.Month {
			first, err := time.ParseInLocation("2006-01", r.Month, loc)
			if err != nil {
				return api.Page[Month]{}, fmt.Errorf("the month of an entry: %w", err)
			}
			months = append(months, Month{Month: r.Month, From: first.UTC(), To: first.AddDate(0, 1, 0).UTC()})
		}
		m := &months[len(months)-1]
		m.Currencies = append(m.Currencies, MonthMoney{r.Currency, r.Entries, money.Of(r.In, r.Currency).Decimal(), money.Of(r.Out, r.Currency).Decimal()})
	}
	return api.Slice(months, paging.Limit, func(m Month) string { return api.EncodeCursor(m.Month) }), nil
}

// Receipt is the page of a payment for its client. NotFound: there is none, or it is another's. Conflict: it is not paid.
func (s *Service) Receipt(ctx context.Context, by token.Caller, id uuid.UUID, loc *time.Location) (api.File, error) {
	p, err := byID(ctx, s.db, id)
	if err != nil {
		return api.File{}, err
	}
	if by.Role == token.Client && p.ClientID != by.ID {
		return api.File{}, errNoPayment
	}
	if p.CompletedAt == nil {
		return api.File{}, errs.Coded(errs.Conflict, "not_paid", "Nothing has been paid, so there is no receipt.")
	}
	some := func(minor int64) string {
		if minor == 0 {
			return ""
		}
		return money.Of(minor, p.Currency).String()
	}
	return receiptPage.File(0, map[string]any{"Title": p.Title, "Paid": p.CompletedAt.In(loc).Format(onPage), "Zone": loc.String(), "Payment": p.ID, "Booking": p.BookingID,
		"Amount": p.gross().String(), "Refunded": some(p.RefundDone), "ChargedBack": some(p.ChargedBack), "Left": money.Of(max(0, p.Amount-p.RefundDone-p.ChargedBack), p.Currency).String()})
}

func (s *Service) statementRoutes(r *api.Router) {
	api.List(r, "/api/payments/statements", s.listMonths, api.For(token.Client, token.Worker), api.Of(api.NoOne), api.Heavy, api.Summary("The months in which something of the caller's moved, the latest first."))
	api.Get(r, "/api/payments/receipts/{id}", s.getReceipt, api.For(token.Client, token.Admin), api.Of(api.Owner, token.Admin), api.Summary("The receipt of a payment, as a page for printing."))
}

type listMonthsIn struct {
	api.Paging
	TZ string `query:"tz" maxLength:"60" required:"false" doc:"IANA; default: UTC"`
}

func (s *Service) listMonths(ctx context.Context, in *listMonthsIn) (api.Page[Month], error) {
	loc, err := zoneNamed("tz", cmp.Or(in.TZ, "UTC"))
	if err != nil {
		return api.Page[Month]{}, err
	}
	return s.Months(ctx, token.From(ctx), loc, in.Paging)
}

type getReceiptIn struct {
	ID uuid.UUID `path:"id"`
	TZ string    `query:"tz" maxLength:"60" required:"false" doc:"IANA; default: UTC"`
}

func (s *Service) getReceipt(ctx context.Context, in *getReceiptIn) (api.File, error) {
	loc, err := zoneNamed("tz", cmp.Or(in.TZ, "UTC"))
	if err != nil {
		return api.File{}, err
	}
	return s.Receipt(ctx, token.From(ctx), in.ID, loc)
}
