package payment

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tulifo/platform/money"
)

// accounts is a ledger in memory: what the plans do to the accounts.
type accounts map[account]int64

func (a accounts) apply(t *rapid.T, p posting) {
	for _, one := range p.Transfers {
		if one.Amount.Minor <= 0 || one.Debit == one.Credit {
			t.Fatalf("%s: %+v", p.Key, one)
		}
		a[one.Debit] -= one.Amount.Minor
		a[one.Credit] += one.Amount.Minor
	}
}

func (a accounts) sum() (sum int64) {
	for _, minor := range a {
		sum += minor
	}
	return sum
}

// Whatever releases, refunds, chargebacks and withdrawals come in whatever order: no cent is lost, no wallet or escrow is overdrawn, nobody is
// owed by his own debt, and the fee is that of the whole.
func TestPlansLoseNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := holding{PaymentID: uuid.New(), BookingID: uuid.New(), ClientID: uuid.New(), WorkerID: uuid.New(), Currency: "USD",
			Amount: rapid.Int64Range(1, 1_000_000).Draw(t, "gross"), FeeRule: rapid.IntRange(0, 10_000).Draw(t, "rule")}
		at := time.Now()
		a := accounts{}
		a.apply(t, planPayment(h, at))
		var borne burden
		var clientOwes int64
		disputes := map[string]burden{}
		escrow, wallet, debt, clientDebt := escrowOf(h.BookingID), walletOf(h.WorkerID), debtOf(h.WorkerID), debtOf(h.ClientID)
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			part := rapid.Int64Range(1, h.Amount).Draw(t, "part")
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0:
				p, after, _, err := planRelease(h, uuid.New(), part, -a[debt], at)
				if (err != nil) != (part > h.remaining()) {
					t.Fatalf("release %d of %d: %v", part, h.remaining(), err)
				}
				if err == nil {
					h = after
					a.apply(t, p)
				}
			case 1:
				p, after, rail, err := planRefund(h, uuid.New(), part, clientOwes, at)
				if (err != nil) != (part > h.remaining()) {
					t.Fatalf("refund %d of %d: %v", part, h.remaining(), err)
				}
				if err == nil {
					h = after
					clientOwes -= part - rail
					a.apply(t, p)
					a.apply(t, planRefunded(h, uuid.New(), rail, at))
				}
			case 2:
				part = min(part, h.Amount-borne.total())
				if part <= 0 {
					continue
				}
				b := bear(h, part, borne)
				if b.total() != part || b.Client < 0 || b.Worker < 0 || b.Fees < 0 {
					t.Fatalf("%d is borne by %+v", part, b)
				}
				id := uuid.NewString()
				disputes[id] = b
				a.apply(t, planChargeback(h, id, b, a[wallet], at))
				borne = burden{borne.Client + b.Client, borne.Worker + b.Worker, borne.Fees + b.Fees}
				clientOwes += b.Client
			case 3:
				for id, b := range disputes {
					p, rail := planChargebackWon(h, id, b, clientOwes, -a[debt], at)
					a.apply(t, p)
					a.apply(t, planRefunded(h, uuid.New(), rail, at))
					clientOwes -= b.Client - rail
					borne = burden{borne.Client - b.Client, borne.Worker - b.Worker, borne.Fees - b.Fees}
					delete(disputes, id)
					break
				}
			case 4:
				if a[wallet] > 0 {
					id, all := uuid.New(), money.Of(a[wallet], "USD")
					a.apply(t, planPayout(id, h.WorkerID, all, at))
					if rapid.Bool().Draw(t, "settled") {
						a.apply(t, planPayoutPaid(id, h.WorkerID, all, at))
						if rapid.Bool().Draw(t, "returned") {
							a.apply(t, planPayoutFailed(id, h.WorkerID, all, true, -a[debt], at))
						}
					} else {
						a.apply(t, planPayoutFailed(id, h.WorkerID, all, false, -a[debt], at))
					}
				}
			}
			switch {
			case a.sum() != 0:
				t.Fatalf("the accounts sum to %d: %v", a.sum(), a)
			case a[escrow] != h.remaining() || a[escrow] < 0 || a[wallet] < 0:
				t.Fatalf("escrow %d of %d, wallet %d", a[escrow], h.remaining(), a[wallet])
			case a[debt] > 0 || a[debt] < 0 && a[wallet] > 0:
				t.Fatalf("owes %d and has %d", -a[debt], a[wallet])
			case -a[clientDebt] != clientOwes || clientOwes < 0:
				t.Fatalf("the client owes %d, noted %d", -a[clientDebt], clientOwes)
			case h.FeeTaken != h.fee(h.Released):
				t.Fatalf("fee %d of %d", h.FeeTaken, h.Released)
			case a[fees] != h.FeeTaken-borne.Fees || a[fees] < 0:
				t.Fatalf("fees are at %d; %d taken, %d borne", a[fees], h.FeeTaken, borne.Fees)
			}
		}
		if h.expected() < 0 || h.expected() > h.remaining() {
			t.Fatalf("%d is expected of %d", h.expected(), h.remaining())
		}
	})
}

// Many parts cost the fee that one would, to the cent.
func TestFeeOfPartsIsFeeOfTheWhole(t *testing.T) {
	for _, c := range []struct {
		gross int64
		parts []int64
		fee   int64
	}{
		{16000, []int64{16000}, 1600},
		{16000, []int64{8000, 8000}, 1600},
		{1035, []int64{345, 345, 345}, 104},
		{5, []int64{1, 1, 1, 1, 1}, 1},
		{35, []int64{34, 1}, 4},
	} {
		h := holding{BookingID: uuid.New(), WorkerID: uuid.New(), Currency: "USD", Amount: c.gross, FeeRule: 1000}
		for _, part := range c.parts {
			var err error
			if _, h, _, err = planRelease(h, uuid.New(), part, 0, time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		if h.FeeTaken != c.fee || h.remaining() != 0 {
			t.Errorf("%d in %v: fee %d, want %d", c.gross, c.parts, h.FeeTaken, c.fee)
		}
	}
}

func TestPlainText(t *testing.T) {
	for in, want := range map[string]string{"=1+1": "'=1+1", "+49": "'+49", "-1": "'-1", "@x": "'@x", "\tx": "'\tx", "Fix": "Fix", "": ""} {
		if got := plain(in); got != want {
			t.Errorf("%q became %q", in, got)
		}
	}
}
