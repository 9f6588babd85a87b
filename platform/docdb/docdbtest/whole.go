package docdbtest

import (
	"context"
	"testing"

	"tulifo/platform/docdb"
	"tulifo/platform/errs"
)

// wholly: an operation on many documents is done to all or none, and seen so.
func wholly(t *testing.T, db docdb.DB) {
	ctx := context.WithoutCancel(t.Context())
	const many = 400
	var all []Note
	for i := range many {
		all = append(all, note(int64(i)))
	}
	insert(t, db, all...)
	_, err := notes.UpdateAll(ctx, db, docdb.Filter{}, docdb.Set("slug", "the same"))
	is(t, err, errs.Conflict)
	if n, err := notes.Count(ctx, db, docdb.Exists("slug"), many); n != 0 || err != nil {
		t.Errorf("an update that was refused changed %d, %v", n, err)
	}
	whole := func(what string, where docdb.Filter, do func() (int, error)) {
		t.Helper()
		done := make(chan struct{})
		go func() {
			defer close(done)
			if n, err := do(); n != many || err != nil {
				t.Errorf("%s: %d, %v", what, n, err)
			}
		}()
		for running := true; running; {
			select {
			case <-done:
				running = false
			default:
			}
			if n, err := notes.Count(ctx, db, where, 2*many); n != 0 && n != many || err != nil {
				t.Errorf("%s is seen half done: %d, %v", what, n, err)
				<-done
				return
			}
		}
	}
	whole("an update", docdb.Eq("state", "read"), func() (int, error) {
		return notes.UpdateAll(ctx, db, docdb.Filter{}, docdb.Set("state", "read"))
	})
	whole("a removal", docdb.Filter{}, func() (int, error) { return notes.DeleteAll(ctx, db, docdb.Eq("state", "read")) })
}
