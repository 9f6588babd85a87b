package docdb

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Limits of one operation.
const (
	DefaultLimit = 20   // documents of a page whose Query has no limit
	MaxLimit     = 1000 // documents of a page, values of an In, documents of one Insert
	MaxDocument  = 1 << 20
	expireBatch  = 10_000
)

// Collection is the documents of type T under one name. It holds no connection and may be a package variable.
type Collection[T any] struct{ s *schema }

// NewCollection declares a collection. What is wrong with a declaration Open tells, and every operation as well.
func NewCollection[T any](name string, indexes ...Index) *Collection[T] {
	return &Collection[T]{describe[T](name, indexes)}
}

// Declared is a Collection of any type.
type Declared interface {
	declared() *schema
	copy(ctx context.Context, from, to DB) (int, error)
}

func (c *Collection[T]) declared() *schema { return c.s }

// Query asks for a page of documents.
type Query struct {
	Where Filter // the zero Filter: all
	Sort  Order  // the zero Order: ascending by id; documents that lack the field are left out
	After string // Next of the page before; documents that come or go meanwhile shift nothing
	Limit int    // at most MaxLimit; 0: DefaultLimit
}

// Page is one page of an answer.
type Page[T any] struct {
	Docs []T    // never nil
	Next string // for Query.After; empty on the last page
}

// Insert stores docs, all or none. errs.Conflict: one with such an id or unique key is there; Violates tells which.
func (c *Collection[T]) Insert(ctx context.Context, q Querier, docs ...T) error {
	rs, err := c.records(docs)
	if err != nil || len(rs) == 0 {
		return err
	}
	_, err = q.engine().insert(ctx, c.s, rs, false)
	return err
}

// InsertIfAbsent stores doc unless one with its id is there, and says whether it did. errs.Conflict: another unique key is taken.
func (c *Collection[T]) InsertIfAbsent(ctx context.Context, q Querier, doc T) (bool, error) {
	rs, err := c.records([]T{doc})
	if err != nil {
		return false, err
	}
	n, err := q.engine().insert(ctx, c.s, rs, true)
	return n == 1, err
}

// Upsert stores doc if none with its id is there; else it makes the changes to that one, or replaces it by doc when there are no changes.
// It answers the document as it is now.
func (c *Collection[T]) Upsert(ctx context.Context, q Querier, doc T, changes ...Change) (T, error) {
	var zero T
	rs, err := c.records([]T{doc})
	if err != nil {
		return zero, err
	}
	ch, err := c.s.changes(changes)
	if err != nil {
		return zero, err
	}
	raw, err := q.engine().upsert(ctx, c.s, rs[0], ch)
	return c.one(q, raw, err)
}

// Get answers the document with the id, a string or a UUID. errs.NotFound: there is none.
func (c *Collection[T]) Get(ctx context.Context, q Querier, id any) (T, error) {
	return c.FindOne(ctx, q, Eq("id", id))
}

// FindOne answers the first document in the order of ids. errs.NotFound: there is none.
func (c *Collection[T]) FindOne(ctx context.Context, q Querier, where Filter) (T, error) {
	var zero T
	if err := c.s.check(where); err != nil {
		return zero, err
	}
	raws, err := q.engine().find(ctx, c.s, where, order{by: c.s.id}, 1)
	if err != nil || len(raws) == 0 {
		return c.one(q, nil, err)
	}
	return c.one(q, raws[0], nil)
}

// Find answers one page. errs.Malformed: After is not the Next of such a query.
func (c *Collection[T]) Find(ctx context.Context, q Querier, query Query) (Page[T], error) {
	page := Page[T]{Docs: []T{}}
	if err := c.s.check(query.Where); err != nil {
		return page, err
	}
	o, err := c.s.order(query.Sort, query.After)
	if err != nil {
		return page, err
	}
	limit := query.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	if limit < 0 || limit > MaxLimit {
		return page, fmt.Errorf("docdb: a page of %d documents", limit)
	}
	raws, err := q.engine().find(ctx, c.s, query.Where, o, limit+1)
	if err != nil {
		return page, err
	}
	more := len(raws) > limit
	for _, raw := range raws[:min(limit, len(raws))] {
		doc, err := c.one(q, raw, nil)
		if err != nil {
			return page, err
		}
		page.Docs = append(page.Docs, doc)
	}
	if more {
		page.Next, err = c.s.cursor(query.Sort, page.Docs[limit-1])
	}
	return page, err
}

