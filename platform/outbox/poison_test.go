package outbox_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/uuid"

	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
)

// written carries what a person wrote.
type written struct {
	Text string `json:"text"`
}

func (written) Type() string { return "test.written" }

// An event that no table can keep must stop neither the relay nor the other subjects.
func TestPoisonStopsNothingElse(t *testing.T) {
	t.Parallel()
	p := start(t, database(t))
	outbox.On(p.in, func(ctx context.Context, tx postgres.Tx, e written) error {
		if _, err := tx.Exec(ctx, `SELECT $1::text`, e.Text); err != nil {
			return err
		}
		return leave(ctx, tx, len(e.Text))
	})
	p.run()
	poison, good := uuid.New(), uuid.New()
	for subject, text := range map[uuid.UUID]string{poison: "a\x00b\ufffe\u202e", good: strings.Repeat("x", 300_000) + "\\u0000\xff"} {
		if err := p.teller.InTx(t.Context(), func(tx postgres.Tx) error { return outbox.Add(t.Context(), tx, subject, written{text}) }); err != nil {
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
}
