package blob

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Notice stands in the bucket as one of a sweep that is about to remove refs would; forget takes it away.
func (s *S3) Notice(ctx context.Context, refs ...Ref) (forget func() error, err error) {
	body := ""
	for _, r := range refs {
		body += string(r) + "\n"
	}
	sum := sha256.Sum256([]byte(body))
	key := s.notices() + "of-a-test"
	return func() error { return s.remove(ctx, key) }, s.store(ctx, key, strings.NewReader(body), int64(len(body)), hex.EncodeToString(sum[:]))
}
