package escrow_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

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
	"tulifo/services/escrow"
)

// process is escrow as it runs in a process of its own, with connections of its own.
type process struct {
	*apitest.Server
	service *escrow.Service
	take    func(context.Context, []bus.Envelope) error
}

func (w *world) process(url string) *process {
	w.t.Helper()
	db := pgtest.Open(w.t, url, schema)
	p := &process{service: escrow.New(db, w.clock, peer.New("escrow", w.Keys, w.near.handlers(w.t), nil))}
	p.Server = apitest.New(w.t, apitest.Options{Service: "escrow", Register: p.service.Routes, DB: db, Keys: w.Keys})
	in := outbox.NewInbox(db, "escrow", slog.New(slog.DiscardHandler))
	p.service.Subscribe(in)
	p.take = bustest.Hand(w.t, in.Run)
	return p
}

// duel is an account for which several processes reach at once.
type duel struct {
	w       *world
	booking event.Booking
	account uuid.UUID
}

// reach is one of those who do, with a token that is fresh, however long a soak goes on.
type reach = interleave.Contender[duel, *process]

func (d duel) post(p *process, as, action, body string) bool {
	a := p.Do(apitest.Call{As: as, Method: "POST", Path: "/api/v1/escrow/" + d.account.String() + "/" + action, Body: body})
	if a.Status != 200 && a.Status != 409 && a.Status != 422 {
		d.w.t.Errorf("%s is answered %d %s", action, a.Status, a.Body)
	}
	return a.Status == 200
}

func (d duel) hear(p *process, e outbox.Event) bool {
	if err := p.take(context.Background(), []bus.Envelope{d.w.envelope(d.booking.BookingID, e)}); err != nil {
		d.w.t.Errorf("%s: %v", e.Type(), err)
	}
	return true
}

// The first four are those of which every pair is taken in CI.
var reaches = []reach{
	{Name: "release", Do: func(d duel, p *process) bool { return d.post(p, d.w.Token("client", d.w.client), "release", `{}`) }},
	{Name: "freeze", Do: func(d duel, p *process) bool {
		return d.post(p, d.w.ServiceToken("dispute", "escrow"), "freeze", `{"reason":"quarrel"}`)
	}},
	{Name: "auto-release", Do: func(d duel, p *process) bool {
		if err := p.service.Fire(context.Background(), d.w.clock.Now()); err != nil {
			d.w.t.Errorf("fire: %v", err)
		}
		return true
	}},
	{Name: "refund", Do: func(d duel, p *process) bool { return d.post(p, d.w.Token("admin", uuid.New()), "refund", `{}`) }},
	{Name: "award", Do: func(d duel, p *process) bool {
		return d.post(p, d.w.Token("admin", uuid.New()), "release", `{}`)
	}},
	{Name: "cancel", Do: func(d duel, p *process) bool {
		return d.hear(p, event.BookingCancelled{Booking: d.booking, Cause: "client", Shares: shares(8000, 8000, "USD")})
	}},
	{Name: "chargeback", Do: func(d duel, p *process) bool {
		return d.hear(p, event.PaymentChargedBack{Payment: event.Payment{BookingID: d.booking.BookingID}, Charged: d.booking.Amount})
	}},
	{Name: "unfreeze", Do: func(d duel, p *process) bool { return d.post(p, d.w.Token("admin", uuid.New()), "unfreeze", ``) }},
	{Name: "part", Do: func(d duel, p *process) bool {
		return d.post(p, d.w.Token("client", d.w.client), "release", `{"amount":100}`)
	}},
	{Name: "part back", Do: func(d duel, p *process) bool {
		return d.post(p, d.w.ServiceToken("payment", "escrow"), "refund", `{"amount":100}`)
	}},
}

// play is one duel over an account of 160.00 USD that is due to be released.
func (w *world) play(home *process, ps []*process, who ...reach) interleave.Play {
	b := w.booking(16000, "USD")
	var batch []bus.Envelope
	for _, e := range []outbox.Event{event.BookingConfirmed{Booking: b, PayBy: b.Start}, w.paid(b), event.BookingCompleted{Booking: b, CompletedAt: w.clock.Now(), ReleaseAt: w.clock.Now()}} {
		batch = append(batch, w.envelope(b.BookingID, e))
	}
	if err := home.take(context.Background(), batch); err != nil {
		w.t.Fatal(err)
	}
	id, err := postgres.One[uuid.UUID](w.t.Context(), w.db, `SELECT id FROM escrow_accounts WHERE booking_id = $1`, b.BookingID)
	if err != nil {
		w.t.Fatal(err)
	}
	d := duel{w, b, id}
	if slices.ContainsFunc(who, func(r reach) bool { return r.Name == "unfreeze" || r.Name == "award" }) {
		d.post(home, w.Token("admin", uuid.New()), "freeze", `{"reason":"quarrel"}`)
	}
	return interleave.Contest(w.t, d, ps, who, func(won map[string]int) error {
		// What may still move by itself does so afterwards, so that the next duel finds nothing else due.
		return errors.Join(w.lawful(d, won), home.service.Fire(context.Background(), w.clock.Now()))
	})
}

// told is an event of an account, as far as it counts here.
type told struct {
	Type      string
	Cause     string
	Amount    int64
	Remaining int64
}

