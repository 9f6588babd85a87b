package payment

import (
	"math/big"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/money"
	"tulifo/platform/soak"
)

// exactFee is points/10,000 of a gross rounded half up to steps of the currency, in fractions.
func exactFee(gross int64, currency string, points int) int64 {
	step := money.Step(currency)
	x := new(big.Rat).Mul(big.NewRat(gross, step), big.NewRat(int64(points), 10_000))
	x.Add(x, big.NewRat(1, 2))
	return min(gross, step*new(big.Int).Div(x.Num(), x.Denom()).Int64())
}

// part is some of rest in whole steps: all of it, one step, or anything between.
func part(r *rand.Rand, rest, step int64) int64 {
	switch r.IntN(4) {
	case 0:
		return rest
	case 1:
		return step
	}
	return step * (1 + r.Int64N(rest/step))
}

// TestAMillionDealsLoseNoMinorUnit takes payments apart in every way that there is: partial releases and refunds in any number, then perhaps a
// cancellation that leaves the worker a share of the whole. After each step worker, platform, client and escrow have the gross between them,
// nobody has less than nothing, and the platform has exactly the fee of all that was released.
func TestAMillionDealsLoseNoMinorUnit(t *testing.T) {
	r := soak.Rand(t)
	at := time.Now()
	shares := []int{0, 5000, 5000, 10_000}
	for range soak.N(20_000, 1_000_000) {
		currency := []string{"JPY", "USD", "KWD"}[r.IntN(3)]
		h := holding{PaymentID: uuid.New(), BookingID: uuid.New(), ClientID: uuid.New(), WorkerID: uuid.New(), Currency: currency,
			Amount: money.Step(currency) * (1 + r.Int64N(1<<(1+r.IntN(45)))), FeeRule: r.IntN(10_001)}
		if r.IntN(2) == 0 {
			h.FeeRule = 1000
		}
		has := map[account]int64{}
		apply := func(p posting) {
			for _, one := range p.Transfers {
				if one.Amount.Minor <= 0 || one.Amount.Currency != currency || one.Debit == one.Credit {
					t.Fatalf("%s moves %v from %s to %s", p.Key, one.Amount, one.Debit, one.Credit)
				}
				has[one.Debit] -= one.Amount.Minor
				has[one.Credit] += one.Amount.Minor
			}
		}
		apply(planPayment(h, at))
		var released, refunded int64
		release := func(gross int64) {
			p, after, paid, err := planRelease(h, uuid.New(), gross, 0, at)
			if err != nil || paid != 0 {
				t.Fatalf("release %d of %+v: %v, %d of no debt", gross, h, err, paid)
			}
			h = after
			released += gross
			apply(p)
		}
		refund := func(gross int64) {
			p, after, rail, err := planRefund(h, uuid.New(), gross, 0, at)
			if err != nil || rail != gross {
				t.Fatalf("refund %d of %+v: %v, %d on the rail", gross, h, err, rail)
			}
			h = after
			refunded += gross
			apply(p)
		}
		exact := func() {
			fee, rest := exactFee(released, currency, h.FeeRule), h.Amount-released-refunded
			worker, platform, client, held := has[walletOf(h.WorkerID)], has[fees], has[refundsPayable], has[escrowOf(h.BookingID)]
			if worker+platform+client+held != h.Amount || worker != released-fee || platform != fee || client != refunded || held != rest || worker < 0 || held < 0 {
				t.Fatalf("%+v: the worker has %d, the platform %d, the client %d, escrow %d; released %d, refunded %d, fee %d", h, worker, platform, client, held, released, refunded, fee)
			}
			if want := rest - (exactFee(released+rest, currency, h.FeeRule) - fee); h.expected() != want || want < 0 {
				t.Fatalf("%+v expects %d, want %d", h, h.expected(), want)
			}
		}
		for range r.IntN(6) {
			if h.remaining() == 0 {
				break
			}
			if r.IntN(3) == 0 {
				refund(part(r, h.remaining(), money.Step(currency)))
			} else {
				release(part(r, h.remaining(), money.Step(currency)))
			}
			exact()
		}
		if _, _, _, err := planRelease(h, uuid.New(), h.remaining()+1, 0, at); err == nil {
			t.Fatalf("more than %d was released", h.remaining())
		}
		if _, _, _, err := planRefund(h, uuid.New(), h.remaining()+1, 0, at); err == nil {
			t.Fatalf("more than %d was refunded", h.remaining())
		}
		// As escrow divides: what was released before counts towards the share.
		share := money.Of(h.Amount, currency).Share(shares[r.IntN(len(shares))]).Minor
		toWorker := min(max(share-released, 0), h.remaining())
		if back := h.remaining() - toWorker; back > 0 {
			refund(back)
		}
		if toWorker > 0 {
			release(toWorker)
		}
		exact()
		if h.remaining() != 0 || has[escrowOf(h.BookingID)] != 0 {
			t.Fatalf("%+v is divided and not empty", h)
		}
	}
}
