package stripesim

import (
	"encoding/json"
	"slices"
	"time"
)

// event tells what happened to an object, as it was right after.
type event struct {
	head
	Account         string       `json:"account,omitempty"` // set when it happened on a connected account
	APIVersion      string       `json:"api_version"`
	Data            eventData    `json:"data"`
	Livemode        bool         `json:"livemode"`
	PendingWebhooks int64        `json:"pending_webhooks"`
	Request         eventRequest `json:"request"`
	Type            string       `json:"type"`
}

type eventData struct {
	Object   json.RawMessage `json:"object"`
	Previous map[string]any  `json:"previous_attributes,omitempty"`
}

type eventRequest struct {
	ID             *string `json:"id"`
	IdempotencyKey *string `json:"idempotency_key"`
}

// delivery is an event on its way. Those of one subject arrive in their order.
type delivery struct {
	Event   string `json:"event"`
	Subject string `json:"subject"`
	Type    string `json:"type"`
	At      int64  `json:"at"` // system time, unix milliseconds
}

// emit stores the event and queues it, in the transaction of what it tells.
func (t *tx) emit(r *request, account, kind, subject string, o object, previous map[string]any) error {
	tree, err := t.render(o, nil)
	if err != nil {
		return err
	}
	body, err := json.Marshal(tree)
	if err != nil {
		return err
	}
	e := &event{head: head{newID("evt_"), "event", r.now}, Account: account, APIVersion: APIVersion, Data: eventData{body, previous}, PendingWebhooks: 1, Type: kind}
	if r.id != "" {
		e.Request.ID = &r.id
	}
	if r.key != "" {
		e.Request.IdempotencyKey = &r.key
	}
	if err := t.insert(account, e, under("event", account, "type", kind)); err != nil {
		return err
	}
	t.put(keyEventAt+ordered(uint64(r.now))+e.ID, []byte(e.ID))
	return t.enqueue(r, delivery{Event: e.ID, Subject: subject, Type: kind})
}

func (t *tx) enqueue(r *request, d delivery) error {
	seq, err := t.sequence()
	if err != nil {
		return err
	}
	d.At = time.Now().UnixMilli()
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	t.put(keyQueue+ordered(seq), b)
	r.wake = true
	return nil
}

func getEvent(t *tx, r *request) (any, error) {
	if err := r.done(); err != nil {
		return nil, err
	}
	return fetch[event](t, r.account, "event", r.path("id"))
}

func listEvents(t *tx, r *request) (any, error) {
	kind, kinds := r.str("type"), r.list("types")
	scope := all("event", r.account)
	if kind != "" {
		scope = under("event", r.account, "type", kind)
	}
	return t.listing(r, "/v1/events", scope, func(i item) bool {
		return len(kinds) == 0 || slices.Contains(kinds, i.Type)
	})
}

// resendEvent queues an event once more, whether it arrived or not.
func resendEvent(t *tx, r *request) (any, error) {
	id := r.path("id")
	if err := r.done(); err != nil {
		return nil, err
	}
	rec, ok, err := t.record(id)
	if err != nil {
		return nil, err
	}
	var e event
	if ok {
		err = json.Unmarshal(rec.Body, &e)
	}
	if err != nil || e.Object != "event" {
		return nil, missing("event", id)
	}
	return &e, t.enqueue(r, delivery{Event: e.ID, Subject: e.ID, Type: e.Type})
}
