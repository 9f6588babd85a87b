package booking

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"tulifo/platform/errs"
	"tulifo/platform/money"
	"tulifo/platform/postgres"
)

// What a calendar has that nobody has set.
const (
	defaultHorizon = 60
	defaultStep    = 30
)

var errNoWorker = errs.New(errs.NotFound, "There is no such worker.")

// workerCalendar is a calendar with the offer it belongs to, and what the client who asks holds already.
type workerCalendar struct {
	calendar
	id              uuid.UUID
	known           bool // user-service has told of the worker
	category        string
	rate            money.Amount
	instant         bool
	version         int64 // 0 while nothing has been set
	verified        bool  // the client's e-mail address
	holdsWithWorker int
	holdsInAll      int
	overdue         []uuid.UUID // pending bookings whose time to be answered is over: free already
}

type calendarRow struct {
	Known          bool
	RateMinor      int64
	Currency       string
	Category       string
	Instant        bool
	Active         bool
	Timezone       string
	BufferBefore   int
	BufferAfter    int
	MinNotice      int
	HorizonDays    int
	SlotStep       int
	SlotLengths    []int
	PerDay         int
	MinutesPerDay  int
	PerWeek        int
	MinutesPerWeek int
	Version        int64
	Weekly         [][3]int
	Overrides      []overrideRow
	Recurring      []recurringRow
	Held           []heldRow
	Imported       []importedRow
	Load           []loadRow
	Overdue        []overdueRow
	HeldWithWorker int
	HeldInAll      int
	Verified       bool
}

type (
	overrideRow struct {
		Date    Date     `json:"date"`
		Windows [][2]int `json:"windows"`
	}
	recurringRow struct {
		Days   [7]bool `json:"days"`
		From   Date    `json:"from"`
		Until  *Date   `json:"until"`
		Start  int     `json:"start"`
		End    int     `json:"end"`
		Reason string  `json:"reason"`
	}
	heldRow struct {
		From    int64     `json:"from"` // microseconds since 1970
		To      int64     `json:"to"`
		Booking uuid.UUID `json:"booking"`
		Before  int       `json:"before"`
		After   int       `json:"after"`
		Reason  string    `json:"reason"`
	}
	importedRow struct {
		From     int64  `json:"from"` // microseconds since 1970
		To       int64  `json:"to"`
		Calendar string `json:"calendar"`
	}
	loadRow struct {
		Period   string `json:"period"`
		Start    Date   `json:"start"`
		Bookings int    `json:"bookings"`
		Minutes  int    `json:"minutes"`
	}
	overdueRow struct {
		ID      uuid.UUID `json:"id"`
		Client  uuid.UUID `json:"client"`
		Day     Date      `json:"day"`
		Minutes int       `json:"minutes"`
		Series  bool      `json:"series"`
	}
)

