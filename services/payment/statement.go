package payment

import (
	"bytes"
	"context"
	"encoding/csv"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"tulifo/platform/api"
	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

const (
	longestPeriod = 366 * 24 * time.Hour
	defaultPeriod = 90 * 24 * time.Hour
	maxLines      = 10_000
)

// Statement is every entry of a period. A worker's balance is the wallet less what is owed; a client's is what was paid less what came back.
type Statement struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to" doc:"exclusive"`
	Opening []Balance `json:"opening"`
	Lines   []Line    `json:"lines"`
	Closing []Balance `json:"closing"`
}

// Balance is a balance in one currency.
type Balance struct {
	Balance  money.Decimal `json:"balance"`
	Currency string        `json:"currency"`
}

// Line is one entry. Balance is the one of its currency after it.
type Line struct {
	At          time.Time     `json:"at"`
	Kind        string        `json:"kind"`
	Description string        `json:"description"`
	BookingID   *uuid.UUID    `json:"bookingId,omitempty"`
	PayoutID    *uuid.UUID    `json:"payoutId,omitempty"`
	Amount      money.Decimal `json:"amount"`
	Balance     money.Decimal `json:"balance"`
	Currency    string        `json:"currency"`
	Entry       string        `json:"entry" doc:"the entry's number in the ledger"`
}

type entry struct {
	PostedAt time.Time
	Seq      int64
	N        int16
	Kind     string
	Subject  uuid.UUID
	Title    string
	Debt     bool
	Currency string
	Amount   int64
}

// The entries of a worker are those of the wallet and of what he owes; of a client, what went between his bank and us, one a transaction.
const (
	workerEntries = `FROM ledger_transactions l JOIN entries e ON e.transaction = l.seq LEFT JOIN payments p ON p.booking_id = l.subject
		WHERE l.worker_id = $1 AND e.account IN ('wallet:' || $1::uuid, 'chargeback_debt:' || $1::uuid)`
	clientEntries = `FROM ledger_transactions l JOIN entries e ON e.transaction = l.seq LEFT JOIN payments p ON p.booking_id = l.subject
		WHERE l.client_id = $1 AND e.account = 'rail_clearing'`
	workerColumns = `l.posted_at, l.seq, e.n, l.kind, l.subject, coalesce(p.title, '') AS title, e.account LIKE 'chargeback%' AS debt, e.currency, e.amount`
	clientColumns = `l.posted_at, l.seq, 1::smallint AS n, l.kind, l.subject, coalesce(p.title, '') AS title, false AS debt, e.currency, -sum(e.amount)::bigint AS amount`
)

// StatementOf answers the caller's statement from from up to to, in one round trip. Invalid: the period has too many entries for one.
func (s *Service) StatementOf(ctx context.Context, by token.Caller, from, to time.Time) (Statement, error) {
	entries, columns, sum, group := workerEntries, workerColumns, `sum(e.amount)::bigint`, ``
	if by.Role == token.Client {
		entries, columns, sum = clientEntries, clientColumns, `-sum(e.amount)::bigint`
		group = ` GROUP BY l.posted_at, l.seq, l.kind, l.subject, p.title, e.currency`
	}
	balances := map[string]int64{}
	order := []string{}
	var found []entry
	b := &pgx.Batch{}
	postgres.Queue(b, func(f funds) {
		balances[f.Currency] = f.Balance
		order = append(order, f.Currency)
	}, `SELECT e.currency, `+sum+` AS balance `+entries+` AND l.posted_at < $2 GROUP BY e.currency ORDER BY e.currency`, by.ID, from)
	postgres.Queue(b, func(e entry) { found = append(found, e) },
		`SELECT `+columns+` `+entries+` AND l.posted_at >= $2 AND l.posted_at < $3`+group+` ORDER BY l.posted_at, l.seq, n LIMIT $4`, by.ID, from, to, maxLines+1)
	if err := s.db.SendBatch(ctx, b).Close(); err != nil {
		return Statement{}, fmt.Errorf("read the statement: %w", err)
	}
	if len(found) > maxLines {
		return Statement{}, errs.Field("from", fmt.Sprintf("leaves more than %d entries: ask for a shorter period", maxLines))
	}
	st := Statement{From: from, To: to, Opening: inOrder(order, balances), Lines: make([]Line, 0, len(found))}
	for _, e := range found {
		if _, known := balances[e.Currency]; !known {
			order = append(order, e.Currency)
		}
		balances[e.Currency] += e.Amount
		st.Lines = append(st.Lines, e.line(balances[e.Currency]))
	}
	st.Closing = inOrder(order, balances)
	return st, nil
}

