package gateway_test

import (
	"bufio"
	"io"
	"maps"
	"net/http"
	"sync"
	"testing"

	"tulifo/gateway"
)

// sockets answers a websocket, and what comes over it.
func sockets(t *testing.T) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Connection") != "Upgrade" || r.Header.Get("Sec-Websocket-Key") != "k" {
			http.Error(w, "no upgrade", http.StatusBadRequest)
			return
		}
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.Copy(conn, rw)
	})
}

const socket = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n\r\n"

// What is watched is a websocket or an open event stream, each once and until it closes; other requests cost nothing.
func TestOnlyWhatStaysOpenIsWatched(t *testing.T) {
	each(t, func(t *testing.T, form string) {
		var mu sync.Mutex
		watched, left := map[string]int{}, map[string]int{}
		d := open(t, form, map[string]http.Handler{"message": sockets(t), "booking": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/api/bookings/stream" {
				w.Header().Set("Content-Type", "text/event-stream")
				http.NewResponseController(w).Flush()
			}
			io.WriteString(w, "data: 1\n\n")
		})}, func(o *gateway.Options) {
			o.Watch = func(r *http.Request, _ func()) func() {
				count := func(m map[string]int) {
					mu.Lock()
					defer mu.Unlock()
					m[r.URL.Path]++
				}
				count(watched)
				return func() { count(left) }
			}
		})
		asksForStream := http.Header{"Accept": {"text/event-stream"}}
		for _, c := range []call{{path: "/api/bookings"}, {path: "/api/bookings", header: asksForStream}, {path: "/api/bookings/stream", header: asksForStream}} {
			if a := d.do(t, c); a.status != http.StatusOK || a.body != "data: 1\n\n" {
				t.Errorf("%s: %d %q", c.path, a.status, a.body)
			}
		}
		c := dial(t, d.url)
		io.WriteString(c, socket)
		if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != http.StatusSwitchingProtocols {
			t.Fatalf("%v %v", res, err)
		}
		c.Close()
		want := map[string]int{"/api/bookings/stream": 1, "/socket.io/": 1}
		eventually(t, "the end of what is watched", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return maps.Equal(watched, left) && len(left) == len(want)
		})
		if !maps.Equal(watched, want) {
			t.Errorf("watched are %v instead of %v", watched, want)
		}
	})
}
