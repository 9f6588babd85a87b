package escrow_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/bus"
	"tulifo/platform/outbox"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/postgres/pgtest/interleave"
	"tulifo/platform/soak"
	"tulifo/platform/token"
	"tulifo/services/escrow"
)

// straight is a bus that hands out what an inbox does with its events, so that they are handled when the test says so.
type straight struct {
	bus.Bus
	take func(context.Context, []bus.Envelope) error
	got  chan struct{}
}

func (s *straight) Consume(_ context.Context, _ string, _ []string, _ int, fn func(context.Context, []bus.Envelope) error) error {
	s.take = fn
	close(s.got)
	return nil
}

// process is escrow as it runs in a process of its own, with connections of its own.
type process struct {
	*apitest.Server
	service *escrow.Service
	inbox   func(context.Context, []bus.Envelope) error
}

func (w *world) process(url string) *process {
	w.t.Helper()
	db := pgtest.Open(w.t, url, schema)
	p := &process{service: escrow.New(db, w.clock, peer.New("escrow", w.Keys, w.near.handlers(w.t), nil))}
	log := slog.New(slog.DiscardHandler)
	// News of sessions, of which there are none, keep coming however long a soak goes on.
	news := token.NewRevocations()
	go news.Follow(w.t.Context(), log, func(context.Context, time.Time) ([]token.Revoked, error) { return nil, nil })
	p.Server = apitest.New(w.t, apitest.Options{Service: "escrow", Register: p.service.Routes, DB: db, Keys: w.Keys, Revocations: news})
	in := outbox.NewInbox(db, "escrow", log)
	p.service.Subscribe(in)
	b := &straight{got: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- in.Run(ctx, b) }()
	<-b.got
	cancel()
	if err := <-ended; err != nil {
		w.t.Fatal(err)
	}
	p.inbox = b.take
	return p
}

// duel is an account for which several processes reach at once.
type duel struct {
	w       *world
	booking event.Booking
	account uuid.UUID
}

// reach is one of those who do, with a token that is fresh, however long a soak goes on; it says whether it was told yes.
type reach struct {
	name string
	do   func(d duel, p *process) bool
}

func (d duel) post(p *process, as, action, body string) bool {
	a := p.Do(apitest.Call{As: as, Method: "POST", Path: "/api/v1/escrow/" + d.account.String() + "/" + action, Body: body})
	if a.Status != 200 && a.Status != 409 && a.Status != 422 {
		d.w.t.Errorf("%s is answered %d %s", action, a.Status, a.Body)
	}
	return a.Status == 200
}

func (d duel) hear(p *process, e outbox.Event) bool {
	if err := p.inbox(context.Background(), []bus.Envelope{d.w.envelope(d.booking.BookingID, e)}); err != nil {
		d.w.t.Errorf("%s: %v", e.Type(), err)
	}
	return true
}

// The first four are those of which every pair is taken in CI.
var reaches = []reach{
	{"release", func(d duel, p *process) bool { return d.post(p, d.w.Token("client", d.w.client), "release", `{}`) }},
	{"freeze", func(d duel, p *process) bool {
		return d.post(p, d.w.ServiceToken("dispute", "escrow"), "freeze", `{"reason":"quarrel"}`)
	}},
	{"auto-release", func(d duel, p *process) bool {
		if err := p.service.Fire(context.Background(), d.w.clock.Now()); err != nil {
			d.w.t.Errorf("fire: %v", err)
		}
		return true
	}},
	{"refund", func(d duel, p *process) bool { return d.post(p, d.w.Token("admin", uuid.New()), "refund", `{}`) }},
	{"award", func(d duel, p *process) bool {
		return d.post(p, d.w.Token("admin", uuid.New()), "release", `{}`)
	}},
	{"cancel", func(d duel, p *process) bool {
		return d.hear(p, event.BookingCancelled{Booking: d.booking, Cause: "client", Shares: shares(8000, 8000, "USD")})
	}},
	{"chargeback", func(d duel, p *process) bool {
		return d.hear(p, event.PaymentChargedBack{Payment: event.Payment{BookingID: d.booking.BookingID}, Charged: d.booking.Amount})
	}},
	{"unfreeze", func(d duel, p *process) bool { return d.post(p, d.w.Token("admin", uuid.New()), "unfreeze", ``) }},
	{"part", func(d duel, p *process) bool {
		return d.post(p, d.w.Token("client", d.w.client), "release", `{"amount":100}`)
	}},
	{"part back", func(d duel, p *process) bool {
		return d.post(p, d.w.ServiceToken("payment", "escrow"), "refund", `{"amount":100}`)
	}},
}

