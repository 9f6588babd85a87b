package outbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"tulifo/platform/bus"
	"tulifo/platform/docdb"
	"tulifo/platform/obs"
	"tulifo/platform/postgres"
)

// handler is what a service does with one type of event.
type handler struct {
	version int // the highest that it understands
	batch   bool
	decode  func(json.RawMessage) (any, error)
	sql     bool                                   // it works on rows
	run     func(context.Context, Tx, []any) error // one value, or up to batchMax when batch
}

// On has fn change the service's data once for each E, in a transaction that remembers the event. Several events may share tx.
// fn makes no calls out: it records what is to be done. ctx carries tx, so that InTx joins it, and the envelope (EnvelopeFrom).
// After an error fn is tried again, ten times in all with growing pauses; then the event goes to dead_letters with the error.
func On[E Event](in *Inbox, fn func(context.Context, postgres.Tx, E) error) {
	in.add(typeOf[E](), handler{version: versionOf[E](), sql: true, decode: decode[E], run: func(ctx context.Context, tx Tx, values []any) error {
		return fn(ctx, tx.(postgres.Tx), values[0].(E))
	}})
}

// OnDoc is On for a service whose data are documents.
func OnDoc[E Event](in *Inbox, fn func(context.Context, docdb.Tx, E) error) {
	in.add(typeOf[E](), handler{version: versionOf[E](), decode: decode[E], run: func(ctx context.Context, tx Tx, values []any) error {
		if sql, ok := tx.(postgres.Tx); ok {
			tx = docdb.Within(sql)
		}
		return fn(ctx, tx.(docdb.Tx), values[0].(E))
	}})
}

// OnBatch is On for handlers that are cheaper on many events at once, up to 200 in the order of the bus; EnvelopesFrom has their envelopes.
// After an error they come one at a time.
func OnBatch[E Event](in *Inbox, fn func(context.Context, postgres.Tx, []E) error) {
	in.add(typeOf[E](), handler{version: versionOf[E](), sql: true, batch: true, decode: decode[E], run: func(ctx context.Context, tx Tx, values []any) error {
		events := make([]E, len(values))
		for i, v := range values {
			events[i] = v.(E)
		}
		return fn(ctx, tx.(postgres.Tx), events)
	}})
}

// OnBroadcast has fn hear each broadcast E in every process. fn must not block, and may hear one twice.
func OnBroadcast[E Event](in *Inbox, fn func(context.Context, E)) {
	in.hears(typeOf[E](), func(ctx context.Context, e bus.Envelope) error {
		if e.Version > versionOf[E]() {
			return newer(e, versionOf[E]())
		}
		v, err := decode[E](e.Data)
		if err != nil {
			return err
		}
		fn(ctx, v.(E))
		return nil
	})
}

func typeOf[E Event]() string {
	var e E
	return e.Type()
}

func versionOf[E Event]() int {
	var e E
	return version(e)
}

// decode is lenient with fields it does not know, which a newer producer may send, and with nothing else.
func decode[E Event](data json.RawMessage) (any, error) {
	var e E
	if trimmed := bytes.TrimSpace(data); len(trimmed) == 0 || bytes.Equal(trimmed, []byte("null")) {
		return nil, errors.New("the event has no data")
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, fmt.Errorf("the data is not a %s: %w", e.Type(), err)
	}
	return e, nil
}

func newer(e bus.Envelope, known int) error {
	return fmt.Errorf("%s has version %d, this consumer knows %d", e.Type, e.Version, known)
}

type envelopesKey struct{}

// EnvelopeFrom is the envelope of the event that is being handled under ctx: its id, time and subject. Outside of a handler it is empty.
func EnvelopeFrom(ctx context.Context) bus.Envelope {
	if all := EnvelopesFrom(ctx); len(all) > 0 {
		return all[0]
	}
	return bus.Envelope{}
}

// EnvelopesFrom are the envelopes of the events that an OnBatch handler was given, in the same order.
func EnvelopesFrom(ctx context.Context) []bus.Envelope {
	all, _ := ctx.Value(envelopesKey{}).([]bus.Envelope)
	return all
}

// handling is ctx for the handler of the envelopes: events that it adds belong to the trace of the first.
func handling(ctx context.Context, envelopes []bus.Envelope) context.Context {
	ctx = context.WithValue(ctx, envelopesKey{}, envelopes)
	if tp := envelopes[0].Traceparent; tp != "" {
		ctx = obs.WithTraceparent(ctx, tp)
	}
	return ctx
}
