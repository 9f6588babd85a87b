// Package blob keeps files that people upload: avatars, attachments, evidence.
//
// A blob is addressed by its content: the SHA-256 of its bytes and its type make its Ref, so it never changes, and nobody's upload can alter what another's is served as.
// A service writes the blob first and the row that names it after; what no row names is swept a day later.
package blob

import (
	"context"
	"io"
	"maps"
	"mime"
	"regexp"
	"slices"
	"strings"
	"time"

	"tulifo/platform/errs"
)

// Keep is how long a blob that nothing references stays.
const Keep = 24 * time.Hour

// Ref names a blob: 64 hexadecimal digits of the SHA-256 of its bytes, a dot, and what stands for its type, such as "9f86…0a08.png".
type Ref string

// Store keeps the blobs of one service. All methods may be called from many goroutines and processes.
// Errors other than those named are the store's: disk, network.
type Store interface {
	// Put reads r to its end and keeps it; once it returns, the blob survives a crash. The same bytes of the same type are kept once.
	// errs.Unsupported: a type that is not kept (see Types). errs.TooLarge: more than max bytes. errs.Invalid: none at all.
	Put(ctx context.Context, contentType string, r io.Reader, max int64) (ref Ref, size int64, err error)
	// Open answers the blob's content; the caller closes it. errs.NotFound: there is none, or ref is not a Ref.
	Open(ctx context.Context, ref Ref) (*Content, error)
	// Delete removes the blob; one that is absent does not matter. Other rows may reference the same bytes: Sweep is the safe way.
	Delete(ctx context.Context, ref Ref) error
	// Sweep removes, of what was last put more than Keep before now (system time), all that referenced does not answer, and says how many that were.
	// referenced is asked with some refs at a time and answers those that a row names.
	Sweep(ctx context.Context, now time.Time, referenced func(ctx context.Context, refs []Ref) ([]Ref, error)) (int, error)
}

// Content is an open blob.
type Content struct {
	io.ReadSeekCloser
	Size     int64
	Modified time.Time
}

// kept are the types that are kept, by what stands for them in a Ref. Those a browser would run, such as SVG and HTML, are not among them.
var kept = map[string]string{
	"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "gif": "image/gif", "avif": "image/avif",
	"mp4": "video/mp4", "webm": "video/webm", "mp3": "audio/mpeg", "ogg": "audio/ogg", "wav": "audio/wav",
	"pdf": "application/pdf", "txt": "text/plain", "csv": "text/csv", "zip": "application/zip", "bin": "application/octet-stream",
	"docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	"xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	"pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
	"odt":  "application/vnd.oasis.opendocument.text",
}

var short = func() map[string]string {
	m := map[string]string{}
	for s, t := range kept {
		m[t] = s
	}
	return m
}()

var refForm = regexp.MustCompile(`^[0-9a-f]{64}\.[a-z0-9]{2,5}$`)

// Parse is s as a Ref. errs.NotFound: it is none.
func Parse(s string) (Ref, error) {
	if refForm.MatchString(s) && kept[s[65:]] != "" {
		return Ref(s), nil
	}
	return "", errAbsent
}

// Hash is the SHA-256 of the blob's bytes in hexadecimal.
func (r Ref) Hash() string {
	h, _, _ := strings.Cut(string(r), ".")
	return h
}

// ContentType is the type the blob is served with; empty when r is not a Ref.
func (r Ref) ContentType() string {
	_, s, _ := strings.Cut(string(r), ".")
	return kept[s]
}

// Types answers the content types that Put takes, sorted.
func Types() []string { return slices.Sorted(maps.Values(kept)) }

var errAbsent = errs.New(errs.NotFound, "There is no such file.")

// suffix is what stands for a content type; parameters, such as a charset, do not matter.
func suffix(contentType string) (string, error) {
	t, _, err := mime.ParseMediaType(contentType)
	if err != nil || short[t] == "" {
		return "", errs.New(errs.Unsupported, "Files of this type cannot be kept.")
	}
	return short[t], nil
}
