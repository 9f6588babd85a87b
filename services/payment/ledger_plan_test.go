package payment_test

import (
	"strings"
	"testing"

	"tulifo/platform/postgres"
	"tulifo/services/payment"
)

// A plan that is made while the ledger is empty, and kept, has to do when it is long.
func TestPostedKeysAreNeverLookedForInTheWholeLedger(t *testing.T) {
	w := open(t)
	err := w.db.InTx(t.Context(), func(tx postgres.Tx) error {
		for _, sql := range []string{`SET LOCAL plan_cache_mode = force_generic_plan`, `PREPARE posted (text[]) AS ` + payment.PostedKeys} {
			if _, err := tx.Exec(t.Context(), sql); err != nil {
				return err
			}
		}
		plan, err := postgres.All[string](t.Context(), tx, `EXPLAIN EXECUTE posted (array_fill('k'::text, ARRAY[200]))`)
		if text := strings.Join(plan, "\n"); strings.Contains(text, "Seq Scan") || !strings.Contains(text, "ledger_transactions_key") {
			t.Errorf("it is planned as\n%s", text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
