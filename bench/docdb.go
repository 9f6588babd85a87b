package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"syscall"
	"time"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"tulifo/platform/docdb"
	"tulifo/platform/servertest"
)

// message is a document as docdb keeps it, and plain the same as the driver does by itself.
type message struct {
	ID        uuid.UUID  `json:"id"`
	UserID    uuid.UUID  `json:"userId"`
	Category  string     `json:"category"`
	Title     string     `json:"title"`
	Body      string     `json:"body"`
	Link      string     `json:"link"`
	Version   int64      `json:"version"`
	CreatedAt time.Time  `json:"createdAt"`
	ReadAt    *time.Time `json:"readAt,omitempty"`
}

type plain struct {
	ID        string     `bson:"_id"`
	UserID    string     `bson:"userId"`
	Category  string     `bson:"category"`
	Title     string     `bson:"title"`
	Body      string     `bson:"body"`
	Link      string     `bson:"link"`
	Version   int64      `bson:"version"`
	CreatedAt time.Time  `bson:"createdAt"`
	ReadAt    *time.Time `bson:"readAt,omitempty"`
}

var messages = docdb.NewCollection[message]("messages", docdb.Index{Name: "messages_user", Fields: []string{"userId", "createdAt"}})

const title, body, link = "Your booking is confirmed", "Ann confirmed “Fix the roof” on Monday, 2 March at 10:00. She is looking forward to it.", "/bookings/0190a6f0-0000-7000-8000-000000000000"

// documents are operations of docdb on MongoDB beside the same ones of the bare driver: the CPU time of the client for each, which is this process.
func documents(ctx context.Context, b *bench) (_ []finding, err error) {
	server, err := servertest.LaunchMongo()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	u, err := url.Parse(server.URL())
	if err != nil {
		return nil, err
	}
	u.Path = "/bench"
	db, err := docdb.OpenMongo(ctx, docdb.Mongo{URI: u.String(), Service: "bench"}, messages)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	client, err := mongo.Connect(options.Client().ApplyURI(u.String()))
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Disconnect(ctx) }()
	bare := client.Database("bench").Collection("bare")
	if _, err := bare.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: "userId", Value: 1}, {Key: "createdAt", Value: 1}, {Key: "_id", Value: 1}}}); err != nil {
		return nil, err
	}
	user, now := uuid.New(), time.Now().UTC().Truncate(time.Millisecond)
	var ids []uuid.UUID
	for n := range 100 {
		id, at := uuid.New(), now.Add(time.Duration(n)*time.Second)
		ids = append(ids, id)
		if err := messages.Insert(ctx, db, message{id, user, "bookings", title, body, link, 1, at, nil}); err != nil {
			return nil, err
		}
		if _, err := bare.InsertOne(ctx, plain{id.String(), user.String(), "bookings", title, body, link, 1, at, nil}); err != nil {
			return nil, err
		}
	}
	other := uuid.New()
	after := options.FindOneAndUpdate().SetReturnDocument(options.After)
	newest := options.Find().SetSort(bson.D{{Key: "createdAt", Value: -1}, {Key: "_id", Value: -1}}).SetLimit(21)
	var out []finding
	for _, op := range []struct {
		what         string
		times        int
		ours, theirs func(n int) error
	}{
		{"insert", 500, func(int) error {
			return messages.Insert(ctx, db, message{uuid.New(), other, "bookings", title, body, link, 1, now, nil})
		}, func(int) error {
			_, err := bare.InsertOne(ctx, plain{uuid.NewString(), other.String(), "bookings", title, body, link, 1, now, nil})
			return err
		}},
		{"read by id", 1000, func(n int) error {
			_, err := messages.Get(ctx, db, ids[n%len(ids)])
			return err
		}, func(n int) error {
			var d plain
			return bare.FindOne(ctx, bson.D{{Key: "_id", Value: ids[n%len(ids)].String()}}).Decode(&d)
		}},
		{"change of two fields, by compare-and-set", 500, func(n int) error {
			_, err := messages.Update(ctx, db, ids[n%len(ids)], docdb.Gte("version", 1), docdb.Inc("version", 1), docdb.Set("readAt", now))
			return err
		}, func(n int) error {
			var d plain
			return bare.FindOneAndUpdate(ctx, bson.D{{Key: "_id", Value: ids[n%len(ids)].String()}, {Key: "version", Value: bson.D{{Key: "$gte", Value: 1}}}},
				bson.D{{Key: "$inc", Value: bson.D{{Key: "version", Value: int64(1)}}}, {Key: "$set", Value: bson.D{{Key: "readAt", Value: now}}}}, after).Decode(&d)
		}},
		{"page of 20", 500, func(int) error {
			page, err := messages.Find(ctx, db, docdb.Query{Where: docdb.Eq("userId", user), Sort: docdb.Desc("createdAt")})
			if err == nil && (len(page.Docs) != 20 || page.Next == "") {
				err = fmt.Errorf("a page of %d", len(page.Docs))
			}
			return err
		}, func(int) error {
			found, err := bare.Find(ctx, bson.D{{Key: "userId", Value: user.String()}}, newest)
			if err != nil {
				return err
			}
			var page []plain
			if err := found.All(ctx, &page); err != nil || len(page) != 21 {
				return fmt.Errorf("a page of %d: %w", len(page), err)
			}
			return nil
		}},
	} {
		p, err := inTurns(b.pairs, func() (float64, error) { return spent(op.times, op.ours) }, func() (float64, error) { return spent(op.times, op.theirs) })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op.what, err)
		}
		out = append(out, finding{Job: "documents in MongoDB: " + op.what + ", CPU of the client", Ours: micro(p.ours), Opponent: "the bare driver " + micro(p.theirs), Ratio: p.spread(),
			Target: "≤ 1.15 ×", Met: p.ratio <= 1.15, Bound: "the driver's own work for a command; documents pass through one codec more"})
	}
	return out, nil
}

// spent is the CPU time of this process, in microseconds, for one of n.
func spent(n int, do func(int) error) (float64, error) {
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		return 0, err
	}
	for i := range n {
		if err := do(i); err != nil {
			return 0, err
		}
	}
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		return 0, err
	}
	used := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	return float64(used.Nanoseconds()) / 1e3 / float64(n), nil
}
