package postgres

import (
	"context"
	"log/slog"
)

// Options say where the embedded Postgres lives and how it runs.
type Options struct {
	// Dir is the data directory; it is made at the first start.
	Dir string
	// Bin is the folder of the binaries to use and no other; they are fetched into it when it has none. Empty: TULIFO_POSTGRES_BIN, else what the machine has, else fetched.
	Bin string
	// MaxConns is max_connections; 0 means 300.
	MaxConns int
	// Unsafe turns fsync off: a crash of the machine may lose everything. Tests only.
	Unsafe bool
	// Log gets what the server says; nil discards it.
	Log *slog.Logger
	// Progress is told how many bytes of the binaries have arrived, when they have to be fetched.
	Progress func(done, total int64)
}

// Server is a Postgres child process, restarted when it dies.
type Server struct{}

// Start runs Postgres in a directory: it finds or fetches the binaries, initialises the directory once, and returns when the server answers. Its errors are sentences a person can act on.
// ctx bounds the start only; Stop ends the server.
func Start(ctx context.Context, o Options) (*Server, error) { panic("unwritten") }

// URL is the connection string of a database of the server; "tulifo" exists from the start. It holds no password: the socket stands in a directory of this user only.
func (s *Server) URL(database string) string { panic("unwritten") }

// PID is the process id of the postmaster, 0 while it is down.
func (s *Server) PID() int { panic("unwritten") }

// Stop shuts the server down and waits for it until ctx ends, then kills it. It may be called twice.
func (s *Server) Stop(ctx context.Context) error { panic("unwritten") }
