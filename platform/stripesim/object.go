package stripesim

import (
	"encoding/json"
	"fmt"
	"slices"
)

// record is an object as it is stored: Owner is the connected account it belongs to, empty for the platform.
// Fields whose JSON name begins with an underscore are the simulator's own and never leave it.
type record struct {
	Seq   uint64          `json:"n"`
	Owner string          `json:"a,omitempty"`
	Body  json.RawMessage `json:"o"`
}

// head is what every object has.
type head struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Created int64  `json:"created"`
}

func (h *head) top() *head { return h }

type object interface{ top() *head }

// insert stores a new object and lists it under its kind and under each scope.
func (t *tx) insert(owner string, o object, scopes ...string) error {
	seq, err := t.sequence()
	if err != nil {
		return err
	}
	body, err := json.Marshal(o)
	if err != nil {
		return err
	}
	h := o.top()
	for _, scope := range slices.Concat([]string{all(h.Object, owner)}, scopes) {
		t.put(keyIndex+scope+"\x00"+ordered(seq), []byte(h.ID))
	}
	return t.store(h.ID, record{Seq: seq, Owner: owner, Body: body})
}

// update stores a changed object.
func (t *tx) update(o object) error {
	rec, ok, err := t.record(o.top().ID)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("stripesim: update of unknown %s", o.top().ID)
	}
	if rec.Body, err = json.Marshal(o); err != nil {
		return err
	}
	return t.store(o.top().ID, rec)
}

// also lists a stored object under one more scope.
func (t *tx) also(id, scope string) error {
	rec, ok, err := t.record(id)
	if err != nil || !ok {
		return err
	}
	t.put(keyIndex+scope+"\x00"+ordered(rec.Seq), []byte(id))
	return nil
}

func (t *tx) store(id string, rec record) error {
	b, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	t.put(keyObject+id, b)
	return nil
}

func (t *tx) record(id string) (record, bool, error) {
	var rec record
	b := t.get(keyObject + id)
	if b == nil {
		return rec, false, nil
	}
	err := json.Unmarshal(b, &rec)
	return rec, err == nil, err
}

// fetch reads the object of the kind that owner has under id; resource_missing when there is none.
func fetch[T any](t *tx, owner, kind, id string) (*T, error) {
	rec, ok, err := t.record(id)
	if err != nil {
		return nil, err
	}
	var h head
	if ok {
		if err := json.Unmarshal(rec.Body, &h); err != nil {
			return nil, err
		}
	}
	if !ok || rec.Owner != owner || h.Object != kind {
		return nil, missing(kind, id)
	}
	o := new(T)
	return o, json.Unmarshal(rec.Body, o)
}

func all(kind, owner string) string { return kind + "|" + owner }

func under(kind, owner, field, value string) string {
	return kind + "|" + owner + "|" + field + "|" + value
}
