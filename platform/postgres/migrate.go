package postgres

import (
	"cmp"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"tulifo/platform/pause"
)

// Migration is the migrations of one schema: goose files NNNN_name.sql at the top of FS or in its folder migrations.
type Migration struct {
	Schema string
	FS     fs.FS
	Table  string // of the versions applied; goose_db_version when empty. Two migrations of one schema need two tables.
}

// Migrate brings all schemas up under one lock; safe with many processes at once, and one query when nothing is to do. url must lead to the server itself, not to a pooler.
// Extension btree_gist stands in public before the first migration runs. A role with a schema's name, when there is one, is given the use of that schema.
// A migration must not use CONCURRENTLY: it would wait for those who wait for the lock.
//
// It may run while services of an older version work on the tables. A statement that waits for a table has everybody wait who asks for it later, so it waits for
// a third of a second at most: then the migration is rolled back, lets them pass and is tried again, for a minute; after that the error is Unavailable.
func Migrate(ctx context.Context, url string, m ...Migration) error {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("database address: %w", err)
	}
	cfg.ConnectTimeout = dialTimeout
	cfg.RuntimeParams["application_name"] = "tulifo migrations"
	cfg.RuntimeParams["timezone"] = "UTC"
	cfg.RuntimeParams["statement_timeout"] = "0"
	// What a crash takes of it is done again, and whatever is written on top of it takes it along to the disk.
	cfg.RuntimeParams["synchronous_commit"] = "off"
	// search_path changes under way, so a prepared statement would mean another table.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	db := stdlib.OpenDB(*cfg)
	// One connection for all: the lock belongs to it.
	db.SetMaxOpenConns(1)
	db.SetConnMaxLifetime(0)
	db.SetConnMaxIdleTime(0)
	defer db.Close()
	if err := migrate(ctx, db, m); err != nil {
		return mapped(ctx, err)
	}
	return nil
}

func migrate(ctx context.Context, db *sql.DB, all []Migration) error {
	todo, err := pending(ctx, db, all)
	if err != nil || len(todo) == 0 {
		return err
	}
	if _, err := db.ExecContext(ctx, "SELECT pg_advisory_lock(hashtextextended('tulifo migrations', 0))"); err != nil {
		return fmt.Errorf("lock of the migrations: %w", err)
	}
	if todo, err = pending(ctx, db, all); err != nil || len(todo) == 0 {
		return err
	}
	if _, err := db.ExecContext(ctx, "CREATE EXTENSION IF NOT EXISTS btree_gist SCHEMA public"); err != nil {
		return fmt.Errorf("extension btree_gist: %w", err)
	}
	if _, err := db.ExecContext(ctx, "SET lock_timeout = "+millis(tableWait)); err != nil {
		return fmt.Errorf("patience of the migrations: %w", err)
	}
	for _, t := range todo {
		if err := t.patiently(ctx, db); err != nil {
			return fmt.Errorf("migrations of %s: %w", t.Schema, err)
		}
	}
	return nil
}

// patiently tries again while others hold what the migration needs.
func (s step) patiently(ctx context.Context, db *sql.DB) error {
	for began, rest := time.Now(), tableWait; ; rest = min(2*rest, 10*tableWait) {
		err := s.up(ctx, db)
		pg, refused := errors.AsType[*pgconn.PgError](err)
		if !refused || pg.Code != "55P03" && pg.Code != "40P01" || time.Since(began) > tablesWait {
			return err
		}
		if err := pause.For(ctx, rest); err != nil {
			return err
		}
	}
}

const (
	tableWait  = 333 * time.Millisecond
	tablesWait = time.Minute
)

// Digest names the state that the files lead to.
func (m Migration) Digest() (string, error) {
	s, err := newStep(m)
	return s.digest, err
}

const mark = "tulifo migrations "

type step struct {
	Migration
	files  []string
	digest string // kept in the schema's comment
}

