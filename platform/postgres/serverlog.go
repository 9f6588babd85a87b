package postgres

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// serverLog passes what the server writes on to a logger, and remembers the last complaint. It is a pipe of our own, since backends that outlive their postmaster hold it open.
type serverLog struct {
	w, r *os.File
	mu   sync.Mutex
	line string
}

func newServerLog(log *slog.Logger) (*serverLog, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe for the log of PostgreSQL: %w", err)
	}
	l := &serverLog{w: w, r: r}
	go l.copy(log)
	return l, nil
}

func (l *serverLog) copy(log *slog.Logger) {
	for in := bufio.NewScanner(l.r); in.Scan(); {
		line := strings.TrimSpace(in.Text())
		kind, said, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		said = strings.TrimSpace(said)
		level := slog.LevelDebug
		switch kind {
		case "PANIC":
			level = slog.LevelError
			fallthrough
		case "FATAL":
			l.mu.Lock()
			l.line = said
			l.mu.Unlock()
		}
		log.Log(context.Background(), level, "postgres", "kind", kind, "said", said)
	}
}

// last is the last reason that the server gave for not going on.
func (l *serverLog) last() string {
	said := func() string {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.line
	}
	// What it wrote just before its end may still be in the pipe.
	_ = await(context.Background(), 100*time.Millisecond, func() bool { return said() != "" })
	return cmp.Or(said(), "it gave no reason")
}

func (l *serverLog) close() {
	_ = l.w.Close()
	_ = l.r.Close()
}
