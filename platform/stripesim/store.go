package stripesim

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Everything lives in one bucket; the first letters of a key say what stands under it.
const (
	keyObject   = "o:" // id → record
	keyIndex    = "i:" // scope, 0, sequence → id
	keyReplay   = "k:" // account, 0, idempotency key → replay
	keyReplayAt = "r:" // time, key of the replay → nothing; for forgetting
	keyEventAt  = "e:" // time, id → id; for forgetting
	keyQueue    = "q:" // sequence → delivery
	keyTask     = "t:" // sequence → task
	keyBalance  = "b:" // account, 0, currency → minor units
	keyURL      = "u:webhook"
)

var bucketName = []byte("stripe")

var errClosed = errors.New("stripesim: closed")

// store is the state on disk. A write that has been answered is durable; concurrent writes share one fsync.
type store struct {
	db     *bolt.DB
	jobs   chan *job
	closed chan struct{}
	idle   chan struct{} // closed when the writer has gone
}

type job struct {
	fn   func(*tx) error
	done chan error
}

func openStore(dir string) (*store, error) {
	db, err := bolt.Open(filepath.Join(dir, "stripe.db"), 0o600, &bolt.Options{Timeout: time.Second, FreelistType: bolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("another Stripe simulator runs on %s: stop it first, or choose another data directory", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open the Stripe simulator's state: %w", err)
	}
	err = db.Update(func(b *bolt.Tx) error {
		_, err := b.CreateBucketIfNotExists(bucketName)
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the Stripe simulator's state: %w", err), db.Close())
	}
	s := &store{db: db, jobs: make(chan *job), closed: make(chan struct{}), idle: make(chan struct{})}
	go s.writer()
	return s, nil
}

func (s *store) close() error {
	close(s.closed)
	<-s.idle
	return s.db.Close()
}

// view runs fn on what is committed.
func (s *store) view(fn func(*tx) error) error {
	return s.db.View(func(b *bolt.Tx) error {
		return fn(&tx{bucket: b.Bucket(bucketName)})
	})
}

// write runs fn alone and answers when its changes are on disk; nothing of fn remains when it fails.
// A ctx that ends while fn waits its turn withdraws it; once it runs, its outcome is waited for.
func (s *store) write(ctx context.Context, fn func(*tx) error) error {
	j := &job{fn: fn, done: make(chan error, 1)}
	select {
	case s.jobs <- j:
		return <-j.done
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closed:
		return errClosed
	}
}

func (s *store) writer() {
	defer close(s.idle)
	for {
		select {
		case j := <-s.jobs:
			s.commit(j)
		case <-s.closed:
			return
		}
	}
}

// commit runs first and whatever else is waiting in one transaction of the database, each on its own overlay.
func (s *store) commit(first *job) {
	var ran []*job
	var failed []error
	err := s.db.Update(func(b *bolt.Tx) error {
		bucket := b.Bucket(bucketName)
		for j := first; j != nil; j = s.waiting(len(ran)) {
			t := &tx{bucket: bucket, puts: map[string][]byte{}}
			err := run(j.fn, t)
			ran, failed = append(ran, j), append(failed, err)
			if err != nil {
				continue
			}
			if err := t.flush(); err != nil {
				return err
			}
		}
		return nil
	})
	for i, j := range ran {
		j.done <- cmp.Or(err, failed[i])
	}
	if len(ran) == 0 {
		first.done <- err
	}
}

func (s *store) waiting(n int) *job {
	if n >= 256 {
		return nil
	}
	select {
	case j := <-s.jobs:
		return j
	default:
		return nil
	}
}

func run(fn func(*tx) error, t *tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("stripesim: panic: %v", p)
		}
	}()
	return fn(t)
}

// tx reads the state and collects changes; without puts it is read-only.
type tx struct {
	bucket *bolt.Bucket
	puts   map[string][]byte // nil value: delete
}

func (t *tx) get(key string) []byte {
	if v, ok := t.puts[key]; ok {
		return v
	}
	return t.bucket.Get([]byte(key))
}

func (t *tx) put(key string, value []byte) { t.puts[key] = value }

func (t *tx) delete(key string) { t.puts[key] = nil }

// discard forgets the changes made so far.
func (t *tx) discard() { clear(t.puts) }

func (t *tx) flush() error {
	for key, value := range t.puts {
		var err error
		if value == nil {
			err = t.bucket.Delete([]byte(key))
		} else {
			err = t.bucket.Put([]byte(key), value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sequence is a number greater than all before it.
func (t *tx) sequence() (uint64, error) { return t.bucket.NextSequence() }

// ascend walks the committed keys with prefix, from on (empty: the first), until fn says stop.
func (t *tx) ascend(prefix, from string, fn func(key string, value []byte) bool) {
	c := t.bucket.Cursor()
	for k, v := c.Seek([]byte(max(prefix, from))); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
		if !fn(string(k), v) {
			return
		}
	}
}

// descend walks the committed keys with prefix that are less than below (empty: the last).
func (t *tx) descend(prefix, below string, fn func(key string, value []byte) bool) {
	if below == "" {
		below = prefix + "\xff"
	}
	c := t.bucket.Cursor()
	var k, v []byte
	if at, _ := c.Seek([]byte(below)); at == nil {
		k, v = c.Last()
	} else {
		k, v = c.Prev()
	}
	for ; k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Prev() {
		if !fn(string(k), v) {
			return
		}
	}
}

func ordered(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }

func orderOf(key string) uint64 { return binary.BigEndian.Uint64([]byte(key[len(key)-8:])) }
