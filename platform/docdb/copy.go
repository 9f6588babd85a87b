package docdb

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
)

// copyPage keeps what is in memory, and on its way, small also where documents are large.
const copyPage = 100

// Copy has the collections in to hold the documents that they hold in from, and nothing else, and answers how many those are. It compares
// number and content on both sides afterwards; an error means that to is not to be used. Nobody uses either meanwhile.
func Copy(ctx context.Context, from, to DB, collections ...Declared) (int, error) {
	all := 0
	for _, c := range collections {
		n, err := c.copy(ctx, from, to)
		if err != nil {
			return all, fmt.Errorf("docdb: copy %s: %w", c.declared().name, err)
		}
		all += n
	}
	return all, nil
}

// Documents is how many there are in the collections.
func Documents(ctx context.Context, q Querier, collections ...Declared) (int, error) {
	all := 0
	for _, c := range collections {
		n, err := q.engine().count(ctx, c.declared(), Filter{}, 1<<30)
		if err != nil {
			return all, err
		}
		all += n
	}
	return all, nil
}

func (c *Collection[T]) copy(ctx context.Context, from, to DB) (int, error) {
	// A part at a time: MongoDB cannot remove some 100,000 documents in one transaction, and nobody sees to while it is filled.
	for n := 1; n > 0; {
		var err error
		if n, err = to.engine().remove(ctx, c.s, Filter{}, expireBatch); err != nil {
			return 0, err
		}
	}
	err := c.pages(ctx, from, func(docs []T) error { return c.Insert(ctx, to, docs...) })
	if err != nil {
		return 0, err
	}
	n, sum, err := c.digest(ctx, from)
	if err != nil {
		return 0, err
	}
	copied, copiedSum, err := c.digest(ctx, to)
	if err != nil {
		return 0, err
	}
	if n != copied || sum != copiedSum {
		return 0, fmt.Errorf("%d documents (%.8x) became %d (%.8x)", n, sum, copied, copiedSum)
	}
	return n, nil
}

// pages reads every document in the order of the ids.
func (c *Collection[T]) pages(ctx context.Context, q Querier, fn func([]T) error) error {
	for after := ""; ; {
		page, err := c.Find(ctx, q, Query{After: after, Limit: copyPage})
		if err == nil && len(page.Docs) > 0 {
			err = fn(page.Docs)
		}
		if err != nil {
			return err
		}
		if after = page.Next; after == "" {
			return nil
		}
	}
}

// digest is the number of documents and a checksum of their content, which is the same on every engine.
func (c *Collection[T]) digest(ctx context.Context, q Querier) (n int, sum [sha256.Size]byte, err error) {
	h := sha256.New()
	err = c.pages(ctx, q, func(docs []T) error {
		for _, doc := range docs {
			b, err := canonical(doc)
			if err != nil {
				return err
			}
			h.Write(b)
			n++
		}
		return nil
	})
	return n, [sha256.Size]byte(h.Sum(nil)), err
}

// canonical is doc as JSON whose keys are sorted, since engines keep the order of what a service left raw each in its way.
func canonical(doc any) ([]byte, error) {
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var plain any
	if err := d.Decode(&plain); err != nil {
		return nil, err
	}
	return json.Marshal(plain)
}
