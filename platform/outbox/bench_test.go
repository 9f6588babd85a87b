package outbox_test

import (
	"context"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/bus"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
)

// BenchmarkLatency is the time from a commit to the commit of its effect, with fsync on.
func BenchmarkLatency(b *testing.B) {
	_, url := ownServer(b, migrations()...)
	p := start(b, tablesAt(url))
	done := make(chan struct{}, 1)
	on(p, func(ctx context.Context, tx outbox.Tx, e told) error {
		tx.Committed(func() { done <- struct{}{} })
		return p.leave(ctx, tx, e.N)
	})
	p.run()
	p.tell(uuid.New(), 0)
	<-done
	var all []time.Duration
	b.ResetTimer()
	for n := range b.N {
		p.tell(uuid.New(), n)
		committed := time.Now()
		<-done
		all = append(all, time.Since(committed))
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkDrain is how fast a backlog in the outbox becomes effects, with fsync on.
func BenchmarkDrain(b *testing.B) {
	for name, on := range map[string]func(*outbox.Inbox){
		"single": func(in *outbox.Inbox) {
			outbox.On(in, func(ctx context.Context, tx postgres.Tx, e told) error { return rows{}.leave(ctx, tx, e.N) })
		},
		"batch": func(in *outbox.Inbox) {
			outbox.OnBatch(in, func(ctx context.Context, tx postgres.Tx, all []told) error {
				var ids, subjects []uuid.UUID
				var ns []int
				for i, e := range outbox.EnvelopesFrom(ctx) {
					ids, subjects, ns = append(ids, e.ID), append(subjects, e.Subject), append(ns, all[i].N)
				}
				_, err := tx.Exec(ctx, `INSERT INTO effects (event_id, subject, n) SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[])`, ids, subjects, ns)
				return err
			})
		},
	} {
		b.Run(name, func(b *testing.B) {
			_, url := ownServer(b, migrations()...)
			p := start(b, tablesAt(url))
			on(p.in)
			const backlog = 20_000
			for range b.N {
				b.StopTimer()
				for range backlog / 500 {
					err := p.teller.inTx(b.Context(), func(tx outbox.Tx) error {
						for n := range 500 {
							if err := outbox.Add(b.Context(), tx, uuid.New(), told{n}); err != nil {
								return err
							}
						}
						return nil
					})
					if err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				if p.cancel == nil {
					p.run()
				}
				p.settle()
			}
			b.ReportMetric(float64(b.N*backlog)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func cpu(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkIdle is what eight services in one process cost when nothing happens: CPU and garbage a second.
func BenchmarkIdle(b *testing.B) {
	_, url := ownServer(b, migrations()...)
	var schemas []string
	var all []postgres.Migration
	for _, s := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
		schemas = append(schemas, "tulifo_"+s)
		all = append(all, postgres.Migration{Schema: "tulifo_" + s, FS: effects}, outbox.Migration("tulifo_"+s))
	}
	if err := postgres.Migrate(b.Context(), url, all...); err != nil {
		b.Fatal(err)
	}
	p := start(b, tablesAt(url))
	ctx, cancel := context.WithCancel(b.Context())
	defer func() { cancel(); p.work.Wait() }()
	for _, s := range schemas {
		db := dial(b, url, s)
		in := outbox.NewInbox(db, s, nil)
		outbox.On(in, func(context.Context, postgres.Tx, told) error { return nil })
		p.work.Go(func() { _ = in.Run(ctx, bus.Bus(p.bus)) })
		p.work.Go(func() { _ = outbox.NewRelay(db, p.bus, s, p.session, nil).Run(ctx) })
	}
	for range b.N {
		second := time.NewTimer(3 * time.Second)
		<-second.C
		before := cpu(b)
		second.Reset(3 * time.Second)
		<-second.C
		b.ReportMetric(float64((cpu(b)-before).Microseconds())/3, "cpu-µs/s")
	}
}
