package booking

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"tulifo/event"
	"tulifo/platform/errs"
	"tulifo/platform/postgres"
)

// The most unpaid live bookings that a client may have, a series counting as one; table holds checks them.
const (
	maxHoldsWithWorker = 3
	maxHoldsInAll      = 10
)

var (
	errTooManyHolds   = errs.Coded(errs.Conflict, "too_many_holds", "You have too many bookings that are not paid yet. Pay or cancel some of them first.")
	errLeaving        = errs.Coded(errs.Forbidden, "account_leaving", "Your account is being deleted.")
	errCalendarMoving = errs.New(errs.Conflict, "The worker is changing the calendar. Try again.")
	errChanged        = errs.Coded(errs.Conflict, "changed", "The booking has changed meanwhile. Look at it again.")
	errTaken          = (&Refusal{Code: codeBusy}).forClient()
	errFull           = (&Refusal{Code: codeLimit}).forClient()
)

// sentence is what a person reads when a constraint decided.
func sentence(err error) error {
	switch {
	case postgres.Violates(err, "busy_no_overlap"):
		return errTaken
	case postgres.Violates(err, "load_within_limit"):
		return errFull
	case postgres.Violates(err, "holds_within_limit"), postgres.Violates(err, "series_unpaid"):
		return errTooManyHolds
	case postgres.Violates(err, "holds_closed"):
		return errLeaving
	}
	return err
}

const columns = `id, worker_id, client_id, project_id, series_id, title, description, notes, meeting_url, category, starts_at, ends_at, duration_minutes, rate_minor,
	amount_minor, currency, status, instant, expires_at, confirmed_at, pay_by, paid_at, started_at, completed_at, ended_at, cause, reason, client_share, worker_share,
	absent, settle_at, settled_at, contested_at, contest_reason, earliest_start, proposed_by, proposed_start, buffer_before, buffer_after, load_day, version, created_at, updated_at`

// values are b's, in the order of columns.
func values(b Booking) []any {
	return []any{b.ID, b.WorkerID, b.ClientID, b.ProjectID, b.SeriesID, b.Title, b.Description, b.Notes, b.MeetingURL, b.Category, b.Start, b.End, b.Duration, b.Rate,
		b.Amount, b.Currency, b.Status, b.Instant, b.ExpiresAt, b.ConfirmedAt, b.PayBy, b.PaidAt, b.StartedAt, b.CompletedAt, b.EndedAt, b.Cause, b.Reason, b.ClientShare, b.WorkerShare,
		b.Absent, b.SettleAt, b.SettledAt, b.ContestedAt, b.ContestReason, b.EarliestStart, b.ProposedBy, b.ProposedStart, b.BufferBefore, b.BufferAfter, b.LoadDay, b.Version, b.CreatedAt, b.UpdatedAt}
}

var width = strings.Count(columns, ",") + 1

// dollars is "$n, …, $m".
func dollars(n, m int) string {
	list := make([]string, 0, m-n+1)
	for ; n <= m; n++ {
		list = append(list, "$"+strconv.Itoa(n))
	}
	return strings.Join(list, ", ")
}

func param(n int) string { return "$" + strconv.Itoa(width+n) }

var insertSQL = `
	WITH decided AS (SELECT worker_id FROM calendars WHERE worker_id = $2 AND version = ` + param(1) + ` FOR SHARE),
	booked AS (
		INSERT INTO bookings (` + columns + `, due_at)
		SELECT ` + dollars(1, width) + `, ` + param(2) + ` FROM decided RETURNING id, worker_id),
	taken AS (
		INSERT INTO busy (worker_id, lane, held, live, booking_id)
		SELECT worker_id, '[0,)', tstzrange(` + param(3) + `, ` + param(4) + `), true, id FROM booked
		ON CONFLICT DO NOTHING RETURNING 1)
	SELECT (SELECT count(*) FROM booked), (SELECT count(*) FROM taken)`

