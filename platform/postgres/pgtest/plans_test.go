package pgtest_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
)

// A statement that has to read a table whole is found, and one that an index answers is not; so is one that may.
func TestStatementsThatReadWholeTablesAreFound(t *testing.T) {
	t.Parallel()
	pgtest.Database(t, postgres.Migration{Schema: "tulifo_plans", FS: fstest.MapFS{"0001_jobs.sql": {Data: []byte(`-- +goose Up
CREATE TABLE jobs (id bigint PRIMARY KEY, owner uuid NOT NULL, state text NOT NULL, due timestamptz, note text NOT NULL);
CREATE INDEX jobs_of_owner ON jobs (owner, id);
CREATE INDEX jobs_due ON jobs (due) WHERE due IS NOT NULL;
CREATE TABLE settings (name text, value text);`)}}})
	for sql, found := range map[string]string{
		`SELECT note FROM jobs WHERE id = $1`:                                     "",
		`SELECT note FROM jobs WHERE owner = $1 AND id > $2 ORDER BY id LIMIT 20`: "",
		`SELECT note FROM jobs ORDER BY id LIMIT 20`:                              "",
		`SELECT min(due) FROM jobs`:                                               "",
		`UPDATE jobs SET state = 'x' WHERE id = (SELECT id FROM jobs WHERE due <= $1 ORDER BY due LIMIT 1 FOR UPDATE SKIP LOCKED)`: "",
		`SELECT value FROM settings`:                                                                           "",
		`SELECT count(*) FROM jobs WHERE note <> 'on purpose'`:                                                 "",
		`SELECT id FROM jobs WHERE state = $1`:                                                                 "jobs",
		`SELECT id FROM jobs WHERE state = $1 ORDER BY id LIMIT 20`:                                            "jobs",
		`DELETE FROM jobs WHERE note = $1`:                                                                     "jobs",
		`WITH old AS (SELECT id FROM jobs WHERE state = $1) DELETE FROM jobs USING old WHERE jobs.id = old.id`: "jobs",
		`SELECT j.id FROM jobs j JOIN settings s ON s.name = j.state WHERE s.value = $1`:                       "jobs",
	} {
		faults, err := pgtest.FaultsOf(t.Context(), "tulifo_plans", map[string]string{sql: "jobs/store.go"}, map[string]string{"settings": "a handful", "note <> 'on purpose'": "once a day"})
		if err != nil {
			t.Fatal(err)
		}
		if said := strings.Join(faults, "\n"); (said != "") != (found != "") || !strings.Contains(said, found) {
			t.Errorf("%s: %q, want %q", sql, said, found)
		}
	}
}
