package bus

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"tulifo/platform/errs"
)

const (
	dialWithin  = 5 * time.Second
	writeWithin = 15 * time.Second
	closeWithin = 2 * time.Second
	dialGap     = 100 * time.Millisecond // between two attempts of this process
	// A host that vanishes is noticed by the broker after two of these, by us after three. A process that dies is noticed at once.
	heartbeat = 5 * time.Second
)

// line is one connection to the broker, dialled when somebody needs it and again when it was lost.
type line struct {
	url, name string
	log       *slog.Logger
	prepare   func(*amqp.Connection) error // what a new connection begins with; may be nil
	blocked   atomic.Bool                  // the broker takes nothing from us just now

	ended  context.Context // of the bus
	turn   chan struct{}   // held while conn is looked at or made
	conn   *amqp.Connection
	failed error
	again  time.Time // not before
	closed bool
}

func newLine(ended context.Context, url, name string, log *slog.Logger, prepare func(*amqp.Connection) error) *line {
	return &line{ended: ended, url: url, name: name, log: log, prepare: prepare, turn: make(chan struct{}, 1)}
}

// open answers the connection, a new one when the last was lost.
func (l *line) open(ctx context.Context) (*amqp.Connection, error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-l.turn }()
	switch {
	case l.closed:
		return nil, errs.New(errs.Unavailable, "The bus is closed.")
	case l.conn != nil && !l.conn.IsClosed():
		return l.conn, nil
	case time.Now().Before(l.again):
		return nil, l.failed
	}
	conn, err := l.dial(ctx)
	if err == nil && l.prepare != nil {
		if _, err = within(ctx, func() (struct{}, error) { return struct{}{}, l.prepare(conn) }, nil); err != nil {
			go shut(conn)
		}
	}
	if err != nil {
		l.failed = away(err)
		if ctx.Err() == nil {
			l.again = time.Now().Add(dialGap)
		}
		return nil, l.failed
	}
	if l.conn != nil {
		l.log.Info("RabbitMQ is there again.", "connection", l.name)
	}
	l.conn = conn
	l.watch(conn)
	return conn, nil
}

// watch keeps blocked true while the broker says so.
func (l *line) watch(conn *amqp.Connection) {
	l.blocked.Store(false)
	blocks := conn.NotifyBlocked(make(chan amqp.Blocking, 16))
	go func() {
		for b := range blocks {
			l.blocked.Store(b.Active)
			if b.Active {
				l.log.Warn("RabbitMQ takes no events.", "connection", l.name, "reason", b.Reason)
			}
		}
		l.blocked.Store(false)
	}()
}

func (l *line) dial(ctx context.Context) (*amqp.Connection, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	defer context.AfterFunc(l.ended, cancel)()
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName(l.name)
	calm := func() bool { return true }
	conn, err := amqp.DialConfig(l.url, amqp.Config{Heartbeat: heartbeat, Properties: properties, Dial: func(network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		calm = context.AfterFunc(ctx, func() { c.Close() })
		return socket{c}, nil
	}})
	if !calm() && err == nil {
		go shut(conn)
		return nil, ctx.Err()
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil, ctx.Err()
	}
	return conn, err
}

func (l *line) close() {
	l.turn <- struct{}{}
	defer func() { <-l.turn }()
	l.closed = true
	if l.conn != nil {
		shut(l.conn)
	}
}

// shut says goodbye, so that what was acknowledged before has arrived.
func shut(conn *amqp.Connection) { _ = conn.CloseDeadline(time.Now().Add(closeWithin)) }

// socket is a connection on which no write waits for ever.
type socket struct{ net.Conn }

func (s socket) Write(b []byte) (int, error) {
	if err := s.SetWriteDeadline(time.Now().Add(writeWithin)); err != nil {
		return 0, err
	}
	return s.Conn.Write(b)
}

// within answers what do does, or ctx's error once it has ended. do, which ends with its connection at the latest, then goes on, and what it
// still answers is given to drop.
func within[T any](ctx context.Context, do func() (T, error), drop func(T)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		value, err := do()
		answers <- answer{value, err}
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		if drop != nil {
			go func() {
				if a := <-answers; a.err == nil {
					drop(a.value)
				}
			}()
		}
		var none T
		return none, ctx.Err()
	}
}
