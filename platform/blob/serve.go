package blob

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"tulifo/platform/errs"
)

// MaxSigned is the longest time that a signed URL can be good for.
const MaxSigned = time.Hour

// shown are the types that a browser may show in place; all others are saved.
var shown = []string{"image/", "video/", "audio/"}

// Public serves GET and HEAD of …/{ref} to anybody who knows the ref, for ever cacheable. fail answers a request that gets no blob.
func Public(s Store, fail func(http.ResponseWriter, *http.Request, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := serve(w, r, s, Ref(path.Base(r.URL.Path)), "", "public, max-age=31536000, immutable"); err != nil {
			fail(w, r, err)
		}
	})
}

// Private serves GET and HEAD of the URLs that signer made and whose time is not over. fail answers a request that gets no blob.
func Private(s Store, signer *Signer, fail func(http.ResponseWriter, *http.Request, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ref := Ref(path.Base(r.URL.Path))
		left, err := signer.check(ref, r.URL.Query())
		if err == nil {
			err = serve(w, r, s, ref, r.URL.Query().Get("name"), fmt.Sprintf("private, max-age=%d", int(left.Seconds())))
		}
		if err != nil {
			fail(w, r, err)
		}
	})
}

// serve writes the blob, or nothing at all when it answers an error.
func serve(w http.ResponseWriter, r *http.Request, s Store, ref Ref, name, cache string) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return errs.New(errs.NotAllowed, "A file can only be read.")
	}
	c, err := s.Open(r.Context(), ref)
	if err != nil {
		return err
	}
	defer c.Close()
	h := w.Header()
	contentType := ref.ContentType()
	if strings.HasPrefix(contentType, "text/") {
		contentType += "; charset=utf-8"
	}
	h.Set("Content-Type", contentType)
	h.Set("Content-Disposition", disposition(ref, name))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", cache)
	h.Set("ETag", `"`+ref.Hash()+`"`)
	http.ServeContent(w, r, "", c.Modified, c)
	return nil
}

func disposition(ref Ref, name string) string {
	way := "attachment"
	for _, t := range shown {
		if strings.HasPrefix(ref.ContentType(), t) {
			way = "inline"
		}
	}
	name = FileName(name)
	if name == "" {
		return way
	}
	if v := mime.FormatMediaType(way, map[string]string{"filename": name}); v != "" {
		return v
	}
	return way
}

// FileName is what is safe of a file name that a person sent: the part after the last slash, without control and direction characters, at most 120 characters.
func FileName(name string) string {
	name = path.Base(strings.ReplaceAll(strings.ToValidUTF8(name, ""), `\`, "/"))
	name = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || strings.ContainsRune(`/<>:"|?*`, r) {
			return -1
		}
		return r
	}, name))
	if strings.Trim(name, ".") == "" {
		return ""
	}
	for utf8.RuneCountInString(name) > 120 {
		// The end is kept, because it says what kind of file it is.
		_, n := utf8.DecodeRuneInString(name)
		name = name[n:]
	}
	return name
}

// Signer makes URLs of private blobs that are good for a short time.
type Signer struct{ key []byte }

// NewSigner signs with a key derived from secret, of 32 random bytes or more.
func NewSigner(secret []byte) (*Signer, error) {
	if len(secret) < 32 {
		return nil, fmt.Errorf("blob: the signing secret has %d bytes, 32 are needed", len(secret))
	}
	m := hmac.New(sha256.New, secret)
	m.Write([]byte("tulifo blob url"))
	return &Signer{m.Sum(nil)}, nil
}

// URL is prefix, which ends in a slash, with the ref and a signature good until ttl from now, at most MaxSigned; name is what the file is saved as.
func (s *Signer) URL(prefix string, ref Ref, name string, ttl time.Duration) string {
	ends := strconv.FormatInt(time.Now().Add(min(ttl, MaxSigned)).Unix(), 10)
	q := url.Values{"ends": {ends}, "sig": {s.sign(ref, ends, name)}}
	if name != "" {
		q.Set("name", name)
	}
	return prefix + string(ref) + "?" + q.Encode()
}

// check answers how much longer the URL is good.
func (s *Signer) check(ref Ref, q url.Values) (time.Duration, error) {
	ends := q.Get("ends")
	if !hmac.Equal([]byte(q.Get("sig")), []byte(s.sign(ref, ends, q.Get("name")))) {
		return 0, errs.New(errs.Forbidden, "This link is not valid.")
	}
	at, err := strconv.ParseInt(ends, 10, 64)
	if err != nil {
		return 0, errs.New(errs.Forbidden, "This link is not valid.")
	}
	left := time.Until(time.Unix(at, 0))
	if left <= 0 {
		return 0, errs.Coded(errs.Forbidden, "link_expired", "This link is too old. Open the page again.")
	}
	return left, nil
}

func (s *Signer) sign(ref Ref, ends, name string) string {
	m := hmac.New(sha256.New, s.key)
	// Lengths first, so that no two triples sign the same bytes.
	fmt.Fprintf(m, "%d %d %s %s %s", len(ref), len(ends), ref, ends, name)
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}