const loadSQL = `
	INSERT INTO load (worker_id, period, start, bookings, minutes, max_bookings, max_minutes)
	SELECT $1, p.period, p.start, 1, $4, nullif(p.max_bookings, 0), nullif(p.max_minutes, 0)
	FROM (VALUES ('day', $2::date, $5::int, $6::int), ('week', $3::date, $7::int, $8::int)) AS p (period, start, max_bookings, max_minutes)
	WHERE EXISTS (SELECT FROM busy WHERE booking_id = $9)
	ON CONFLICT (worker_id, period, start) DO UPDATE SET bookings = load.bookings + 1, minutes = load.minutes + excluded.minutes,
		max_bookings = excluded.max_bookings, max_minutes = excluded.max_minutes`

const holdSQL = `
	INSERT INTO holds (client_id, worker_id, held)
	SELECT $1, p.worker_id, 1 FROM (VALUES ('00000000-0000-0000-0000-000000000000'::uuid), ($2::uuid)) AS p (worker_id)
	WHERE EXISTS (SELECT FROM busy WHERE booking_id = $3)
	ON CONFLICT (client_id, worker_id) DO UPDATE SET held = holds.held + 1`

func loadArgs(b Booking, l Limits) []any {
	return []any{b.WorkerID, b.LoadDay, b.LoadDay.week(), b.Duration, l.PerDay, l.MinutesPerDay, l.PerWeek, l.MinutesPerWeek, b.ID}
}

// insert stores bookings of one client with one worker in one round trip, if the worker's calendar still is the version that was decided on; otherwise
// it stores nothing and answers false. More than one are a series. Conflict: a time was taken just now, a day or week is full, or the client holds
// too many.
//
// The time is taken with ON CONFLICT, because two plain inserts under an exclusion constraint can wait for each other. For the same reason the
// bookings have to come in the order of their starts, and what a client holds is counted before what a worker has. Days and weeks of a series are
// counted at once, since a full one has its maker decide anew.
func insert(ctx context.Context, tx postgres.Tx, cal *workerCalendar, c Config, bookings ...Booking) (bool, error) {
	batch := &pgx.Batch{}
	first := bookings[0]
	if first.SeriesID != nil {
		batch.Queue(`INSERT INTO series (id, worker_id, client_id, held, created_at) VALUES ($1, $2, $3, $4, $5)`,
			first.SeriesID, first.WorkerID, first.ClientID, len(bookings), first.CreatedAt)
	}
	for _, b := range bookings {
		held := b.held()
		batch.Queue(insertSQL, append(values(b), cal.version, b.due(c), held.Start, held.End)...)
	}
	batch.Queue(holdSQL, first.ClientID, first.WorkerID, first.ID)
	if len(bookings) > 1 {
		for _, b := range bookings {
			batch.Queue(loadSQL, loadArgs(b, cal.Limits)...)
		}
	}
	r := tx.SendBatch(ctx, batch)
	defer r.Close()
	if first.SeriesID != nil {
		if _, err := r.Exec(); err != nil {
			return false, sentence(err)
		}
	}
	for range bookings {
		var booked, taken int
		if err := r.QueryRow().Scan(&booked, &taken); err != nil || booked == 0 {
			return false, err
		}
		if taken == 0 {
			return false, errTaken
		}
	}
	if _, err := r.Exec(); err != nil {
		return false, sentence(err)
	}
	if len(bookings) == 1 {
		takeLoad(tx, first, cal.Limits)
		return true, nil
	}
	for range bookings {
		if _, err := r.Exec(); err != nil {
			return false, sentence(err)
		}
	}
	return true, nil
}

// takeLoad counts b into its day and week as tx commits: whoever books the same worker then waits for that alone. Conflict, of the transaction:
// one of them is full.
func takeLoad(tx postgres.Tx, b Booking, l Limits) {
	tx.Last(sentence, loadSQL, loadArgs(b, l)...)
}

// holdVersion keeps the worker's calendar as it was decided on until tx ends. Conflict: it is another one already.
func holdVersion(ctx context.Context, tx postgres.Tx, cal *workerCalendar) error {
	_, err := postgres.One[int64](ctx, tx, `SELECT version FROM calendars WHERE worker_id = $1 AND version = $2 FOR SHARE`, cal.id, cal.version)
	if errs.KindOf(err) == errs.NotFound {
		return errCalendarMoving
	}
	return err
}

var replaceSQL = `UPDATE bookings SET (` + columns + `, due_at) = (` + dollars(1, width) + `, ` + param(1) + `) WHERE id = $1 AND version = ` + param(2)

