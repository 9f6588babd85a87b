// Package blobtest is the specification of blob.Store as tests, for every engine.
package blobtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"tulifo/platform/blob"
	"tulifo/platform/errs"
	"tulifo/platform/soak"
)

// Suite runs all of it; open answers an empty store that no other test uses.
func Suite(t *testing.T, open func(t *testing.T) blob.Store) {
	for name, run := range map[string]func(*testing.T, blob.Store){
		"what was put is read back":                  roundTrip,
		"the same bytes are kept once":               once,
		"many put the same at once":                  together,
		"limits hold and leave nothing behind":       limits,
		"a reader that fails leaves nothing behind":  broken,
		"what is no ref is not found":                hostile,
		"deleted is gone":                            deleted,
		"a sweep removes only old unreferenced ones": sweep,
		"a sweep whose question fails removes none":  sweepFails,
		"a sweep of very many":                       sweepMany,
		"a blob can be read from the middle":         seek,
		"sizes about the limits of parts":            sizes,
		"a sweep takes nothing that was just put":    sweepRaces,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, open(t))
		})
	}
}

func roundTrip(t *testing.T, s blob.Store) {
	body := bytes.Repeat([]byte("\x89PNG\r\n\x00"), 100_000)
	ref, size, err := s.Put(t.Context(), "image/png", iotest.HalfReader(bytes.NewReader(body)), int64(len(body)))
	sum := sha256.Sum256(body)
	if err != nil || size != int64(len(body)) || ref.Hash() != hex.EncodeToString(sum[:]) || ref.ContentType() != "image/png" {
		t.Fatalf("Put = %s, %d, %v", ref, size, err)
	}
	if again, err := blob.Parse(string(ref)); again != ref || err != nil {
		t.Fatalf("Parse = %s, %v", again, err)
	}
	if got := read(t, s, ref); !bytes.Equal(got, body) {
		t.Fatalf("%d other bytes came back", len(got))
	}
}

func once(t *testing.T, s blob.Store) {
	a := put(t, s, "text/plain; charset=utf-8", "hello")
	if b := put(t, s, "text/plain", "hello"); b != a {
		t.Errorf("%s and %s", a, b)
	}
	c := put(t, s, "application/octet-stream", "hello")
	if c == a || c.Hash() != a.Hash() {
		t.Errorf("another type: %s and %s", a, c)
	}
	if n := survivors(t, s); n != 2 {
		t.Errorf("%d blobs", n)
	}
}

func together(t *testing.T, s blob.Store) {
	var wg sync.WaitGroup
	refs := make([]blob.Ref, 16)
	for i := range refs {
		wg.Go(func() {
			ref, _, err := s.Put(t.Context(), "image/gif", strings.NewReader("GIF89a"), 10)
			if err != nil {
				t.Error(err)
				return
			}
			c, err := s.Open(t.Context(), ref)
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.Close()
			refs[i] = ref
		})
	}
	wg.Wait()
	if len(slices.Compact(refs)) != 1 || survivors(t, s) != 1 {
		t.Errorf("refs %v", refs)
	}
}

func limits(t *testing.T, s blob.Store) {
	for _, c := range []struct {
		contentType, body string
		max               int64
		want              errs.Kind
	}{
		{"text/plain", "12345", 5, ""},
		{"text/plain", "123456", 5, errs.TooLarge},
		{"text/plain", "1", 0, errs.TooLarge},
		{"text/plain", "", 5, errs.Invalid},
		{"image/svg+xml", "<svg/>", 50, errs.Unsupported},
		{"text/html", "<script>", 50, errs.Unsupported},
		{"", "x", 50, errs.Unsupported},
		{"image/png\r\nX-Evil: 1", "x", 50, errs.Unsupported},
		{"../../png", "x", 50, errs.Unsupported},
	} {
		if _, _, err := s.Put(t.Context(), c.contentType, strings.NewReader(c.body), c.max); errs.KindOf(err) != c.want {
			t.Errorf("%q of %q, at most %d: %v", c.body, c.contentType, c.max, err)
		}
	}
	if n := survivors(t, s); n != 1 {
		t.Errorf("%d blobs", n)
	}
}