func inOrder(order []string, balances map[string]int64) []Balance {
	out := make([]Balance, 0, len(order))
	for _, currency := range order {
		out = append(out, Balance{money.Of(balances[currency], currency).Decimal(), currency})
	}
	return out
}

func (e entry) line(balance int64) Line {
	l := Line{At: e.PostedAt.UTC(), Kind: e.Kind, Amount: money.Of(e.Amount, e.Currency).Decimal(), Balance: money.Of(balance, e.Currency).Decimal(),
		Currency: e.Currency, Entry: fmt.Sprintf("%d.%d", e.Seq, e.N)}
	switch e.Kind {
	case kindPayout, kindPayoutPaid, kindPayoutFailed:
		l.PayoutID = &e.Subject
	default:
		l.BookingID = &e.Subject
	}
	l.Description = says[e.Kind]
	if e.Debt {
		l.Description = "Owed because of a chargeback"
		if e.Amount > 0 {
			l.Description = "Paid off what was owed"
		}
	}
	if e.Title != "" {
		l.Description += ": " + e.Title
	}
	return l
}

var says = map[string]string{
	kindPayment: "Paid", kindRelease: "Earned", kindRefunded: "Refunded", kindRefundFailed: "Refund came back",
	kindChargeback: "Chargeback by the client's bank", kindChargebackWon: "Chargeback won",
	kindPayout: "Withdrawal", kindPayoutFailed: "Withdrawal came back",
}

// csv is the statement as a file for spreadsheets. Text that a spreadsheet would take for a formula is made plain.
func (st Statement) csv() (api.File, error) {
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	rows := [][]string{{"date", "type", "description", "booking", "withdrawal", "amount", "balance", "currency", "entry"}}
	for _, b := range st.Opening {
		rows = append(rows, []string{st.From.Format(time.RFC3339), "opening", "Opening balance", "", "", "", string(b.Balance), b.Currency, ""})
	}
	for _, l := range st.Lines {
		rows = append(rows, []string{l.At.Format(time.RFC3339), l.Kind, plain(l.Description), idText(l.BookingID), idText(l.PayoutID), string(l.Amount), string(l.Balance), l.Currency, l.Entry})
	}
	for _, b := range st.Closing {
		rows = append(rows, []string{st.To.Format(time.RFC3339), "closing", "Closing balance", "", "", "", string(b.Balance), b.Currency, ""})
	}
	if err := w.WriteAll(rows); err != nil {
		return api.File{}, fmt.Errorf("write the statement: %w", err)
	}
	return api.File{ContentType: "text/csv; charset=utf-8", Name: "statement-" + st.From.Format(time.DateOnly) + ".csv", Body: out.Bytes()}, nil
}

// plain puts an apostrophe before text that begins as a formula does.
// https://owasp.org/www-community/attacks/CSV_Injection
func plain(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r\n|%", rune(text[0])) {
		return "'" + text
	}
	return text
}

func idText(id *uuid.UUID) string {
	if id == nil {
		return ""
	}
	return id.String()
}

// period reads from and to, each a date in loc or a time.
func period(from, to string, now time.Time, loc *time.Location) (f, t time.Time, err error) {
	t = now.Add(time.Microsecond)
	if to != "" {
		day := false
		if t, day, err = moment(to, loc); err != nil {
			return f, t, errs.Field("to", "is not a date or an RFC 3339 time")
		}
		if day {
			t = t.In(loc).AddDate(0, 0, 1).UTC()
		}
	}
	f = t.Add(-defaultPeriod)
	if from != "" {
		if f, _, err = moment(from, loc); err != nil {
			return f, t, errs.Field("from", "is not a date or an RFC 3339 time")
		}
	}
	switch {
	case f.Year() < 1999 || t.Year() > 9999:
		return f, t, errs.Field("from", "and to must be from the year 2000 to 9999")
	case !f.Before(t):
		return f, t, errs.Field("from", "must be before to")
	case t.Sub(f) > longestPeriod:
		return f, t, errs.Field("from", "must be at most 366 days before to")
	}
	return f, t, nil
}

func moment(s string, loc *time.Location) (at time.Time, day bool, err error) {
	if at, err = time.ParseInLocation(time.DateOnly, s, loc); err == nil {
		return at.UTC(), true, nil
	}
	at, err = time.Parse(time.RFC3339Nano, s)
	if err == nil && (at.Year() < 2000 || at.Year() > 9999) {
		err = fmt.Errorf("year %d", at.Year())
	}
	return at.UTC(), false, err
}