// change is a booking as it was and as it is to be.
type change struct{ before, after Booking }

// replace stores what the changes come to, with what the bookings hold and count; one round trip. Conflict: one of them is not what is stored, or
// a new time is taken.
func replace(ctx context.Context, tx postgres.Tx, c Config, changes ...change) error {
	batch := &pgx.Batch{}
	first := map[int]bool{} // statements that have to find their booking
	for _, ch := range changes {
		first[batch.Len()] = true
		ch.queue(batch, c)
	}
	r := tx.SendBatch(ctx, batch)
	defer r.Close()
	for n := range batch.Len() {
		tag, err := r.Exec()
		if err != nil {
			return sentence(err)
		}
		if first[n] && tag.RowsAffected() == 0 {
			return errChanged
		}
	}
	return nil
}

func (ch change) queue(batch *pgx.Batch, c Config) {
	before, after := ch.before, ch.after
	batch.Queue(replaceSQL, append(values(after), after.due(c), before.Version)...)
	moved := !after.Start.Equal(before.Start) || after.LoadDay != before.LoadDay
	if moved || before.Status.live() != after.Status.live() {
		held := after.held()
		batch.Queue(`UPDATE busy SET held = tstzrange($2, $3), live = $4 WHERE booking_id = $1`, after.ID, held.Start, held.End, after.Status.live())
	}
	switch {
	case !before.holds() || after.holds():
	case before.SeriesID != nil:
		// The last one of a series gives its hold back; the row of the series orders those who leave it at once.
		batch.Queue(`WITH left_over AS (UPDATE series SET held = held - 1 WHERE id = $3 RETURNING held)
			UPDATE holds SET held = held - 1 WHERE client_id = $1 AND worker_id IN ($2, '00000000-0000-0000-0000-000000000000') AND EXISTS (SELECT FROM left_over WHERE held = 0)`,
			before.ClientID, before.WorkerID, before.SeriesID)
	default:
		batch.Queue(`UPDATE holds SET held = held - 1 WHERE client_id = $1 AND worker_id IN ($2, '00000000-0000-0000-0000-000000000000')`, before.ClientID, before.WorkerID)
	}
	if before.Status.counts() && (moved || !after.Status.counts()) {
		batch.Queue(`UPDATE load SET bookings = bookings - 1, minutes = minutes - $4
			WHERE worker_id = $1 AND (period = 'day' AND start = $2 OR period = 'week' AND start = $3)`,
			before.WorkerID, before.LoadDay, before.LoadDay.week(), before.Duration)
	}
}

func find(ctx context.Context, q postgres.Querier, id uuid.UUID) (Booking, error) {
	b, err := postgres.One[Booking](ctx, q, `SELECT `+columns+` FROM bookings WHERE id = $1`, id)
	if errs.KindOf(err) == errs.NotFound {
		err = errNoBooking
	}
	return b, err
}

// lock is the booking for a handler that moves it; false when there is none.
func lock(ctx context.Context, tx postgres.Tx, id uuid.UUID) (Booking, bool, error) {
	return first(postgres.All[Booking](ctx, tx, `SELECT `+columns+` FROM bookings WHERE id = $1 FOR UPDATE`, id))
}

// claimDue is the booking if it is due still, has the version it was seen with, and nobody else is moving it.
func claimDue(ctx context.Context, tx postgres.Tx, id uuid.UUID, version int64, now time.Time) (Booking, bool, error) {
	return first(postgres.All[Booking](ctx, tx, `SELECT `+columns+` FROM bookings WHERE id = $1 AND version = $2 AND due_at <= $3 FOR UPDATE SKIP LOCKED`, id, version, now))
}

func first(list []Booking, err error) (Booking, bool, error) {
	if err != nil || len(list) == 0 {
		return Booking{}, false, err
	}
	return list[0], true, nil
}

// lockPending are those of the ids that are pending still.
func lockPending(ctx context.Context, tx postgres.Tx, ids []uuid.UUID) ([]Booking, error) {
	return postgres.All[Booking](ctx, tx, `SELECT `+columns+` FROM bookings WHERE id = ANY($1) AND status = 'pending' ORDER BY id FOR UPDATE`, ids)
}

