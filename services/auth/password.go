package auth

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"

	"tulifo/platform/errs"
)

//go:embed common.txt
var commonList string

var common = sync.OnceValue(func() map[string]bool {
	set := map[string]bool{}
	for p := range strings.Lines(commonList) {
		set[strings.TrimSuffix(p, "\n")] = true
	}
	return set
})

const (
	minPassword = 8  // characters
	maxPassword = 72 // bytes; bcrypt reads no more
)

// keepable refuses what bcrypt would cut, or take for another password: it reads on from the start after a zero byte, and what was not UTF-8
// has become the replacement character on its way.
func keepable(field, password string) error {
	if len(password) > maxPassword {
		return errs.Field(field, "must be at most 72 bytes long; accented letters and symbols take more than one")
	}
	if strings.ContainsAny(password, "\x00\ufffd") || !utf8.ValidString(password) {
		return errs.Field(field, "holds a character that cannot be used in a password")
	}
	return nil
}

// acceptable refuses a new password that is too short, too long or one of the first that anybody would try.
func acceptable(field, password, email string) error {
	if err := keepable(field, password); err != nil {
		return err
	}
	if utf8.RuneCountInString(password) < minPassword {
		return errs.Field(field, "must be at least 8 characters long")
	}
	lower := strings.ToLower(password)
	local, _, _ := strings.Cut(strings.ToLower(email), "@")
	if common()[lower] || strings.Trim(lower, lower[:1]) == "" || lower == strings.ToLower(email) || lower == local {
		return errs.Field(field, "is among the first that anybody would try; choose another")
	}
	return nil
}

// hasher does the bcrypt work: at most one hash a core at a time, and a bounded number waiting, so that a flood of sign-ins neither starves
// the other routes nor waits for minutes.
type hasher struct {
	cost    int
	dummy   []byte // a hash that no password has, for addresses that nobody has
	cores   chan struct{}
	max     int64
	waiting atomic.Int64
}

func newHasher(cost, queue int) *hasher {
	n := runtime.GOMAXPROCS(0)
	return &hasher{
		cost: cost, cores: make(chan struct{}, n), max: int64(n * queue),
		dummy: fmt.Appendf(nil, "$2a$%02d$%s", cost, strings.Repeat("tulifo", 9)[:53]),
	}
}

func (h *hasher) do(ctx context.Context, work func()) error {
	defer h.waiting.Add(-1)
	if h.waiting.Add(1) > h.max {
		return errs.New(errs.TooMany, "Too many people are signing in just now. Try again in a moment.").After(2 * time.Second)
	}
	select {
	case h.cores <- struct{}{}:
	case <-ctx.Done():
		return errs.New(errs.Timeout, "This took too long. Try again.").Because(ctx.Err())
	}
	defer func() { <-h.cores }()
	work()
	return nil
}

// hash is the bcrypt hash of an acceptable password. TooMany: the queue is full.
func (h *hasher) hash(ctx context.Context, password string) (hash string, err error) {
	if e := h.do(ctx, func() {
		var raw []byte
		raw, err = bcrypt.GenerateFromPassword([]byte(password), h.cost)
		hash = string(raw)
	}); e != nil {
		return "", e
	}
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	return hash, nil
}

// matches says whether hash is password's. An empty hash costs the same and never matches. TooMany: the queue is full.
func (h *hasher) matches(ctx context.Context, hash, password string) (ok bool, err error) {
	target := []byte(hash)
	if hash == "" {
		target = h.dummy
	}
	if e := h.do(ctx, func() { err = bcrypt.CompareHashAndPassword(target, []byte(password)) }); e != nil {
		return false, e
	}
	if err != nil && !errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		return false, fmt.Errorf("compare with a password's hash: %w", err)
	}
	return err == nil && hash != "", nil
}
