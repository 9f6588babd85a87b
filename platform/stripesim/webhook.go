package stripesim

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

const (
	firstRetry  = 200 * time.Millisecond // doubles with each failure
	lastRetry   = 30 * time.Second
	hookTimeout = 10 * time.Second
	roundSize   = 64
	lookAhead   = 4096 // entries looked at behind those that wait
	senders     = 8
	reorderWait = 200 * time.Millisecond // for a reordering window to fill
)

// try is what became of a delivery so far. It is not on disk: after a restart every delivery is due at once.
type try struct {
	count int
	next  time.Time
	last  string
}

type queued struct {
	delivery
	seq uint64
}

// Sign is the Stripe-Signature header of payload sent at the time.
func Sign(payload []byte, secret string, at time.Time) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%d.", at.Unix())
	mac.Write(payload)
	return fmt.Sprintf("t=%d,v1=%s", at.Unix(), hex.EncodeToString(mac.Sum(nil)))
}

// deliver sends what is queued until ctx ends: subjects side by side, each in order; a subject whose event fails waits for its retry.
func (s *Simulator) deliver(ctx context.Context) error {
	client := &http.Client{
		Timeout:       hookTimeout,
		Transport:     &http.Transport{MaxIdleConnsPerHost: senders, IdleConnTimeout: 20 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	for ctx.Err() == nil {
		changed := s.wait()
		round, next, err := s.due(time.Now())
		if err != nil {
			s.log.Error("stripe simulator: reading the queue of webhooks failed", "error", err)
			next = time.Now().Add(lastRetry)
		}
		if len(round) > 0 {
			s.send(ctx, client, round)
			continue
		}
		var timer <-chan time.Time
		if !next.IsZero() {
			timer = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-timer:
		}
	}
	return nil
}

// due is the next round: what may be sent now, in order, or when to look again.
func (s *Simulator) due(now time.Time) (round []queued, next time.Time, err error) {
	url, c, tries := s.sending() // before the store is read: who waits for a lock inside a read would stop its writer
	if url == "" {
		return nil, next, nil
	}
	size := roundSize
	if c.Reorder > 1 {
		size = c.Reorder
	}
	later := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	blocked := map[string]bool{}
	looked := 0
	err = s.queue(func(q queued) bool {
		looked++
		failed, tried := tries[q.seq]
		ready := time.UnixMilli(q.At).Add(time.Duration(c.DelayMS) * time.Millisecond)
		switch {
		case c.holds(q.Type):
		case blocked[q.Subject]:
		case ready.After(now):
			later(ready)
			blocked[q.Subject] = true
		case tried && failed.next.After(now):
			later(failed.next)
			blocked[q.Subject] = c.Reorder < 2
		default:
			round = append(round, q)
		}
		return len(round) < size && looked < lookAhead
	})
	if err != nil || c.Reorder < 2 || len(round) == 0 {
		return round, next, err
	}
	if full := time.UnixMilli(round[0].At).Add(reorderWait); len(round) < size && full.After(now) {
		return nil, full, nil
	}
	rand.New(rand.NewPCG(c.Seed, uint64(len(round)))).Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
	return round, next, nil
}

// sending is what decides on deliveries now.
func (s *Simulator) sending() (url string, c Control, tries map[uint64]try) {
	c = s.Control()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.url, c, maps.Clone(s.tries)
}

// queue walks the undelivered events in order.
func (s *Simulator) queue(fn func(queued) bool) error {
	return s.store.view(func(t *tx) error { return t.queue(fn) })
}

func (t *tx) queue(fn func(queued) bool) (err error) {
	t.ascend(keyQueue, "", func(key string, value []byte) bool {
		q := queued{seq: orderOf(key)}
		if err = json.Unmarshal(value, &q.delivery); err != nil {
			return false
		}
		return fn(q)
	})
	return err
}

// send delivers a round and records what arrived.
func (s *Simulator) send(ctx context.Context, client *http.Client, round []queued) {
	c := s.Control()
	lines := map[string][]queued{}
	var order []string
	for _, q := range round {
		line := q.Subject
		if c.Reorder > 1 {
			line = ""
		}
		if lines[line] == nil {
			order = append(order, line)
		}
		lines[line] = append(lines[line], q)
	}
	var mu sync.Mutex
	var arrived []queued
	var all sync.WaitGroup
	slots := make(chan struct{}, senders)
	for _, line := range order {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			for _, q := range lines[line] {
				err := s.post(ctx, client, q, c)
				if err != nil {
					s.failed(ctx, q, err)
					if c.Reorder < 2 {
						return
					}
					continue
				}
				mu.Lock()
				arrived = append(arrived, q)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if err := s.arrived(context.WithoutCancel(ctx), arrived); err != nil {
		s.log.Error("stripe simulator: recording deliveries failed", "error", err)
	}
	s.poke()
}

func (s *Simulator) failed(ctx context.Context, q queued, err error) {
	if ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tries[q.seq]
	wait := min(lastRetry, firstRetry<<min(t.count, 10))
	s.tries[q.seq] = try{count: t.count + 1, next: time.Now().Add(wait), last: err.Error()}
	s.log.Debug("stripe simulator: webhook failed", "event", q.Event, "type", q.Type, "attempt", t.count+1, "error", err)
}

func (s *Simulator) arrived(ctx context.Context, sent []queued) error {
	if len(sent) == 0 {
		return nil
	}
	err := s.store.write(ctx, func(t *tx) error {
		for _, q := range sent {
			t.delete(keyQueue + ordered(q.seq))
			var e event
			rec, ok, err := t.record(q.Event)
			if err != nil {
				return err
			}
			if !ok {
				continue // forgotten while it waited
			}
			if err := json.Unmarshal(rec.Body, &e); err != nil {
				return err
			}
			e.PendingWebhooks = 0
			if err := t.update(&e); err != nil {
				return err
			}
		}
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, q := range sent {
		delete(s.tries, q.seq)
	}
	return err
}

// post sends an event as often as the control says; all must be answered 2xx.
func (s *Simulator) post(ctx context.Context, client *http.Client, q queued, c Control) error {
	var payload []byte
	err := s.store.view(func(t *tx) error {
		rec, ok, err := t.record(q.Event)
		if err != nil || !ok {
			return err
		}
		var b bytes.Buffer
		err = json.Indent(&b, rec.Body, "", "  ")
		payload = b.Bytes()
		return err
	})
	if err != nil || payload == nil {
		return err
	}
	url, _, _ := s.sending()
	times := max(1, c.Repeat)
	if !c.Together {
		for range times {
			if err := s.postOnce(ctx, client, url, payload); err != nil {
				return err
			}
		}
		return nil
	}
	results := make(chan error, times)
	for range times {
		go func() { results <- s.postOnce(ctx, client, url, payload) }()
	}
	var failed error
	for range times {
		failed = errors.Join(failed, <-results)
	}
	return failed
}

func (s *Simulator) postOnce(ctx context.Context, client *http.Client, url string, payload []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(payload))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
	req.Header.Set("Stripe-Signature", Sign(payload, s.o.WebhookSecret, time.Now()))
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // only to keep the connection
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("answered %d", res.StatusCode)
	}
	return nil
}

// Idle returns when nothing is left to deliver or to do, except what Control holds back; or with ctx's error.
// While a receiver keeps failing, or none is known, it waits.
func (s *Simulator) Idle(ctx context.Context) error {
	for {
		changed := s.wait()
		c := s.Control()
		busy := false
		// One look at both: a task that ends between two would leave its webhook unseen.
		err := s.store.view(func(t *tx) error {
			err := t.queue(func(q queued) bool {
				busy = !c.holds(q.Type)
				return !busy
			})
			if err != nil || busy {
				return err
			}
			t.ascend(keyTask, "", func(_ string, value []byte) bool {
				var k task
				if err := json.Unmarshal(value, &k); err != nil || k.Do != "payout" || !c.HoldPayouts {
					busy = true
				}
				return !busy
			})
			return nil
		})
		if err != nil || !busy {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}
