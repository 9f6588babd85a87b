package docdb_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"tulifo/platform/docdb"
	"tulifo/platform/docdb/docdbtest"
	"tulifo/platform/servertest"
)

// bare is the database without docdb.
func bare(t *testing.T, uri string) *mongo.Database {
	t.Helper()
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.WithoutCancel(t.Context())) })
	return client.Database(uri[strings.LastIndex(uri, "/")+1 : strings.Index(uri, "?")])
}

func indexes(t *testing.T, db *mongo.Database, collection string) string {
	t.Helper()
	specs, err := db.Collection(collection).Indexes().ListSpecifications(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range specs {
		name, _, _ := strings.Cut(s.Name, ".")
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestMongoOpensManyAtOnceAndKeepsServicesApart(t *testing.T) {
	t.Parallel()
	uri := servertest.Mongo(t)
	ctx := context.WithoutCancel(t.Context())
	c := items(byOwner)
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			db, err := docdb.OpenMongo(ctx, docdb.Mongo{URI: uri, Service: []string{"worker", "message"}[n%2]}, append(docdbtest.Collections(), c)...)
			if err != nil {
				t.Error(err)
				return
			}
			defer db.Close()
			if n < 2 {
				if err := c.Insert(ctx, db, item{ID: "same"}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for _, name := range []string{"worker.items", "message.items"} {
		if n, err := bare(t, uri).Collection(name).CountDocuments(ctx, bson.D{}); n != 1 || err != nil {
			t.Errorf("%s has %d, %v", name, n, err)
		}
	}
}

func TestMongoADeclarationMayChange(t *testing.T) {
	t.Parallel()
	uri := servertest.Mongo(t)
	ctx := t.Context()
	first := items(byOwner, docdb.Index{Name: "items_n", Fields: []string{"n"}})
	db := openMongo(t, uri, first)
	if err := first.Insert(ctx, db, item{ID: "a", N: 1}, item{ID: "b", N: 2}); err != nil {
		t.Fatal(err)
	}
	second := items(docdb.Index{Name: "items_n", Fields: []string{"n"}, Unique: true}, docdb.Index{Name: "items_labels", Fields: []string{"labels"}})
	db = openMongo(t, uri, second)
	if err := second.Insert(ctx, db, item{ID: "c", N: 2}); !docdb.Violates(err, "items_n") {
		t.Errorf("the index did not become unique: %v", err)
	}
	if got := indexes(t, bare(t, uri), "message.items"); got != "_id_ items_labels items_n" {
		t.Error(got)
	}
	openMongo(t, uri, docdb.NewCollection[item]("others", docdb.Index{Name: "others_n", Fields: []string{"n"}}))
	if got := indexes(t, bare(t, uri), "message.items"); got != "_id_ items_labels items_n" {
		t.Errorf("who opens others changes these: %s", got)
	}
	third := items(docdb.Index{Name: "items_one", Fields: []string{"owner"}, Unique: true})
	if _, err := docdb.OpenMongo(ctx, docdb.Mongo{URI: uri, Service: "message"}, third); err == nil {
		t.Error("a unique index over equal keys was made")
	}
	if got := indexes(t, bare(t, uri), "message.items"); got != "_id_ items_labels items_n" {
		t.Errorf("a start that failed took indexes away: %s", got)
	}
	if _, err := docdb.OpenMongo(ctx, docdb.Mongo{URI: uri, Service: "message"}, items(), items()); err == nil {
		t.Error("one name twice is opened")
	}
}

// A page comes from an index, in its order, and few more documents are read than asked for; the server's profile says so.
func TestMongoIndexesAreUsed(t *testing.T) {
	t.Parallel()
	uri := servertest.Mongo(t)
	ctx := t.Context()
	c := items(
		byOwner,
		docdb.Index{Name: "items_labels", Fields: []string{"labels"}},
		docdb.Index{Name: "items_owner_n", Fields: []string{"owner", "n"}, Unique: true},
		docdb.Index{Name: "items_queued", Fields: []string{"at"}, Where: docdb.Exists("at")},
	)
	db := openMongo(t, uri, c)
	owners := make([]uuid.UUID, 10)
	for i := range owners {
		owners[i] = uuid.New()
	}
	docs := make([]item, 1000)
	for i := range docs {
		docs[i] = item{ID: fmt.Sprintf("i%04d", i), Owner: owners[i%10], At: time.UnixMicro(int64(i / 20)), Labels: []string{fmt.Sprint("l", i)}, N: i}
	}
	if err := c.Insert(ctx, db, docs...); err != nil {
		t.Fatal(err)
	}
	server := bare(t, uri)
	if err := server.RunCommand(ctx, bson.D{{Key: "profile", Value: 2}}).Err(); err != nil {
		t.Fatal(err)
	}
	mine, queued := docdb.Eq("owner", owners[3]), docdb.And(docdb.Exists("at"), docdb.Lte("at", time.UnixMicro(10)))
	for _, q := range []docdb.Query{
		{Where: mine, Sort: docdb.Desc("at"), Limit: 5},
		{Where: docdb.Has("labels", "l7"), Limit: 5},
		{Where: mine, Sort: docdb.Asc("n"), Limit: 5},
		{Where: queued, Sort: docdb.Asc("at"), Limit: 5},
	} {
		for range 2 {
			page, err := c.Find(ctx, db, q)
			if err != nil || len(page.Docs) == 0 {
				t.Fatalf("%+v: %d, %v", q, len(page.Docs), err)
			}
			if q.After = page.Next; q.After == "" {
				break
			}
		}
	}
	if _, err := c.FindOneAndUpdate(ctx, db, queued, docdb.Asc("at"), docdb.Inc("n", 1000)); err != nil {
		t.Fatal(err)
	}
	if err := server.RunCommand(ctx, bson.D{{Key: "profile", Value: 0}}).Err(); err != nil {
		t.Fatal(err)
	}
	found, err := server.Collection("system.profile").Find(ctx, bson.D{{Key: "ns", Value: server.Name() + ".message.items"}})
	if err != nil {
		t.Fatal(err)
	}
	var seen []struct {
		PlanSummary  string   `bson:"planSummary"`
		HasSortStage bool     `bson:"hasSortStage"`
		DocsExamined int      `bson:"docsExamined"`
		Command      bson.Raw `bson:"command"`
	}
	if err := found.All(ctx, &seen); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 8 {
		t.Errorf("%d commands were seen", len(seen))
	}
	for _, s := range seen {
		// A page that is gone on with reads the ties of its first place again; a plan is tried against others.
		if !strings.HasPrefix(s.PlanSummary, "IXSCAN") || s.HasSortStage || s.DocsExamined > 12 {
			t.Errorf("%s, sorted: %v, %d documents: %s", s.PlanSummary, s.HasSortStage, s.DocsExamined, s.Command)
		}
	}
}
