package notification_test

import (
	"net/url"
	"os"
	"os/exec"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"

	"tulifo/platform/docdb"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/servertest"
	"tulifo/services/notification"
)

// onMongo has the tests of a process keep their documents in MongoDB.
const onMongo = "TULIFO_TEST_NOTIFICATION_ON_MONGO"

// TestEverythingOnMongo runs the tests of the service again, with its documents and its events in MongoDB.
func TestEverythingOnMongo(t *testing.T) {
	if os.Getenv(onMongo) != "" {
		return
	}
	t.Parallel()
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.timeout=5m", "-test.skip=^TestEverythingOnMongo$")
	again.Env = append(os.Environ(), onMongo+"="+servertest.Mongo(t))
	if said, err := again.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, said)
	}
}

// documents are those of the world, on the engine that the tests of this process are run on, and where its events are.
func (w *world) documents() (docdb.DB, outbox.DB) {
	w.t.Helper()
	if os.Getenv(onMongo) == "" {
		docs, err := docdb.Open(w.t.Context(), w.db, notification.Collections()...)
		if err != nil {
			w.t.Fatal(err)
		}
		return docs, w.db
	}
	w.mongo = servertest.Mongo(w.t)
	docs, err := docdb.OpenMongo(w.t.Context(), docdb.Mongo{URI: w.mongo, Service: notification.Name}, append(notification.Collections(), outbox.Collections()...)...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(docs.Close)
	return docs, docs
}

// forgetEvents has the inbox forget what it handled, as if it had been pruned.
func (w *world) forgetEvents() {
	w.t.Helper()
	ctx := w.t.Context()
	if w.mongo == "" {
		if _, err := w.db.Exec(ctx, `DELETE FROM inbox`); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	u, err := url.Parse(w.mongo)
	if err != nil {
		w.t.Fatal(err)
	}
	client, err := mongo.Connect(mongooptions.Client().ApplyURI(w.mongo))
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = client.Disconnect(ctx) }()
	if gone, err := client.Database(u.Path[1:]).Collection("notification.inbox").DeleteMany(ctx, bson.D{}); err != nil || gone.DeletedCount == 0 {
		w.t.Fatalf("%+v %v", gone, err)
	}
}

// trips are the round trips to Postgres that fn takes.
func (w *world) trips(fn func()) int64 { return pgtest.Trips(w.db, fn) }
