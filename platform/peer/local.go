package peer

import (
	"bytes"
	"context"
	"maps"
	"net/http"
)

// call has h answer req in this goroutine. The handler sees a request of its own: no value of the asker's context crosses, only its deadline.
func call(h http.Handler, req *http.Request) (answer, error) {
	ctx := req.Context()
	own, cancel := context.WithCancel(context.Background())
	if deadline, ok := ctx.Deadline(); ok {
		own, cancel = context.WithDeadline(context.Background(), deadline)
	}
	stop := context.AfterFunc(ctx, cancel)
	defer func() { stop(); cancel() }()
	fresh := req.WithContext(own)
	fresh.RemoteAddr, fresh.RequestURI, fresh.Host = "127.0.0.1:0", req.URL.RequestURI(), req.URL.Host
	w := &recorder{header: http.Header{}}
	h.ServeHTTP(w, fresh)
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return answer{w.status, w.header, w.body.Bytes()}, nil
}

type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header { return w.header }

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		w.header = maps.Clone(w.header)
	}
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.body.Write(b)
}
