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
	stale         atomic.Bool // the connection was closed before the request was on it
}

var errStale = errors.New("gateway: the target has closed the idle connection")

// Read keeps the body unread for the next connection when this one is closed.
func (s *sending) Read(p []byte) (int, error) {
	if s.stale.Load() {
		return 0, errStale
	}
	return s.ReadCloser.Read(p)
}

// on is told which connection the transport has chosen.
func (s *sending) on(i httptrace.GotConnInfo) {
	stale := i.Reused && hungUp(i.Conn)
	if stale {
		_ = i.Conn.Close()
	}
	s.stale.Store(stale)
}

// hungUp says whether the other side has closed a connection, or it is closed here.
func hungUp(c net.Conn) bool {
	if secured, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = secured.NetConn()
	}
	s, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := s.SyscallConn()
	ended := false
	return err != nil || raw.Control(func(fd uintptr) { ended = atEnd(fd) }) != nil || ended
}
