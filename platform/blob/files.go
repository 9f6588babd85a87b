package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Files is the Store under a directory of one machine. A blob's last Put is its file's modification time.
type Files struct {
	dir  string
	mu   sync.Mutex
	lock *os.File // held while a file appears, is renewed or goes, so that a sweep never removes what was just put
}

const (
	incoming  = "incoming" // unfinished files
	sweepSize = 500        // refs a time that referenced is asked about
)

// NewFiles keeps blobs under dir, which is made if it is missing and belongs to the store alone.
func NewFiles(dir string) (*Files, error) {
	if err := os.MkdirAll(filepath.Join(dir, incoming), 0o700); err != nil {
		return nil, fmt.Errorf("blob: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("blob: %w", err)
	}
	return &Files{dir: dir, lock: lock}, nil
}

// Close lets go of the directory.
func (f *Files) Close() error { return f.lock.Close() }

// Put is Store's.
func (f *Files) Put(ctx context.Context, contentType string, r io.Reader, max int64) (Ref, int64, error) {
	tmp, err := os.CreateTemp(filepath.Join(f.dir, incoming), "put-")
	if err != nil {
		return "", 0, fmt.Errorf("blob: put: %w", err)
	}
	// After the rename there is nothing left to remove.
	defer func() { _ = tmp.Close(); _ = os.Remove(tmp.Name()) }()
	ref, size, err := gather(ctx, tmp, contentType, r, max)
	if err != nil {
		return "", 0, err
	}
	if err := tmp.Sync(); err != nil {
		return "", 0, fmt.Errorf("blob: put: %w", err)
	}
	if err := f.keep(tmp.Name(), ref); err != nil {
		return "", 0, fmt.Errorf("blob: put: %w", err)
	}
	return ref, size, nil
}

// keep gives the finished file its name, or renews the one that has it.
func (f *Files) keep(tmp string, ref Ref) error {
	at := f.path(ref)
	parent := filepath.Dir(at)
	switch err := os.Mkdir(parent, 0o700); {
	case err == nil:
		if err := syncDir(f.dir); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	unlock, err := f.locked()
	if err != nil {
		return err
	}
	defer unlock()
	now := time.Now()
	err = os.Chtimes(at, now, now)
	if errors.Is(err, fs.ErrNotExist) {
		err = os.Rename(tmp, at)
	}
	if err != nil {
		return err
	}
	return syncDir(parent)
}

// Open is Store's.
func (f *Files) Open(ctx context.Context, ref Ref) (*Content, error) {
	if _, err := Parse(string(ref)); err != nil {
		return nil, err
	}
	file, err := os.Open(f.path(ref))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errAbsent
	}
	if err != nil {
		return nil, fmt.Errorf("blob: open: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("blob: open: %w", err)
	}
	return &Content{file, info.Size(), info.ModTime()}, nil
}

// Delete is Store's.
func (f *Files) Delete(ctx context.Context, ref Ref) error {
	if _, err := Parse(string(ref)); err != nil {
		return nil
	}
	if err := os.Remove(f.path(ref)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("blob: delete: %w", err)
	}
	return nil
}

// Sweep is Store's. It also removes what a crash left unfinished.
func (f *Files) Sweep(ctx context.Context, now time.Time, referenced func(context.Context, []Ref) ([]Ref, error)) (int, error) {
	before := now.Add(-Keep)
	removed := 0
	var some []Ref
	flush := func() error {
		n, err := f.sweep(ctx, some, before, referenced)
		removed += n
		some = some[:0]
		return err
	}
	err := filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !info.ModTime().Before(before) {
			return err
		}
		if filepath.Base(filepath.Dir(path)) == incoming {
			if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		}
		if ref, err := Parse(d.Name()); err == nil {
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
	if err != nil {
		return removed, fmt.Errorf("blob: sweep: %w", err)
	}
	return removed, nil
}

func (f *Files) each(ctx context.Context, visit func(Ref) error) error {
	return filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		ref, err := Parse(d.Name())
		if err != nil {
			return ctx.Err()
		}
		return visit(ref)
	})
}

func (f *Files) sweep(ctx context.Context, refs []Ref, before time.Time, referenced func(context.Context, []Ref) ([]Ref, error)) (int, error) {
	orphaned, err := orphans(ctx, refs, referenced)
	if err != nil {
		return 0, err
	}
	removed := 0
	for _, r := range orphaned {
		gone, err := f.removeOld(r, before)
		if err != nil {
			return removed, err
		}
		if gone {
			removed++
		}
	}
	return removed, nil
}

// removeOld looks at the time again, for the blob may have been put once more since it was listed.
func (f *Files) removeOld(ref Ref, before time.Time) (bool, error) {
	unlock, err := f.locked()
	if err != nil {
		return false, err
	}
	defer unlock()
	info, err := os.Stat(f.path(ref))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !info.ModTime().Before(before) {
		return false, err
	}
	return true, os.Remove(f.path(ref))
}

// locked keeps out other goroutines by the mutex and other processes by the file's lock.
func (f *Files) locked() (unlock func(), err error) {
	f.mu.Lock()
	for {
		if err = syscall.Flock(int(f.lock.Fd()), syscall.LOCK_EX); !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		f.mu.Unlock()
		return nil, fmt.Errorf("lock: %w", err)
	}
	return func() {
		_ = syscall.Flock(int(f.lock.Fd()), syscall.LOCK_UN)
		f.mu.Unlock()
	}, nil
}

// path is safe because every Ref has passed Parse, or was made here.
func (f *Files) path(ref Ref) string { return filepath.Join(f.dir, string(ref[:2]), string(ref)) }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
