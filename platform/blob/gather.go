package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"

	"tulifo/platform/errs"
)

// gather copies r to w and answers what the bytes are called; its errors are those of Store's Put.
func gather(ctx context.Context, w io.Writer, contentType string, r io.Reader, max int64) (Ref, int64, error) {
	kind, err := suffix(contentType)
	if err != nil {
		return "", 0, err
	}
	hash := sha256.New()
	size, err := io.Copy(io.MultiWriter(w, hash), io.LimitReader(&cancelled{ctx, r}, max+1))
	switch {
	case err != nil:
		return "", 0, fmt.Errorf("blob: put: %w", err)
	case size > max:
		return "", 0, errs.New(errs.TooLarge, "The file is too large.")
	case size == 0:
		return "", 0, errs.New(errs.Invalid, "The file is empty.")
	}
	return Ref(hex.EncodeToString(hash.Sum(nil)) + "." + kind), size, nil
}

// orphans are those of refs that referenced does not answer.
func orphans(ctx context.Context, refs []Ref, referenced func(context.Context, []Ref) ([]Ref, error)) ([]Ref, error) {
	named, err := referenced(ctx, refs)
	if err != nil {
		return nil, err
	}
	keep := map[Ref]bool{}
	for _, r := range named {
		keep[r] = true
	}
	return slices.DeleteFunc(slices.Clone(refs), func(r Ref) bool { return keep[r] }), nil
}

// cancelled is a reader that ends with its context.
type cancelled struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelled) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
