package payment_test

import (
	"strings"
	"testing"

	"tulifo/platform/postgres"
	"tulifo/services/payment"
)

// To look for 200 keys Postgres would rather read all of a ledger of some thousand postings.
func TestPostedKeysAreNeverLookedForInTheWholeLedger(t *testing.T) {
	w := open(t)
	err := w.db.InTx(t.Context(), func(tx postgres.Tx) error {
		for _, sql := range []string{`INSERT INTO ledger_transactions (key, kind, subject, posted_at) SELECT 'k' || i, 'payment', gen_random_uuid(), clock_timestamp() FROM generate_series(1, 2000) i`, `SET LOCAL plan_cache_mode = force_custom_plan`, `PREPARE posted (text[]) AS ` + payment.PostedKeys} {
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