// Update makes the changes to the document with the id if when holds for it, at once, and answers it as it is now.
// errs.NotFound: there is none with the id. errs.Conflict: when does not hold, or a unique key is taken.
func (c *Collection[T]) Update(ctx context.Context, q Querier, id any, when Filter, changes ...Change) (T, error) {
	var zero T
	key, err := c.s.key(id)
	if err != nil {
		return zero, err
	}
	ch, err := c.s.some(when, changes)
	if err != nil {
		return zero, err
	}
	raw, there, err := q.engine().update(ctx, c.s, key, when, ch)
	if err == nil && raw == nil && there {
		return zero, errChanged
	}
	return c.one(q, raw, err)
}

// FindOneAndUpdate claims the first document in the order sort: it makes the changes and answers the document as it is now; of many at once each gets another one.
// Documents that somebody is changing at this moment may be passed over. errs.NotFound: there is none.
func (c *Collection[T]) FindOneAndUpdate(ctx context.Context, q Querier, where Filter, sort Order, changes ...Change) (T, error) {
	var zero T
	ch, err := c.s.some(where, changes)
	if err != nil {
		return zero, err
	}
	o, err := c.s.order(sort, "")
	if err != nil {
		return zero, err
	}
	raw, err := q.engine().updateFirst(ctx, c.s, where, o, ch)
	return c.one(q, raw, err)
}

// UpdateAll makes the changes to every document and answers how many there were.
func (c *Collection[T]) UpdateAll(ctx context.Context, q Querier, where Filter, changes ...Change) (int, error) {
	ch, err := c.s.some(where, changes)
	if err != nil {
		return 0, err
	}
	return q.engine().updateAll(ctx, c.s, where, ch)
}

// Delete removes the document with the id. errs.NotFound: there is none.
func (c *Collection[T]) Delete(ctx context.Context, q Querier, id any) error {
	n, err := c.DeleteAll(ctx, q, Eq("id", id))
	if err == nil && n == 0 {
		return errAbsent
	}
	return err
}

// DeleteAll removes every document that where holds for and answers how many there were.
func (c *Collection[T]) DeleteAll(ctx context.Context, q Querier, where Filter) (int, error) {
	if err := c.s.check(where); err != nil {
		return 0, err
	}
	return q.engine().remove(ctx, c.s, where, 0)
}

// Count counts documents, and stops at most: it answers most when there are as many or more.
func (c *Collection[T]) Count(ctx context.Context, q Querier, where Filter, most int) (int, error) {
	if err := c.s.check(where); err != nil {
		return 0, err
	}
	if most <= 0 {
		return 0, nil
	}
	return q.engine().count(ctx, c.s, where, most)
}

// Expire removes documents whose expiry field is at or before now, business or system time as the field is, and answers how many.
// One call removes at most 10,000: call again while it answers more than 0.
func (c *Collection[T]) Expire(ctx context.Context, q Querier, now time.Time) (int, error) {
	if c.s.err != nil {
		return 0, c.s.err
	}
	if c.s.expires == "" {
		return 0, fmt.Errorf("docdb: %s has no index that expires", c.s.name)
	}
	return q.engine().remove(ctx, c.s, Lte(c.s.expires, now), expireBatch)
}

func (c *Collection[T]) one(q Querier, raw []byte, err error) (T, error) {
	var doc T
	if err != nil {
		return doc, err
	}
	if raw == nil {
		return doc, errAbsent
	}
	if err := q.engine().decode(c.s, raw, &doc); err != nil {
		return doc, fmt.Errorf("docdb: read a document of %s: %w", c.s.name, err)
	}
	return doc, nil
}

func (c *Collection[T]) records(docs []T) ([]record, error) {
	if c.s.err != nil {
		return nil, c.s.err
	}
	if len(docs) > MaxLimit {
		return nil, fmt.Errorf("docdb: %d documents in one insert", len(docs))
	}
	rs := make([]record, len(docs))
	for i := range docs {
		id := c.s.idOf(docs[i])
		if id == "" {
			return nil, errors.New("docdb: a document of " + c.s.name + " without an id")
		}
		rs[i] = record{id, docs[i]}
	}
	return rs, nil
}
