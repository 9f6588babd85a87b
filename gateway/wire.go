package gateway

import (
	"bufio"
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

// wire is a connection to a target that carries one request at a time, on the request's own goroutine. The transport of net/http keeps two
// goroutines a connection, and passing a request to them and its answer back costs more CPU than all else that the gateway does.
type wire struct {
	net.Conn
	raw   syscall.RawConn // nil: it cannot be told whether the connection is still whole
	in    *bufio.Reader
	left  int64     // bytes that may still come before the answer's header is complete
	heard bool      // something of the answer has come
	idle  time.Time // since when

	until time.Time       // the deadline of the request
	outer context.Context // ends when its client leaves
	stop  func() bool     // ends the watch for that; nil: there is none yet

	probe func(fd uintptr) bool
	byte  [1]byte
	whole bool
}

const (
	mostIdle     = 256              // connections of a target that wait for the next request
	idleTime     = 50 * time.Second // shorter than the services', so that they do not close what is about to be used
	answerHeader = 64 << 10         // bytes
)

var errHeader = errors.New("gateway: the header of the answer is too large, or is none")

// source is what a wire's reader reads from.
type source struct{ w *wire }

func (s source) Read(p []byte) (int, error) {
	if s.w.left <= 0 {
		return 0, errHeader
	}
	n, err := s.w.Conn.Read(p)
	if n == 0 && s.w.stop == nil && errors.Is(err, os.ErrDeadlineExceeded) {
		if err = s.w.wait(); err == nil {
			n, err = s.w.Conn.Read(p)
		}
	}
	s.w.left -= int64(n)
	s.w.heard = s.w.heard || n > 0
	return n, err
}

func newWire(c net.Conn) *wire {
	w := &wire{Conn: c}
	w.in = bufio.NewReaderSize(source{w}, 4<<10)
	if s, ok := c.(syscall.Conn); ok {
		w.raw, _ = s.SyscallConn()
	}
	w.probe = w.look
	return w
}

// attention is how long a request waits before it looks whether its client is still there. Most answers come sooner, and are spared the watch.
const attention = 5 * time.Millisecond

// begin bounds what follows by the deadline and by attention.
func (w *wire) begin(outer context.Context, until time.Time) error {
	w.outer, w.until, w.stop = outer, until, nil
	if soon := time.Now().Add(attention); soon.Before(until) {
		until = soon
	}
	return w.SetDeadline(until)
}

// wait bounds what follows by the deadline and by the client's going away.
func (w *wire) wait() error {
	if err := w.SetDeadline(w.until); err != nil {
		return err
	}
	w.stop = context.AfterFunc(w.outer, func() { _ = w.SetDeadline(time.Unix(1, 0)) })
	return nil
}

// send writes the request.
func (w *wire) send(head []byte) error {
	n, err := w.Write(head)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if err = w.wait(); err == nil {
			_, err = w.Write(head[n:])
		}
	}
	return err
}

// end says whether the wire can carry another request, as far as the watch goes.
func (w *wire) end() bool { return w.stop == nil || w.stop() }

// fresh says whether an idle connection is open and silent: what came over it unasked would be taken for the answer to the next request.
func (w *wire) fresh() bool {
	if w.raw == nil || w.in.Buffered() > 0 {
		return false
	}
	w.whole = false
	return w.raw.Read(w.probe) == nil && w.whole
}

// rack keeps the idle wires of a target.
type rack struct {
	mu   sync.Mutex
	idle []*wire
}

// take is an idle wire that is fresh, the one used last; nil when there is none.
func (k *rack) take(outer context.Context, until time.Time) *wire {
	for {
		k.mu.Lock()
		n := len(k.idle) - 1
		if n < 0 {
			k.mu.Unlock()
			return nil
		}
		w := k.idle[n]
		k.idle[n], k.idle = nil, k.idle[:n]
		k.mu.Unlock()
		if time.Since(w.idle) < idleTime && w.begin(outer, until) == nil && w.fresh() {
			return w
		}
		_ = w.Close()
	}
}

func (k *rack) put(w *wire) {
	w.idle = time.Now()
	k.mu.Lock()
	if len(k.idle) < mostIdle {
		k.idle = append(k.idle, w)
		w = nil
	}
	k.mu.Unlock()
	if w != nil {
		_ = w.Close()
	}
}

// sweep closes what has been idle too long; the longest stand first.
func (k *rack) sweep(before time.Time) {
	k.mu.Lock()
	n := 0
	for n < len(k.idle) && k.idle[n].idle.Before(before) {
		n++
	}
	old := append([]*wire(nil), k.idle[:n]...)
	k.idle = append(k.idle[:0], k.idle[n:]...)
	clear(k.idle[len(k.idle):cap(k.idle)])
	k.mu.Unlock()
	for _, w := range old {
		_ = w.Close()
	}
}

// run sweeps until ctx ends, and closes all then.
func (k *rack) run(ctx context.Context) {
	tick := time.NewTicker(idleTime / 2)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			k.sweep(now.Add(-idleTime))
		case <-ctx.Done():
			k.sweep(time.Now())
			return
		}
	}
}

// ask sends a request and reads the header of its answer. The deadline is set. Answers that only inform are left out.
func (w *wire) ask(r *http.Request, head []byte) (*http.Response, error) {
	w.left, w.heard = answerHeader, false
	if err := w.send(head); err != nil {
		return nil, err
	}
	for range 6 {
		res, err := http.ReadResponse(w.in, r)
		if err != nil {
			return nil, err
		}
		if res.StatusCode >= 200 {
			w.left = math.MaxInt64
			return res, nil
		}
		if res.StatusCode == http.StatusSwitchingProtocols {
			break
		}
	}
	return nil, errHeader
}

// dial connects to a target for one request.
func (p *pool) dial(outer context.Context, t *address, until time.Time) (*wire, error) {
	ctx, cancel := context.WithDeadline(outer, until)
	defer cancel()
	c, err := p.transport.DialContext(ctx, "tcp", t.dial)
	if err != nil {
		return nil, err
	}
	w := newWire(c)
	if err := w.begin(outer, until); err != nil {
		_ = c.Close()
		return nil, &dialError{err}
	}
	return w, nil
}

// attempt asks one target. A connection that its target has closed while it was idle is replaced by a new one: what is asked here changes
// nothing, so it may be asked again.
func (p *pool) attempt(t *address, x *exchange, head []byte, until time.Time) (_ *http.Response, w *wire, err error) {
	outer := x.r.Context()
	for w = t.rack.take(outer, until); ; w = nil {
		used := w != nil
		if !used {
			if w, err = p.dial(outer, t, until); err != nil {
				// In a crowd another request may have given a connection back meanwhile.
				if w = t.rack.take(outer, until); w == nil {
					return nil, nil, err
				}
				used = true
			}
		}
		res, err := w.ask(x.r, head)
		if err == nil {
			return res, w, nil
		}
		w.end()
		_ = w.Close()
		if !used || w.heard || errors.Is(err, os.ErrDeadlineExceeded) || outer.Err() != nil {
			return nil, nil, err
		}
	}
}