const calendarSQL = `
	SELECT w.worker_id IS NOT NULL AS known, coalesce(w.rate_minor, 0) AS rate_minor, coalesce(w.currency, '') AS currency, coalesce(w.category, '') AS category,
		coalesce(w.instant, false) AS instant, coalesce(w.active, false) AS active,
		coalesce(c.timezone, nullif(w.timezone, ''), 'UTC') AS timezone, coalesce(c.buffer_before, 0) AS buffer_before, coalesce(c.buffer_after, 0) AS buffer_after,
		coalesce(c.min_notice, 0) AS min_notice, coalesce(c.horizon_days, $8) AS horizon_days, coalesce(c.slot_step, $9) AS slot_step,
		coalesce(c.slot_lengths, '{}') AS slot_lengths, coalesce(c.per_day, 0) AS per_day, coalesce(c.minutes_per_day, 0) AS minutes_per_day,
		coalesce(c.per_week, 0) AS per_week, coalesce(c.minutes_per_week, 0) AS minutes_per_week, coalesce(c.version, 0) AS version,
		(SELECT coalesce(jsonb_agg(jsonb_build_array(r.day_of_week, r.start_minute, r.end_minute) ORDER BY r.day_of_week, r.start_minute), '[]')
			FROM weekly_rules r WHERE r.worker_id = $1) AS weekly,
		(SELECT coalesce(jsonb_agg(jsonb_build_object('date', o.date, 'windows', o.windows) ORDER BY o.date), '[]')
			FROM date_overrides o WHERE o.worker_id = $1 AND o.date BETWEEN $5 AND $6) AS overrides,
		(SELECT coalesce(jsonb_agg(jsonb_build_object('days', b.days, 'from', b.first_date, 'until', b.until_date, 'start', b.start_minute, 'end', b.end_minute, 'reason', b.reason)), '[]')
			FROM blocks b WHERE b.worker_id = $1 AND b.days IS NOT NULL) AS recurring,
		(SELECT coalesce(jsonb_agg(jsonb_build_object('from', (extract(epoch FROM lower(t.held)) * 1000000)::bigint, 'to', (extract(epoch FROM upper(t.held)) * 1000000)::bigint,
				'booking', t.booking_id, 'before', coalesce(k.buffer_before, 0), 'after', coalesce(k.buffer_after, 0), 'reason', coalesce(k.title, b.reason, ''))), '[]')
			FROM busy t LEFT JOIN blocks b ON b.id = t.block_id LEFT JOIN bookings k ON k.id = t.booking_id WHERE t.worker_id = $1 AND t.live AND t.held && tstzrange(near.lo, near.hi)) AS held,
		(SELECT coalesce(jsonb_agg(jsonb_build_object('from', (extract(epoch FROM i.starts_at) * 1000000)::bigint, 'to', (extract(epoch FROM i.ends_at) * 1000000)::bigint, 'calendar', x.name)), '[]')
			FROM imported_busy i JOIN external_calendars x ON x.id = i.calendar_id WHERE i.worker_id = $1 AND i.ends_at > near.lo AND i.starts_at < near.hi) AS imported,
		(SELECT coalesce(jsonb_agg(jsonb_build_object('period', l.period, 'start', l.start, 'bookings', l.bookings, 'minutes', l.minutes)), '[]')
			FROM load l WHERE l.worker_id = $1 AND l.start BETWEEN $5 AND $6) AS load,
		(SELECT coalesce(jsonb_agg(jsonb_build_object('id', k.id, 'client', k.client_id, 'day', k.load_day, 'minutes', k.duration_minutes, 'series', k.series_id IS NOT NULL)), '[]')
			FROM bookings k WHERE k.worker_id = $1 AND k.status = 'pending' AND k.expires_at <= $7) AS overdue,
		coalesce((SELECT h.held FROM holds h WHERE h.client_id = $2 AND h.worker_id = $1), 0) AS held_with_worker,
		coalesce((SELECT h.held FROM holds h WHERE h.client_id = $2 AND h.worker_id = '00000000-0000-0000-0000-000000000000'), 0) AS held_in_all,
		coalesce((SELECT p.verified FROM people p WHERE p.user_id = $2), false) AS verified
	FROM (SELECT $1::uuid AS id) q LEFT JOIN workers w ON w.worker_id = q.id LEFT JOIN calendars c ON c.worker_id = q.id
		CROSS JOIN LATERAL (SELECT $3::timestamptz - make_interval(mins => coalesce(c.buffer_before, 0)) AS lo,
			$4::timestamptz + make_interval(mins => coalesce(c.buffer_after, 0)) AS hi) near`

// readCalendar is all that decides on times in want, in one round trip; client may be nil.
func readCalendar(ctx context.Context, q postgres.Querier, worker, client uuid.UUID, want span, now time.Time) (*workerCalendar, error) {
	// want is what somebody sent: one without order, or longer than anything that is decided on, is refused whatever is taken.
	if want.empty() || want.End.Sub(want.Start) > maxListing+minutes(longest) {
		want.End = want.Start
	}
	return queryCalendar(ctx, q, worker, client, want, dateOf(want.Start)-10, dateOf(want.End)+5, now)
}

// readRules is what the worker has set, with every override and without anything that is taken.
func readRules(ctx context.Context, q postgres.Querier, worker uuid.UUID, now time.Time) (*workerCalendar, error) {
	return queryCalendar(ctx, q, worker, uuid.Nil, span{now, now}, dateOf(now)-366000, dateOf(now)+3660000, now)
}

