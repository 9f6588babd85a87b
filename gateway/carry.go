package gateway

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// plain says whether a request can go over a wire: it only reads, brings no body, and its answer is one, not a stream.
func (p *pool) plain(x *exchange) bool {
	return reads(x.r.Method) && p.open && x.body == nil && x.strip == nil
}

// reads says whether a method changes nothing, so that what may have been read can be asked again.
func reads(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// head appends the request as it is sent; false: it holds what must not be written as it is.
func (x *exchange) head(b []byte, h http.Header) ([]byte, bool) {
	b = append(append(append(b, x.r.Method...), ' '), x.uri()...)
	b = append(append(append(b, " HTTP/1.1\r\nHost: "...), x.r.Host...), "\r\n"...)
	sane := x.r.Host != "" && !strings.ContainsFunc(x.r.Host, func(c rune) bool { return c <= ' ' || c >= 0x7f })
	for k, lines := range h {
		if k == "Content-Length" || k == "Host" {
			continue // there is no body
		}
		sane = sane && k != "" && strings.IndexFunc(k, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == ':' }) < 0
		for _, v := range lines {
			for i := range len(v) {
				if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
					sane = false
				}
			}
			b = append(append(append(append(b, k...), ": "...), v...), "\r\n"...)
		}
	}
	return append(b, "\r\n"...), sane
}

// carry hands the exchange to a service over a wire; false: it has to go another way, and nothing was sent.
func (x *exchange) carry(p *pool, h http.Header, deadline time.Duration) bool {
	buf := buffers.Get().(*[]byte)
	defer func() { *buf = (*buf)[:0]; buffers.Put(buf) }()
	var sane bool
	if *buf, sane = x.head(*buf, h); !sane {
		return false
	}
	until := x.start.Add(deadline)
	first := p.next.Add(1)
	var tried uint64
	for try := 0; ; try++ {
		i := p.pick(int(first), tried)
		t := p.targets[i]
		tried |= 1 << min(i, 63)
		res, w, err := p.attempt(t, x, *buf, until)
		if err == nil {
			t.well()
			x.relay(t, res, w)
			return true
		}
		gone := x.r.Context().Err() != nil
		late := !gone && (errors.Is(err, os.ErrDeadlineExceeded) || !time.Now().Before(until))
		p.blame(t, x, late, gone, err)
		if !errors.As(err, new(*dialError)) || late || gone || try >= p.service.retries || try+1 >= len(p.targets) {
			x.broke(err, late)
			return true
		}
	}
}

// relay gives the client the answer, and the wire back when it has been read to its end.
func (x *exchange) relay(t *address, res *http.Response, w *wire) {
	done := false
	defer func() {
		if w.end() && done && !res.Close && w.in.Buffered() == 0 {
			t.rack.put(w)
		} else {
			_ = w.Close()
		}
	}()
	h := x.w.Header()
	merge(h, res.Header)
	for k := range res.Trailer {
		h["Trailer"] = append(h["Trailer"], k)
	}
	x.WriteHeader(res.StatusCode)
	n := res.ContentLength
	switch {
	case res.Body == http.NoBody || x.r.Method == http.MethodHead || n == 0:
		done = true
	case n > 0 && n <= int64(w.in.Buffered()):
		body, _ := w.in.Peek(int(n))
		_, err := x.Write(body)
		_, _ = w.in.Discard(int(n))
		done = err == nil
	default:
		done = x.pour(res.Body, n < 0) == nil
	}
	if !done {
		panic(http.ErrAbortHandler) // the client must see that the answer breaks off
	}
	for k, v := range res.Trailer {
		h[k] = v
	}
}

// pour copies a body to the client, each piece at once when its length is not known.
func (x *exchange) pour(from io.Reader, flush bool) error {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	for {
		n, err := from.Read(*buf)
		if n > 0 {
			if _, err := x.Write((*buf)[:n]); err != nil {
				return err
			}
			if flush {
				_ = x.flush() // the next write says that the client is gone
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
