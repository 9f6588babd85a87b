package docdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"tulifo/platform/crash"
	"tulifo/platform/errs"
	"tulifo/platform/pause"
)

const (
	selectTimeout    = 2 * time.Second  // a server that is away answers Unavailable before the route's deadline does
	operationTimeout = 15 * time.Second // unless ctx ends before
	endTimeout       = 2 * time.Second
	conflictPatience = 10 * time.Second // transactions that change the same are run again for so long
	longestPause     = 64 * time.Millisecond
	abandoned        = time.Minute // the server itself ends a transaction that is so old
	oldestWire       = 17          // MongoDB 6.0
)

// Mongo says where MongoDB is and whose documents are meant.
type Mongo struct {
	URI      string // mongodb://…; the database is that of the path, tulifo_gig without one
	Service  string // collections are called <service>.<name>, so that no two services share one
	MaxConns int    // 0 means 20
}

// mongoDB keeps each collection in one of MongoDB's, every operation majority-committed and journalled before it is acknowledged.
type mongoDB struct {
	client  *mongo.Client
	db      *mongo.Database
	service string
}

// mongoTx is a transaction of mongoDB: a snapshot, in which it sees what it wrote.
type mongoTx struct {
	db        *mongoDB
	session   *mongo.Session
	over      atomic.Bool
	failure   error // the first of an operation
	committed []func()
}

var errAddress = errors.New("docdb: the address of MongoDB must look like mongodb://user:password@host:27017/tulifo_gig?replicaSet=rs0")

// OpenMongo keeps the collections in MongoDB 6.0 or later and creates what they lack there. The server has to be a member of a replica set, of one
// at least, since only those have transactions. Any number of processes may open at once.
func OpenMongo(ctx context.Context, m Mongo, collections ...Declared) (_ DB, err error) {
	if !nameRule.MatchString(m.Service) {
		return nil, fmt.Errorf("docdb: the name %q of a service is not of the form %s", m.Service, nameRule)
	}
	journalled := true
	o := options.Client().ApplyURI(m.URI).
		SetServerSelectionTimeout(selectTimeout).SetConnectTimeout(selectTimeout).SetTimeout(operationTimeout).
		SetMaxPoolSize(uint64(cmp.Or(m.MaxConns, 20))).SetAppName("tulifo " + m.Service).
		SetReadPreference(readpref.Primary()).SetReadConcern(readconcern.Majority()).
		SetWriteConcern(&writeconcern.WriteConcern{W: "majority", Journal: &journalled}).SetRetryWrites(true).SetRetryReads(true)
	// What the driver says of an address may quote a password in it.
	if o.Validate() != nil {
		return nil, errAddress
	}
	client, err := mongo.Connect(o)
	if err != nil {
		return nil, errAddress
	}
	d := &mongoDB{client: client, db: client.Database(DatabaseOf(m.URI)), service: m.Service}
	defer func() {
		if err != nil {
			d.Close()
		}
	}()
	if err := d.suits(ctx); err != nil {
		return nil, err
	}
	if err := d.prepare(ctx, collections); err != nil {
		return nil, fmt.Errorf("docdb: open %s: %w", m.Service, err)
	}
	return d, nil
}

// DatabaseOf is the database that an address of MongoDB names, tulifo_gig when it names none. url.Parse refuses addresses of several hosts.
func DatabaseOf(uri string) string {
	_, rest, _ := strings.Cut(uri, "://")
	rest, _, _ = strings.Cut(rest, "?")
	_, name, _ := strings.Cut(rest, "/")
	return cmp.Or(name, "tulifo_gig")
}

// suits says what is wrong with the server, if anything.
func (d *mongoDB) suits(ctx context.Context) error {
	var is struct {
		SetName        string `bson:"setName"`
		Msg            string `bson:"msg"`
		MaxWireVersion int    `bson:"maxWireVersion"`
	}
	if err := d.client.Database("admin").RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&is); err != nil {
		return unwell(ctx, err)
	}
	switch {
	case is.MaxWireVersion < oldestWire:
		return errors.New("docdb: MongoDB has to be of version 6.0 at least")
	case is.SetName == "" && is.Msg != "isdbgrid":
		return errors.New("docdb: the MongoDB server is no member of a replica set, and only those have transactions: start it with --replSet and run rs.initiate()")
	}
	return nil
}

func (d *mongoDB) collection(s *schema) *mongo.Collection {
	return d.db.Collection(d.service + "." + s.name)
}

