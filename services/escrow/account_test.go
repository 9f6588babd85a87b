package escrow

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/money"
	"tulifo/platform/outbox"
	"tulifo/platform/soak"
)

// TestDivisionsLoseNoMinorUnit has an account go through moves, freezes, lettings-go and directives in any order: what was held is always what
// was released, refunded and remains, each at least 0; there is one last move; every move is told once.
func TestDivisionsLoseNoMinorUnit(t *testing.T) {
	r := soak.Rand(t)
	at := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	for range soak.N(20_000, 1_000_000) {
		c := change{Account: Account{ID: uuid.New(), BookingID: uuid.New(), Held: 1 + r.Int64N(1<<(1+r.IntN(45))), Currency: []string{"JPY", "USD", "KWD"}[r.IntN(3)], Holds: []string{}}}
		for range r.IntN(10) {
			before, moved := c.Account, len(c.moves)
			some := 1 + r.Int64N(c.Held)
			asked := money.Of(some, c.Currency).Decimal()
			var err error
			step := r.IntN(9)
			switch step {
			case 0, 1:
				amount, refused := c.part(&asked)
				if (refused != nil) != (some > before.remaining() || some%money.Step(c.Currency) != 0 && some != before.remaining()) {
					t.Fatalf("%d of %d: %v", some, before.remaining(), refused)
				}
				if refused == nil {
					err = c.move([]string{release, refund}[step], amount, "admin", "test", at)
				}
			case 2:
				c.freeze(byDispute, "quarrel")
			case 3:
				c.freeze(byChargeback, byChargeback)
			case 4:
				err = c.unfreeze([]string{"", byDispute, byChargeback}[r.IntN(3)], "test", at)
			case 5:
				err = c.follow(directive{Kind: completed, Detail: detail{ReleaseAt: &at}}, "test", at)
			case 6:
				err = c.follow(directive{Kind: cancelled, Detail: detail{WorkerShare: money.Of(c.Held, c.Currency).Share(5000).Minor, Currency: c.Currency}}, "test", at)
			case 7:
				err = c.follow(directive{Kind: noShow, Detail: detail{SettleAt: &at, WorkerShare: c.Held, Currency: c.Currency}}, "test", at)
			case 8:
				err = c.follow(directive{Kind: contested, Detail: detail{Reason: "I was there."}}, "test", at)
			}
			if err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
			var released, refunded int64
			for i, m := range c.moves {
				if m.Kind == release {
					released += m.Amount
				} else {
					refunded += m.Amount
				}
				if m.Amount <= 0 || m.Remaining != c.Held-released-refunded || m.Remaining == 0 && i != len(c.moves)-1 {
					t.Fatalf("step %d: move %d of %d leaves %d: %+v", step, i, len(c.moves), m.Remaining, c.moves)
				}
			}
			if released != c.Released || refunded != c.Refunded || c.Held != before.Held || c.remaining() != c.Held-released-refunded || c.remaining() < 0 {
				t.Fatalf("step %d: %+v, by its moves %d released and %d refunded", step, c.Account, released, refunded)
			}
			if before.remaining() == 0 && len(c.moves) != moved {
				t.Fatalf("step %d moves what is gone", step)
			}
			if step > 4 && len(before.Holds) > 0 && len(c.moves) != moved {
				t.Fatalf("step %d moves what is frozen by %v", step, before.Holds)
			}
			if (c.status() == Frozen) != (len(c.Holds) > 0) || c.due() != nil && c.status() == Frozen {
				t.Fatalf("step %d: %s with %v, due %v", step, c.status(), c.Holds, c.due())
			}
		}
		told := 0
		for _, e := range c.told {
			if moves(e) {
				told++
			}
		}
		if told != len(c.moves) {
			t.Fatalf("%d moves, %d told", len(c.moves), told)
		}
	}
}

func moves(e outbox.Event) bool {
	return e.Type() == "escrow.released" || e.Type() == "escrow.refunded"
}
