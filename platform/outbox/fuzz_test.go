package outbox

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/bus"
	"tulifo/platform/postgres"
)

type fuzzed struct {
	ID   uuid.UUID          `json:"id"`
	At   time.Time          `json:"at"`
	Gone *time.Time         `json:"gone"`
	N    int64              `json:"n"`
	Tags []string           `json:"tags"`
	By   map[string]int     `json:"by"`
	In   struct{ X string } `json:"in"`
}

func (fuzzed) Type() string { return "test.fuzzed" }

// Whatever comes from the bus, an event that nobody listens to is passed over, one that cannot be understood says so, and any other is a value
// of its type that is the same after it was told again.
func FuzzEnvelope(f *testing.F) {
	good := `{"id":"01890a5d-ac96-774b-bcce-b302099a8057","at":"2026-03-02T08:00:00.000001Z","gone":null,"n":-1,"tags":["a"],"by":{"b":1},"in":{"X":"y"},"new":[{}]}`
	for _, data := range []string{good, `{}`, ` {} `, "", " ", "null", "\nnull ", "[]", `"x"`, "{", "{}{}", `{"n":1e400}`, `{"n":1.5}`, `{"n":"1"}`, `{"id":"x"}`, `{"id":null}`,
		`{"at":"9999-12-31T23:59:59-01:00"}`, `{"at":"0000-01-01T00:00:00+01:00"}`, `{"tags":null,"by":{}}`, `{"n":1,"N":2}`, `{"in":{"X":"\ud800"}}`, "{\"in\":{\"X\":\"\xff\"}}", `{"tags":[[[[]]]]}`} {
		f.Add("test.fuzzed", 1, []byte(data))
	}
	f.Add("test.fuzzed", 2, []byte(good))
	f.Add("test.fuzzed", -1, []byte(good))
	f.Add("test.other", 1, []byte(good))
	f.Add("", 0, []byte(nil))
	in := NewInbox(nil, "reader", nil)
	On(in, func(context.Context, postgres.Tx, fuzzed) error { return nil })
	f.Fuzz(func(t *testing.T, typ string, version int, data []byte) {
		got, known := in.decode(bus.Envelope{Type: typ, Version: version, Data: data})
		switch {
		case known != (typ == "test.fuzzed"):
			t.Fatalf("an event of the type %q: %t", typ, known)
		case !known:
			return
		case version > 1 && got.bad == nil:
			t.Fatalf("version %d is understood", version)
		case got.bad != nil:
			return
		}
		e, is := got.value.(fuzzed)
		if !is || !json.Valid(data) {
			t.Fatalf("%q is taken for %#v", data, got.value)
		}
		again, err := json.Marshal(e)
		if err != nil {
			return // a time with an offset that RFC 3339 cannot write, which no producer of ours sends
		}
		twice, known := in.decode(bus.Envelope{Type: typ, Version: 1, Data: again})
		if !known || twice.bad != nil {
			t.Fatalf("%q comes back as %q: %v", data, again, twice.bad)
		}
		if third, err := json.Marshal(twice.value); err != nil || !bytes.Equal(again, third) {
			t.Errorf("%q comes back as %q and then as %q: %v", data, again, third, err)
		}
	})
}