func (d *mongoDB) engine() engine { return mongoEngine{db: d} }

func (d *mongoDB) Ping(ctx context.Context) error {
	return unwell(ctx, d.client.Ping(ctx, readpref.Primary()))
}

func (d *mongoDB) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	_ = d.client.Disconnect(ctx)
}

type mongoKey struct{}

// joined is the open transaction of d that ctx carries, or nil.
func (d *mongoDB) joined(ctx context.Context) *mongoTx {
	if t, ok := ctx.Value(mongoKey{}).(*mongoTx); ok && t.db == d && !t.over.Load() {
		return t
	}
	return nil
}

func (d *mongoDB) InTx(ctx context.Context, fn func(Tx) error) error {
	if outer := d.joined(ctx); outer != nil {
		return outer.note(fn(outer))
	}
	began := time.Now()
	for n, lost := 1, 0; ; n++ {
		err := d.once(ctx, fn)
		if !labelled(err, "TransientTransactionError") || ctx.Err() != nil || time.Since(began) > conflictPatience {
			return err
		}
		if mongo.IsNetworkError(err) || errs.KindOf(err) == errs.Unavailable && !conflicting(err) {
			if lost++; lost > 2 {
				return err
			}
		}
		pause := time.NewTimer(rand.N(min(longestPause, time.Millisecond<<min(n, 10))))
		select {
		case <-ctx.Done():
			pause.Stop()
			return err
		case <-pause.C:
		}
	}
}

func (d *mongoDB) once(ctx context.Context, fn func(Tx) error) (err error) {
	session, err := d.client.StartSession()
	if err != nil {
		return unwell(ctx, err)
	}
	t := &mongoTx{db: d, session: session}
	defer t.end(ctx)
	if err := session.StartTransaction(options.Transaction().SetReadConcern(readconcern.Snapshot())); err != nil {
		return unwell(ctx, err)
	}
	err = fn(t)
	if labelled(t.failure, "TransientTransactionError") {
		// fn may have put its own words in place of the conflict.
		err = t.failure
	}
	if err = cmp.Or(err, t.failure); err != nil {
		return err
	}
	t.over.Store(true)
	crash.Before(ctx, d.service, crash.Commit, "")
	if err := t.commit(ctx); err != nil {
		return err
	}
	crash.After(ctx, d.service, crash.Commit, "")
	for _, fn := range t.committed {
		fn()
	}
	return nil
}

// commit asks again while it is not known whether it came through, which the server answers truly.
func (t *mongoTx) commit(ctx context.Context) error {
	for n := 1; ; n++ {
		err := t.session.CommitTransaction(ctx)
		if err == nil {
			return nil
		}
		if !labelled(err, "UnknownTransactionCommitResult") || n == 3 || ctx.Err() != nil {
			return unwell(ctx, err)
		}
	}
}

// end gives the session back, with no transaction open on it.
func (t *mongoTx) end(ctx context.Context) {
	t.over.Store(true)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	id := t.session.ID()
	t.session.EndSession(ctx) // aborts what was not committed, and never tells whether it could
	if ctx.Err() != nil || labelled(t.failure, "NetworkError") {
		// The driver uses a session no more that a line was lost under.
		go t.db.release(id)
	}
}

// release ends what a broken line has left open on the server, which would else keep others from the same documents until the transaction's
// lifetime is over.
func (d *mongoDB) release(session bson.Raw) {
	ctx, cancel := context.WithTimeout(context.Background(), abandoned)
	defer cancel()
	for rest := 100 * time.Millisecond; ; rest = min(2*rest, time.Second) {
		err := d.client.Database("admin").RunCommand(ctx, bson.D{{Key: "killSessions", Value: bson.A{session}}}).Err()
		if err == nil || !away(err) || errors.Is(err, mongo.ErrClientDisconnected) {
			return
		}
		if pause.For(ctx, rest) != nil {
			return
		}
	}
}

func (t *mongoTx) note(err error) error {
	if err != nil && t.failure == nil {
		t.failure = err
	}
	return err
}

func (t *mongoTx) engine() engine      { return mongoEngine{t.db, t} }
func (t *mongoTx) Committed(fn func()) { t.committed = append(t.committed, fn) }
func (t *mongoTx) DB() DB              { return t.db }
func (t *mongoTx) carriedBy(ctx context.Context) context.Context {
	return context.WithValue(ctx, mongoKey{}, t)
}
