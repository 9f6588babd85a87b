package docdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"tulifo/platform/errs"
	"tulifo/platform/postgres"
)

// pgDB keeps each collection in a table (id text, doc jsonb) of the service's schema, with an index on expressions for each that is declared.
type pgDB struct{ db *postgres.DB }

// pgTx is a transaction of pgDB.
type pgTx struct{ tx postgres.Tx }

// Open keeps the collections in db's schema, creates what they lack there, and takes db over.
// When everything is there it is one query; any number of processes may do it at once.
func Open(ctx context.Context, db *postgres.DB, collections ...Declared) (DB, error) {
	if err := prepare(ctx, db, collections); err != nil {
		return nil, fmt.Errorf("docdb: open %s: %w", db.Schema(), err)
	}
	return pgDB{db}, nil
}

// SQL is the Postgres transaction that tx is; ok is false on another engine. The outbox of a service on Postgres writes through it.
func SQL(tx Tx) (sql postgres.Tx, ok bool) {
	if t, is := tx.(*pgTx); is {
		return t.tx, true
	}
	return nil, false
}

// Within is sql as a Tx, for who opened the transaction below docdb: an inbox does.
func Within(sql postgres.Tx) Tx { return &pgTx{sql} }

func (d pgDB) engine() engine                 { return pgEngine{d.db} }
func (d pgDB) Ping(ctx context.Context) error { return d.db.Ping(ctx) }
func (d pgDB) Close()                         { d.db.Close() }

func (d pgDB) InTx(ctx context.Context, fn func(Tx) error) error {
	return d.db.InTx(ctx, func(tx postgres.Tx) error { return fn(&pgTx{tx}) })
}

func (t *pgTx) engine() engine                                { return pgEngine{t.tx} }
func (t *pgTx) Committed(fn func())                           { t.tx.Committed(fn) }
func (t *pgTx) DB() DB                                        { return pgDB{t.tx.DB()} }
func (t *pgTx) carriedBy(ctx context.Context) context.Context { return postgres.With(ctx, t.tx) }

// pgEngine compiles operations to one statement each. Names in it were checked at the declaration; every value is a parameter.
type pgEngine struct{ q postgres.Querier }

func (e pgEngine) insert(ctx context.Context, c *schema, docs []record, absent bool) (int, error) {
	ids, bodies := make([]string, len(docs)), make([]string, len(docs))
	for i, r := range docs {
		var err error
		if ids[i], bodies[i], err = encode(r); err != nil {
			return 0, err
		}
	}
	// One by one is by far the commonest and keeps the plan trivial.
	sql, args := `INSERT INTO `+c.name+` (id, doc) VALUES ($1::text, $2::text::jsonb)`, []any{ids[0], bodies[0]}
	if len(docs) > 1 {
		sql = `INSERT INTO ` + c.name + ` (id, doc) SELECT i, d::jsonb FROM unnest($1::text[], $2::text[]) AS n(i, d)`
		args = []any{ids, bodies}
	}
	if absent {
		sql += ` ON CONFLICT (id) DO NOTHING`
	}
	tag, err := e.q.Exec(ctx, sql, args...)
	return int(tag.RowsAffected()), refusal(err)
}

func (e pgEngine) upsert(ctx context.Context, c *schema, doc record, changes []change) ([]byte, error) {
	id, body, err := encode(doc)
	if err != nil {
		return nil, err
	}
	b := &builder{c: c}
	becomes := "excluded.doc"
	sql := `INSERT INTO ` + c.name + ` AS t (id, doc) VALUES (` + b.param(id, "text") + `, ` + b.param(body, "text") + `::jsonb) ON CONFLICT (id) DO UPDATE SET doc = `
	if len(changes) > 0 {
		if becomes, err = b.apply("t.doc", changes); err != nil {
			return nil, err
		}
	}
	return e.one(ctx, sql+becomes+` RETURNING doc`, b.args)
}

func (e pgEngine) find(ctx context.Context, c *schema, where Filter, o order, limit int) ([][]byte, error) {
	b := &builder{c: c}
	sql := `SELECT doc FROM ` + c.name + ` WHERE ` + b.where(where) + b.from(o) + ` ORDER BY ` + b.orderBy(o) + ` LIMIT ` + b.param(int64(limit), "bigint")
	if b.err != nil {
		return nil, b.err
	}
	rows, err := e.q.Query(ctx, sql, b.args...)
	if err != nil {
		return nil, refusal(err)
	}
	docs, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	return docs, refusal(err)
}

