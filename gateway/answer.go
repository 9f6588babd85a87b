package gateway

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"tulifo/platform/errs"
)

// How far an answer has come.
const (
	held   = iota // in the buffer; the deadline may still replace it
	sent          // its header is out
	cut           // the deadline has passed: 504 was answered, or what is out breaks off
	taken         // the connection belongs to the handler: a websocket
	closed        // the handler has returned
)

// The largest answer that is held back; a longer one goes out as it comes.
const mostHeld = 64 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// answer is the ResponseWriter of a handler in this process. It holds the answer back until the handler returns, so that at the deadline another goroutine can
// answer 504 in its place while the handler still runs; what the handler writes afterwards goes nowhere.
// The handler stays on the connection's own goroutine: no second one is started, and the connection is not used again before it has come back.
type answer struct {
	mu        sync.Mutex
	x         *exchange
	state     int
	header    http.Header // the handler's; what counts of it goes to the client's at WriteHeader
	status    int
	buf       *[]byte
	guard     *watchdog // of the deadline; nil: lifted
	streams   bool      // the request may be answered by an event stream
	websocket bool
	broken    bool // the answer is out in part and cannot be finished
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.writeHeader(status)
}

func (a *answer) writeHeader(status int) {
	if a.status != 0 || status < 200 || a.state != held {
		return
	}
	a.status = status
	merge(a.x.w.Header(), a.header)
}

func (a *answer) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch a.state {
	case cut:
		return 0, http.ErrHandlerTimeout
	case taken:
		return 0, http.ErrHijacked
	case closed:
		return 0, errors.New("gateway: write after the handler has returned")
	}
	a.writeHeader(http.StatusOK)
	if a.status == http.StatusNoContent || a.status == http.StatusNotModified {
		return 0, http.ErrBodyNotAllowed
	}
	if a.state == held {
		if a.buf == nil {
			a.buf = buffers.Get().(*[]byte)
		}
		if len(*a.buf)+len(p) <= mostHeld {
			*a.buf = append(*a.buf, p...)
			return len(p), nil
		}
		a.send()
	}
	return a.x.Write(p)
}

// send puts out what is held.
func (a *answer) send() {
	a.state = sent
	a.x.WriteHeader(a.status)
	if a.buf != nil && len(*a.buf) > 0 {
		_, _ = a.x.Write(*a.buf) // the next write reports that the client is gone
	}
	a.release()
}

// replace answers err instead of what is held, and has the connection closed: the body may not have been read.
func (a *answer) replace(err error) {
	a.release()
	a.x.forget()
	a.x.close()
	a.x.fail(err)
}

func (a *answer) release() {
	if a.buf != nil && cap(*a.buf) <= mostHeld {
		*a.buf = (*a.buf)[:0]
		buffers.Put(a.buf)
	}
	a.buf = nil
}

// Flush sends what there is. The first flush of an event stream lifts the deadline.
func (a *answer) Flush() { _ = a.FlushError() }

// FlushError is Flush for http.ResponseController.
func (a *answer) FlushError() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state == held {
		a.writeHeader(http.StatusOK)
		if a.streams && isEventStream(a.x.w.Header()) {
			a.lift()
			a.x.endless()
		}
		a.send()
	}
	if a.state != sent {
		return http.ErrHandlerTimeout
	}
	return a.x.flush()
}

// Hijack gives the connection to a handler that was asked for a websocket.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.state != held || a.status != 0 || !a.websocket {
		return nil, nil, http.ErrNotSupported
	}
	conn, rw, err := a.x.Hijack()
	if err != nil {
		return nil, nil, err
	}
	a.state = taken
	a.lift()
	return conn, rw, nil
}

// SetReadDeadline and SetWriteDeadline belong to the connection, which a handler in this process does not own.
func (a *answer) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing; see SetReadDeadline.
func (a *answer) SetWriteDeadline(time.Time) error { return nil }

// lift takes the deadline from an answer; its lock is held.
func (a *answer) lift() {
	if a.guard != nil {
		a.guard.release()
		a.guard = nil
	}
}

// expire is called at the deadline, from a goroutine of its own.
func (a *answer) expire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.x.scope.deadline.IsZero() {
		defer a.x.scope.end() // a stream that was not opened in time
	}
	switch a.state {
	case held:
		a.state = cut
		a.replace(errDeadline)
		_ = a.x.flush()
		a.x.done()
	case sent:
		a.state, a.broken = cut, true
	}
}

// finish is called when the handler has returned, with what it has panicked with, if it did.
func (a *answer) finish(panicked any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lift()
	switch {
	case a.state == held && panicked != nil:
		a.replace(errs.New(errs.Internal, "Something went wrong on our side."))
	case a.state == held && a.x.body != nil && a.x.body.over.Load():
		a.replace(tooLarge(a.x.body.limit))
	case a.state == held:
		a.writeHeader(http.StatusOK)
		if h := a.x.w.Header(); h["Content-Length"] == nil && a.status != http.StatusNoContent && a.status != http.StatusNotModified {
			n := 0
			if a.buf != nil {
				n = len(*a.buf)
			}
			if n > 0 || a.x.r.Method != http.MethodHead {
				h["Content-Length"] = []string{strconv.Itoa(n)}
			}
		}
		a.send()
	case a.state == sent && panicked != nil:
		a.broken = true
	}
	a.state = closed
}
