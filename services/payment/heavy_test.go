package payment_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"tulifo/platform/api/apitest"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
)

// Fifty statements hang on a ledger that does not answer: a payment is read all the same, and who asked for a statement is told to come back.
func TestFiftySlowStatementsLeaveConnectionsForOthers(t *testing.T) {
	w := start(t)
	_, c := w.paid(16000, "USD")
	held, let := make(chan struct{}), make(chan struct{})
	var ledger, statements sync.WaitGroup
	ledger.Go(func() {
		other := pgtest.Open(t, w.url, schema)
		err := other.InTx(t.Context(), func(tx postgres.Tx) error {
			if _, err := tx.Exec(t.Context(), "LOCK TABLE ledger_transactions IN ACCESS EXCLUSIVE MODE"); err != nil {
				return err
			}
			close(held)
			<-let
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-held
	refused := make(chan struct{}, 50)
	var mu sync.Mutex
	got := map[int]int{}
	for range 50 {
		statements.Go(func() {
			a := w.Do(apitest.Call{As: w.asWorker, Path: "/api/payments/statement?from=2026-03-01&to=2026-03-31"})
			if a.Status == http.StatusServiceUnavailable {
				refused <- struct{}{}
				if a.Header.Get("Retry-After") == "" {
					t.Errorf("503 without Retry-After: %s", a.Body)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			got[a.Status]++
		})
	}
	for range 20 {
		w.Call(apitest.Call{What: "a payment is read meanwhile", As: w.asClient, Path: "/api/payments/" + c.Payment.ID.String(), Status: http.StatusOK})
	}
	select {
	case <-refused:
	case <-time.After(time.Minute):
		t.Error("nobody was told to come back")
	}
	close(let)
	ledger.Wait()
	statements.Wait()
	if got[http.StatusServiceUnavailable] == 0 || got[http.StatusOK] == 0 || got[http.StatusServiceUnavailable]+got[http.StatusOK] != 50 {
		t.Errorf("the statements: %v", got)
	}
}