// queryCalendar reads what is taken of a stretch, with the buffers of a booking in it, and what is set and counted for dates.
func queryCalendar(ctx context.Context, q postgres.Querier, worker, client uuid.UUID, taken span, from, to Date, now time.Time) (*workerCalendar, error) {
	r, err := postgres.One[calendarRow](ctx, q, calendarSQL, worker, client, taken.Start, taken.End, from, to, now, defaultHorizon, defaultStep)
	if err != nil {
		return nil, err
	}
	c := &workerCalendar{id: worker, known: r.Known, category: r.Category, rate: money.Of(r.RateMinor, r.Currency), instant: r.Instant, version: r.Version,
		verified: r.Verified, holdsWithWorker: r.HeldWithWorker, holdsInAll: r.HeldInAll}
	if c.loc, err = zone(r.Timezone); err != nil {
		return nil, err
	}
	c.active = r.Active
	c.Rules = Rules{Zone: r.Timezone, Overrides: map[Date][]Window{}, BufferBefore: r.BufferBefore, BufferAfter: r.BufferAfter, MinNotice: r.MinNotice,
		HorizonDays: r.HorizonDays, SlotStep: r.SlotStep, SlotLengths: r.SlotLengths,
		Limits: Limits{PerDay: r.PerDay, MinutesPerDay: r.MinutesPerDay, PerWeek: r.PerWeek, MinutesPerWeek: r.MinutesPerWeek}}
	for _, w := range r.Weekly {
		c.Weekly[w[0]] = append(c.Weekly[w[0]], Window{w[1], w[2]})
	}
	for _, o := range r.Overrides {
		c.Overrides[o.Date] = nil
		for _, w := range o.Windows {
			c.Overrides[o.Date] = append(c.Overrides[o.Date], Window{w[0], w[1]})
		}
	}
	for _, b := range r.Recurring {
		c.recurring = append(c.recurring, Recurring{From: b.From, Until: b.Until, Days: b.Days, Window: Window{b.Start, b.End}, Reason: b.Reason})
	}
	for _, h := range r.Held {
		c.held = append(c.held, held{span{time.UnixMicro(h.From).UTC(), time.UnixMicro(h.To).UTC()}, h.Booking, h.Before, h.After, h.Reason, ""})
	}
	for _, i := range r.Imported {
		c.held = append(c.held, held{span: span{time.UnixMicro(i.From).UTC(), time.UnixMicro(i.To).UTC()}, calendar: i.Calendar})
	}
	c.load = map[period]load{}
	for _, l := range r.Load {
		c.load[period{l.Period, l.Start}] = load{l.Bookings, l.Minutes}
	}
	for _, o := range r.Overdue {
		c.forget(o, client)
	}
	return c, nil
}

// forget frees what an overdue booking holds.
func (c *workerCalendar) forget(o overdueRow, client uuid.UUID) {
	c.overdue = append(c.overdue, o.ID)
	c.calendar = *c.without(Booking{ID: o.ID, LoadDay: o.Day, Duration: o.Minutes})
	if o.Client == client && !o.Series { // a series holds until its last one has expired
		c.holdsWithWorker--
		c.holdsInAll--
	}
}

// writeRules puts r in the place of version; 0 means that nothing was set before. Conflict: the calendar has another version.
func writeRules(ctx context.Context, tx postgres.Tx, worker uuid.UUID, r Rules, version int64) error {
	l := r.Limits
	args := []any{worker, r.Zone, r.BufferBefore, r.BufferAfter, r.MinNotice, r.HorizonDays, r.SlotStep, r.SlotLengths, l.PerDay, l.MinutesPerDay, l.PerWeek, l.MinutesPerWeek}
	sql := `INSERT INTO calendars (worker_id, timezone, buffer_before, buffer_after, min_notice, horizon_days, slot_step, slot_lengths,
			per_day, minutes_per_day, per_week, minutes_per_week, version) VALUES (` + dollars(1, 12) + `, 1) ON CONFLICT DO NOTHING`
	if version > 0 {
		sql = `UPDATE calendars SET timezone = $2, buffer_before = $3, buffer_after = $4, min_notice = $5, horizon_days = $6, slot_step = $7, slot_lengths = $8,
			per_day = $9, minutes_per_day = $10, per_week = $11, minutes_per_week = $12, version = version + 1 WHERE worker_id = $1 AND version = $13`
		args = append(args, version)
	}
	tag, err := tx.Exec(ctx, sql, args...)
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		return errCalendarChanged
	}
	var days, starts, ends []int
	for d, windows := range r.Weekly {
		for _, w := range windows {
			days, starts, ends = append(days, d), append(starts, w.Start), append(ends, w.End)
		}
	}
	var dates []Date
	var windows []string
	for d, list := range r.Overrides {
		dates, windows = append(dates, d), append(windows, windowsJSON(list))
	}
	batch := &pgx.Batch{}
	batch.Queue(`DELETE FROM weekly_rules WHERE worker_id = $1`, worker)
	batch.Queue(`INSERT INTO weekly_rules (worker_id, day_of_week, start_minute, end_minute) SELECT $1, * FROM unnest($2::int[], $3::int[], $4::int[])`, worker, days, starts, ends)
	batch.Queue(`DELETE FROM date_overrides WHERE worker_id = $1`, worker)
	batch.Queue(`INSERT INTO date_overrides (worker_id, date, windows) SELECT $1, d, w::jsonb FROM unnest($2::date[], $3::text[]) AS t (d, w)`, worker, dates, windows)
	return tx.SendBatch(ctx, batch).Close()
}

