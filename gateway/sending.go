package gateway

import (
	"errors"
	"io"
	"net"
	"net/http/httptrace"
	"sync/atomic"
	"syscall"
)

// sending is a request on its way over the transport. An idle connection that its target has closed takes nothing of it, so that it can go
// over another: once a byte is out nobody can tell whether it was read, and a write must not be repeated. The transport looks for closed
// connections in the background only, and may come too late.
type sending struct {
	io.ReadCloser             // the body
	stale         atomic.Bool // the connection was not fit, and nothing of the request is on it
}

var errStale = errors.New("gateway: the idle connection is of no more use")

// Read keeps the body for the next connection when this one is not fit.
func (s *sending) Read(p []byte) (int, error) {
	if s.stale.Load() {
		return 0, errStale
	}
	return s.ReadCloser.Read(p)
}

// on is told which connection the transport has chosen.
func (s *sending) on(i httptrace.GotConnInfo) {
	stale := i.Reused && !fit(i.Conn)
	if stale {
		_ = i.Conn.Close()
	}
	s.stale.Store(stale)
}

// fit says whether an idle connection can take a request.
func fit(c net.Conn) bool {
	if secured, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = secured.NetConn()
	}
	s, ok := c.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := s.SyscallConn()
	whole := false
	return err == nil && raw.Control(func(fd uintptr) { whole = silent(fd) }) == nil && whole
}
