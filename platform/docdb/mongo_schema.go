package docdb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/mongo"
)

// What the server says about collections and indexes.
const (
	namespaceNotFound = 26
	indexNotFound     = 27
	namespaceExists   = 48
)

// prepare makes the collections and indexes that are declared. An index is named by what it is, as well: one that was declared otherwise before
// is dropped only when its successor is there, whoever else starts at the same time.
func (d *mongoDB) prepare(ctx context.Context, collections []Declared) error {
	seen := map[string]bool{}
	for _, c := range collections {
		s := c.declared()
		if s.err != nil {
			return s.err
		}
		if seen[s.name] {
			return fmt.Errorf("two collections %s", s.name)
		}
		seen[s.name] = true
		if err := d.bring(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func (d *mongoDB) bring(ctx context.Context, s *schema) error {
	c := d.collection(s)
	have := map[string]bool{}
	specs, err := c.Indexes().ListSpecifications(ctx)
	switch {
	case has(err, namespaceNotFound), err == nil && len(specs) == 0:
		// Made now: within a transaction it would wait for others.
		if err := d.db.CreateCollection(ctx, c.Name()); err != nil && !has(err, namespaceExists) {
			return unwell(ctx, err)
		}
	case err != nil:
		return unwell(ctx, err)
	}
	for _, spec := range specs {
		have[spec.Name] = true
	}
	want, lacking := map[string]bool{"_id_": true}, []raw{}
	for _, x := range s.indexes {
		name, spec, err := s.indexSpec(x)
		if err != nil {
			return fmt.Errorf("index %s: %w", x.Name, err)
		}
		if want[name] = true; !have[name] {
			lacking = append(lacking, spec)
		}
	}
	if len(lacking) > 0 {
		if err := d.db.RunCommand(ctx, []byte(obj("createIndexes", str(c.Name()), "indexes", arr(lacking...)).Value)).Err(); err != nil {
			return unwell(ctx, err)
		}
	}
	for name := range have {
		if want[name] {
			continue
		}
		if err := c.Indexes().DropOne(ctx, name); err != nil && !has(err, indexNotFound) {
			return unwell(ctx, err)
		}
	}
	return nil
}

// indexSpec is the index as createIndexes takes it, and its name.
func (s *schema) indexSpec(x Index) (string, raw, error) {
	limits := []raw{}
	if x.Where.op != "" {
		m, err := s.limit(x.Where)
		if err != nil {
			return "", raw{}, err
		}
		limits = append(limits, m)
	}
	var keys []any
	ids := !x.Unique // ties are broken by it, so that a page needs no sort
	for _, name := range x.Fields {
		f := s.fields[name]
		keys = append(keys, f.place(), whole(1))
		if x.Unique {
			limits = append(limits, there(f)) // else two that lack the field would be alike
		}
		ids = ids && name != "id"
	}
	if ids {
		keys = append(keys, "_id", whole(1))
	}
	spec := []any{"key", obj(keys...)}
	if x.Unique {
		spec = append(spec, "unique", truth(true))
	}
	if where := both(limits...); len(where.Value) > 5 {
		spec = append(spec, "partialFilterExpression", where)
	}
	sum := sha256.Sum256(obj(spec...).Value)
	name := x.Name + "." + hex.EncodeToString(sum[:4])
	return name, obj(append(spec, "name", str(name))...), nil
}

// limit is match for the filter of an index, which may not say "not".
func (s *schema) limit(f Filter) (raw, error) {
	switch f.op {
	case opAnd:
		parts := make([]raw, len(f.parts))
		for i, p := range f.parts {
			var err error
			if parts[i], err = s.limit(p); err != nil {
				return raw{}, err
			}
		}
		return both(parts...), nil
	case opMissing:
		at, err := s.field(f.field)
		return obj(at.place(), obj("$eq", null)), err
	}
	return match(s, f)
}

// has says whether err is the server's answer of that code.
func has(err error, code int) bool {
	e, ok := errors.AsType[mongo.ServerError](err)
	return ok && e.HasErrorCode(code)
}

// taken is the unique index that err is about; the server names it before it quotes what was sent.
func (d *mongoDB) taken(s *schema, err error) string {
	_, rest, _ := strings.Cut(err.Error(), d.collection(s).Name()+" index: ")
	index, _, _ := strings.Cut(rest, " ")
	if index == "_id_" {
		return s.name + "_pkey"
	}
	index, _, _ = strings.Cut(index, ".")
	return index
}