func broken(t *testing.T, s blob.Store) {
	no := errors.New("the connection is gone")
	r := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(no))
	if _, _, err := s.Put(t.Context(), "text/plain", r, 100); !errors.Is(err, no) {
		t.Errorf("Put: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Put(ctx, "text/plain", strings.NewReader("late"), 100); !errors.Is(err, context.Canceled) {
		t.Errorf("Put after the request ended: %v", err)
	}
	if n := survivors(t, s); n != 0 {
		t.Errorf("%d blobs", n)
	}
}

func hostile(t *testing.T, s blob.Store) {
	there := put(t, s, "text/plain", "x")
	for _, ref := range []blob.Ref{
		"", ".", "..", "../../etc/passwd", "/etc/passwd", "lock", "incoming", blob.Ref(there.Hash()), there + "\x00", there + "/..",
		blob.Ref(there.Hash() + ".exe"), blob.Ref(there.Hash() + "."), blob.Ref(strings.ToUpper(string(there))), "../" + there,
		blob.Ref(strings.Repeat("0", 64) + ".png"), blob.Ref(strings.Repeat("../", 22) + ".png"), there[1:],
	} {
		if c, err := s.Open(t.Context(), ref); errs.KindOf(err) != errs.NotFound {
			t.Errorf("Open(%q) = %v, %v", ref, c, err)
		}
		if err := s.Delete(t.Context(), ref); err != nil {
			t.Errorf("Delete(%q): %v", ref, err)
		}
	}
	read(t, s, there)
}

