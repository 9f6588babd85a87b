package escrow

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"tulifo/platform/audit"
	"tulifo/platform/errs"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
	"tulifo/platform/timer"
)

const columns = `a.id, a.booking_id, a.client_id, a.worker_id, a.payment_id, a.held_amount, a.released_amount, a.refunded_amount, a.currency, a.status, a.holds,
	a.freeze_reason, a.auto_release_enabled, a.auto_release_at, a.divide_at, a.divide_cause, a.worker_share, a.released_at, a.version, a.created_at, a.updated_at, b.starts_at`

const accounts = ` FROM escrow_accounts a JOIN bookings b ON b.booking_id = a.booking_id `

var errNoAccount = errs.New(errs.NotFound, "There is no such escrow account.")

// find is the account by its id, or errNoAccount.
func find(ctx context.Context, q postgres.Querier, id uuid.UUID) (Account, error) {
	a, err := postgres.One[Account](ctx, q, `SELECT `+columns+accounts+`WHERE a.id = $1`, id)
	if errs.KindOf(err) == errs.NotFound {
		err = errNoAccount
	}
	return a, err
}

// byPayment is the account of a payment; false when there is none.
func byPayment(ctx context.Context, q postgres.Querier, payment uuid.UUID) (Account, bool, error) {
	return first(postgres.All[Account](ctx, q, `SELECT `+columns+accounts+`WHERE a.payment_id = $1`, payment))
}

// lock is the account as it stands, held until tx ends.
func lock(ctx context.Context, tx postgres.Tx, id uuid.UUID) (Account, error) {
	return postgres.One[Account](ctx, tx, `SELECT `+columns+accounts+`WHERE a.id = $1 FOR UPDATE OF a`, id)
}

func first(list []Account, err error) (Account, bool, error) {
	if err != nil || len(list) == 0 {
		return Account{}, false, err
	}
	return list[0], true, nil
}

