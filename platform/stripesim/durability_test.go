package stripesim_test

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v85"

	"tulifo/platform/stripesim"
)

// TestMain runs a simulator on the directory it is given until it is killed, or the tests.
func TestMain(m *testing.M) {
	if dir := os.Getenv("STRIPESIM_TEST_DIR"); dir != "" {
		o := options(dir)
		o.WebhookURL = os.Getenv("STRIPESIM_TEST_HOOK")
		sim, err := stripesim.New(o)
		if err != nil {
			fmt.Println("failed:", err)
			os.Exit(1)
		}
		srv := httptest.NewServer(sim.Handler())
		fmt.Println("ready:", srv.URL)
		fmt.Println("stopped:", sim.Run(context.Background()))
		os.Exit(1)
	}
	// Each check of a property is a simulator of its own, with its fsyncs; -rapid.checks asks for more.
	if err := flag.Set("rapid.checks", "25"); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child is a simulator in a process of its own.
func child(t *testing.T, dir, hook string) (address string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STRIPESIM_TEST_DIR="+dir, "STRIPESIM_TEST_HOOK="+hook)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Kill() // it may be dead already
		_ = cmd.Wait()
	}
	t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	address, ok := strings.CutPrefix(strings.TrimSpace(line), "ready: ")
	if err != nil || !ok {
		t.Fatal(line, err)
	}
	return address, kill
}

func TestKilledAtAnyMoment(t *testing.T) {
	dir := t.TempDir()
	hooks := newReceiver(t)
	hooks.set(func(stripe.Event) int { return 500 })
	type answer struct{ key, id string }
	var answered []answer
	for round := range 4 {
		address, kill := child(t, dir, hooks.url)
		w := &world{T: t, raw: address, url: address, client: client(address, 0)}
		for _, a := range answered {
			_, out, h := w.call("POST", "/v1/payment_intents", payment(), "Idempotency-Key", a.key)
			if out["id"] != a.id || h.Get("Idempotent-Replayed") != "true" {
				t.Fatalf("round %d: %s was answered %s, now %v", round, a.key, a.id, out)
			}
		}
		if want := int64(len(answered)) * (5000 - 145 - 30); w.balance("") < want {
			t.Fatalf("balance %d, answered payments make %d", w.balance(""), want)
		}
		// Four payers, and the process dies under them after the tenth answer of the round.
		answers := make(chan answer, 1000)
		done := make(chan struct{}, 4)
		for p := range 4 {
			go func() {
				defer func() { done <- struct{}{} }()
				for i := 0; ; i++ {
					key := fmt.Sprintf("round %d payer %d payment %d", round, p, i)
					id, err := payOnce(t, address, key)
					if err != nil {
						return
					}
					answers <- answer{key, id}
				}
			}()
		}
		for range 10 {
			select {
			case a := <-answers:
				answered = append(answered, a)
			case <-time.After(patience):
				t.Fatal("the simulator stopped answering")
			}
		}
		kill()
		for range 4 {
			<-done
		}
		close(answers)
		for a := range answers {
			answered = append(answered, a)
		}
	}
	hooks.set(nil)
	w := startIn(t, options(dir), hooks)
	w.idle()
	got := map[string]bool{}
	for _, e := range hooks.seen() {
		if e.Type == "payment_intent.succeeded" {
			got[e.Data.Object["id"].(string)] = true
		}
	}
	for _, a := range answered {
		if !got[a.id] {
			t.Errorf("the webhook of %s was lost", a.id)
		}
	}
	if want := int64(len(got)) * (5000 - 145 - 30); w.balance("") != want {
		t.Errorf("balance %d, webhooks say %d", w.balance(""), want)
	}
}

func payment() url.Values {
	return url.Values{"amount": {"5000"}, "currency": {"usd"}, "confirm": {"true"}, "payment_method": {"pm_card_visa"}}
}

func payOnce(t *testing.T, address, key string) (string, error) {
	p := &stripe.PaymentIntentCreateParams{Amount: stripe.Int64(5000), Currency: stripe.String("usd"), Confirm: stripe.Bool(true), PaymentMethod: stripe.String("pm_card_visa")}
	p.SetIdempotencyKey(key)
	pi, err := client(address, 0).V1PaymentIntents.Create(t.Context(), p)
	if err != nil {
		return "", err
	}
	return pi.ID, nil
}

func TestOneSimulatorADirectory(t *testing.T) {
	dir := t.TempDir()
	sim, err := stripesim.New(options(dir))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stripesim.New(options(dir)); err == nil || !strings.Contains(err.Error(), "another Stripe simulator runs") {
		t.Fatal(err)
	}
	if err := sim.Close(); err != nil {
		t.Fatal(err)
	}
	for _, o := range []stripesim.Options{{}, {Dir: dir}, {Dir: dir, SecretKey: "sk"}} {
		if _, err := stripesim.New(o); err == nil {
			t.Errorf("started with %+v", o)
		}
	}
}

// What nobody may ask for any more leaves the disk; what is younger stays.
func TestForgetting(t *testing.T) {
	dir := t.TempDir()
	w := startIn(t, options(dir), newReceiver(t))
	for i := range 400 {
		if status, out, _ := w.call("POST", "/v1/payment_intents", payment(), "Idempotency-Key", fmt.Sprint("key ", i)); status != 200 {
			t.Fatal(out)
		}
	}
	w.idle()
	old := w.hooks.seen()[0].ID
	w.stop()
	later := options(dir)
	later.Now = func() time.Time { return time.Now().Add(31 * 24 * time.Hour) }
	w = startIn(t, later, newReceiver(t))
	pi := w.paid(5000)
	fresh := w.hooks.until(func(e []stripe.Event) bool { return len(e) == 3 })
	deadline := time.Now().Add(patience)
	for n := -1; n != len(fresh); {
		n = 0
		for e, err := range w.client.V1Events.List(t.Context(), &stripe.EventListParams{ListParams: stripe.ListParams{Limit: stripe.Int64(100), Single: true}}).All(t.Context()) {
			must(e, err)(w)
			n++
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d events of 31 days ago are still there", n-len(fresh))
		}
	}
	_, err := w.client.V1Events.Retrieve(t.Context(), old, nil)
	w.fails(err, 404, stripe.ErrorCodeResourceMissing)
	must(w.client.V1Events.Retrieve(t.Context(), fresh[0].ID, nil))(w)
	must(w.client.V1PaymentIntents.Retrieve(t.Context(), pi.ID, nil))(w)
	if want := int64(401 * (5000 - 145 - 30)); w.balance("") != want {
		t.Fatalf("balance %d, want %d", w.balance(""), want)
	}
}
