package docdb_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"tulifo/platform/docdb"
	"tulifo/platform/errs"
)

type inner struct {
	City string    `json:"city,omitempty"`
	Seen time.Time `json:"seen"`
	More *inner    `json:"more,omitempty"`
}

type common struct {
	ID    uuid.UUID  `json:"id"`
	Ended *time.Time `json:"ended,omitempty"`
}

// odd has what encoding/json does in ways of its own.
type odd struct {
	common
	Text   string               `json:"text"`
	Small  int8                 `json:"small,omitempty"`
	Size   uint32               `json:"size"`
	Big    uint64               `json:"big"`
	Rate   float64              `json:"rate"`
	Is     bool                 `json:"is,omitempty"`
	Bytes  []byte               `json:"bytes"`
	Raw    json.RawMessage      `json:"raw,omitempty"`
	Texts  []string             `json:"texts"`
	Inners []inner              `json:"inners,omitempty"`
	Times  map[string]time.Time `json:"times,omitempty"`
	By     map[uuid.UUID]int    `json:"by,omitempty"`
	Any    map[string]any       `json:"any"`
	Pair   [2]int               `json:"pair"`
	Inner  *inner               `json:"inner"`
	Hidden string               `json:"-"`
	Plain  int
}

// What comes back from MongoDB is what would come back from JSON, which is how Postgres keeps it.
func TestBSONIsAsJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.RuneFrom([]rune("aß💥\"\\<\n\u2028$.")))
		at := rapid.Custom(func(t *rapid.T) time.Time {
			return time.UnixMicro(rapid.Int64Range(-1<<50, 1<<52).Draw(t, "at")).UTC()
		})
		in := rapid.Custom(func(t *rapid.T) inner { return inner{City: text.Draw(t, "city"), Seen: at.Draw(t, "seen")} })
		v := odd{
			Text: text.Draw(t, "text"), Small: rapid.Int8().Draw(t, "small"), Size: rapid.Uint32().Draw(t, "size"), Big: rapid.Uint64().Draw(t, "big"),
			Rate: rapid.Float64Range(-1e300, 1e300).Draw(t, "rate"), Is: rapid.Bool().Draw(t, "is"), Bytes: rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"),
			Raw:   json.RawMessage(rapid.SampledFrom([]string{"", "null", `{"a":[1,2.5,{"$ne":1}],"":"x"}`, `"\u00e9\ud83d\ude00"`, "1e-7", "123456789012345678901234567890", "0.1000000000000000055511151231257827", "[]", "-0.5", "false"}).Draw(t, "raw")),
			Texts: rapid.SliceOfN(text, -1, 3).Draw(t, "texts"), Inners: rapid.SliceOfN(in, -1, 2).Draw(t, "inners"), Times: rapid.MapOfN(text, at, -1, 2).Draw(t, "times"),
			By:  rapid.MapOfN(rapid.Custom(func(t *rapid.T) uuid.UUID { return uuid.UUID{0: rapid.Byte().Draw(t, "byte")} }), rapid.Int(), -1, 2).Draw(t, "by"),
			Any: map[string]any{text.Draw(t, "key"): rapid.SampledFrom([]any{nil, "x", 1.5, true, []any{"$gt", nil}, map[string]any{"a.b": 1e21}}).Draw(t, "any")}, Pair: [2]int{1, math.MinInt64},
			Hidden: "x", Plain: rapid.Int().Draw(t, "plain"),
		}
		v.ID = uuid.New()
		if rapid.Bool().Draw(t, "with") {
			i, ended := in.Draw(t, "inner"), at.Draw(t, "ended")
			i.More = &inner{City: "deep"}
			v.Inner, v.Ended = &i, &ended
		}
		asJSON, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var want, got odd
		if err := json.Unmarshal(asJSON, &want); err != nil {
			t.Fatal(err)
		}
		if err := docdb.ThroughBSON(v, &got); err != nil {
			t.Fatal(err)
		}
		// Numbers of raw JSON may be written otherwise.
		same := cmp.Transformer("raw", func(r json.RawMessage) any {
			var v any
			if len(r) > 0 && json.Unmarshal(r, &v) != nil {
				return string(r)
			}
			return v
		})
		if d := cmp.Diff(want, got, cmp.AllowUnexported(odd{}), same); d != "" {
			t.Fatalf("wanted -, got +:\n%s", d)
		}
	})
}

func TestBSONRefuses(t *testing.T) {
	deep := map[string]any{}
	for range 200 {
		deep = map[string]any{"x": deep}
	}
	for what, v := range map[string]odd{
		"a null character":          {Text: "a\x00b"},
		"one in a list":             {Texts: []string{"\x00"}},
		"one in a name":             {Times: map[string]time.Time{"\x00": {}}},
		"one in a name of anything": {Any: map[string]any{"\x00": 1}},
		"one in raw JSON":           {Raw: json.RawMessage(`"\u0000"`)},
		"half a character":          {Raw: json.RawMessage(`"\ud83d"`)},
		"a number of no bounds":     {Raw: json.RawMessage("1" + strings.Repeat("0", 7000))},
		"too deep":                  {Any: deep},
	} {
		var got odd
		if err := docdb.ThroughBSON(v, &got); errs.KindOf(err) != errs.Invalid {
			t.Errorf("%s: %v", what, err)
		}
	}
	var got odd
	if err := docdb.ThroughBSON(odd{Text: strings.Repeat("x", docdb.MaxDocument)}, &got); errs.KindOf(err) != errs.TooLarge {
		t.Errorf("%v", err)
	}
	if err := docdb.ThroughBSON(odd{Rate: math.NaN()}, &got); err == nil {
		t.Error("what is no number is kept")
	}
}
