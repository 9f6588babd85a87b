package postgres

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"tulifo/platform/pause"
)

// submit hands run to the goroutine that owns the connection. While the database is away, the answer comes at once.
func (s *Session) submit(run func(context.Context, *pgx.Conn) error) *request {
	r := &request{run: run, answer: make(chan error, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		r.answer <- s.down
		return r
	}
	s.queue = append(s.queue, r)
	if s.interrupt != nil {
		s.interrupt()
	}
	return r
}

func (s *Session) loop() {
	defer close(s.done)
	rest, again := reconnectAt, false
	for {
		conn, err := pgx.ConnectConfig(s.ctx, s.cfg.Copy())
		if err == nil {
			s.setDown(nil)
			if err = s.relisten(conn, again); err == nil {
				rest, again = reconnectAt, true
				err = s.serve(conn)
			}
		}
		// Who holds a lock learns that it is lost before anybody else can have it.
		if s.ctx.Err() != nil {
			s.setDown(errClosed)
		} else {
			s.setDown(unreachable(err))
		}
		if conn != nil {
			s.leave(conn)
		}
		if s.ctx.Err() != nil {
			return
		}
		level := slog.LevelDebug
		if rest == reconnectAt {
			level = slog.LevelWarn
		}
		s.log.Log(s.ctx, level, "the session with the database is broken and is built again", "error", err)
		if pause.For(s.ctx, rest) != nil {
			s.setDown(errClosed)
			return
		}
		rest = min(2*rest, reconnectBy)
	}
}

// leave gives the locks back by word, since the server notices a closed connection only a little later.
func (s *Session) leave(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), time.Second)
	defer cancel()
	if !conn.IsClosed() {
		_, _ = conn.Exec(ctx, "SELECT pg_advisory_unlock_all()")
	}
	_ = conn.Close(ctx)
}

// setDown notes that there is no connection: waiting requests are answered and all locks are lost.
func (s *Session) setDown(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = why
	if why == nil {
		return
	}
	for _, r := range s.queue {
		r.answer <- why
	}
	s.queue = nil
	for _, h := range s.held {
		close(h.lost)
	}
	clear(s.held)
}

// relisten takes up the channels of a broken connection, and tells those who listen that they may have missed something.
func (s *Session) relisten(conn *pgx.Conn, again bool) error {
	s.mu.Lock()
	channels := slices.Collect(maps.Keys(s.listeners))
	s.mu.Unlock()
	for _, c := range channels {
		ctx, cancel := context.WithTimeout(s.ctx, answerTime)
		_, err := conn.Exec(ctx, "LISTEN "+pgx.Identifier{c}.Sanitize())
		cancel()
		if err != nil {
			return err
		}
	}
	if again {
		for _, c := range channels {
			s.tell(c, "")
		}
	}
	return nil
}

func (s *Session) tell(channel, payload string) {
	s.mu.Lock()
	ls := slices.Clone(s.listeners[channel])
	s.mu.Unlock()
	for _, l := range ls {
		l.fn(payload)
	}
}

// serve answers requests and passes notifications on until the connection breaks or the session is closed.
func (s *Session) serve(conn *pgx.Conn) error {
	for {
		s.mu.Lock()
		work := s.queue
		s.queue = nil
		var wait context.Context
		if len(work) == 0 {
			wait, s.interrupt = context.WithTimeout(s.ctx, heartbeat)
		}
		s.mu.Unlock()
		if wait != nil {
			if err := s.wait(wait, conn); err != nil {
				return err
			}
			continue
		}
		for i, r := range work {
			err := s.answer(conn, r)
			if conn.IsClosed() {
				s.mu.Lock()
				s.queue = append(work[i+1:], s.queue...)
				s.mu.Unlock()
				return err
			}
		}
	}
}

func (s *Session) answer(conn *pgx.Conn, r *request) error {
	ctx, cancel := context.WithTimeout(s.ctx, answerTime)
	defer cancel()
	err := r.run(ctx, conn)
	if conn.IsClosed() && err != nil {
		err = unreachable(err)
	}
	r.answer <- err
	return err
}

// wait passes on one notification; without one it returns when a request comes, or makes sure after a heartbeat's time that the connection still stands.
func (s *Session) wait(ctx context.Context, conn *pgx.Conn) error {
	n, err := conn.WaitForNotification(ctx)
	silent := ctx.Err() == context.DeadlineExceeded
	s.mu.Lock()
	s.interrupt()
	s.interrupt = nil
	s.mu.Unlock()
	switch {
	case n != nil:
		s.tell(n.Channel, n.Payload)
		return nil
	case s.ctx.Err() != nil:
		return s.ctx.Err()
	case conn.IsClosed():
		return err
	case silent:
		ctx, cancel := context.WithTimeout(s.ctx, answerTime)
		defer cancel()
		return conn.Ping(ctx)
	}
	return nil
}
