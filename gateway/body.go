package gateway

import (
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

// body is a request's body up to a limit. It knows whether it was read to its end, which a transport's goroutine may do.
type body struct {
	io.ReadCloser
	limit int64
	read  atomic.Int64
	over  atomic.Bool
	ended atomic.Bool
	gone  atomic.Bool // the exchange is over, though a transport may still want to read
}

// Read fails with a MaxBytesError once more than the limit has come.
func (b *body) Read(p []byte) (int, error) {
	if b.gone.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	left := b.limit - b.read.Load()
	if left < 0 || b.over.Load() {
		return 0, &http.MaxBytesError{Limit: b.limit}
	}
	if int64(len(p)) > left+1 {
		p = p[:left+1] // one more than allowed tells a body that fits from one that does not
	}
	n, err := b.ReadCloser.Read(p)
	b.read.Add(int64(n))
	if int64(n) > left {
		b.over.Store(true)
		return int(left), &http.MaxBytesError{Limit: b.limit}
	}
	if err == io.EOF {
		b.ended.Store(true)
	}
	return n, err
}

// Close does nothing: the server closes what it has opened, and a transport that could not dial must not close what the next try will send.
func (b *body) Close() error { return nil }

const (
	lingerTime  = 20 * time.Second
	lingerBytes = 32 << 20
)

// linger reads on for a while what a client still sends after it was refused: if the connection were closed at once, its system would throw away
// the answer unread.
func (x *exchange) linger() {
	if x.r.ProtoMajor != 1 || x.r.Body == nil || x.asked || x.r.Header.Get("Expect") != "" {
		return // a stream ends by itself; who asks first, sends nothing
	}
	c := http.NewResponseController(x.w)
	if c.Flush() != nil || c.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, x.r.Body, lingerBytes)
}
