package booking

import (
	"context"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/errs"
	"tulifo/platform/postgres"
)

const externalColumns = `id, worker_id, name, url, etag, last_modified, covers_from, events, fetched_at, tried_at, failing_since, failures, error, next_try_at, created_at`

// insertExternal keeps a calendar. Conflict: the worker has enough, or this one. The caller holds the worker's calendar.
func insertExternal(ctx context.Context, tx postgres.Tx, e External) error {
	tag, err := tx.Exec(ctx, `INSERT INTO external_calendars (`+externalColumns+`) SELECT `+dollars(1, 15)+`
		WHERE (SELECT count(*) FROM external_calendars WHERE worker_id = $2) < $16`,
		e.ID, e.WorkerID, e.Name, e.URL, e.ETag, e.LastModified, e.CoversFrom, e.Events, e.FetchedAt, e.TriedAt, e.FailingSince, e.Failures, e.Error, e.NextTryAt, e.CreatedAt, maxExternal)
	switch {
	case postgres.Violates(err, "external_calendars_worker_id_url_key"):
		return errs.New(errs.Conflict, "You have this calendar already.")
	case err != nil:
		return err
	case tag.RowsAffected() == 0:
		return errs.New(errs.Conflict, "You have five calendars already. Remove one of them first.")
	}
	return nil
}

func listExternals(ctx context.Context, q postgres.Querier, worker uuid.UUID) ([]External, error) {
	return postgres.All[External](ctx, q, `SELECT `+externalColumns+` FROM external_calendars WHERE worker_id = $1 ORDER BY id`, worker)
}

func findExternal(ctx context.Context, q postgres.Querier, worker, id uuid.UUID) (External, error) {
	e, err := postgres.One[External](ctx, q, `SELECT `+externalColumns+` FROM external_calendars WHERE worker_id = $1 AND id = $2`, worker, id)
	if errs.KindOf(err) == errs.NotFound {
		err = errNoExternal
	}
	return e, err
}

// deleteExternal forgets the calendar with its busy times. NotFound: the worker has none of that id.
func deleteExternal(ctx context.Context, tx postgres.Tx, worker, id uuid.UUID) error {
	tag, err := tx.Exec(ctx, `DELETE FROM external_calendars WHERE worker_id = $1 AND id = $2`, worker, id)
	if err == nil && tag.RowsAffected() == 0 {
		return errNoExternal
	}
	return err
}

// claimExternal has nobody else read the calendar until then. TooMany: somebody is reading it already.
func claimExternal(ctx context.Context, q postgres.Querier, e External, until time.Time) (External, error) {
	claimed, err := postgres.One[External](ctx, q, `UPDATE external_calendars SET next_try_at = $3, tried_at = $4 WHERE id = $1 AND next_try_at = $2 RETURNING `+externalColumns,
		e.ID, e.NextTryAt, until, systemNow())
	if errs.KindOf(err) == errs.NotFound {
		err = errs.New(errs.TooMany, "This calendar is being read just now.").After(readAtMost)
	}
	return claimed, err
}

func claimDueExternals(ctx context.Context, q postgres.Querier, now, until time.Time, limit int) ([]External, error) {
	return postgres.All[External](ctx, q, `UPDATE external_calendars SET next_try_at = $2 WHERE id IN (
		SELECT id FROM external_calendars WHERE next_try_at <= $1 ORDER BY next_try_at LIMIT $3 FOR UPDATE SKIP LOCKED) AND next_try_at <= $1 RETURNING `+externalColumns,
		now, until, limit)
}

func earliestRead(ctx context.Context, q postgres.Querier) (time.Time, error) {
	at, err := postgres.One[*time.Time](ctx, q, `SELECT min(next_try_at) FROM external_calendars`)
	if err != nil || at == nil {
		return time.Time{}, err
	}
	return *at, nil
}

// storeExternal stores what came of a reading; false when the calendar is not claimed as it was.
func storeExternal(ctx context.Context, q postgres.Querier, e External, claim time.Time) (bool, error) {
	tag, err := q.Exec(ctx, `UPDATE external_calendars SET etag = $3, last_modified = $4, covers_from = $5, events = $6, fetched_at = $7, tried_at = $8,
		failing_since = $9, failures = $10, error = $11, next_try_at = $12 WHERE id = $1 AND next_try_at = $2`,
		e.ID, claim, e.ETag, e.LastModified, e.CoversFrom, e.Events, e.FetchedAt, e.TriedAt, e.FailingSince, e.Failures, e.Error, e.NextTryAt)
	return err == nil && tag.RowsAffected() == 1, err
}

// writeImported puts busy in the place of what the calendar said before.
func writeImported(ctx context.Context, tx postgres.Tx, e External, busy []span) error {
	starts, ends := make([]time.Time, len(busy)), make([]time.Time, len(busy))
	for i, s := range busy {
		starts[i], ends[i] = s.Start, s.End
	}
	if _, err := tx.Exec(ctx, `DELETE FROM imported_busy WHERE calendar_id = $1`, e.ID); err != nil {
		return err
	}
	_, err := tx.Exec(ctx, `INSERT INTO imported_busy (calendar_id, worker_id, starts_at, ends_at) SELECT $1, $2, * FROM unnest($3::timestamptz[], $4::timestamptz[])`,
		e.ID, e.WorkerID, starts, ends)
	return err
}

// readAgain has the worker's calendars worked out anew at once: the zone in which they are read, or how far ahead, has changed.
func readAgain(ctx context.Context, tx postgres.Tx, worker uuid.UUID) error {
	_, err := tx.Exec(ctx, `UPDATE external_calendars SET etag = '', last_modified = '', next_try_at = $2 WHERE worker_id = $1`, worker, systemNow())
	return err
}

// countRead counts a reading that the worker asks for; false when there were enough within the hour.
func countRead(ctx context.Context, q postgres.Querier, worker uuid.UUID, now time.Time) (bool, error) {
	tag, err := q.Exec(ctx, `
		INSERT INTO calendar_reads (worker_id, since, reads) VALUES ($1, $2, 1)
		ON CONFLICT (worker_id) DO UPDATE SET
			reads = CASE WHEN calendar_reads.since <= $3 THEN 1 ELSE calendar_reads.reads + 1 END,
			since = CASE WHEN calendar_reads.since <= $3 THEN $2 ELSE calendar_reads.since END
		WHERE calendar_reads.since <= $3 OR calendar_reads.reads < $4`, worker, now, now.Add(-time.Hour), readsAnHour)
	return err == nil && tag.RowsAffected() == 1, err
}

// ownBookings are those of the ids that are the worker's bookings.
func ownBookings(ctx context.Context, q postgres.Querier, worker uuid.UUID, ids []uuid.UUID) (map[uuid.UUID]bool, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	list, err := postgres.All[uuid.UUID](ctx, q, `SELECT id FROM bookings WHERE worker_id = $1 AND id = ANY($2)`, worker, ids)
	ours := map[uuid.UUID]bool{}
	for _, id := range list {
		ours[id] = true
	}
	return ours, err
}
