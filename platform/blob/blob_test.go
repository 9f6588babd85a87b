package blob_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tulifo/platform/blob"
	"tulifo/platform/blob/blobtest"
	"tulifo/platform/errs"
)

func files(t *testing.T, dir string) *blob.Files {
	t.Helper()
	s, err := blob.NewFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestFiles(t *testing.T) {
	blobtest.Suite(t, func(t *testing.T) blob.Store { return files(t, t.TempDir()) })
}

func TestFilesLeaveNothingUnfinished(t *testing.T) {
	dir := t.TempDir()
	s := files(t, dir)
	_, _, _ = s.Put(t.Context(), "text/plain", strings.NewReader("too long"), 3)
	crashed := filepath.Join(dir, "incoming", "put-crashed")
	if err := os.WriteFile(crashed, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := count(t, dir); n != 2 {
		t.Errorf("%d files, wanted the lock and the crashed one", n)
	}
	old := time.Now().Add(-2 * blob.Keep)
	if err := os.Chtimes(crashed, old, old); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sweep(t.Context(), time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	if n := count(t, dir); n != 1 {
		t.Errorf("%d files after the sweep", n)
	}
}

// Two stores on one directory are two processes: what one has just put again, the other's sweep leaves alone.
func TestFilesSweepNeverTakesWhatWasJustPut(t *testing.T) {
	dir := t.TempDir()
	puts, sweeps := files(t, dir), files(t, dir)
	old := time.Now().Add(-2 * blob.Keep)
	for i := range 50 {
		body := fmt.Sprint(i)
		ref, _, err := puts.Put(t.Context(), "text/plain", strings.NewReader(body), 10)
		if err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(dir, string(ref[:2]), string(ref))
		if err := os.Chtimes(at, old, old); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := sweeps.Sweep(t.Context(), time.Now(), func(context.Context, []blob.Ref) ([]blob.Ref, error) { return nil, nil }); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, _, err := puts.Put(t.Context(), "text/plain", strings.NewReader(body), 10); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		c, err := puts.Open(t.Context(), ref)
		if err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		_ = c.Close()
	}
}

func TestPublic(t *testing.T) {
	s := files(t, t.TempDir())
	body := bytes.Repeat([]byte("pixel"), 1000)
	ref, _, err := s.Put(t.Context(), "image/png", bytes.NewReader(body), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	h := blob.Public(s, fail)
	w := ask(h, "GET", "/files/"+string(ref), nil)
	if w.Code != 200 || !bytes.Equal(w.Body.Bytes(), body) {
		t.Fatalf("%d, %d bytes", w.Code, w.Body.Len())
	}
	for name, want := range map[string]string{
		"Content-Type": "image/png", "X-Content-Type-Options": "nosniff", "Content-Disposition": "inline", "ETag": `"` + ref.Hash() + `"`,
		"Cache-Control": "public, max-age=31536000, immutable", "Content-Security-Policy": "default-src 'none'; sandbox", "Content-Length": "5000",
	} {
		if got := w.Header().Get(name); got != want {
			t.Errorf("%s: %q, wanted %q", name, got, want)
		}
	}
	if w := ask(h, "GET", "/files/"+string(ref), http.Header{"If-None-Match": {`"` + ref.Hash() + `"`}}); w.Code != 304 || w.Body.Len() != 0 {
		t.Errorf("If-None-Match: %d", w.Code)
	}
	if w := ask(h, "GET", "/files/"+string(ref), http.Header{"Range": {"bytes=5-9"}}); w.Code != 206 || w.Body.String() != "pixel" {
		t.Errorf("Range: %d %q", w.Code, w.Body)
	}
	if w := ask(h, "HEAD", "/files/"+string(ref), nil); w.Code != 200 || w.Body.Len() != 0 {
		t.Errorf("HEAD: %d, %d bytes", w.Code, w.Body.Len())
	}
	for target, want := range map[string]int{"/files/": 404, "/files/..%2f..%2fetc%2fpasswd": 404, "/files/" + ref.Hash() + ".svg": 404, "/files/" + ref.Hash(): 404} {
		if w := ask(h, "GET", target, nil); w.Code != want || w.Header().Get("ETag") != "" {
			t.Errorf("%s: %d %v", target, w.Code, w.Header())
		}
	}
	if w := ask(h, "POST", "/files/"+string(ref), nil); w.Code != 405 {
		t.Errorf("POST: %d", w.Code)
	}
}

func TestPrivate(t *testing.T) {
	s := files(t, t.TempDir())
	ref, _, err := s.Put(t.Context(), "application/pdf", strings.NewReader("%PDF"), 100)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := s.Put(t.Context(), "application/pdf", strings.NewReader("%PDF of others"), 100)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := blob.NewSigner(bytes.Repeat([]byte("k"), 32))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := blob.NewSigner(bytes.Repeat([]byte("s"), 32))
	if err != nil {
		t.Fatal(err)
	}
	h := blob.Private(s, signer, fail)
	good := signer.URL("/f/", ref, "Vertrag \"März\".pdf", time.Minute)
	w := ask(h, "GET", good, nil)
	if w.Code != 200 || w.Body.String() != "%PDF" || w.Header().Get("Content-Disposition") != "attachment; filename*=utf-8''Vertrag%20M%C3%A4rz.pdf" {
		t.Fatalf("%d %q %v", w.Code, w.Body, w.Header())
	}
	if c := w.Header().Get("Cache-Control"); !strings.HasPrefix(c, "private, max-age=") {
		t.Errorf("Cache-Control: %s", c)
	}
	for what, target := range map[string]string{
		"no signature":        "/f/" + string(ref),
		"another blob":        strings.Replace(good, string(ref), string(other), 1),
		"another name":        strings.Replace(good, "pdf", "exe", 2)[:len(good)] + "x",
		"a longer time":       strings.Replace(good, "ends=", "ends=9", 1),
		"another key":         stranger.URL("/f/", ref, "", time.Minute),
		"an empty signature":  "/f/" + string(ref) + "?ends=99999999999&sig=",
		"parts moved about":   "/f/" + string(ref) + "?ends=99999999999%20x&sig=AAAA",
		"its time is over":    signer.URL("/f/", ref, "", -time.Second),
		"a time out of range": "/f/" + string(ref) + "?ends=99999999999999999999999&sig=x",
	} {
		if w := ask(h, "GET", target, nil); w.Code != 403 || strings.Contains(w.Body.String(), "%PDF") {
			t.Errorf("%s: %d", what, w.Code)
		}
	}
	if _, err := blob.NewSigner([]byte("short")); err == nil {
		t.Error("a short secret is taken")
	}
}

func TestFileName(t *testing.T) {
	for in, want := range map[string]string{
		"report.pdf": "report.pdf", "../../etc/passwd": "passwd", `C:\Users\me\cv.docx`: "cv.docx", "a\r\nSet-Cookie: x": "aSet-Cookie x",
		"": "", "..": "", "/": "", "invoice\u202efdp.exe": "invoicefdp.exe", "x\x00y": "xy", "\xff\xfe.txt": ".txt", "<img>.png": "img.png",
		strings.Repeat("ä", 200) + ".png": strings.Repeat("ä", 116) + ".png",
	} {
		if got := blob.FileName(in); got != want {
			t.Errorf("FileName(%q) = %q, wanted %q", in, got, want)
		}
	}
}

func FuzzFileName(f *testing.F) {
	f.Add("a/b\\c.txt")
	f.Fuzz(func(t *testing.T, in string) {
		out := blob.FileName(in)
		if strings.ContainsAny(out, "/\\\r\n\x00\"") || len([]rune(out)) > 120 || blob.FileName(out) != out && strings.Trim(out, " .") != "" {
			t.Errorf("FileName(%q) = %q", in, out)
		}
	})
}

func fail(w http.ResponseWriter, r *http.Request, err error) {
	http.Error(w, err.Error(), errs.KindOf(err).Status())
}

func ask(h http.Handler, method, target string, header http.Header) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	_, _ = io.Copy(io.Discard, r.Body)
	return w
}

func count(t *testing.T, dir string) int {
	t.Helper()
	n := 0
	if err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return n
}
