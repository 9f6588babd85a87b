package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/signer"

	"tulifo/platform/errs"
)

// S3Config says where blobs are kept that are not under the data directory.
type S3Config struct {
	Endpoint        string `env:"S3_ENDPOINT"`                      // such as https://s3.eu-central-1.amazonaws.com, or with a path as Supabase Storage has it; empty: files under the data directory
	Region          string `env:"S3_REGION" envDefault:"us-east-1"` // that requests are signed for
	Bucket          string `env:"S3_BUCKET"`                        // it exists; one serves all services
	AccessKeyID     string `env:"S3_ACCESS_KEY_ID"`
	SecretAccessKey string `env:"S3_SECRET_ACCESS_KEY"`
}

// Validate refuses a configuration that cannot work, with a sentence that says what to do. One without an endpoint is right.
func (c S3Config) Validate() error {
	if c.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return errors.New("S3_ENDPOINT must be an address such as https://s3.eu-central-1.amazonaws.com, without the bucket and without keys")
	}
	for name, value := range map[string]string{"S3_BUCKET": c.Bucket, "S3_ACCESS_KEY_ID": c.AccessKeyID, "S3_SECRET_ACCESS_KEY": c.SecretAccessKey} {
		if value == "" {
			return fmt.Errorf("%s must be set when S3_ENDPOINT is", name)
		}
	}
	return nil
}

// S3 is the Store of a service in a bucket of an S3 server, under the service's name. A blob's last Put is its object's modification time.
type S3 struct {
	client *minio.Core
	bucket string
	prefix string // of the service, ends in a slash
}

const (
	requestBound = time.Minute            // of one request with its retries
	sweepBound   = time.Minute            // of the removal of some orphans
	noticeAge    = 20 * time.Minute       // after which a notice is dead: sweepBound, and more than S3 lets clocks differ
	noticePause  = 100 * time.Millisecond // between two looks whether a sweep is over
	sweepHands   = 8                      // orphans that are removed at once
)

var errAway = errs.New(errs.Unavailable, "Files cannot be reached at the moment. Try again soon.")

// NewS3 keeps the blobs of a service; nothing is asked of the server yet.
func NewS3(c S3Config, service string) (*S3, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		MaxIdleConnsPerHost: 32, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 15 * time.Second,
		DisableCompression: true, // a blob's bytes are not to be unpacked
	}
	o := &minio.Options{
		Creds: credentials.NewStaticV4(c.AccessKeyID, c.SecretAccessKey, ""), Secure: u.Scheme == "https", Region: c.Region,
		BucketLookup: minio.BucketLookupPath, Transport: transport, MaxRetries: 3,
	}
	if base := strings.TrimRight(u.Path, "/"); base != "" {
		o.Transport = &below{base, c, transport}
	}
	client, err := minio.NewCore(u.Host, o)
	if err != nil {
		return nil, fmt.Errorf("S3_ENDPOINT: %w", err)
	}
	return &S3{client: client, bucket: c.Bucket, prefix: service + "/"}, nil
}

// below sends requests to an endpoint that has a path of its own, which the client does not know; the signature covers it.
type below struct {
	base string
	c    S3Config
	next http.RoundTripper
}

func (b *below) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Path = b.base + r.URL.Path
	if r.URL.RawPath != "" {
		r.URL.RawPath = b.base + r.URL.RawPath
	}
	r.Header.Del("Authorization")
	return b.next.RoundTrip(signer.SignV4(*r, b.c.AccessKeyID, b.c.SecretAccessKey, "", b.c.Region))
}

// Ping tells whether the bucket is there and may be used.
func (s *S3) Ping(ctx context.Context) error {
	there, err := s.client.BucketExists(ctx, s.bucket)
	if err == nil && !there {
		err = fmt.Errorf("there is no bucket %q", s.bucket)
	}
	return err
}

// Put is Store's. The file is gathered on this machine first: its name is its hash. One request then stores it whole or not at all.
func (s *S3) Put(ctx context.Context, contentType string, r io.Reader, max int64) (Ref, int64, error) {
	tmp, err := os.CreateTemp("", "tulifo-blob-")
	if err != nil {
		return "", 0, fmt.Errorf("blob: put: %w", err)
	}
	defer tmp.Close()
	// Without a name it goes with this process.
	if err := os.Remove(tmp.Name()); err != nil {
		return "", 0, fmt.Errorf("blob: put: %w", err)
	}
	ref, size, err := gather(ctx, tmp, contentType, r, max)
	if err != nil {
		return "", 0, err
	}
	for range attempts {
		if err := s.store(ctx, s.key(ref), io.NewSectionReader(tmp, 0, size), size, ref.Hash()); err != nil {
			return "", 0, fmt.Errorf("blob: put: %w", err)
		}
		// A sweep that has seen an older one may be removing it. What is there once no sweep says so stays: see remove.
		if err := s.unswept(ctx, ref); err != nil {
			return "", 0, fmt.Errorf("blob: put: %w", err)
		}
		switch _, err := s.stat(ctx, ref); {
		case err == nil:
			return ref, size, nil
		case errs.KindOf(err) != errs.NotFound:
			return "", 0, fmt.Errorf("blob: put: %w", err)
		}
	}
	return "", 0, fmt.Errorf("blob: put: %w", errAway.Because(errors.New("the server says that what it has just stored is not there")))
}

