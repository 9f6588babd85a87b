package blob_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/minio/minio-go/v7/pkg/signer"

	"tulifo/platform/blob"
	"tulifo/platform/blob/blobtest"
	"tulifo/platform/errs"
	"tulifo/platform/fault"
	"tulifo/platform/servertest"
	"tulifo/platform/soak"
)

func config(b servertest.Bucket) blob.S3Config {
	return blob.S3Config{Endpoint: b.Endpoint, Region: b.Region, Bucket: b.Name, AccessKeyID: b.AccessKeyID, SecretAccessKey: b.SecretAccessKey}
}

func bucket(t *testing.T, c blob.S3Config) *blob.S3 {
	t.Helper()
	s, err := blob.NewS3(c, "user")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestS3(t *testing.T) {
	blobtest.Suite(t, func(t *testing.T) blob.Store { return bucket(t, config(servertest.S3(t))) })
}

// Each service has its own blobs in the one bucket.
func TestS3ServicesDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	c := config(servertest.S3(t))
	ours := bucket(t, c)
	theirs, err := blob.NewS3(c, "users")
	if err != nil {
		t.Fatal(err)
	}
	ref, _, err := theirs.Put(t.Context(), "text/plain", strings.NewReader("theirs"), 10)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ours.Open(t.Context(), ref); errs.KindOf(err) != errs.NotFound {
		t.Errorf("another service's blob: %v", err)
	}
	if n, err := ours.Sweep(t.Context(), time.Now().Add(2*blob.Keep), func(context.Context, []blob.Ref) ([]blob.Ref, error) { return nil, nil }); n != 0 || err != nil {
		t.Errorf("another service's blob is swept: %d, %v", n, err)
	}
}

