package docdb

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"reflect"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"tulifo/platform/errs"
)

// mongoEngine makes one command of each operation; those on several documents, which are atomic one by one only, run in a transaction.
type mongoEngine struct {
	db *mongoDB
	tx *mongoTx // nil: every operation commits by itself, unless ctx carries a transaction
}

// pipeline is an update that is computed from the document.
type pipeline []raw

// MarshalBSONValue implements bson.ValueMarshaler.
func (p pipeline) MarshalBSONValue() (byte, []byte, error) {
	a := arr(p...)
	return byte(a.Type), a.Value, nil
}

// run has op take part in the transaction, if there is one, and says what its failure means.
func (e mongoEngine) run(ctx context.Context, s *schema, op func(context.Context, *mongo.Collection) error) error {
	t := e.tx
	if t == nil {
		t = e.db.joined(ctx)
	}
	if t == nil {
		return e.refusal(ctx, s, op(ctx, e.db.collection(s)))
	}
	switch {
	case t.over.Load():
		return errors.New("docdb: the transaction is over")
	case t.failure != nil:
		return t.failure
	}
	return t.note(e.refusal(ctx, s, op(mongo.NewSessionContext(ctx, t.session), e.db.collection(s))))
}

// atomic has an operation on several documents be one.
func (e mongoEngine) atomic(ctx context.Context, op func(context.Context, mongoEngine) error) error {
	if e.tx != nil || e.db.joined(ctx) != nil {
		return op(ctx, e)
	}
	return e.db.InTx(ctx, func(tx Tx) error { return op(ctx, mongoEngine{e.db, tx.(*mongoTx)}) })
}

func (e mongoEngine) refusal(ctx context.Context, s *schema, err error) error {
	if err != nil && mongo.IsDuplicateKeyError(err) {
		return errs.New(errs.Conflict, "There is one like it already.").Because(&violation{e.db.taken(s, err), err})
	}
	return unwell(ctx, err)
}

func (e mongoEngine) insert(ctx context.Context, s *schema, records []record, absent bool) (int, error) {
	docs := make([]any, len(records))
	for i, r := range records {
		d, err := document(s, r)
		if err != nil {
			return 0, err
		}
		docs[i] = bson.Raw(d.Value)
	}
	if absent {
		return e.insertAbsent(ctx, s, records, docs)
	}
	if len(docs) == 1 {
		return 1, e.run(ctx, s, func(ctx context.Context, c *mongo.Collection) error {
			_, err := c.InsertOne(ctx, docs[0])
			return err
		})
	}
	return len(docs), e.atomic(ctx, func(ctx context.Context, e mongoEngine) error {
		return e.run(ctx, s, func(ctx context.Context, c *mongo.Collection) error {
			_, err := c.InsertMany(ctx, docs)
			return err
		})
	})
}

// insertAbsent puts in what is not there, without an error for what is: one would end a transaction.
func (e mongoEngine) insertAbsent(ctx context.Context, s *schema, records []record, docs []any) (n int, err error) {
	for i, r := range records {
		update := pipeline{obj("$replaceWith", obj("$cond", arr(isFresh, verbatim(raw{Type: bson.TypeEmbeddedDocument, Value: docs[i].(bson.Raw)}), str("$$ROOT"))))}
		err := e.run(ctx, s, func(ctx context.Context, c *mongo.Collection) error {
			return again(func() error {
				res, err := c.UpdateOne(ctx, byID(r.id), update, options.UpdateOne().SetUpsert(true))
				if err == nil {
					n += int(res.UpsertedCount)
				}
				return err
			})
		})
		if err != nil {
			return 0, err
		}
	}
	return n, nil
}

// again runs an upsert once more when another was faster with the same id: the document is there then.
func again(upsert func() error) error {
	err := upsert()
	if err != nil && mongo.IsDuplicateKeyError(err) && !labelled(err, "TransientTransactionError") {
		return upsert()
	}
	return err
}

// byID finds a document, and begins one that is put in with fresh.
func byID(id string) bson.Raw { return obj("_id", str(id), fresh, null).Value }

func (e mongoEngine) upsert(ctx context.Context, s *schema, r record, changes []change) (out []byte, err error) {
	d, err := document(s, r)
	if err != nil {
		return nil, err
	}
	update := pipeline{obj("$replaceWith", verbatim(d))}
	if len(changes) > 0 {
		steps, err := stages(changes)
		if err != nil {
			return nil, err
		}
		update = append(pipeline{obj("$set", obj(fresh, isFresh))}, steps...)
		update = append(update, obj("$replaceWith", obj("$cond", arr(str("$"+fresh), verbatim(d), str("$$ROOT")))), obj("$unset", str(fresh)))
	}
	err = e.run(ctx, s, func(ctx context.Context, c *mongo.Collection) error {
		return again(func() error {
			var err error
			out, err = c.FindOneAndUpdate(ctx, byID(r.id), update, options.FindOneAndUpdate().SetUpsert(true).SetReturnDocument(options.After)).Raw()
			return err
		})
	})
	return out, err
}

func (e mongoEngine) find(ctx context.Context, s *schema, f Filter, o order, limit int) (docs [][]byte, err error) {
	where, sort, err := ordered(s, f, o)
	if err != nil {
		return nil, err
	}
	err = e.run(ctx, s, func(ctx context.Context, c *mongo.Collection) error {
		docs = docs[:0]
		found, err := c.Find(ctx, bson.Raw(where.Value), options.Find().SetSort(bson.Raw(sort.Value)).SetLimit(int64(limit)).SetBatchSize(int32(limit)))
		if err != nil {
			return err
		}
		defer found.Close(ctx)
		for found.Next(ctx) {
			docs = append(docs, bytes.Clone(found.Current))
		}
		return found.Err()
	})
	return docs, err
}

