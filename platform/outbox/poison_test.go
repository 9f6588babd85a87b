package outbox_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"

	"tulifo/platform/outbox"
)

// written carries what a person wrote.
type written struct {
	Text string `json:"text"`
}

func (written) Type() string { return "test.written" }

// An event that no table can keep must stop neither the relay nor the other subjects.
func TestPoisonStopsNothingElse(t *testing.T) {
	everywhere(t, func(t *testing.T, at home) {
		p := start(t, at)
		on(p, func(ctx context.Context, tx outbox.Tx, e written) error {
			if err := p.reader.write(ctx, tx, e.Text); err != nil {
				return err
			}
			return p.leave(ctx, tx, len(e.Text))
		})
		p.run()
		poison, good := uuid.New(), uuid.New()
		for subject, text := range map[uuid.UUID]string{poison: "a\x00b\ufffe\u202e", good: strings.Repeat("x", 300_000) + "\\u0000\xff"} {
			if err := p.teller.inTx(t.Context(), func(tx outbox.Tx) error { return outbox.Add(t.Context(), tx, subject, written{text}) }); err != nil {
				t.Fatal(err)
			}
		}
		p.settle()
		if all := p.effects(); len(all) != 1 || all[0].Subject != good {
			t.Errorf("effects %d", len(all))
		}
		if dead := count(t, p.reader, "dead_letters"); dead != 1 {
			t.Errorf("%d dead letters", dead)
		}
		if n := count(t, p.teller, "outbox"); n != 0 {
			t.Errorf("%d events never left", n)
		}
	})
}