func (e pgEngine) update(ctx context.Context, c *schema, id string, when Filter, changes []change) ([]byte, bool, error) {
	b := &builder{c: c}
	key := b.param(id, "text")
	doc, err := b.apply("doc", changes)
	if err != nil {
		return nil, false, err
	}
	sql := `WITH changed AS (UPDATE ` + c.name + ` SET doc = ` + doc + ` WHERE id = ` + key + ` AND ` + b.where(when) + ` RETURNING doc)
		SELECT (SELECT doc FROM changed), EXISTS (SELECT 1 FROM ` + c.name + ` WHERE id = ` + key + `)`
	if b.err != nil {
		return nil, false, b.err
	}
	rows, err := e.q.Query(ctx, sql, b.args...)
	if err != nil {
		return nil, false, refusal(err)
	}
	type outcome struct {
		Doc   []byte
		There bool
	}
	out, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[outcome])
	return out.Doc, out.There, refusal(err)
}

func (e pgEngine) updateFirst(ctx context.Context, c *schema, where Filter, o order, changes []change) ([]byte, error) {
	b := &builder{c: c}
	doc, err := b.apply("doc", changes)
	if err != nil {
		return nil, err
	}
	// The condition stands outside too: the planner may run the inner query more than once.
	cond := b.where(where)
	sql := `UPDATE ` + c.name + ` SET doc = ` + doc + ` WHERE id = (SELECT id FROM ` + c.name + ` WHERE ` + cond + b.from(o) +
		` ORDER BY ` + b.orderBy(o) + ` LIMIT 1 FOR UPDATE SKIP LOCKED) AND ` + cond + ` RETURNING doc`
	if b.err != nil {
		return nil, b.err
	}
	return e.one(ctx, sql, b.args)
}

func (e pgEngine) updateAll(ctx context.Context, c *schema, where Filter, changes []change) (int, error) {
	b := &builder{c: c}
	doc, err := b.apply("doc", changes)
	if err != nil {
		return 0, err
	}
	sql := `UPDATE ` + c.name + ` SET doc = ` + doc + ` WHERE ` + b.where(where)
	return e.exec(ctx, sql, b)
}

func (e pgEngine) remove(ctx context.Context, c *schema, where Filter, limit int) (int, error) {
	b := &builder{c: c}
	which := b.where(where)
	sql := `DELETE FROM ` + c.name + ` WHERE ` + which
	if limit > 0 {
		sql = `DELETE FROM ` + c.name + ` WHERE id IN (SELECT id FROM ` + c.name + ` WHERE ` + which + ` LIMIT ` + b.param(int64(limit), "bigint") + ` FOR UPDATE SKIP LOCKED)`
	}
	return e.exec(ctx, sql, b)
}

func (e pgEngine) count(ctx context.Context, c *schema, where Filter, most int) (int, error) {
	b := &builder{c: c}
	sql := `SELECT count(*) FROM (SELECT 1 FROM ` + c.name + ` WHERE ` + b.where(where) + ` LIMIT ` + b.param(int64(most), "bigint") + `) AS found`
	if b.err != nil {
		return 0, b.err
	}
	n, err := postgres.One[int64](ctx, e.q, sql, b.args...)
	return int(n), refusal(err)
}

func (e pgEngine) decode(_ *schema, doc []byte, into any) error { return json.Unmarshal(doc, into) }

func (e pgEngine) exec(ctx context.Context, sql string, b *builder) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	tag, err := e.q.Exec(ctx, sql, b.args...)
	return int(tag.RowsAffected()), refusal(err)
}

// one answers the only row's document, nil when there is no row.
func (e pgEngine) one(ctx context.Context, sql string, args []any) ([]byte, error) {
	rows, err := e.q.Query(ctx, sql, args...)
	if err != nil {
		return nil, refusal(err)
	}
	doc, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[[]byte])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	return doc, refusal(err)
}

func encode(r record) (id, body string, err error) {
	b, err := json.Marshal(r.doc)
	if err != nil {
		return "", "", fmt.Errorf("docdb: write a document: %w", err)
	}
	if len(b) > MaxDocument {
		return "", "", errs.New(errs.TooLarge, "That is too large to be kept.")
	}
	return r.id, string(b), nil
}

// refusal is err with what a person or a program can act on.
func refusal(err error) error {
	p, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return err
	}
	switch p.Code {
	case "23505": // unique_violation
		return errs.New(errs.Conflict, "There is one like it already.").Because(&violation{p.ConstraintName, err})
	case "22P05", "22021": // untranslatable_character, character_not_in_repertoire
		return errs.New(errs.Invalid, "The text has a character that cannot be kept.").Because(err)
	case "22003": // numeric_value_out_of_range
		return errs.New(errs.Invalid, "The number is too large.").Because(err)
	}
	return err
}
