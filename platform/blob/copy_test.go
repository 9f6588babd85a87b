package blob_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tulifo/platform/blob"
	"tulifo/platform/servertest"
	"tulifo/platform/soak"
)

// Moving to S3 and back loses nothing, whatever was moved before.
func TestCopyToS3AndBack(t *testing.T) {
	t.Parallel()
	home, back, away := files(t, t.TempDir()), files(t, t.TempDir()), bucket(t, config(servertest.S3(t)))
	bodies := map[blob.Ref]string{}
	for i := range soak.N(30, 1500) {
		body := fmt.Sprint("file ", i)
		ref, _, err := home.Put(t.Context(), "text/csv", strings.NewReader(body), 100)
		if err != nil {
			t.Fatal(err)
		}
		bodies[ref] = body
		if i == 0 {
			if _, _, err := away.Put(t.Context(), "text/csv", strings.NewReader(body), 100); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 {
		if n, err := blob.Copy(t.Context(), home, away); n != len(bodies) || err != nil {
			t.Fatalf("to S3: %d, %v", n, err)
		}
	}
	if n, err := blob.Copy(t.Context(), away, back); n != len(bodies) || err != nil {
		t.Fatalf("back: %d, %v", n, err)
	}
	for ref, body := range bodies {
		for _, s := range []blob.Store{home, away, back} {
			if got, err := all(t, s, ref); err != nil || string(got) != body {
				t.Fatalf("%T: %q, %v", s, got, err)
			}
		}
	}
}

func TestCopyOfASpoiledFileIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	from, to := files(t, dir), files(t, t.TempDir())
	ref, _, err := from.Put(t.Context(), "text/plain", strings.NewReader("true"), 10)
	if err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(dir, string(ref[:2]), string(ref))
	if err := os.WriteFile(at, bytes.ToUpper([]byte("true")), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := blob.Copy(t.Context(), from, to); n != 0 || err == nil || !strings.Contains(err.Error(), string(ref)) {
		t.Errorf("Copy = %d, %v", n, err)
	}
}
