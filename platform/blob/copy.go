package blob

import (
	"context"
	"fmt"
	"math"

	"tulifo/platform/errs"
)

// Source is a Store whose blobs can be told one by one, as both of this package can.
type Source interface {
	Store
	each(ctx context.Context, visit func(Ref) error) error
}

// Copy puts all that from has into to, and answers how many blobs that were; what is put or swept while it runs may be missed or be there.
// Refs stay the same, and what to has already does not matter: a copy that was interrupted is begun again.
func Copy(ctx context.Context, from Source, to Store) (int, error) {
	copied := 0
	err := from.each(ctx, func(ref Ref) error {
		switch err := copyOne(ctx, from, to, ref); {
		case errs.KindOf(err) == errs.NotFound:
			return nil
		case err != nil:
			return fmt.Errorf("blob: copy %s: %w", ref, err)
		}
		copied++
		return nil
	})
	return copied, err
}

func copyOne(ctx context.Context, from, to Store, ref Ref) error {
	c, err := from.Open(ctx, ref)
	if err != nil {
		return err
	}
	defer c.Close()
	got, _, err := to.Put(ctx, ref.ContentType(), c, math.MaxInt64-1)
	if err == nil && got != ref {
		// What a disk has spoiled must not get another name and pass for a file of somebody's.
		err = fmt.Errorf("its bytes are those of %s", got)
	}
	return err
}