// store keeps one object; the server compares the bytes with their hash.
func (s *S3) store(ctx context.Context, key string, r io.Reader, size int64, hash string) error {
	bounded, cancel := context.WithTimeout(ctx, requestBound)
	defer cancel()
	_, err := s.client.PutObject(bounded, s.bucket, key, r, size, "", hash, minio.PutObjectOptions{DisableContentSha256: true, ContentType: "application/octet-stream"})
	return s.fault(ctx, err)
}

func (s *S3) stat(ctx context.Context, ref Ref) (minio.ObjectInfo, error) {
	bounded, cancel := context.WithTimeout(ctx, requestBound)
	defer cancel()
	info, err := s.client.StatObject(bounded, s.bucket, s.key(ref), minio.StatObjectOptions{})
	return info, s.fault(ctx, err)
}

// Open is Store's. The content comes as it is read; one that breaks off is asked for again from there.
func (s *S3) Open(ctx context.Context, ref Ref) (*Content, error) {
	if _, err := Parse(string(ref)); err != nil {
		return nil, err
	}
	o := &object{ctx: ctx, store: s, key: s.key(ref)}
	info, err := o.ask()
	if err != nil {
		return nil, fmt.Errorf("blob: open: %w", err)
	}
	o.size, o.tag = info.Size, info.ETag
	return &Content{o, info.Size, info.LastModified}, nil
}

// Delete is Store's.
func (s *S3) Delete(ctx context.Context, ref Ref) error {
	if _, err := Parse(string(ref)); err != nil {
		return nil
	}
	if err := s.remove(ctx, s.key(ref)); err != nil {
		return fmt.Errorf("blob: delete: %w", err)
	}
	return nil
}

func (s *S3) remove(ctx context.Context, key string) error {
	bounded, cancel := context.WithTimeout(ctx, requestBound)
	defer cancel()
	err := s.fault(ctx, s.client.RemoveObject(bounded, s.bucket, key, minio.RemoveObjectOptions{}))
	if errs.KindOf(err) == errs.NotFound {
		return nil
	}
	return err
}

// fault is what an error of the client is to a caller whose context is ctx.
func (s *S3) fault(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case minio.ToErrorResponse(err).Code == minio.NoSuchKey:
		return errAbsent
	}
	return errAway.Because(err)
}

func (s *S3) key(ref Ref) string { return s.prefix + "blobs/" + string(ref) }

// object reads a blob, from any place, as the server sends it.
type object struct {
	ctx   context.Context
	store *S3
	key   string
	tag   string
	size  int64
	at    int64 // where the next Read reads
	body  io.ReadCloser
	from  int64 // where body stands
}

// attempts is how often in a row a connection may break off without a byte, and how often a file is stored that is then not there.
const attempts = 3

func (o *object) ask() (minio.ObjectInfo, error) {
	var options minio.GetObjectOptions
	if o.at > 0 {
		if err := errors.Join(options.SetRange(o.at, 0), options.SetMatchETag(o.tag)); err != nil {
			return minio.ObjectInfo{}, err
		}
	}
	body, info, _, err := o.store.client.GetObject(o.ctx, o.store.bucket, o.key, options)
	if err != nil {
		return info, o.store.fault(o.ctx, err)
	}
	if o.at > 0 && info.Size != o.size-o.at {
		return info, errors.Join(errAway.Because(errors.New("the server sent another part than was asked for")), body.Close())
	}
	o.body, o.from = body, o.at
	return info, nil
}

func (o *object) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for tried := 1; ; tried++ {
		if o.at >= o.size {
			return 0, io.EOF
		}
		if o.body != nil && o.from != o.at {
			o.hangUp()
		}
		var err error
		if o.body == nil {
			_, err = o.ask()
		}
		if err == nil {
			var n int
			n, err = o.body.Read(p[:min(int64(len(p)), o.size-o.at)])
			o.at += int64(n)
			o.from = o.at
			if n > 0 {
				return n, nil
			}
			o.hangUp()
		}
		switch {
		case o.ctx.Err() != nil:
			return 0, o.ctx.Err()
		case tried < attempts:
		case err == nil || errors.Is(err, io.EOF):
			return 0, errAway.Because(io.ErrUnexpectedEOF)
		default:
			return 0, o.store.fault(o.ctx, err)
		}
	}
}

func (o *object) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += o.at
	case io.SeekEnd:
		offset += o.size
	}
	if offset < 0 {
		return 0, errors.New("blob: seek before the start")
	}
	o.at = offset
	return offset, nil
}

func (o *object) hangUp() {
	if o.body != nil {
		_ = o.body.Close()
		o.body = nil
	}
}

func (o *object) Close() error { o.hangUp(); return nil }

func refOf(key string) (Ref, error) { return Parse(path.Base(key)) }