// lawful replays what was told of the account against the drawing of its states, and compares it with what is stored and with what the
// contenders were answered.
func (w *world) lawful(d duel, won map[string]int) error {
	ctx := w.t.Context()
	a, err := postgres.One[struct {
		Held     int64 `db:"held_amount"`
		Released int64 `db:"released_amount"`
		Refunded int64 `db:"refunded_amount"`
		Status   string
		Moves    int
		Last     int
	}](ctx, w.db, `SELECT held_amount, released_amount, refunded_amount, status, (SELECT count(*) FROM moves m WHERE m.escrow_id = a.id) AS moves,
		(SELECT count(*) FROM moves m WHERE m.escrow_id = a.id AND remaining = 0) AS last FROM escrow_accounts a WHERE id = $1`, d.account)
	if err != nil {
		return err
	}
	list, err := postgres.All[told](ctx, w.db, `SELECT type, coalesce(data::jsonb ->> 'cause', '') AS cause, coalesce((data::jsonb -> 'amount' ->> 'minor')::bigint, 0) AS amount,
		(data::jsonb -> 'remaining' ->> 'minor')::bigint AS remaining FROM outbox WHERE subject = $1 AND type LIKE 'escrow.%' ORDER BY seq`, d.booking.BookingID)
	if err != nil {
		return err
	}
	remaining, released, refunded, moves, frozen := int64(0), int64(0), int64(0), 0, false
	by := map[string]int{}
	for i, e := range list {
		switch {
		case (e.Type == "escrow.held") != (i == 0), i > 0 && remaining == 0:
			return fmt.Errorf("%s is told as number %d, with %d remaining", e.Type, i, remaining)
		case e.Type == "escrow.held":
			remaining = d.booking.Amount.Minor
		case e.Type == "escrow.frozen", e.Type == "escrow.unfrozen":
			if frozen == (e.Type == "escrow.frozen") {
				return fmt.Errorf("%s twice", e.Type)
			}
			frozen = !frozen
		case e.Type == "escrow.released":
			released += e.Amount
		default:
			refunded += e.Amount
		}
		if e.Amount > 0 {
			// A client's release, an auto-release and a division never move what is frozen.
			if frozen && e.Cause != "admin" && e.Cause != "resolution" {
				return fmt.Errorf("%s by %s while it is frozen", e.Type, e.Cause)
			}
			by[strings.TrimPrefix(e.Type, "escrow.")+" "+e.Cause]++
			moves++
			remaining -= e.Amount
		}
		if e.Remaining != remaining || remaining < 0 {
			return fmt.Errorf("%s tells of %d remaining instead of %d", e.Type, e.Remaining, remaining)
		}
	}
	last := 0
	if remaining == 0 {
		last = 1
	}
	if a.Held != 16000 || a.Released != released || a.Refunded != refunded || a.Held != released+refunded+remaining || a.Moves != moves || a.Last != last {
		return fmt.Errorf("the account is %+v; told were %d released, %d refunded in %d moves", a, released, refunded, moves)
	}
	if a.Status == "frozen" != (frozen && remaining > 0) {
		return fmt.Errorf("the account is %s", a.Status)
	}
	switch {
	case released == a.Held && won["refund"] > 0, refunded == a.Held && won["release"]+won["award"] > 0, won["release"]+won["award"] > 0 && won["refund"] > 0 && won["part"]+won["part back"] == 0:
		return fmt.Errorf("a full release and a full refund both won: %v", won)
	case by["released client"] != won["release"]+won["part"], by["released admin"] != won["award"], by["refunded admin"] != won["refund"]+won["part back"]:
		return fmt.Errorf("the answers were yes to %v; moved was %v", won, by)
	case by["released auto"] > 1, by["released cancelled"]+by["refunded cancelled"] > 2:
		return fmt.Errorf("something moved twice: %v", by)
	}
	return nil
}

// TestEveryOrderOfTwo takes each pair of those who reach for an account through all orders of their SQL statements.
func TestEveryOrderOfTwo(t *testing.T) {
	interleave.Pairs(t, reaches[:soak.N(4, len(reaches))], func(t *testing.T, first, second reach) {
		w := start(t)
		stage, ps := interleave.New(t, w.url, 2, w.process)
		home := w.process(w.url)
		runs := stage.Every(func() interleave.Play { return w.play(home, ps, first, second) })
		t.Logf("%d orders", runs)
		if runs < 2 {
			t.Errorf("only %d orders: they do not meet", runs)
		}
	})
}

// Two admins decide about frozen money at once: one for the worker, one for the client. One of them is told that it is decided.
func TestTwoAdminsDecideOnce(t *testing.T) {
	w := start(t)
	stage, ps := interleave.New(t, w.url, 2, w.process)
	home := w.process(w.url)
	award, refund := reaches[4], reaches[3]
	runs := stage.Every(func() interleave.Play { return w.play(home, ps, award, refund) })
	t.Logf("%d orders", runs)
	if both, err := postgres.One[int](t.Context(), w.db, `SELECT count(*)::int FROM escrow_accounts WHERE status NOT IN ('released', 'refunded')`); err != nil || both > 0 || runs < 8 {
		t.Errorf("%d accounts are not decided in %d orders, %v", both, runs, err)
	}
}

// TestOrdersOfFour takes release, freeze, auto-release and refund, and then whoever else may, through orders that are drawn by lot.
func TestOrdersOfFour(t *testing.T) {
	w := start(t)
	r := soak.Rand(t)
	stage, ps := interleave.New(t, w.url, 4, w.process)
	home := w.process(w.url)
	stage.Sample(soak.N(60, 10_000), r, func() interleave.Play { return w.play(home, ps, reaches[:4]...) })
	stage.Sample(soak.N(40, 10_000), r, func() interleave.Play {
		var who []reach
		for range 4 {
			who = append(who, reaches[r.IntN(len(reaches))])
		}
		return w.play(home, ps, who...)
	})
}
