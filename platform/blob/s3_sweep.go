package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"

	"tulifo/platform/errs"
	"tulifo/platform/pause"
)

// Sweep is Store's. It also removes the notices that a crash left.
func (s *S3) Sweep(ctx context.Context, now time.Time, referenced func(context.Context, []Ref) ([]Ref, error)) (int, error) {
	before := now.Add(-Keep)
	removed := 0
	var some []Ref
	flush := func() error {
		orphaned, err := orphans(ctx, some, referenced)
		some = some[:0]
		if err != nil || len(orphaned) == 0 {
			return err
		}
		n, err := s.removeOld(ctx, orphaned, before)
		removed += n
		return err
	}
	err := s.objects(ctx, s.prefix+"blobs/", func(o minio.ObjectInfo) error {
		if ref, err := refOf(o.Key); err == nil && old(o, before) {
			some = append(some, ref)
		}
		if len(some) < sweepSize {
			return nil
		}
		return flush()
	})
	if err == nil && len(some) > 0 {
		err = flush()
	}
	if err == nil {
		err = s.objects(ctx, s.notices(), func(o minio.ObjectInfo) error {
			if time.Since(o.LastModified) < noticeAge {
				return nil
			}
			return s.remove(ctx, o.Key)
		})
	}
	if err != nil {
		return removed, fmt.Errorf("blob: sweep: %w", err)
	}
	return removed, nil
}

// removeOld removes what was not put again. S3 cannot delete on a condition, so a notice stands in the bucket meanwhile that names what may go.
// It is there before the time is looked at again: a Put that comes later finds it after it has stored its object, and waits until it is gone and looks whether the object still is;
// one that came earlier is seen here.
func (s *S3) removeOld(ctx context.Context, refs []Ref, before time.Time) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, sweepBound)
	defer cancel()
	var body bytes.Buffer
	for _, r := range refs {
		fmt.Fprintln(&body, r)
	}
	notice := s.notices() + rand.Text()
	sum := sha256.Sum256(body.Bytes())
	if err := s.store(ctx, notice, bytes.NewReader(body.Bytes()), int64(body.Len()), hex.EncodeToString(sum[:])); err != nil {
		return 0, err
	}
	var removed atomic.Int64
	hands, ctx := errgroup.WithContext(ctx)
	hands.SetLimit(sweepHands)
	for _, r := range refs {
		hands.Go(func() error {
			info, err := s.stat(ctx, r)
			if errs.KindOf(err) == errs.NotFound || err == nil && !old(info, before) {
				return nil
			}
			if err == nil {
				err = s.remove(ctx, s.key(r))
			}
			if err == nil {
				removed.Add(1)
			}
			return err
		})
	}
	if err := hands.Wait(); err != nil {
		// A removal may still be under way at the server: the notice stays until it is too old to matter.
		return int(removed.Load()), err
	}
	return int(removed.Load()), s.remove(context.WithoutCancel(ctx), notice)
}

// unswept waits until no sweep is removing the blob.
func (s *S3) unswept(ctx context.Context, ref Ref) error {
	for {
		named := false
		err := s.objects(ctx, s.notices(), func(o minio.ObjectInfo) error {
			if named || time.Since(o.LastModified) > noticeAge {
				return nil
			}
			body, _, _, err := s.client.GetObject(ctx, s.bucket, o.Key, minio.GetObjectOptions{})
			if err := s.fault(ctx, err); errs.KindOf(err) == errs.NotFound {
				return nil
			} else if err != nil {
				return err
			}
			defer body.Close()
			raw, err := io.ReadAll(body)
			named = strings.Contains(string(raw), string(ref))
			return s.fault(ctx, err)
		})
		if err != nil || !named {
			return err
		}
		if err := pause.For(ctx, noticePause); err != nil {
			return err
		}
	}
}

func (s *S3) each(ctx context.Context, visit func(Ref) error) error {
	return s.objects(ctx, s.prefix+"blobs/", func(o minio.ObjectInfo) error {
		ref, err := refOf(o.Key)
		if err != nil {
			return nil
		}
		return visit(ref)
	})
}

// objects walks over the objects of a prefix.
func (s *S3) objects(ctx context.Context, prefix string, visit func(minio.ObjectInfo) error) error {
	listing, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range s.client.ListObjectsIter(listing, s.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			return s.fault(ctx, o.Err)
		}
		if err := visit(o); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// old leaves a second to servers that tell time in whole ones.
func old(o minio.ObjectInfo, before time.Time) bool {
	return o.LastModified.Add(time.Second).Before(before)
}

func (s *S3) notices() string { return s.prefix + "sweeping/" }
