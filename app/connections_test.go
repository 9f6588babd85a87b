package app

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/clock"
)

// lively is a service that keeps connections open: websockets, which it echoes, and event streams.
func lively(t *testing.T) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "websocket" {
			conn, rw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			io.Copy(conn, rw)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: 1\n\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	return s
}

// A ban ends the websockets and event streams of its user at once, and nobody else's.
func TestSuspensionEndsOpenConnections(t *testing.T) {
	p := startPlatform(t, clock.NewVirtual(time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)), "MESSAGE_SERVICE_URL="+lively(t).URL)
	walk := p.tour(p.machine.node.clock.(*clock.Virtual))
	banned, err := walk.register(t.Context(), "Bea", "client")
	if err != nil {
		t.Fatal(err)
	}
	other, err := walk.register(t.Context(), "Ott", "client")
	if err != nil {
		t.Fatal(err)
	}
	gateway, err := url.Parse(walk.gateway)
	if err != nil {
		t.Fatal(err)
	}
	opened := func(token, path, header string) (net.Conn, *bufio.Reader) {
		t.Helper()
		c, err := net.Dial("tcp", gateway.Host)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s\r\n\r\n", path, token, header)
		in := bufio.NewReader(c)
		res, err := http.ReadResponse(in, nil)
		if err != nil || res.StatusCode != http.StatusSwitchingProtocols && res.StatusCode != http.StatusOK {
			t.Fatalf("%v %v", res, err)
		}
		return c, in
	}
	const socket, upgrade, stream = "/socket.io/?EIO=4&transport=websocket", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k", "Accept: text/event-stream"
	hers, _ := opened(banned.token, socket, upgrade)
	herStream, herEvents := opened(banned.token, "/api/messages/stream", stream)
	his, echo := opened(other.token, socket, upgrade)
	admin, _, err := p.machine.node.keys.Issue(uuid.New(), "admin", uuid.New())
	if err != nil {
		t.Fatal(err)
	}
	if err := walk.call(t.Context(), http.MethodPut, "/api/users/"+banned.id.String()+"/status", admin, map[string]any{"status": "suspended", "reason": "She sells what is not hers."}, http.StatusOK, nil); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]net.Conn{"websocket": hers, "event stream": herStream} {
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		var in io.Reader = c
		if name == "event stream" {
			in = herEvents
		}
		if _, err := io.Copy(io.Discard, in); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("her %s is still open: %v", name, err)
		}
	}
	io.WriteString(his, "still here")
	his.SetReadDeadline(time.Now().Add(10 * time.Second))
	back := make([]byte, len("still here"))
	if _, err := io.ReadFull(echo, back); err != nil {
		t.Errorf("his websocket ended with hers: %v", err)
	}
}
