package docdb_test

import (
	"testing"

	"tulifo/platform/docdb"
	"tulifo/platform/docdb/docdbtest"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
)

// Behind a transaction pooler nothing is prepared, so the types of parameters are not asked for but taken from the statement.
func TestPostgresBehindAPooler(t *testing.T) {
	docdbtest.Suite(t, func(t *testing.T) docdb.DB {
		url := pgtest.Database(t)
		admin := pgtest.Open(t, url, "public")
		if _, err := admin.Exec(t.Context(), `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = tulifo_message, public', current_database()); END $$`); err != nil {
			t.Fatal(err)
		}
		sql, err := postgres.Open(t.Context(), postgres.Config{URL: url, Schema: "tulifo_message", Pooled: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(sql.Close)
		return open(t, sql, docdbtest.Collections()...)
	})
}
