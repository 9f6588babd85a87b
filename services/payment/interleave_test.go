package payment_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/bus"
	"tulifo/platform/bus/bustest"
	"tulifo/platform/outbox"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/postgres/pgtest/interleave"
	"tulifo/platform/soak"
	"tulifo/platform/stripesim"
	"tulifo/services/payment"
)

// process is payment as it runs in a process of its own, with connections of its own.
type process struct {
	*apitest.Server
	take func(context.Context, []bus.Envelope) error
}

func (w *world) process(url string) *process {
	w.t.Helper()
	db, log := pgtest.Open(w.t, url, schema), slog.New(slog.DiscardHandler)
	pay := payment.New(db, w.clock, peer.New("payment", w.Keys, w.peers.handlers(), func(string) []string { return nil }), w.config, log)
	p := &process{Server: apitest.New(w.t, apitest.Options{Service: "payment", Register: pay.Routes, DB: db, Keys: w.Keys})}
	in := outbox.NewInbox(db, "payment", log)
	pay.Subscribe(in)
	p.take = bustest.Hand(w.t, in.Run)
	return p
}

// purse is a worker with 144.00 in her wallet, out of one booking, and another one that is held. Everybody reaches for it.
type purse struct {
	w            *world
	worker       uuid.UUID
	earned, held event.Booking
}

func (p purse) hear(who *process, subject uuid.UUID, events ...outbox.Event) {
	var batch []bus.Envelope
	for _, e := range events {
		batch = append(batch, p.w.envelope(subject, e))
	}
	if err := who.take(context.Background(), batch); err != nil {
		p.w.t.Errorf("%s: %v", events[0].Type(), err)
	}
}

// hook has the rail tell of an object of a booking's payment.
func (p purse) hook(who *process, kind string, object map[string]any) {
	raw, err := json.Marshal(map[string]any{"id": "evt_" + uuid.NewString(), "object": "event", "api_version": stripesim.APIVersion, "created": 1, "type": kind, "data": map[string]any{"object": object}})
	if err != nil {
		p.w.t.Error(err)
	}
	a := who.Do(apitest.Call{Method: "POST", Path: "/api/payments/webhook", Body: raw, Header: map[string]string{"Stripe-Signature": signed(raw).Get("Stripe-Signature")}})
	if a.Status != 200 {
		p.w.t.Errorf("%s is answered %d %s", kind, a.Status, a.Body)
	}
}

func (p purse) disputed(who *process, status string) {
	p.hook(who, map[string]string{"needs_response": "charge.dispute.created", "won": "charge.dispute.closed"}[status], map[string]any{
		"id": "du_" + p.earned.BookingID.String(), "object": "dispute", "amount": 16000, "currency": "usd", "status": status, "payment_intent": "pi_" + p.earned.BookingID.String()})
}

// reach is one of those who do; its name says what is left of the purse.
type reach = interleave.Contender[purse, *process]

var reaches = []reach{
	{Name: "withdraw", Do: func(p purse, who *process) bool {
		a := who.Do(apitest.Call{As: p.w.Token("worker", p.worker), Path: "/api/payments/payouts", Body: `{}`})
		if a.Status != 201 && (a.Status != 409) {
			p.w.t.Errorf("a withdrawal is answered %d %s", a.Status, a.Body)
		}
		return a.Status == 201
	}},
	{Name: "chargeback", Do: func(p purse, who *process) bool { p.disputed(who, "needs_response"); return true }},
	{Name: "release", Do: func(p purse, who *process) bool {
		e := p.w.released(p.held, 16000)
		e.MoveID = p.held.BookingID // told twice, it is one move
		p.hear(who, p.held.BookingID, e)
		return true
	}},
	{Name: "won", Do: func(p purse, who *process) bool { p.disputed(who, "won"); return true }},
	{Name: "part of a wallet", Do: func(p purse, who *process) bool {
		a := who.Do(apitest.Call{As: p.w.Token("worker", p.worker), Path: "/api/payments/payouts", Body: `{"amount":100}`})
		if a.Status != 201 && a.Status != 409 {
			p.w.t.Errorf("a withdrawal is answered %d %s", a.Status, a.Body)
		}
		return a.Status == 201
	}},
}