// save stores c in the place of the version it was made from, and tells of it; false when another version is stored by now.
func save(ctx context.Context, tx postgres.Tx, c change, actor string, at time.Time) (Account, bool, error) {
	a := c.Account
	a.Status, a.UpdatedAt = a.status(), at
	tag, err := tx.Exec(ctx, `UPDATE escrow_accounts SET released_amount = $3, refunded_amount = $4, status = $5, holds = $6, freeze_reason = $7, auto_release_at = $8,
		divide_at = $9, divide_cause = $10, worker_share = $11, released_at = $12, due_at = $13, updated_at = $14, version = version + 1 WHERE id = $1 AND version = $2`,
		a.ID, a.Version, a.Released, a.Refunded, a.Status, a.Holds, a.FreezeReason, a.AutoReleaseAt, a.DivideAt, a.DivideCause, a.WorkerShare, a.ReleasedAt, a.due(), a.UpdatedAt)
	if err != nil || tag.RowsAffected() == 0 {
		return a, false, err
	}
	a.Version++
	for _, m := range c.moves {
		tx.Later(`INSERT INTO moves (id, escrow_id, kind, amount, remaining, cause, actor, at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			m.ID, m.EscrowID, m.Kind, m.Amount, m.Remaining, m.Cause, m.Actor, m.At)
	}
	return a, true, tell(ctx, tx, c, actor, at)
}

// tell adds the events and audit rows of c, as of at.
func tell(ctx context.Context, tx postgres.Tx, c change, actor string, at time.Time) error {
	ctx = outbox.At(ctx, at)
	for _, e := range c.told {
		if err := outbox.Add(ctx, tx, c.BookingID, e); err != nil {
			return err
		}
	}
	for _, d := range c.did {
		if err := audit.Add(ctx, tx, audit.Entry{Actor: actor, Action: d.action, Subject: c.ID, Detail: d.detail}); err != nil {
			return err
		}
	}
	tx.Committed(func() { timer.Poke("escrow") })
	return nil
}

const touchBooking = `INSERT INTO bookings (booking_id, starts_at, version) VALUES ($1, $2, $3) ON CONFLICT (booking_id) DO UPDATE SET
	starts_at = CASE WHEN excluded.version > bookings.version THEN excluded.starts_at ELSE bookings.starts_at END, version = greatest(excluded.version, bookings.version)`

// keepStart remembers when a booking starts, unless a newer version is here.
func keepStart(ctx context.Context, q postgres.Querier, booking uuid.UUID, start time.Time, version int64) error {
	_, err := q.Exec(ctx, touchBooking, booking, start, version)
	return err
}

// enter stores a new account with what waits for it; false when the booking has one already, which is then answered as it stands.
func enter(ctx context.Context, tx postgres.Tx, a Account) (account Account, waiting []directive, entered bool, err error) {
	batch := &pgx.Batch{}
	batch.Queue(touchBooking, a.BookingID, nil, 0)
	batch.Queue(`INSERT INTO escrow_accounts (id, booking_id, client_id, worker_id, payment_id, held_amount, released_amount, refunded_amount, currency, status, holds,
		freeze_reason, auto_release_enabled, divide_cause, worker_share, version, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, 0, 0, $7, $8, '{}', '', $9, '', 0, $10, $11, $11)
		ON CONFLICT (booking_id) DO NOTHING`,
		a.ID, a.BookingID, a.ClientID, a.WorkerID, a.PaymentID, a.Held, a.Currency, a.Status, a.AutoRelease, a.Version, a.CreatedAt).
		Exec(func(tag pgconn.CommandTag) error { entered = tag.RowsAffected() == 1; return nil })
	batch.Queue(`SELECT `+columns+accounts+`WHERE a.booking_id = $1 FOR UPDATE OF a`, a.BookingID).Query(func(rows pgx.Rows) (err error) {
		account, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Account])
		return err
	})
	batch.Queue(`SELECT booking_id, kind, detail, at FROM directives WHERE booking_id = $1 AND applied_at IS NULL ORDER BY at, kind`, a.BookingID).Query(func(rows pgx.Rows) (err error) {
		waiting, err = pgx.CollectRows(rows, pgx.RowToStructByName[directive])
		return err
	})
	err = tx.SendBatch(ctx, batch).Close()
	return account, waiting, entered, err
}

// put stores a directive; fresh is false when one of its kind is there already. ok says whether the account is there, which is then locked.
func put(ctx context.Context, tx postgres.Tx, d directive, start *time.Time, version int64) (a Account, ok, fresh bool, err error) {
	batch := &pgx.Batch{}
	batch.Queue(touchBooking, d.BookingID, start, version)
	batch.Queue(`INSERT INTO directives (booking_id, kind, detail, at) VALUES ($1, $2, $3, $4) ON CONFLICT (booking_id, kind) DO NOTHING`,
		d.BookingID, d.Kind, d.Detail, d.At).Exec(func(tag pgconn.CommandTag) error { fresh = tag.RowsAffected() == 1; return nil })
	batch.Queue(`SELECT `+columns+accounts+`WHERE a.booking_id = $1 FOR UPDATE OF a`, d.BookingID).Query(func(rows pgx.Rows) (err error) {
		a, ok, err = first(pgx.CollectRows(rows, pgx.RowToStructByName[Account]))
		return err
	})
	err = tx.SendBatch(ctx, batch).Close()
	return a, ok, fresh, err
}

// lockByBooking is the account of a booking, held until tx ends; false when there is none, and then none is made before tx ends.
func lockByBooking(ctx context.Context, tx postgres.Tx, booking uuid.UUID) (a Account, ok bool, err error) {
	batch := &pgx.Batch{}
	batch.Queue(touchBooking, booking, nil, 0)
	batch.Queue(`SELECT `+columns+accounts+`WHERE a.booking_id = $1 FOR UPDATE OF a`, booking).Query(func(rows pgx.Rows) (err error) {
		a, ok, err = first(pgx.CollectRows(rows, pgx.RowToStructByName[Account]))
		return err
	})
	err = tx.SendBatch(ctx, batch).Close()
	return a, ok, err
}

// forget takes back a directive that still waits for its account.
func forget(ctx context.Context, tx postgres.Tx, booking uuid.UUID, kind string) error {
	_, err := tx.Exec(ctx, `DELETE FROM directives WHERE booking_id = $1 AND kind = $2 AND applied_at IS NULL`, booking, kind)
	return err
}

// applied notes with COMMIT that the account follows the directives.
func applied(tx postgres.Tx, booking uuid.UUID, at time.Time) {
	tx.Later(`UPDATE directives SET applied_at = $2 WHERE booking_id = $1 AND applied_at IS NULL`, booking, at)
}

func earliestDue(ctx context.Context, q postgres.Querier) (time.Time, error) {
	at, err := postgres.One[*time.Time](ctx, q, `SELECT min(due_at) FROM escrow_accounts WHERE due_at IS NOT NULL`)
	if err != nil || at == nil {
		return time.Time{}, err
	}
	return *at, nil
}

// claimReleases locks accounts whose auto-release is due and that nobody else is moving, the earliest first.
func claimReleases(ctx context.Context, tx postgres.Tx, now time.Time, limit int) ([]Account, error) {
	return postgres.All[Account](ctx, tx, `SELECT `+columns+accounts+`WHERE a.due_at <= $1 AND a.divide_at IS NULL ORDER BY a.due_at, a.id LIMIT $2 FOR UPDATE OF a SKIP LOCKED`, now, limit)
}

// dueDivisions are accounts whose division is due, the earliest first, but those left out.
func dueDivisions(ctx context.Context, q postgres.Querier, now time.Time, left []uuid.UUID, limit int) ([]Account, error) {
	return postgres.All[Account](ctx, q, `SELECT `+columns+accounts+`WHERE a.due_at <= $1 AND a.divide_at IS NOT NULL AND a.id <> ALL($2::uuid[]) ORDER BY a.due_at, a.id LIMIT $3`, now, left, limit)
}

// claimDivision locks an account whose division is due still, unless somebody else is moving it.
func claimDivision(ctx context.Context, tx postgres.Tx, id uuid.UUID, now time.Time) (Account, bool, error) {
	return first(postgres.All[Account](ctx, tx, `SELECT `+columns+accounts+`WHERE a.id = $1 AND a.due_at <= $2 AND a.divide_at IS NOT NULL FOR UPDATE OF a SKIP LOCKED`, id, now))
}

func movesOf(ctx context.Context, q postgres.Querier, id uuid.UUID) ([]Move, error) {
	return postgres.All[Move](ctx, q, `SELECT id, escrow_id, kind, amount, remaining, cause, actor, at FROM moves WHERE escrow_id = $1 ORDER BY remaining DESC`, id)
}

// list is a page of accounts, the newest first, from below the cursor on. side is client, worker, or empty for everybody's.
func list(ctx context.Context, q postgres.Querier, side string, user, booking uuid.UUID, status Status, before *time.Time, id uuid.UUID, limit int) ([]Account, error) {
	whose := map[string]string{"client": `a.client_id = $1`, "worker": `a.worker_id = $1`, "": `$1::uuid IS NOT NULL`}[side]
	return postgres.All[Account](ctx, q, `SELECT `+columns+accounts+`WHERE `+whose+` AND ($2::uuid = '00000000-0000-0000-0000-000000000000' OR a.booking_id = $2)
		AND ($3 = '' OR a.status = $3) AND ($4::timestamptz IS NULL OR (a.created_at, a.id) < ($4, $5)) ORDER BY a.created_at DESC, a.id DESC LIMIT $6`, user, booking, status, before, id, limit)
}
