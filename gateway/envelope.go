package gateway

import (
	"bytes"
	"context"
	"net/http"
	"strconv"

	"tulifo/platform/api"
	"tulifo/platform/obs"
)

// writeError answers err in the platform's envelope. It states the length, so that an answer which another goroutine gives in place of a handler that still runs is
// whole for the client at once.
func writeError(w http.ResponseWriter, r *http.Request, id, trace string, err error) {
	m := &memory{header: w.Header()}
	api.WriteError(m, r.WithContext(obs.WithRequest(context.Background(), id, trace)), err)
	m.header["Content-Length"] = []string{strconv.Itoa(m.Len())}
	m.header["X-Content-Type-Options"] = noSniff
	w.WriteHeader(m.status)
	_, _ = w.Write(m.Bytes()) // a client that is gone needs no answer
}

// memory is a ResponseWriter that keeps the answer.
type memory struct {
	bytes.Buffer
	header http.Header
	status int
}

func (m *memory) Header() http.Header    { return m.header }
func (m *memory) WriteHeader(status int) { m.status = status }
