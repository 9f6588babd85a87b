package docdb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"tulifo/platform/postgres"
)

// functions are what Postgres lacks for documents; a change here needs a new layout number.
// docdb_time may call itself immutable, which the cast alone is not, because JSON times carry their zone.
const layout = "1"

var functions = []string{`
CREATE OR REPLACE FUNCTION docdb_time(t text) RETURNS timestamptz LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	AS 'SELECT t::timestamptz'`, `
CREATE OR REPLACE FUNCTION docdb_set(doc jsonb, path text[], val jsonb) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
	FOR n IN 1 .. cardinality(path) - 1 LOOP
		IF jsonb_typeof(doc #> path[1:n]) IS DISTINCT FROM 'object' THEN
			doc := jsonb_set(doc, path[1:n], '{}');
		END IF;
	END LOOP;
	RETURN jsonb_set(doc, path, val);
END $$`, `
CREATE OR REPLACE FUNCTION docdb_inc(doc jsonb, path text[], n bigint) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
	RETURN docdb_set(doc, path, to_jsonb(coalesce((doc #>> path)::bigint, 0) + n));
END $$`, `
CREATE OR REPLACE FUNCTION docdb_push(doc jsonb, path text[], val jsonb, last bigint) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
	items jsonb := CASE WHEN jsonb_typeof(doc #> path) = 'array' THEN doc #> path ELSE '[]' END || jsonb_build_array(val);
BEGIN
	WHILE last > 0 AND jsonb_array_length(items) > last LOOP
		items := items - 0;
	END LOOP;
	RETURN docdb_set(doc, path, items);
END $$`, `
CREATE TABLE IF NOT EXISTS docdb_layout (name text PRIMARY KEY, definition text NOT NULL)`,
}

// prepare creates what the collections lack. docdb_layout remembers what was declared, so that a start that changes nothing asks one question.
func prepare(ctx context.Context, db *postgres.DB, collections []Declared) error {
	want := map[string]map[string]string{"docdb_functions": {"layout": layout}}
	for _, d := range collections {
		s := d.declared()
		if s.err != nil {
			return s.err
		}
		if _, twice := want[s.name]; twice {
			return fmt.Errorf("two collections %s", s.name)
		}
		ddl, err := s.indexDDL()
		if err != nil {
			return err
		}
		want[s.name] = ddl
	}
	have, err := prepared(ctx, db, db.Schema())
	if err == nil && missing(want, have) == nil {
		return nil
	}
	if err != nil && !undefined(err) {
		return err
	}
	return db.InTx(ctx, func(tx postgres.Tx) error {
		// Building an index may take longer than a statement of a request.
		if _, err := tx.Exec(ctx, `SET LOCAL statement_timeout = 0`); err != nil {
			return err
		}
		// CREATE … IF NOT EXISTS still fails when two do it at once.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext('docdb ' || $1::text))`, db.Schema()); err != nil {
			return err
		}
		schema := pgx.Identifier{db.Schema()}.Sanitize()
		// Asked first: CREATE SCHEMA wants a right on the database even when the schema exists.
		there, err := postgres.One[bool](ctx, tx, `SELECT EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = $1::text)`, db.Schema())
		if err != nil {
			return err
		}
		if !there {
			if _, err := tx.Exec(ctx, `CREATE SCHEMA `+schema); err != nil {
				return err
			}
		}
		if _, err := tx.Exec(ctx, `SET LOCAL search_path = `+schema+`, public`); err != nil {
			return err
		}
		have := map[string]map[string]string{}
		known, err := postgres.One[bool](ctx, tx, `SELECT to_regclass($1::text) IS NOT NULL`, schema+".docdb_layout")
		if err != nil {
			return err
		}
		if known {
			if have, err = prepared(ctx, tx, db.Schema()); err != nil {
				return err
			}
		}
		return bring(ctx, tx, want, have)
	})
}

// bring makes the tables and indexes what they are declared to be.
func bring(ctx context.Context, tx postgres.Tx, want, have map[string]map[string]string) error {
	names := missing(want, have)
	if slices.Contains(names, "docdb_functions") {
		for _, stmt := range functions {
			if _, err := tx.Exec(ctx, stmt); err != nil {
				return err
			}
		}
	}
	for _, name := range names {
		var ddl []string
		if name != "docdb_functions" {
			ddl = append(ddl, `CREATE TABLE IF NOT EXISTS `+name+` (id text COLLATE "C" PRIMARY KEY, doc jsonb NOT NULL)`)
			for index, stmt := range have[name] {
				if want[name][index] != stmt {
					ddl = append(ddl, `DROP INDEX IF EXISTS `+index)
				}
			}
			for _, index := range slices.Sorted(maps.Keys(want[name])) {
				if want[name][index] != have[name][index] {
					ddl = append(ddl, want[name][index])
				}
			}
		}
		for _, stmt := range ddl {
			if _, err := tx.Exec(ctx, stmt); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		def, err := json.Marshal(want[name])
		if err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `INSERT INTO docdb_layout (name, definition) VALUES ($1::text, $2::text)
			ON CONFLICT (name) DO UPDATE SET definition = excluded.definition`, name, string(def)); err != nil {
			return err
		}
	}
	return nil
}

// missing names what is wanted and not so, sorted.
func missing(want, have map[string]map[string]string) []string {
	var names []string
	for name, def := range want {
		if got, ok := have[name]; !ok || !maps.Equal(got, def) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func prepared(ctx context.Context, q postgres.Querier, schema string) (map[string]map[string]string, error) {
	type row struct{ Name, Definition string }
	rows, err := postgres.All[row](ctx, q, `SELECT name, definition FROM `+pgx.Identifier{schema, "docdb_layout"}.Sanitize())
	if err != nil {
		return nil, err
	}
	have := map[string]map[string]string{}
	for _, r := range rows {
		var def map[string]string
		if err := json.Unmarshal([]byte(r.Definition), &def); err != nil {
			return nil, fmt.Errorf("layout of %s: %w", r.Name, err)
		}
		have[r.Name] = def
	}
	return have, nil
}

// undefined says that the schema or the table is not there yet.
func undefined(err error) bool {
	p, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (p.Code == "42P01" || p.Code == "3F000")
}

// indexDDL is the statement that creates each index, by its name.
func (s *schema) indexDDL() (map[string]string, error) {
	out := map[string]string{}
	for _, x := range s.indexes {
		unique, using, keys := "", "", make([]string, 0, len(x.Fields)+1)
		for _, name := range x.Fields {
			f := s.fields[name]
			if f.kind == list {
				using = "USING gin "
				keys = append(keys, "("+expr(f)+") jsonb_path_ops")
				continue
			}
			keys = append(keys, "("+expr(f)+")")
		}
		switch {
		case x.Unique:
			unique = "UNIQUE "
		case using == "":
			keys = append(keys, "id") // ties are broken by it, so that a page needs no sort
		}
		where := ""
		if x.Where.op != "" {
			cond, err := s.partial(x.Where)
			if err != nil {
				return nil, fmt.Errorf("index %s: %w", x.Name, err)
			}
			where = " WHERE " + cond
		}
		out[x.Name] = "CREATE " + unique + "INDEX " + x.Name + " ON " + s.name + " " + using + "(" + strings.Join(keys, ", ") + ")" + where
	}
	return out, nil
}