func deleted(t *testing.T, s blob.Store) {
	a, b := put(t, s, "text/plain", "a"), put(t, s, "text/plain", "b")
	for range 2 {
		if err := s.Delete(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Open(t.Context(), a); errs.KindOf(err) != errs.NotFound {
		t.Errorf("Open: %v", err)
	}
	read(t, s, b)
}

func sweep(t *testing.T, s blob.Store) {
	named, orphan := put(t, s, "text/plain", "named"), put(t, s, "text/plain", "orphan")
	var asked []blob.Ref
	rows := func(_ context.Context, refs []blob.Ref) ([]blob.Ref, error) {
		asked = append(asked, refs...)
		return []blob.Ref{named}, nil
	}
	for after, want := range map[time.Duration]int{0: 0, blob.Keep - time.Minute: 0} {
		if n, err := s.Sweep(t.Context(), time.Now().Add(after), rows); n != want || err != nil || len(asked) > 0 {
			t.Errorf("after %v: %d, %v, asked about %v", after, n, err, asked)
		}
	}
	if n, err := s.Sweep(t.Context(), time.Now().Add(blob.Keep+time.Minute), rows); n != 1 || err != nil || len(asked) != 2 {
		t.Errorf("after a day: %d, %v, asked about %v", n, err, asked)
	}
	read(t, s, named)
	if _, err := s.Open(t.Context(), orphan); errs.KindOf(err) != errs.NotFound {
		t.Errorf("the orphan: %v", err)
	}
	if again := put(t, s, "text/plain", "orphan"); again != orphan {
		t.Errorf("put again: %s", again)
	}
}

func sweepFails(t *testing.T, s blob.Store) {
	ref := put(t, s, "text/plain", "x")
	no := errs.New(errs.Unavailable, "The database is away.")
	n, err := s.Sweep(t.Context(), time.Now().Add(2*blob.Keep), func(context.Context, []blob.Ref) ([]blob.Ref, error) { return nil, no })
	if n != 0 || !errors.Is(err, no) {
		t.Errorf("Sweep = %d, %v", n, err)
	}
	read(t, s, ref)
}

func sweepMany(t *testing.T, s blob.Store) {
	const many = 1100
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; i < many; i += 4 {
				if _, _, err := s.Put(t.Context(), "text/plain", strings.NewReader(fmt.Sprint(i)), 10); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	largest := 0
	n, err := s.Sweep(t.Context(), time.Now().Add(2*blob.Keep), func(_ context.Context, refs []blob.Ref) ([]blob.Ref, error) {
		largest = max(largest, len(refs))
		return refs[:1], nil
	})
	if err != nil || n < many-10 || n == many || largest > 1000 {
		t.Errorf("Sweep = %d, %v; asked about %d at once", n, err, largest)
	}
}

func seek(t *testing.T, s blob.Store) {
	c, err := s.Open(t.Context(), put(t, s, "text/plain", "0123456789"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for offset, want := range map[int64]string{3: "345", 7: "789", 0: "012"} {
		got := make([]byte, 3)
		if _, err := c.Seek(offset, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
			t.Errorf("at %d: %q, %v", offset, got, err)
		}
	}
	if end, err := c.Seek(0, io.SeekEnd); end != 10 || c.Size != 10 || err != nil {
		t.Errorf("it ends at %d, Size %d, %v", end, c.Size, err)
	}
}

func sizes(t *testing.T, s blob.Store) {
	const mebi = 1 << 20
	body := make([]byte, 16*mebi+1)
	rand.NewChaCha8([32]byte{}).Read(body)
	for _, n := range []int{1, 5*mebi - 1, 5 * mebi, 5*mebi + 1, 16 * mebi, 16*mebi + 1} {
		ref, size, err := s.Put(t.Context(), "video/mp4", bytes.NewReader(body[:n]), int64(n))
		if err != nil || size != int64(n) {
			t.Errorf("Put of %d bytes = %d, %v", n, size, err)
			continue
		}
		if got := read(t, s, ref); !bytes.Equal(got, body[:n]) {
			t.Errorf("of %d bytes came back %d, or others", n, len(got))
		}
		if _, _, err := s.Put(t.Context(), "video/mp4", bytes.NewReader(body[:n]), int64(n-1)); errs.KindOf(err) != errs.TooLarge {
			t.Errorf("Put of %d bytes where one less may be: %v", n, err)
		}
	}
}

// sweepRaces has what is old put again while it is swept.
func sweepRaces(t *testing.T, s blob.Store) {
	const many = 30
	for range soak.N(2, 20) {
		var refs []blob.Ref
		for i := range many {
			refs = append(refs, put(t, s, "text/plain", fmt.Sprint("again ", i)))
		}
		// Stores tell time in whole seconds at the coarsest, and may leave themselves one more.
		age := time.Now().Add(2100 * time.Millisecond)
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(time.Until(age)):
		}
		swept := make(chan int, 1)
		go func() {
			n, err := s.Sweep(t.Context(), age.Add(blob.Keep-500*time.Millisecond), func(context.Context, []blob.Ref) ([]blob.Ref, error) { return nil, nil })
			if err != nil {
				t.Error(err)
			}
			swept <- n
		}()
		var wg sync.WaitGroup
		for i := range many {
			wg.Go(func() {
				if _, _, err := s.Put(t.Context(), "text/plain", strings.NewReader(fmt.Sprint("again ", i)), 100); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		n := <-swept
		for _, ref := range refs {
			c, err := s.Open(t.Context(), ref)
			if err != nil {
				t.Fatalf("put while %d were swept: %v", n, err)
			}
			_ = c.Close()
		}
	}
}

func put(t *testing.T, s blob.Store, contentType, body string) blob.Ref {
	t.Helper()
	ref, size, err := s.Put(t.Context(), contentType, strings.NewReader(body), 1000)
	if err != nil || size != int64(len(body)) {
		t.Fatalf("Put = %s, %d, %v", ref, size, err)
	}
	return ref
}

func read(t *testing.T, s blob.Store, ref blob.Ref) []byte {
	t.Helper()
	c, err := s.Open(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	if err != nil || int64(len(b)) != c.Size {
		t.Fatalf("%d bytes of %d, %v", len(b), c.Size, err)
	}
	return b
}

// survivors counts the blobs by having a sweep ask about all.
func survivors(t *testing.T, s blob.Store) int {
	t.Helper()
	count := 0
	if _, err := s.Sweep(t.Context(), time.Now().Add(2*blob.Keep), func(_ context.Context, refs []blob.Ref) ([]blob.Ref, error) {
		count += len(refs)
		return refs, nil
	}); err != nil {
		t.Fatal(err)
	}
	return count
}
