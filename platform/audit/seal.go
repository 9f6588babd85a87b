package audit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"tulifo/platform/crash"
	"tulifo/platform/postgres"
)

const (
	gather = 200 * time.Millisecond // rows of that long share a batch
	look   = 900 * time.Millisecond // rows of a process that died are found within it
	pause  = 5 * time.Second        // the longest wait after an error
	batch  = 1000                   // rows sealed in one transaction, read at once by Verify
)

// Seal chains what is committed, within a second, until ctx ends; then it seals the rest once more and answers nil. It runs in every process of
// the service; the database lets one of them seal at a time. An error is logged, waited out and never ends the loop.
func Seal(ctx context.Context, db *postgres.DB, log *slog.Logger) error {
	wake := make(chan struct{}, 1)
	sealers.Store(db, wake)
	defer sealers.CompareAndDelete(db, wake)
	timer := time.NewTimer(0)
	defer timer.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), pause)
			defer cancel()
			if err := Flush(last, db); err != nil {
				log.WarnContext(ctx, "The last audit rows are sealed at the next start.", "error", err)
			}
			return nil
		case <-wake:
			timer.Reset(gather)
			select {
			case <-ctx.Done():
				continue
			case <-timer.C:
			}
		case <-timer.C:
		}
		busy, err := seal(ctx, db, tryLock)
		if err != nil && ctx.Err() == nil {
			failures++
			log.ErrorContext(ctx, "Audit rows could not be sealed; trying again.", "error", err, "failures", failures)
			timer.Reset(min(look<<min(failures-1, 4), pause))
			continue
		}
		failures = 0
		if busy {
			timer.Reset(gather) // the other may have begun before this process' rows were there
		} else {
			timer.Reset(look)
		}
	}
}

// Flush seals what is committed now; it waits for another that is sealing.
func Flush(ctx context.Context, db *postgres.DB) error {
	_, err := seal(ctx, db, waitLock)
	return err
}

// The lock comes first and alone, so that the statements after it see all that the sealer before has committed.
const (
	tryLock  = `SELECT pg_try_advisory_xact_lock(hashtext('audit'), hashtext(current_schema()))`
	waitLock = `SELECT pg_advisory_xact_lock(hashtext('audit'), hashtext(current_schema())) IS NOT NULL`
)

// seal seals what is committed now; busy: another is sealing.
func seal(ctx context.Context, db *postgres.DB, lock string) (busy bool, err error) {
	ctx = crash.Because(ctx, "seal")
	for {
		n, busy, err := sealBatch(ctx, db, lock)
		if err != nil || busy || n < batch {
			return busy, err
		}
	}
}

// row is what a hash covers.
type row struct {
	Seq       int64
	At        time.Time
	Actor     string
	Action    string
	Subject   uuid.UUID
	Detail    string
	RequestID string
}

const columns = `seq, at, actor, action, subject, detail, request_id`

type tip struct {
	Pos  int64
	Hash []byte
}

func sealBatch(ctx context.Context, db *postgres.DB, lock string) (sealed int, busy bool, err error) {
	idle, err := postgres.One[bool](ctx, db, `SELECT NOT EXISTS (SELECT FROM audit WHERE pos IS NULL)`)
	if err != nil || idle {
		return 0, false, err
	}
	err = db.InTx(ctx, func(tx postgres.Tx) error {
		mine, err := postgres.One[bool](ctx, tx, lock)
		if busy = err == nil && !mine; err != nil || busy {
			return err
		}
		last, err := postgres.All[tip](ctx, tx, `SELECT pos, hash FROM audit WHERE pos IS NOT NULL ORDER BY pos DESC LIMIT 1`)
		if err != nil {
			return err
		}
		rows, err := postgres.All[row](ctx, tx, `SELECT `+columns+` FROM audit WHERE pos IS NULL ORDER BY seq LIMIT $1`, batch)
		if err != nil {
			return err
		}
		sealed = len(rows)
		chain(tx, last, rows)
		return nil
	})
	return sealed, busy, err
}

