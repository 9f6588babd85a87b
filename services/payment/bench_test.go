package payment_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/bus"
	"tulifo/platform/money"
	"tulifo/platform/postgres"
)

// How fast releases are posted: from events on the bus to entries in the ledger, with the fee, the audit row and the roll-up. Each booking is
// released in two parts.
func BenchmarkReleases(b *testing.B) {
	w := open(b)
	if _, err := w.db.Exec(b.Context(), `INSERT INTO payments (id, booking_id, client_id, worker_id, title, amount, currency, fee_basis_points, status, pay_by, created_at, ends_at, completed_at)
		SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'Work', 16000, 'USD', 1000, 'completed', $1, $1, $1, $1 FROM generate_series(1, $2)`, monday, b.N/2+1); err != nil {
		b.Fatal(err)
	}
	for _, sql := range []string{`INSERT INTO balances (account, currency, balance) SELECT 'escrow:' || booking_id, currency, amount FROM payments`, `ANALYZE payments`, `ANALYZE balances`} {
		if _, err := w.db.Exec(b.Context(), sql); err != nil {
			b.Fatal(err)
		}
	}
	paid, err := postgres.All[struct{ BookingID, WorkerID, ClientID uuid.UUID }](b.Context(), w.db, `SELECT booking_id, worker_id, client_id FROM payments`)
	if err != nil {
		b.Fatal(err)
	}
	trips := w.db.Trips()
	b.ResetTimer()
	var batch []bus.Envelope
	var last event.EscrowReleased
	for i := range b.N {
		p := paid[i%len(paid)]
		last = w.released(event.Booking{BookingID: p.BookingID, WorkerID: p.WorkerID, ClientID: p.ClientID, Amount: money.Of(16000, "USD")}, 8000)
		batch = append(batch, w.envelope(p.BookingID, last))
		if len(batch) == 500 || i == b.N-1 {
			if err := w.bus.Publish(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
			batch = nil
		}
	}
	// Asking the bus how much is left costs as much as posting it: what comes last is waited for first.
	for tick, posted := time.NewTicker(5*time.Millisecond), false; !posted; <-tick.C {
		if posted, err = postgres.One[bool](b.Context(), w.db, `SELECT EXISTS (SELECT FROM ledger_transactions WHERE key = $1)`, "escrow_release:"+last.MoveID.String()); err != nil {
			b.Fatal(err)
		}
	}
	w.heard(b.Context())
	b.StopTimer()
	n, err := postgres.One[int64](b.Context(), w.db, `SELECT count(*) FROM transfers`)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "transfers/s")
	b.ReportMetric(float64(w.db.Trips()-trips)/float64(b.N), "trips/op")
}