// changed makes the changes to the first document, and answers nil when there is none.
func (e mongoEngine) changed(ctx context.Context, s *schema, where, sort raw, changes []change) (out []byte, err error) {
	steps, err := stages(changes)
	if err != nil {
		return nil, err
	}
	o := options.FindOneAndUpdate().SetReturnDocument(options.After)
	if sort.Value != nil {
		o.SetSort(bson.Raw(sort.Value))
	}
	err = e.run(ctx, s, func(ctx context.Context, c *mongo.Collection) error {
		var err error
		out, err = c.FindOneAndUpdate(ctx, bson.Raw(where.Value), pipeline(steps), o).Raw()
		if errors.Is(err, mongo.ErrNoDocuments) {
			out, err = nil, nil
		}
		return err
	})
	return out, err
}

func (e mongoEngine) update(ctx context.Context, s *schema, id string, when Filter, changes []change) ([]byte, bool, error) {
	where, err := match(s, when)
	if err != nil {
		return nil, false, err
	}
	out, err := e.changed(ctx, s, both(obj("_id", str(id)), where), raw{}, changes)
	if err != nil || out != nil {
		return out, true, err
	}
	n, err := e.count(ctx, s, Eq("id", id), 1)
	return nil, n == 1, err
}

func (e mongoEngine) updateFirst(ctx context.Context, s *schema, f Filter, o order, changes []change) ([]byte, error) {
	where, sort, err := ordered(s, f, o)
	if err != nil {
		return nil, err
	}
	return e.changed(ctx, s, where, sort, changes)
}

func (e mongoEngine) updateAll(ctx context.Context, s *schema, f Filter, changes []change) (n int, err error) {
	where, err := match(s, f)
	if err != nil {
		return 0, err
	}
	steps, err := stages(changes)
	if err != nil {
		return 0, err
	}
	update := func(ctx context.Context, e mongoEngine) error {
		return e.run(ctx, s, func(ctx context.Context, c *mongo.Collection) error {
			var res *mongo.UpdateResult
			var err error
			if f.one() {
				res, err = c.UpdateOne(ctx, bson.Raw(where.Value), pipeline(steps))
			} else {
				res, err = c.UpdateMany(ctx, bson.Raw(where.Value), pipeline(steps))
			}
			if err == nil {
				n = int(res.MatchedCount)
			}
			return err
		})
	}
	if f.one() {
		err = update(ctx, e)
	} else {
		err = e.atomic(ctx, update)
	}
	return n, err
}

func (e mongoEngine) remove(ctx context.Context, s *schema, f Filter, limit int) (n int, err error) {
	where, err := match(s, f)
	if err != nil {
		return 0, err
	}
	remove := func(ctx context.Context, e mongoEngine) error {
		return e.run(ctx, s, func(ctx context.Context, c *mongo.Collection) error {
			which := where
			if limit > 0 {
				ids, err := some(ctx, c, where, limit)
				if err != nil {
					return err
				}
				which = both(ids, where)
			}
			var res *mongo.DeleteResult
			var err error
			if f.one() {
				res, err = c.DeleteOne(ctx, bson.Raw(which.Value))
			} else {
				res, err = c.DeleteMany(ctx, bson.Raw(which.Value))
			}
			if err == nil {
				n = int(res.DeletedCount)
			}
			return err
		})
	}
	// What is over goes one by one: a call that is cut off has removed some of it, and a person who reads or changes one is not in the way.
	if limit > 0 || f.one() {
		err = remove(ctx, e)
	} else {
		err = e.atomic(ctx, remove)
	}
	return n, err
}

// one says that f holds for one document at most, which one command changes as a whole and may be sent again.
func (f Filter) one() bool { return f.op == opEq && f.field == "id" }

// some holds for up to limit of the documents.
func some(ctx context.Context, c *mongo.Collection, where raw, limit int) (raw, error) {
	found, err := c.Find(ctx, bson.Raw(where.Value), options.Find().SetProjection(bson.Raw(obj("_id", whole(1)).Value)).SetLimit(int64(limit)).SetBatchSize(int32(limit)))
	if err != nil {
		return raw{}, err
	}
	defer found.Close(ctx)
	var ids []raw
	for found.Next(ctx) {
		id := found.Current.Lookup("_id")
		ids = append(ids, raw{Type: id.Type, Value: bytes.Clone(id.Value)})
	}
	return obj("_id", obj("$in", arr(ids...))), found.Err()
}

func (e mongoEngine) count(ctx context.Context, s *schema, f Filter, most int) (n int, err error) {
	where, err := match(s, f)
	if err != nil {
		return 0, err
	}
	err = e.run(ctx, s, func(ctx context.Context, c *mongo.Collection) error {
		found, err := c.CountDocuments(ctx, bson.Raw(where.Value), options.Count().SetLimit(int64(most)))
		n = int(found)
		return err
	})
	return n, err
}

func (e mongoEngine) decode(s *schema, doc []byte, into any) error {
	if len(doc) < 5 || int(binary.LittleEndian.Uint32(doc)) != len(doc) {
		return errors.New("docdb: a document is cut off")
	}
	return take(reflect.ValueOf(into).Elem(), raw{Type: bson.TypeEmbeddedDocument, Value: doc}, s.shape, true)
}
