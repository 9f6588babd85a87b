package stripesim

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// task is what the rail does by itself some time after a request: end a payout, end a refund.
type task struct {
	Do      string `json:"do"`
	ID      string `json:"id"`
	Account string `json:"account,omitempty"`
	Fail    bool   `json:"fail,omitempty"`
	Code    string `json:"code,omitempty"`
}

// schedule has the task done as soon as its request has been answered.
func (t *tx) schedule(r *request, k task) error {
	seq, err := t.sequence()
	if err != nil {
		return err
	}
	b, err := json.Marshal(k)
	if err != nil {
		return err
	}
	t.put(keyTask+ordered(seq), b)
	r.wake = true
	return nil
}

// work does one round of tasks in a transaction of their own and tells how many there were.
func (s *Simulator) work(ctx context.Context) (int, error) {
	held := s.Control().HoldPayouts
	any := false
	err := s.store.view(func(t *tx) error {
		t.ascend(keyTask, "", func(string, []byte) bool { any = true; return false })
		return nil
	})
	if err != nil || !any {
		return 0, err
	}
	n := 0
	r := &request{now: s.now().Unix()}
	err = s.store.write(ctx, func(t *tx) error {
		n = 0
		var keys []string
		var due []task
		var failed error
		t.ascend(keyTask, "", func(key string, value []byte) bool {
			var k task
			if failed = json.Unmarshal(value, &k); failed != nil {
				return false
			}
			if k.Do != "payout" || !held {
				keys, due = append(keys, key), append(due, k)
			}
			return len(due) < 100
		})
		if failed != nil {
			return failed
		}
		for i, k := range due {
			r.account = k.Account
			var err error
			switch k.Do {
			case "payout":
				err = t.finishPayout(r, k.ID, k.Code, k.Fail)
			case "refund":
				err = t.finishRefund(r, k.ID, k.Fail)
			}
			if err != nil {
				return err
			}
			t.delete(keys[i])
			n++
		}
		return nil
	})
	return n, err
}

const (
	keepEvents = 30 * 24 * time.Hour
	prunes     = 10 * time.Minute
	pruneRound = 1000 // deletions in one transaction
)

// prune forgets idempotency keys after a day and events after thirty. Other writes come between its rounds.
func (s *Simulator) prune(ctx context.Context) error {
	for {
		n, err := s.pruneSome(ctx)
		if err != nil || n < pruneRound {
			return err
		}
	}
}

func (s *Simulator) pruneSome(ctx context.Context) (n int, err error) {
	now := s.now()
	err = s.store.write(ctx, func(t *tx) error {
		n = 0
		bound := keyReplayAt + ordered(uint64(now.Add(-keepReplays).Unix()))
		t.ascend(keyReplayAt, "", func(key string, _ []byte) bool {
			if key >= bound {
				return false
			}
			slot := key[len(keyReplayAt)+8:]
			if _, fresh := t.replay(slot, now.Unix()); !fresh {
				t.delete(slot)
			}
			t.delete(key)
			n++
			return n < pruneRound
		})
		if n >= pruneRound {
			return nil
		}
		bound = keyEventAt + ordered(uint64(now.Add(-keepEvents).Unix()))
		var failed error
		t.ascend(keyEventAt, "", func(key string, value []byte) bool {
			if key >= bound {
				return false
			}
			id := string(value)
			var e event
			rec, ok, err := t.record(id)
			if ok && err == nil {
				err = json.Unmarshal(rec.Body, &e)
			}
			if failed = err; err != nil {
				return false
			}
			for _, scope := range []string{all("event", rec.Owner), under("event", rec.Owner, "type", e.Type)} {
				t.delete(keyIndex + scope + "\x00" + ordered(rec.Seq))
			}
			t.delete(keyObject + id)
			t.delete(key)
			n++
			return n < pruneRound
		})
		return failed
	})
	return n, err
}

// Run delivers webhooks and does what the rail does by itself, until ctx ends.
func (s *Simulator) Run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- s.tasks(ctx) }()
	err := s.deliver(ctx)
	return errors.Join(err, <-done)
}

func (s *Simulator) tasks(ctx context.Context) error {
	clean := time.NewTicker(prunes)
	defer clean.Stop()
	s.clean(ctx)
	for ctx.Err() == nil {
		changed := s.wait()
		n, err := s.work(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.Error("stripe simulator: a task failed", "error", err)
		}
		if n > 0 {
			s.poke()
			continue
		}
		select {
		case <-ctx.Done():
		case <-changed:
		case <-clean.C:
			s.clean(ctx)
		}
	}
	return nil
}

func (s *Simulator) clean(ctx context.Context) {
	if err := s.prune(ctx); err != nil && ctx.Err() == nil {
		s.log.Error("stripe simulator: forgetting old keys failed", "error", err)
	}
}
