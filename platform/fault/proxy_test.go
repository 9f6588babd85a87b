package fault_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"tulifo/platform/fault"
)

// echo is a server that says what it hears, behind a proxy.
func echo(t *testing.T) *fault.Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	p, err := fault.New(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		l.Close()
	})
	return p
}

func dial(t *testing.T, p *fault.Proxy) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn)
}

// said writes b and answers what comes back, and how that ended.
func said(t *testing.T, c net.Conn, b []byte) ([]byte, error) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		return nil, err
	}
	got := make([]byte, len(b))
	n, err := io.ReadFull(c, got)
	return got[:n], err
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestAGoodLinePassesEveryByteAndTheEnd(t *testing.T) {
	p := echo(t)
	c, b := dial(t, p), noise(3<<20)
	go func() {
		_, _ = c.Write(b)
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, b) {
		t.Errorf("%d of %d bytes came back, %v", len(got), len(b), err)
	}
}

func TestToxics(t *testing.T) {
	word := []byte("thirty-two bytes, no more, fine.")
	for _, c := range []struct {
		name  string
		toxic fault.Toxic
		is    func(got []byte, err error, took time.Duration) bool
	}{
		{"none", fault.Toxic{}, func(got []byte, err error, _ time.Duration) bool { return err == nil && bytes.Equal(got, word) }},
		{"latency", fault.Toxic{Latency: 60 * time.Millisecond, Jitter: time.Millisecond}, func(got []byte, err error, took time.Duration) bool {
			return bytes.Equal(got, word) && took >= 120*time.Millisecond
		}},
		{"latency one way", fault.Toxic{Toward: fault.ToClient, Latency: 60 * time.Millisecond}, func(got []byte, err error, took time.Duration) bool {
			return bytes.Equal(got, word) && took >= 60*time.Millisecond
		}},
		{"rate", fault.Toxic{Toward: fault.ToServer, Rate: 320}, func(got []byte, err error, took time.Duration) bool {
			return bytes.Equal(got, word) && took >= 100*time.Millisecond
		}},
		{"reset", fault.Toxic{Reset: true}, func(got []byte, err error, _ time.Duration) bool { return len(got) == 0 && err != nil }},
		{"cut", fault.Toxic{Toward: fault.ToClient, CutAfter: 10}, func(got []byte, err error, _ time.Duration) bool {
			return len(got) <= 10 && bytes.HasPrefix(word, got) && err != nil
		}},
		{"garbage", fault.Toxic{Toward: fault.ToClient, Garbage: true, After: 12}, func(got []byte, err error, _ time.Duration) bool {
			return err == nil && bytes.Equal(got[:12], word[:12]) && !bytes.Equal(got, word)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := echo(t)
			p.Set(c.toxic)
			began := time.Now()
			var got []byte
			line, err := net.Dial("tcp", p.Addr())
			if err == nil {
				defer line.Close()
				_ = line.SetDeadline(time.Now().Add(20 * time.Second))
				got, err = said(t, line, word)
			}
			if !c.is(got, err, time.Since(began)) {
				t.Errorf("%q, %v after %v", got, err, time.Since(began))
			}
			p.Set()
			if got, err := said(t, dial(t, p), word); err != nil || !bytes.Equal(got, word) {
				t.Errorf("after it: %q %v", got, err)
			}
		})
	}
}

// A silent line and one whose far end is gone look alike: nothing comes, and nothing says why, until the line is mended.
func TestSilence(t *testing.T) {
	for name, toxic := range map[string]fault.Toxic{"silence": {Silence: true}, "half open": {HalfOpen: true}} {
		t.Run(name, func(t *testing.T) {
			p := echo(t)
			c := dial(t, p)
			if _, err := said(t, c, []byte("well")); err != nil {
				t.Fatal(err)
			}
			p.Set(toxic)
			if _, err := c.Write([]byte("ill")); err != nil {
				t.Fatal(err)
			}
			_ = c.SetReadDeadline(time.Now().Add(500 * time.Millisecond)) // the proxy has to have it before the line is good again
			if n, err := c.Read(make([]byte, 8)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%d bytes, %v", n, err)
			}
			p.Set()
			_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
			if n, err := c.Read(make([]byte, 8)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a line that lost bytes goes on: %d %v", n, err)
			}
		})
	}
}

func TestOpenConnectionsAreReset(t *testing.T) {
	p := echo(t)
	c := dial(t, p)
	if _, err := said(t, c, []byte("well")); err != nil || p.Open() != 1 {
		t.Fatalf("%v, %d open", err, p.Open())
	}
	p.Set(fault.Toxic{Reset: true})
	if n, err := c.Read(make([]byte, 8)); n != 0 || err == nil {
		t.Errorf("%d %v", n, err)
	}
}
