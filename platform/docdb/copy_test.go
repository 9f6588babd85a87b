package docdb_test

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/platform/docdb"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/servertest"
)

// carried has everything in it that engines keep each in its way.
type carried struct {
	ID    uuid.UUID       `json:"id"`
	Raw   json.RawMessage `json:"raw"`
	Text  string          `json:"text"`
	At    time.Time       `json:"at"`
	Gone  *time.Time      `json:"gone,omitempty"`
	Money int64           `json:"money"`
	Rate  float64         `json:"rate"`
	Tags  []string        `json:"tags"`
	By    map[string]int  `json:"by"`
	In    struct {
		Ids []uuid.UUID `json:"ids"`
	} `json:"in"`
}

// A copy to the other engine and back has the same content, whatever was there before.
func TestCopyOutAndBack(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := docdb.NewCollection[carried]("carried", docdb.Index{Name: "carried_at", Fields: []string{"at"}})
	here := open(t, pgtest.Open(t, pgtest.Database(t), "tulifo_message"), c)
	there := openMongo(t, servertest.Mongo(t), c)
	back := open(t, pgtest.Open(t, pgtest.Database(t), "tulifo_message"), c)
	gone := time.Date(1999, 12, 31, 23, 59, 59, 999_999_000, time.UTC)
	const many = 230 // more than two pages
	var all []carried
	for n := range many {
		d := carried{
			ID: uuid.New(), Raw: json.RawMessage(`{"z":1,"a":{"y":[1,2,{"b":null,"a":"é"}],"x":12345678901234567},"":0.5}`), Text: fmt.Sprintf("te\u2028xt %d 🌍 \\u0000 $ne a.b", n),
			At: time.Date(2026, 3, 2, 9, 0, 0, n*1000, time.UTC), Money: math.MaxInt64 - int64(n), Rate: float64(n) / 3, By: map[string]int{"b": 1, "a": n},
		}
		if n%2 == 0 {
			d.Gone, d.Tags = &gone, []string{"x", ""}
			d.In.Ids = []uuid.UUID{uuid.New()}
		}
		all = append(all, d)
	}
	if err := c.Insert(ctx, here, all...); err != nil {
		t.Fatal(err)
	}
	if err := c.Insert(ctx, there, carried{ID: uuid.New(), Text: "of an earlier move"}); err != nil {
		t.Fatal(err)
	}
	for _, step := range [][2]docdb.DB{{here, there}, {there, back}, {back, there}} {
		if n, err := docdb.Copy(ctx, step[0], step[1], c); err != nil || n != many {
			t.Fatalf("copied %d, %v", n, err)
		}
	}
	for _, want := range all {
		got, err := c.Get(ctx, back, want.ID)
		if err != nil {
			t.Fatal(err)
		}
		if !got.At.Equal(want.At) || got.Money != want.Money || got.Text != want.Text || got.Rate != want.Rate || got.By["a"] != want.By["a"] || len(got.Tags) != len(want.Tags) {
			t.Fatalf("%+v came back as %+v", want, got)
		}
	}
	if n, err := docdb.Documents(ctx, there, c); err != nil || n != many {
		t.Errorf("%d documents, %v", n, err)
	}
}

// However much an earlier move left, all of it goes.
func TestCopyOverMoreThanOneOperationRemoves(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	type left struct {
		ID string `json:"id"`
	}
	c := docdb.NewCollection[left]("leftover")
	here := open(t, pgtest.Open(t, pgtest.Database(t), "tulifo_message"), c)
	there := openMongo(t, servertest.Mongo(t), c)
	if err := c.Insert(ctx, here, left{"new"}); err != nil {
		t.Fatal(err)
	}
	const many, atOnce = 10_001, docdb.MaxLimit
	for n := 0; n < many; n += atOnce {
		var some []left
		for i := n; i < min(n+atOnce, many); i++ {
			some = append(some, left{fmt.Sprint("old ", i)})
		}
		if err := c.Insert(ctx, there, some...); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := docdb.Copy(ctx, here, there, c); n != 1 || err != nil {
		t.Fatalf("copied %d, %v", n, err)
	}
}
