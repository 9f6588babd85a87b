package postgres

import (
	"context"
	"io/fs"
)

// Migration is the migrations of one schema: goose files NNNN_name.sql at the top of FS or in its folder migrations.
type Migration struct {
	Schema string
	FS     fs.FS
	Table  string // of the versions applied; goose_db_version when empty. Two migrations of one schema need two tables.
}

// Migrate brings all schemas up under one lock; safe with many processes at once, and one query when nothing is to do. url must lead to the server itself, not to a pooler.
// Extension btree_gist stands in public before the first migration runs. A role with a schema's name, when there is one, is given the use of that schema.
func Migrate(ctx context.Context, url string, m ...Migration) error { panic("unwritten") }