// bumpVersion has every booking that was decided on the old calendar decide again, and makes the calendar when there is none.
func bumpVersion(ctx context.Context, tx postgres.Tx, worker uuid.UUID, zone string) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO calendars (worker_id, timezone, buffer_before, buffer_after, min_notice, horizon_days, slot_step, slot_lengths,
			per_day, minutes_per_day, per_week, minutes_per_week, version) VALUES ($1, $2, 0, 0, 0, $3, $4, '{}', 0, 0, 0, 0, 1)
		ON CONFLICT (worker_id) DO UPDATE SET version = calendars.version + 1`, worker, zone, defaultHorizon, defaultStep)
	return err
}

// lockCounted are the bookings of a worker from a time on that count towards limits.
func lockCounted(ctx context.Context, tx postgres.Tx, worker uuid.UUID, from time.Time) ([]Booking, error) {
	return postgres.All[Booking](ctx, tx, `SELECT `+columns+` FROM bookings WHERE worker_id = $1 AND starts_at >= $2 AND status NOT IN ('cancelled', 'expired') ORDER BY id FOR UPDATE`, worker, from)
}

// liveWithin are the live bookings of a worker whose held time overlaps s, the earliest first.
func liveWithin(ctx context.Context, q postgres.Querier, worker uuid.UUID, s span) ([]Booking, error) {
	return postgres.All[Booking](ctx, q, `SELECT `+columns+` FROM bookings WHERE worker_id = $1 AND status IN ('pending', 'confirmed', 'in_progress')
		AND id IN (SELECT booking_id FROM busy WHERE worker_id = $1 AND live AND held && tstzrange($2, $3)) ORDER BY starts_at, id LIMIT 1000`, worker, s.Start, s.End)
}

const blockColumns = `id, worker_id, starts_at, ends_at, reason, days, first_date, until_date, start_minute, end_minute, created_at`

// insertBlock stores b; a one-off block takes its lane. False: a live booking is in the way.
func insertBlock(ctx context.Context, tx postgres.Tx, b Block) (bool, error) {
	sql := `WITH block AS (INSERT INTO blocks (` + blockColumns + `) VALUES (` + dollars(1, 11) + `) RETURNING id, lane, worker_id, starts_at, ends_at, days),
		taken AS (
			INSERT INTO busy (worker_id, lane, held, live, block_id)
			SELECT worker_id, int8range(lane, lane + 1), tstzrange(starts_at, ends_at), true, id FROM block WHERE days IS NULL
			ON CONFLICT DO NOTHING RETURNING 1)
		SELECT (SELECT count(*) FROM taken)`
	n, err := postgres.One[int64](ctx, tx, sql, b.ID, b.WorkerID, b.Start, b.End, b.Reason, b.Days, b.FirstDate, b.UntilDate, b.StartMinute, b.EndMinute, b.CreatedAt)
	return n == 1 || b.Days != nil, err
}

func listBlocks(ctx context.Context, q postgres.Querier, worker uuid.UUID, start time.Time, id uuid.UUID, limit int) ([]Block, error) {
	return postgres.All[Block](ctx, q, `SELECT `+blockColumns+` FROM blocks WHERE worker_id = $1
		AND ($2::timestamptz IS NULL OR (starts_at, id) > ($2, $3)) ORDER BY starts_at, id LIMIT $4`, worker, orNull(start), id, limit)
}

// deleteBlock frees what the block held. NotFound: it is not the worker's.
func deleteBlock(ctx context.Context, tx postgres.Tx, worker, id uuid.UUID) error {
	batch := &pgx.Batch{}
	batch.Queue(`DELETE FROM busy WHERE block_id = $1 AND worker_id = $2`, id, worker)
	batch.Queue(`DELETE FROM blocks WHERE id = $1 AND worker_id = $2`, id, worker)
	r := tx.SendBatch(ctx, batch)
	defer r.Close()
	if _, err := r.Exec(); err != nil {
		return err
	}
	tag, err := r.Exec()
	if err == nil && tag.RowsAffected() == 0 {
		return errs.New(errs.NotFound, "There is no such block.")
	}
	return err
}