// ring is a stage with a process for each contender.
func (w *world) ring(n int) (*interleave.Stage, []*process) {
	w.t.Helper()
	stage := interleave.New(w.t, w.url, n)
	var ps []*process
	for i := range n {
		ps = append(ps, w.process(stage.URL(i)))
	}
	return stage, ps
}

// play is one duel over an account of 160.00 USD that is due to be released.
func (w *world) play(home *process, ps []*process, who ...reach) interleave.Play {
	b := w.booking(16000, "USD")
	var batch []bus.Envelope
	for _, e := range []outbox.Event{event.BookingConfirmed{Booking: b, PayBy: b.Start}, w.paid(b), event.BookingCompleted{Booking: b, CompletedAt: w.clock.Now(), ReleaseAt: w.clock.Now()}} {
		batch = append(batch, w.envelope(b.BookingID, e))
	}
	if err := home.inbox(context.Background(), batch); err != nil {
		w.t.Fatal(err)
	}
	id, err := postgres.One[uuid.UUID](w.t.Context(), w.db, `SELECT id FROM escrow_accounts WHERE booking_id = $1`, b.BookingID)
	if err != nil {
		w.t.Fatal(err)
	}
	d := duel{w, b, id}
	if slices.Contains(names(who), "unfreeze") || slices.Contains(names(who), "award") {
		d.post(home, w.Token("admin", uuid.New()), "freeze", `{"reason":"quarrel"}`)
	}
	yes := make([]bool, len(who))
	p := interleave.Play{After: func(steps string) {
		if err := w.lawful(d, who, yes); err != nil {
			w.t.Errorf("%v: %v after\n%s", names(who), err, steps)
		}
		// What may still move by itself does so now, so that the next duel finds nothing else due.
		if err := home.service.Fire(context.Background(), w.clock.Now()); err != nil {
			w.t.Error(err)
		}
	}}
	for i, one := range who {
		p.Acts = append(p.Acts, func() { yes[i] = one.do(d, ps[i]) })
	}
	return p
}

func names(who []reach) (out []string) {
	for _, r := range who {
		out = append(out, r.name)
	}
	return out
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
func (w *world) lawful(d duel, who []reach, yes []bool) error {
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
	won := map[string]int{}
	for i, r := range who {
		if yes[i] {
			won[r.name]++
		}
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
	n := soak.N(4, len(reaches))
	for i, first := range reaches[:n] {
		for _, second := range reaches[i:n] {
			t.Run(first.name+" × "+second.name, func(t *testing.T) {
				w := start(t)
				stage, ps := w.ring(2)
				home := w.process(w.url)
				runs := stage.Every(func() interleave.Play { return w.play(home, ps, first, second) })
				t.Logf("%d orders", runs)
				if runs < 2 {
					t.Errorf("only %d orders: they do not meet", runs)
				}
			})
		}
	}
}

// Two admins decide about frozen money at once: one for the worker, one for the client. One of them is told that it is decided.
func TestTwoAdminsDecideOnce(t *testing.T) {
	w := start(t)
	stage, ps := w.ring(2)
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
	stage, ps := w.ring(4)
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
