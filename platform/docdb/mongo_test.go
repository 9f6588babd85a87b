package docdb_test

import (
	"testing"

	"tulifo/platform/docdb"
	"tulifo/platform/docdb/docdbtest"
	"tulifo/platform/servertest"
)

func TestMongo(t *testing.T) {
	docdbtest.Suite(t, func(t *testing.T) docdb.DB { return openMongo(t, servertest.Mongo(t), docdbtest.Collections()...) })
}

func openMongo(t *testing.T, uri string, cs ...docdb.Declared) docdb.DB {
	t.Helper()
	d, err := docdb.OpenMongo(t.Context(), docdb.Mongo{URI: uri, Service: "message"}, cs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}