// pending are the migrations whose schema does not stand where the files lead.
func pending(ctx context.Context, db *sql.DB, all []Migration) ([]step, error) {
	var steps []step
	var schemas, tables []string
	for _, m := range all {
		s, err := newStep(m)
		if err != nil {
			return nil, fmt.Errorf("migrations of %s: %w", m.Schema, err)
		}
		steps, schemas, tables = append(steps, s), append(schemas, s.Schema), append(tables, s.Table)
	}
	rows, err := db.QueryContext(ctx, `
		SELECT nspname, relname, coalesce(obj_description(c.oid, 'pg_class'), '')
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE nspname = ANY ($1::text[]) AND relname = ANY ($2::text[])`, schemas, tables)
	if err != nil {
		return nil, fmt.Errorf("state of the schemas: %w", err)
	}
	defer rows.Close()
	marks := map[[2]string]string{}
	for rows.Next() {
		var schema, table, mark string
		if err := rows.Scan(&schema, &table, &mark); err != nil {
			return nil, fmt.Errorf("state of the schemas: %w", err)
		}
		marks[[2]string{schema, table}] = mark
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("state of the schemas: %w", err)
	}
	var todo []step
	for _, s := range steps {
		if marks[[2]string{s.Schema, s.Table}] != mark+s.digest {
			todo = append(todo, s)
		}
	}
	return todo, nil
}

func newStep(m Migration) (step, error) {
	m.Table = cmp.Or(m.Table, goose.DefaultTablename)
	if sub, err := fs.Sub(m.FS, "migrations"); err == nil {
		if _, err := fs.Stat(sub, "."); err == nil {
			m.FS = sub
		}
	}
	files, err := fs.Glob(m.FS, "*.sql")
	if err != nil {
		return step{}, err
	}
	sum := sha256.New()
	for _, f := range files {
		raw, err := fs.ReadFile(m.FS, f)
		if err != nil {
			return step{}, err
		}
		fmt.Fprintf(sum, "%s %d\n%s", path.Base(f), len(raw), raw)
	}
	return step{Migration: m, files: files, digest: hex.EncodeToString(sum.Sum(nil))}, nil
}

func (s step) up(ctx context.Context, db *sql.DB) error {
	schema := pgx.Identifier{s.Schema}.Sanitize()
	if _, err := db.ExecContext(ctx, "CREATE SCHEMA IF NOT EXISTS "+schema); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "SET search_path = "+searchPath(s.Schema)); err != nil {
		return err
	}
	if len(s.files) > 0 {
		p, err := goose.NewProvider(goose.DialectPostgres, db, s.FS, goose.WithDisableGlobalRegistry(true), goose.WithTableName(s.Table))
		if err != nil {
			return err
		}
		if _, err := p.Up(ctx); err != nil {
			return err
		}
	}
	if err := grant(ctx, db, s.Schema); err != nil {
		return fmt.Errorf("rights of its role: %w", err)
	}
	if len(s.files) == 0 {
		return nil
	}
	_, err := db.ExecContext(ctx, "COMMENT ON TABLE "+pgx.Identifier{s.Schema, s.Table}.Sanitize()+" IS '"+mark+s.digest+"'")
	return err
}

// grant lets the role named like the schema work in it, and in nothing else. The operator makes such roles; where one role does everything there are none.
func grant(ctx context.Context, db *sql.DB, schema string) error {
	var database string
	err := db.QueryRowContext(ctx, "SELECT current_database() FROM pg_roles WHERE rolname = $1 AND rolname <> current_user", schema).Scan(&database)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	name := pgx.Identifier{schema}.Sanitize()
	for _, q := range []string{
		"GRANT USAGE ON SCHEMA " + name + " TO " + name,
		"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA " + name + " TO " + name,
		"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA " + name + " TO " + name,
		"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA " + name + " TO " + name,
		// Behind a pooler the startup parameter does not arrive.
		"ALTER ROLE " + name + " IN DATABASE " + pgx.Identifier{database}.Sanitize() + " SET search_path = " + searchPath(schema),
	} {
		if _, err := db.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	return nil
}
