// Package fault puts itself between a client and a server and lets tests make the line between them slow, narrow, silent, wrong or dead.
//
// Always: without toxics a Proxy passes every byte in order, and the end of either side; what a toxic has swallowed or altered is never
// made good: when toxics change, a connection that lost bytes is reset, as it would be in the end on a real line.
package fault

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Toxic is one way in which a line is bad. The zero Toxic does nothing. Where several are set, all of them work.
type Toxic struct {
	Toward   Side          // the bytes that it works on
	Latency  time.Duration // each piece comes so much later
	Jitter   time.Duration // and up to so much more
	Rate     int           // bytes a second; 0: no limit
	Silence  bool          // bytes are swallowed, connections stay open
	Reset    bool          // connections are reset, new ones at once
	CutAfter int64         // a connection is reset after so many more bytes; 0: never
	Garbage  bool          // bytes are replaced by others
	After    int64         // Garbage and Silence begin after so many more bytes of a connection
	HalfOpen bool          // the server's side ends, and the client is not told
}

// Side is where bytes go.
type Side int

// The directions; Both is the zero value.
const (
	Both Side = iota
	ToServer
	ToClient
)

// Proxy passes connections on to one server. Its methods may be called from many goroutines.
type Proxy struct {
	listener net.Listener
	server   string

	mu     sync.Mutex
	toxics []Toxic
	epoch  int           // counts changes of the toxics
	change chan struct{} // closed when they change
	links  map[*link]struct{}
	closed bool
	work   sync.WaitGroup
}

// New is a proxy on a loopback port of its own before server, which is host:port or the path of a Unix socket.
func New(server string) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("fault: %w", err)
	}
	p := &Proxy{listener: l, server: server, change: make(chan struct{}), links: map[*link]struct{}{}}
	p.work.Go(p.accept)
	return p, nil
}

// Before is a proxy before the server of a URL, and the URL that leads through it.
func Before(address string) (*Proxy, string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, "", err
	}
	p, err := New(u.Host)
	if err != nil {
		return nil, "", err
	}
	u.Host = p.Addr()
	return p, u.String(), nil
}

// Addr is host:port of the proxy.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Close ends the proxy and every connection.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	for l := range p.links {
		l.reset()
	}
	p.mu.Unlock()
	p.listener.Close()
	p.Set()
	p.work.Wait()
}

// Set replaces the toxics, for connections that are open too; none: the line is good again.
func (p *Proxy) Set(toxics ...Toxic) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.toxics = toxics
	p.epoch++
	close(p.change)
	p.change = make(chan struct{})
	for l := range p.links {
		if l.lost || has(toxics, func(t Toxic) bool { return t.Reset }) {
			l.reset()
		} else if has(toxics, func(t Toxic) bool { return t.HalfOpen }) {
			l.halfOpen()
		}
	}
}

func has(toxics []Toxic, is func(Toxic) bool) bool {
	for _, t := range toxics {
		if is(t) {
			return true
		}
	}
	return false
}

// Open is the number of connections that pass just now.
func (p *Proxy) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.links)
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.work.Go(func() { p.pass(client.(*net.TCPConn)) })
	}
}

func (p *Proxy) pass(client *net.TCPConn) {
	p.mu.Lock()
	refuse := p.closed || has(p.toxics, func(t Toxic) bool { return t.Reset })
	p.mu.Unlock()
	if refuse {
		abort(client)
		return
	}
	network := "tcp"
	if strings.HasPrefix(p.server, "/") {
		network = "unix"
	}
	c, err := net.DialTimeout(network, p.server, 5*time.Second)
	if err != nil {
		abort(client)
		return
	}
	l := &link{p: p, client: client, server: c.(conn), over: make(chan struct{})}
	p.mu.Lock()
	p.links[l] = struct{}{}
	if p.closed || has(p.toxics, func(t Toxic) bool { return t.Reset }) {
		l.reset()
	}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { l.copy(l.server, l.client, ToServer) })
	both.Go(func() { l.copy(l.client, l.server, ToClient) })
	both.Wait()
	p.mu.Lock()
	delete(p.links, l)
	p.mu.Unlock()
	client.Close()
	c.Close()
}

// abort closes with a reset instead of an end.
func abort(c conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

// conn is a connection whose one direction can be ended.
type conn interface {
	net.Conn
	CloseWrite() error
}

// link is one connection.
type link struct {
	p              *Proxy
	client, server conn
	over           chan struct{} // closed by reset
	lost           bool          // bytes were swallowed or altered; under p.mu
	half           bool          // the client is not told of the server's end; under p.mu
	once           sync.Once
}

// reset ends both sides; p.mu is held.
func (l *link) reset() {
	l.once.Do(func() {
		close(l.over)
		abort(l.client)
		abort(l.server)
	})
}

// halfOpen ends the server's side only; p.mu is held.
func (l *link) halfOpen() {
	l.half, l.lost = true, true
	_ = l.server.Close()
}

var errOver = errors.New("the link is over")

func (l *link) copy(to, from conn, side Side) {
	buf := make([]byte, 32<<10)
	passed, epoch := int64(0), -1
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if e := l.deliver(to, buf[:n], side, &passed, &epoch); e != nil {
				return
			}
		}
		if err == nil {
			continue
		}
		l.p.mu.Lock()
		half := l.half
		change := l.p.change
		l.p.mu.Unlock()
		if half {
			// The client hears nothing until the line is mended, and then of its end.
			select {
			case <-l.over:
			case <-change:
			}
			return
		}
		if errors.Is(err, io.EOF) {
			_ = to.CloseWrite()
		} else {
			_ = to.Close()
		}
		return
	}
}

// deliver writes b as the toxics have it.
func (l *link) deliver(to conn, b []byte, side Side, passed *int64, epoch *int) error {
	l.p.mu.Lock()
	toxics := l.p.toxics
	if *epoch != l.p.epoch {
		*epoch, *passed = l.p.epoch, 0
	}
	l.p.mu.Unlock()
	for _, t := range toxics {
		if t.Toward != Both && t.Toward != side {
			continue
		}
		if d := t.Latency + jitter(t.Jitter) + transfer(len(b), t.Rate); d > 0 {
			wait := time.NewTimer(d)
			select {
			case <-wait.C:
			case <-l.over:
				wait.Stop()
				return errOver
			}
		}
		if t.CutAfter > 0 && *passed+int64(len(b)) >= t.CutAfter {
			_, _ = to.Write(b[:max(0, t.CutAfter-*passed)])
			l.end()
			return errOver
		}
		if from := max(0, t.After-*passed); from < int64(len(b)) && (t.Garbage || t.Silence) {
			l.p.mu.Lock()
			l.lost = true
			l.p.mu.Unlock()
			if t.Silence {
				b = b[:from]
				continue
			}
			for i := range b[from:] {
				b[int(from)+i] = byte(rand.Uint32())
			}
		}
	}
	*passed += int64(len(b))
	_, err := to.Write(b)
	return err
}

func (l *link) end() {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	l.reset()
}

func jitter(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return rand.N(most)
}

func transfer(bytes, rate int) time.Duration {
	if rate <= 0 {
		return 0
	}
	return time.Duration(bytes) * time.Second / time.Duration(rate)
}