func chain(tx postgres.Tx, last []tip, rows []row) {
	if len(rows) == 0 {
		return
	}
	var at tip
	if len(last) > 0 {
		at = last[0]
	}
	seqs, poss, hashes := make([]int64, len(rows)), make([]int64, len(rows)), make([][]byte, len(rows))
	for i, r := range rows {
		at = tip{at.Pos + 1, r.sum(at)}
		seqs[i], poss[i], hashes[i] = r.Seq, at.Pos, at.Hash
	}
	tx.Later(`UPDATE audit SET pos = s.pos, hash = s.hash FROM unnest($1::bigint[], $2::bigint[], $3::bytea[]) AS s (seq, pos, hash) WHERE audit.seq = s.seq AND audit.pos IS NULL`,
		seqs, poss, hashes)
}

// sum is the SHA-256 of the hash before, the row's place and its fields, each with its length.
func (r row) sum(before tip) []byte {
	h := sha256.New()
	put(h, string(before.Hash))
	putInt(h, before.Pos+1)
	putInt(h, r.Seq)
	putInt(h, r.At.UnixMicro())
	for _, s := range []string{r.Actor, r.Action, r.Subject.String(), r.Detail, r.RequestID} {
		put(h, s)
	}
	return h.Sum(nil)
}

func put(h hash.Hash, s string) {
	putInt(h, int64(len(s)))
	h.Write([]byte(s))
}

func putInt(h hash.Hash, n int64) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(n))
	h.Write(b[:])
}

// Tip is the place and the hash of the last sealed row, so that it can be kept somewhere else; 0 and empty before the first.
func Tip(ctx context.Context, db *postgres.DB) (pos int64, hash string, err error) {
	last, err := postgres.All[tip](ctx, db, `SELECT pos, hash FROM audit WHERE pos IS NOT NULL ORDER BY pos DESC LIMIT 1`)
	if err != nil || len(last) == 0 {
		return 0, "", err
	}
	return last[0].Pos, hex.EncodeToString(last[0].Hash), nil
}

// Verify answers a sentence for each breach of invariant I12 in the service's log: a row that was changed, one that is gone, one that is not
// sealed although it is older than a second. It stops after ten.
func Verify(ctx context.Context, db *postgres.DB) ([]string, error) {
	var breaches []string
	late, err := postgres.One[int64](ctx, db, `SELECT count(*) FROM audit WHERE pos IS NULL AND at < clock_timestamp() - interval '1 second'`)
	if err != nil {
		return nil, err
	}
	if late > 0 {
		breaches = append(breaches, fmt.Sprintf("I12: %d audit rows of %s are not sealed after a second.", late, db.Schema()))
	}
	type link struct {
		row
		Pos  int64
		Hash []byte
	}
	var at tip
	for {
		rows, err := db.Query(ctx, `SELECT `+columns+`, pos, hash FROM audit WHERE pos > $1 ORDER BY pos LIMIT $2`, at.Pos, batch)
		if err != nil {
			return nil, err
		}
		links, err := pgx.CollectRows(rows, pgx.RowToStructByPos[link])
		if err != nil {
			return nil, err
		}
		for _, l := range links {
			if l.Pos != at.Pos+1 {
				breaches = append(breaches, fmt.Sprintf("I12: audit rows %d to %d of %s are gone.", at.Pos+1, l.Pos-1, db.Schema()))
			} else if string(l.sum(at)) != string(l.Hash) {
				breaches = append(breaches, fmt.Sprintf("I12: audit row %d of %s is not what was sealed.", l.Pos, db.Schema()))
			}
			at = tip{l.Pos, l.Hash}
			if len(breaches) >= 10 {
				return breaches, nil
			}
		}
		if len(links) < batch {
			return breaches, nil
		}
	}
}