// lockPendingOf are the pending bookings of a user, on either side.
func lockPendingOf(ctx context.Context, tx postgres.Tx, user uuid.UUID) ([]Booking, error) {
	return postgres.All[Booking](ctx, tx, `SELECT `+columns+` FROM bookings WHERE (worker_id = $1 OR client_id = $1) AND status = 'pending' ORDER BY id FOR UPDATE`, user)
}

func earliestDue(ctx context.Context, q postgres.Querier) (time.Time, error) {
	at, err := postgres.One[*time.Time](ctx, q, `SELECT min(due_at) FROM bookings WHERE due_at IS NOT NULL`)
	if err != nil || at == nil {
		return time.Time{}, err
	}
	return *at, nil
}

// dueUpTo are bookings due up to now, the earliest first, but those left out.
func dueUpTo(ctx context.Context, q postgres.Querier, now time.Time, left []uuid.UUID, limit int) ([]Booking, error) {
	return postgres.All[Booking](ctx, q, `SELECT `+columns+` FROM bookings WHERE due_at <= $1 AND id <> ALL($2::uuid[]) ORDER BY due_at, id LIMIT $3`, now, left, limit)
}

// list is a page of bookings by start, latest first, from below the cursor on.
func list(ctx context.Context, q postgres.Querier, user uuid.UUID, f Filter, start time.Time, id uuid.UUID, limit int) ([]Booking, error) {
	whose := map[string]string{"client": `client_id = $1`, "worker": `worker_id = $1`, "": `$1::uuid IS NOT NULL`}[f.Role]
	return postgres.All[Booking](ctx, q, `SELECT `+columns+` FROM bookings WHERE `+whose+`
		AND ($2 = '' OR status = $2) AND ($3::timestamptz IS NULL OR ends_at > $3) AND ($4::timestamptz IS NULL OR starts_at < $4)
		AND ($5::timestamptz IS NULL OR (starts_at, id) < ($5, $6)) AND ($8::uuid = '00000000-0000-0000-0000-000000000000' OR series_id = $8)
		ORDER BY starts_at DESC, id DESC LIMIT $7`,
		user, f.Status, orNull(f.From), orNull(f.To), orNull(start), id, limit, f.Series)
}

func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// keepWorker stores an offer unless a newer one is here.
func keepWorker(ctx context.Context, q postgres.Querier, w event.WorkerUpdated) error {
	category := ""
	if len(w.Categories) > 0 {
		category = w.Categories[0]
	}
	_, err := q.Exec(ctx, `
		INSERT INTO workers (worker_id, rate_minor, currency, category, timezone, instant, active, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
		ON CONFLICT (worker_id) DO UPDATE SET rate_minor = excluded.rate_minor, currency = excluded.currency, category = excluded.category,
			timezone = excluded.timezone, instant = excluded.instant, active = excluded.active, version = excluded.version
		WHERE workers.version < excluded.version`,
		w.WorkerID, w.Rate.Minor, w.Rate.Currency, category, w.Timezone, w.InstantBooking, w.Active && w.Rate.Minor > 0, w.Version)
	return err
}

func keepVerified(ctx context.Context, q postgres.Querier, user uuid.UUID) error {
	_, err := q.Exec(ctx, `INSERT INTO people (user_id, verified) VALUES ($1, true) ON CONFLICT (user_id) DO UPDATE SET verified = true`, user)
	return err
}

// keepSuspended notes whether a user is suspended.
func keepSuspended(ctx context.Context, q postgres.Querier, user uuid.UUID, suspended bool) error {
	_, err := q.Exec(ctx, `INSERT INTO people (user_id, verified, suspended) VALUES ($1, false, $2) ON CONFLICT (user_id) DO UPDATE SET suspended = excluded.suspended`, user, suspended)
	return err
}

func isSuspended(ctx context.Context, q postgres.Querier, user uuid.UUID) (bool, error) {
	return postgres.One[bool](ctx, q, `SELECT EXISTS (SELECT FROM people WHERE user_id = $1 AND suspended)`, user)
}

// DateValue lets pgx store a Date.
func (d Date) DateValue() (pgtype.Date, error) { return pgtype.Date{Time: d.time(), Valid: true}, nil }

// ScanDate lets pgx read a Date.
func (d *Date) ScanDate(v pgtype.Date) error {
	*d = dateOf(v.Time)
	return nil
}