// play is one fight over a purse.
func (w *world) play(home *process, ps []*process, who ...reach) interleave.Play {
	p := purse{w: w, worker: uuid.New()}
	for _, b := range []*event.Booking{&p.earned, &p.held} {
		*b = w.unheard(16000, "USD")
		b.WorkerID, b.ClientID = p.worker, uuid.New()
		p.hear(home, b.BookingID, event.BookingConfirmed{Booking: *b, PayBy: monday.Add(time.Hour)})
		id, err := postgres.One[uuid.UUID](w.t.Context(), w.db, `SELECT id FROM payments WHERE booking_id = $1`, b.BookingID)
		if err != nil {
			w.t.Fatal(err)
		}
		p.hook(home, "payment_intent.succeeded", map[string]any{"id": "pi_" + b.BookingID.String(), "object": "payment_intent", "status": "succeeded", "amount_received": 16000,
			"currency": "usd", "metadata": map[string]string{"tulifo_id": id.String()}})
	}
	p.hear(home, p.earned.BookingID, w.released(p.earned, 16000))
	p.hear(home, p.worker, event.UserCreated{UserID: p.worker, Email: p.worker.String() + "@example.com", Role: "worker", Verified: true})
	if _, err := w.db.Exec(w.t.Context(), `INSERT INTO payout_accounts (user_id, account_id, country, email, status, created_at) VALUES ($1, $2, 'DE', 'ada@example.com', 'verified', $3)`,
		p.worker, "acct_"+p.worker.String(), monday); err != nil {
		w.t.Fatal(err)
	}
	return interleave.Contest(w.t, p, ps, who, p.lawful)
}

// lawful compares what she has, has withdrawn and owes with what must be left, whatever the order was.
func (p purse) lawful(won map[string]int) error {
	ctx := p.w.t.Context()
	got, err := postgres.One[struct{ Wallet, Owed, Out, Open, Events int64 }](ctx, p.w.db, `SELECT
		coalesce((SELECT sum(balance) FROM balances WHERE account = 'wallet:' || $1::uuid), 0)::bigint AS wallet,
		coalesce((SELECT -sum(balance) FROM balances WHERE account = 'chargeback_debt:' || $1::uuid), 0)::bigint AS owed,
		coalesce((SELECT sum(amount) FROM payouts WHERE user_id = $1), 0)::bigint AS out,
		(SELECT count(*) FROM chargebacks WHERE id = $2 AND status = 'open') AS open,
		(SELECT count(*) FROM outbox WHERE subject = $3 AND type IN ('payment.charged_back', 'payment.chargeback_won')) AS events`,
		p.worker, "du_"+p.earned.BookingID.String(), p.earned.BookingID)
	if err != nil {
		return err
	}
	left, events := int64(14400), int64(0)
	if won["release"] > 0 {
		left += 14400
	}
	switch {
	case won["won"] > 0:
		events = 2
	case won["chargeback"] > 0:
		left, events = left-14400, 1
	}
	switch {
	case got.Wallet-got.Owed+got.Out != left:
		return fmt.Errorf("%+v does not come to %d", got, left)
	case got.Wallet < 0 || got.Owed < 0 || got.Wallet > 0 && got.Owed > 0:
		return fmt.Errorf("she has and owes: %+v", got)
	case got.Events != events || (got.Open == 1) != (events == 1):
		return fmt.Errorf("%+v is told of the chargeback, want %d events", got, events)
	case (won["withdraw"]+won["part of a wallet"] == 0) != (got.Out == 0):
		return fmt.Errorf("the withdrawals came to %d", got.Out)
	}
	return nil
}

// TestEveryOrderOfWithdrawalsAndChargebacks takes a withdrawal, a chargeback and a release, each pair of them and all three, through the orders
// of their SQL statements.
func TestEveryOrderOfWithdrawalsAndChargebacks(t *testing.T) {
	interleave.Pairs(t, reaches[:soak.N(3, len(reaches))], func(t *testing.T, first, second reach) {
		w := start(t)
		stage, ps := interleave.New(t, w.url, 2, w.process)
		home := w.process(w.url)
		runs := soak.N(12, 2_000)
		stage.Sample(runs, soak.Rand(t), func() interleave.Play { return w.play(home, ps, first, second) })
		t.Logf("%d orders", runs)
		w.sound()
	})
	t.Run("all", func(t *testing.T) {
		w := start(t)
		stage, ps := interleave.New(t, w.url, 4, w.process)
		home, r := w.process(w.url), soak.Rand(t)
		stage.Sample(soak.N(30, 10_000), r, func() interleave.Play {
			who := slices.Clone(reaches[:4])
			r.Shuffle(len(who), func(i, j int) { who[i], who[j] = who[j], who[i] })
			return w.play(home, ps, who...)
		})
		w.sound()
	})
}