func TestS3PutWaitsForASweepThatMayTakeItsBlob(t *testing.T) {
	t.Parallel()
	s := bucket(t, config(servertest.S3(t)))
	put := func(ctx context.Context) (blob.Ref, error) {
		ref, _, err := s.Put(ctx, "text/plain", strings.NewReader("contested"), 10)
		return ref, err
	}
	ref, err := put(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	forget, err := s.Notice(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Put(t.Context(), "text/plain", strings.NewReader("of another"), 10); err != nil {
		t.Errorf("a sweep of others: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := put(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it does not wait: %v", err)
	}
	if err := s.Delete(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := put(t.Context()); done <- err }()
	for {
		if c, err := s.Open(t.Context(), ref); err == nil {
			_ = c.Close()
			break
		}
	}
	// It is stored again; the sweep, which saw the old one, takes it nevertheless, and is over.
	if err := s.Delete(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	if err := forget(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	c, err := s.Open(t.Context(), ref)
	if err != nil {
		t.Fatalf("put, and taken by the sweep: %v", err)
	}
	_ = c.Close()
}

// A line that breaks at any byte, up or down, leaves the whole blob or none, and never half a read that passes for a whole one.
func TestS3CutConnections(t *testing.T) {
	t.Parallel()
	b := servertest.S3(t)
	direct := bucket(t, config(b))
	line, through, err := fault.Before(b.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(line.Close)
	c := config(b)
	c.Endpoint = through
	s := bucket(t, c)
	r := soak.Rand(t)
	for round := range soak.N(8, 200) {
		body := make([]byte, 200_000)
		for i := range body {
			body[i] = byte(r.Uint32())
		}
		toward := []fault.Side{fault.ToServer, fault.ToClient}[round%2]
		line.Set(fault.Toxic{Toward: toward, CutAfter: 1 + r.Int64N([]int64{250_000, 1200}[round%2])})
		ref, _, err := s.Put(t.Context(), "application/zip", bytes.NewReader(body), 1<<20)
		line.Set()
		if err == nil {
			if got, err := all(t, direct, ref); err != nil || !bytes.Equal(got, body) {
				t.Fatalf("round %d: Put said yes; %d bytes, %v", round, len(got), err)
			}
		} else if errs.KindOf(err) != errs.Unavailable {
			t.Fatalf("round %d: Put: %v", round, err)
		}
		ref, _, err = direct.Put(t.Context(), "application/zip", bytes.NewReader(body), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		line.Set(fault.Toxic{Toward: fault.ToClient, CutAfter: 1 + r.Int64N(300_000)})
		if got, err := all(t, s, ref); err == nil && !bytes.Equal(got, body) || err != nil && errs.KindOf(err) != errs.Unavailable {
			t.Fatalf("round %d: read %d bytes, %v", round, len(got), err)
		}
		line.Set()
		if got, err := all(t, s, ref); err != nil || !bytes.Equal(got, body) {
			t.Fatalf("round %d: afterwards %d bytes, %v", round, len(got), err)
		}
	}
}

func TestS3ServerAway(t *testing.T) {
	t.Parallel()
	server, b := servertest.OwnS3(t)
	s := bucket(t, config(b))
	ref, _, err := s.Put(t.Context(), "text/plain", strings.NewReader("kept"), 10)
	if err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(){"stopped": server.Stop, "killed": server.Kill} {
		reader, writer := io.Pipe()
		put := make(chan error, 1)
		go func() {
			_, _, err := s.Put(t.Context(), "text/plain", reader, 1<<20)
			put <- err
		}()
		if _, err := writer.Write([]byte(name + " while this is put")); err != nil {
			t.Fatal(err)
		}
		end()
		if err := writer.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-put; errs.KindOf(err) != errs.Unavailable {
			t.Errorf("%s: Put: %v", name, err)
		}
		if _, err := s.Open(t.Context(), ref); errs.KindOf(err) != errs.Unavailable {
			t.Errorf("%s: Open: %v", name, err)
		}
		if err := s.Delete(t.Context(), ref); errs.KindOf(err) != errs.Unavailable {
			t.Errorf("%s: Delete: %v", name, err)
		}
		if _, err := s.Sweep(t.Context(), time.Now(), nil); errs.KindOf(err) != errs.Unavailable {
			t.Errorf("%s: Sweep: %v", name, err)
		}
		if err := s.Ping(t.Context()); err == nil {
			t.Errorf("%s: the ping is answered", name)
		}
		server.Start()
		if err := s.Ping(t.Context()); err != nil {
			t.Errorf("%s and started again: %v", name, err)
		}
		if got, err := all(t, s, ref); err != nil || string(got) != "kept" {
			t.Errorf("%s and started again: %q, %v", name, got, err)
		}
		n := 0
		if _, err := s.Sweep(t.Context(), time.Now().Add(2*blob.Keep), func(_ context.Context, refs []blob.Ref) ([]blob.Ref, error) {
			n += len(refs)
			return refs, nil
		}); err != nil || n != 1 {
			t.Errorf("%s and started again: %d blobs, %v", name, n, err)
		}
	}
}

// An endpoint may lie under a path, which the signature covers, as Supabase Storage's does.
func TestS3UnderAPath(t *testing.T) {
	t.Parallel()
	b := servertest.S3(t)
	u, err := url.Parse(b.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	const base = "/storage/v1/s3"
	onward := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(u)
		p.Out.URL.Path, p.Out.URL.RawPath, p.Out.Host = strings.TrimPrefix(p.In.URL.Path, base), "", u.Host
		p.Out.Header.Del("Accept-Encoding")
		p.Out.Header.Del("Authorization")
		p.Out = signer.SignV4(*p.Out, b.AccessKeyID, b.SecretAccessKey, "", b.Region)
	}}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		check := r.Clone(r.Context())
		check.URL.Scheme, check.URL.Host = "http", r.Host
		check.Header = http.Header{}
		_, signed, _ := strings.Cut(r.Header.Get("Authorization"), "SignedHeaders=")
		signed, _, _ = strings.Cut(signed, ",")
		for name := range strings.SplitSeq(signed, ";") {
			check.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
		check.Header.Del("Host")
		if !strings.HasPrefix(r.URL.Path, base+"/") || signer.SignV4(*check, b.AccessKeyID, b.SecretAccessKey, "", b.Region).Header.Get("Authorization") != r.Header.Get("Authorization") {
			http.Error(w, "the path or its signature is wrong", http.StatusForbidden)
			return
		}
		onward.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	c := config(b)
	c.Endpoint = front.URL + base + "/"
	s := bucket(t, c)
	ref, _, err := s.Put(t.Context(), "text/plain", strings.NewReader("under a path"), 100)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := all(t, s, ref); err != nil || string(got) != "under a path" {
		t.Errorf("%q, %v", got, err)
	}
	if n, err := s.Sweep(t.Context(), time.Now().Add(2*blob.Keep), func(context.Context, []blob.Ref) ([]blob.Ref, error) { return nil, nil }); n != 1 || err != nil {
		t.Errorf("Sweep = %d, %v", n, err)
	}
}

// What the store is not told right is no answer about the file.
func TestS3WrongKeysAndBucketsAreNoAnswerAboutAFile(t *testing.T) {
	t.Parallel()
	right := config(servertest.S3(t))
	ref, _, err := bucket(t, right).Put(t.Context(), "text/plain", strings.NewReader("x"), 10)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]blob.S3Config{
		"another bucket": {Endpoint: right.Endpoint, Region: right.Region, Bucket: right.Bucket + "x", AccessKeyID: right.AccessKeyID, SecretAccessKey: right.SecretAccessKey},
		"another key":    {Endpoint: right.Endpoint, Region: right.Region, Bucket: right.Bucket, AccessKeyID: "nobody", SecretAccessKey: right.SecretAccessKey},
		"another secret": {Endpoint: right.Endpoint, Region: right.Region, Bucket: right.Bucket, AccessKeyID: right.AccessKeyID, SecretAccessKey: "guessed-" + right.SecretAccessKey},
	} {
		s := bucket(t, c)
		if _, err := s.Open(t.Context(), ref); errs.KindOf(err) != errs.Unavailable {
			t.Errorf("%s: Open: %v", what, err)
		}
		if _, _, err := s.Put(t.Context(), "text/plain", iotest.OneByteReader(strings.NewReader("y")), 10); errs.KindOf(err) != errs.Unavailable {
			t.Errorf("%s: Put: %v", what, err)
		}
		if err := s.Ping(t.Context()); err == nil {
			t.Errorf("%s: the ping is answered", what)
		}
	}
}

func TestS3Config(t *testing.T) {
	good := blob.S3Config{Endpoint: "https://s3.example.com", Region: "eu-central-1", Bucket: "b", AccessKeyID: "k", SecretAccessKey: "s"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	if err := (blob.S3Config{}).Validate(); err != nil {
		t.Errorf("none: %v", err)
	}
	for want, spoil := range map[string]func(*blob.S3Config){
		"S3_ENDPOINT":          func(c *blob.S3Config) { c.Endpoint = "s3.example.com" },
		"without keys":         func(c *blob.S3Config) { c.Endpoint = "https://k:s@s3.example.com" },
		"S3_BUCKET":            func(c *blob.S3Config) { c.Bucket = "" },
		"S3_ACCESS_KEY_ID":     func(c *blob.S3Config) { c.AccessKeyID = "" },
		"S3_SECRET_ACCESS_KEY": func(c *blob.S3Config) { c.SecretAccessKey = "" },
	} {
		c := good
		spoil(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func all(t *testing.T, s blob.Store, ref blob.Ref) ([]byte, error) {
	t.Helper()
	c, err := s.Open(t.Context(), ref)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return io.ReadAll(c)
}
