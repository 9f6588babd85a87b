package app

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEveryProcessKnowsWhoHearsWhat(t *testing.T) {
	want := map[string][]string{}
	for _, r := range everything(t).rooms {
		if types := r.inbox.Types(); len(types) > 0 {
			want[r.name] = types
		}
	}
	if diff := cmp.Diff(want, hears); diff != "" {
		t.Errorf("handlers -, table +:\n%s", diff)
	}
}
