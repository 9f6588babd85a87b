package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"tulifo/platform/blob"
	"tulifo/platform/docdb"
)

// The oldest servers whose answers the stores understand.
var (
	oldestRabbit = []int{3, 10} // quorum queues with a limit of deliveries
	oldestRedis  = []int{6, 2}  // GETDEL, SET with GET
	oldestMongo  = []int{6}
)

// examineStores looks at each server that the environment names: that it answers, is new enough, and lets the platform do what it does there.
func (e *environ) examineStores(ctx context.Context, c Config) []finding {
	var out []finding
	for _, s := range []struct {
		name, variable string
		examine        func(context.Context, string) error
	}{
		{"RabbitMQ", "RABBITMQ_URL", examineRabbit}, {"Redis", "REDIS_URL", examineRedis}, {"MongoDB", "MONGODB_URI", examineMongo},
		{"S3", "S3_ENDPOINT", func(ctx context.Context, _ string) error { return examineS3(ctx, c.Files) }},
	} {
		address := e.vars[s.variable]
		if address == "" {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, 4*reachBound)
		out = append(out, finding{s.name + " at " + s.variable, s.examine(bounded, address)})
		cancel()
	}
	return out
}

// older tells whether a version such as 3.10.8 comes before least; one that cannot be read does not.
func older(version string, least []int) bool {
	parts := strings.FieldsFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	for i, want := range least {
		if i >= len(parts) {
			return len(parts) > 0 && want > 0
		}
		if n, err := strconv.Atoi(parts[i]); err != nil || n != want {
			return err == nil && n < want
		}
	}
	return false
}

func tooOld(version string, least []int) error {
	words := strings.Trim(strings.Join(strings.Fields(fmt.Sprint(least)), "."), "[]")
	return fmt.Errorf("it is version %s; %s or newer is needed", version, words)
}

// silent is the fault of a server that cannot be spoken to.
func silent(err error) error {
	return fmt.Errorf("it does not answer (%w); check the address and that it runs", shortCause(err))
}

// examineRabbit sends an event through an exchange and a queue of its own, which go with the connection.
func examineRabbit(ctx context.Context, address string) error {
	u, err := amqp.ParseURI(address)
	if err != nil {
		return errors.New("RABBITMQ_URL is not the address of a broker; it looks like amqp://user:password@host:5672/vhost")
	}
	conn, err := amqp.DialConfig(address, amqp.Config{Dial: amqp.DefaultDial(reachBound)})
	if refused, ok := errors.AsType[*amqp.Error](err); ok {
		switch {
		case errors.Is(err, amqp.ErrVhost) || refused.Code == amqp.NotAllowed || refused.Code == amqp.InvalidPath || strings.Contains(refused.Reason, "vhost"):
			return fmt.Errorf("there is no virtual host %q, or the user may not enter it; create it, grant it, or correct the end of RABBITMQ_URL", u.Vhost)
		case refused.Code == amqp.AccessRefused:
			return errors.New("it refuses the user or password of RABBITMQ_URL")
		}
	}
	if err != nil {
		return silent(err)
	}
	// One that is short of memory or disk does not answer to a goodbye either.
	defer func() { _ = conn.CloseDeadline(time.Now().Add(reachBound)) }()
	if version, _ := conn.Properties["version"].(string); older(version, oldestRabbit) {
		return tooOld(version, oldestRabbit)
	}
	done := make(chan error, 1)
	go func() { done <- passEvent(ctx, conn) }()
	select {
	case err = <-done:
	case <-ctx.Done():
		return errors.New("it takes the connection and does not answer on it; is it short of memory or disk?")
	}
	if refused, ok := errors.AsType[*amqp.Error](err); ok && refused.Code == amqp.AccessRefused {
		return fmt.Errorf("the user may not declare, publish and consume in virtual host %q (%s); set_permissions for all three on names that begin with tulifo", u.Vhost, refused.Reason)
	}
	return err
}

func passEvent(ctx context.Context, conn *amqp.Connection) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	name := "tulifo.doctor-" + rand.Text()
	if err := ch.ExchangeDeclare(name, amqp.ExchangeTopic, false, true, false, false, nil); err != nil {
		return fmt.Errorf("declare an exchange: %w", err)
	}
	if _, err := ch.QueueDeclare(name, false, true, true, false, nil); err != nil {
		return fmt.Errorf("declare a queue: %w", err)
	}
	if err := ch.QueueBind(name, "#", name, false, nil); err != nil {
		return fmt.Errorf("bind a queue: %w", err)
	}
	if err := ch.Confirm(false); err != nil {
		return err
	}
	sure, err := ch.PublishWithDeferredConfirmWithContext(ctx, name, "doctor", true, false, amqp.Publishing{Body: []byte("{}")})
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if ok, err := sure.WaitContext(ctx); err != nil || !ok {
		return fmt.Errorf("it does not confirm what is published (%v)", err)
	}
	if _, ok, err := ch.Get(name, true); err != nil || !ok {
		return errors.Join(errors.New("what was published did not arrive"), err)
	}
	return nil
}

func examineRedis(ctx context.Context, address string) error {
	o, err := redis.ParseURL(address)
	if err != nil {
		return errors.New("REDIS_URL is not the address of a Redis; it looks like redis://user:password@host:6379/0")
	}
	o.DialTimeout, o.MaxRetries, o.DisableIdentity = reachBound, -1, true
	c := redis.NewClient(o)
	defer c.Close()
	said := func(err error, prefix string) bool { return err != nil && strings.HasPrefix(err.Error(), prefix) }
	info, err := c.Info(ctx, "server").Result()
	switch {
	case said(err, "WRONGPASS"), said(err, "NOAUTH"), said(err, "ERR AUTH"), said(err, "ERR invalid password"):
		return errors.New("it refuses the user or password of REDIS_URL")
	case said(err, "ERR DB index"):
		return fmt.Errorf("it has no database %d; correct the end of REDIS_URL", o.DB)
	case said(err, "NOPERM"):
		// Whoever may not ask for the version may still do what is needed.
	case err != nil:
		return silent(err)
	}
	for line := range strings.Lines(info) {
		if version, ok := strings.CutPrefix(strings.TrimSpace(line), "redis_version:"); ok && older(version, oldestRedis) {
			return tooOld(version, oldestRedis)
		}
	}
	key := "tulifo:doctor:" + rand.Text()
	for _, step := range []func() error{
		func() error { return c.Set(ctx, key, "1", time.Minute).Err() },
		func() error {
			return c.Eval(ctx, "return redis.call('INCR', KEYS[1])", []string{key}).Err()
		},
		func() error { return c.Del(ctx, key).Err() },
	} {
		switch err := step(); {
		case said(err, "NOPERM"):
			return fmt.Errorf("the user may not do what is needed (%w); ACL SETUSER with ~tulifo:* &tulifo:* +@all", err)
		case said(err, "READONLY"):
			return errors.New("it is a replica that takes no writes; set REDIS_URL to the primary")
		case err != nil:
			return fmt.Errorf("it does not keep what is written (%w)", err)
		}
	}
	return nil
}

// examineMongo writes to a collection of its own, indexes it, and drops it.
func examineMongo(ctx context.Context, address string) (err error) {
	o := options.Client().ApplyURI(address)
	if err := o.Validate(); err != nil {
		return errors.New("MONGODB_URI is not the address of a MongoDB; it looks like mongodb://user:password@host:27017/tulifo_gig?replicaSet=rs0")
	}
	c, err := mongo.Connect(o.SetServerSelectionTimeout(reachBound).SetConnectTimeout(reachBound).SetTimeout(3 * reachBound))
	if err != nil {
		return silent(err)
	}
	defer func() { _ = c.Disconnect(context.WithoutCancel(ctx)) }()
	var built struct{ Version string }
	var hello struct {
		SetName string `bson:"setName"`
		Msg     string `bson:"msg"` // of a router before shards
	}
	admin := c.Database("admin")
	err = admin.RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&hello)
	if err == nil {
		err = admin.RunCommand(ctx, bson.D{{Key: "buildInfo", Value: 1}}).Decode(&built)
	}
	switch {
	case err != nil && (strings.Contains(err.Error(), "AuthenticationFailed") || strings.Contains(err.Error(), "auth error")):
		return errors.New("it refuses the user or password of MONGODB_URI")
	case err != nil:
		if _, dialled := errors.AsType[*net.OpError](err); !dialled {
			return errors.New("no server that takes writes answers; check the address, its replicaSet, and that it runs")
		}
		return silent(err)
	case older(built.Version, oldestMongo):
		return tooOld(built.Version, oldestMongo)
	case hello.SetName == "" && hello.Msg != "isdbgrid":
		return errors.New("it is no replica set, and transactions need one; start it with --replSet and initiate it, one member is enough")
	}
	name := docdb.DatabaseOf(address)
	written := c.Database(name).Collection("doctor_" + strings.ToLower(rand.Text()))
	_, err = written.InsertOne(ctx, bson.D{{Key: "at", Value: time.Now()}})
	if err == nil {
		_, err = written.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: "at", Value: 1}}})
	}
	if dropped := written.Drop(ctx); err == nil {
		err = dropped
	}
	const unauthorized = 13
	if refused, ok := errors.AsType[mongo.ServerError](err); ok && refused.HasErrorCode(unauthorized) {
		return fmt.Errorf("the user may not write and index in database %s; grant it readWrite there", name)
	}
	if err != nil {
		return fmt.Errorf("it does not keep what is written in database %s (%w)", name, err)
	}
	return nil
}

// examineS3 keeps a file, reads it and removes it, as a service of its own.
func examineS3(ctx context.Context, c blob.S3Config) error {
	s, err := blob.NewS3(c, "doctor")
	if err != nil {
		return err
	}
	text := rand.Text()
	ref, _, err := s.Put(ctx, "text/plain", strings.NewReader(text), 100)
	if err == nil {
		err = readBack(ctx, s, ref, text)
		if gone := s.Delete(ctx, ref); err == nil {
			err = gone
		}
	}
	said, ok := errors.AsType[minio.ErrorResponse](err)
	switch {
	case err == nil || errors.Is(err, errOther):
		return err
	case !ok:
		return silent(err)
	case said.Code == minio.NoSuchBucket:
		return fmt.Errorf("there is no bucket %q; create it, or correct S3_BUCKET", c.Bucket)
	case said.Code == minio.InvalidAccessKeyID || said.Code == "SignatureDoesNotMatch":
		return errors.New("it refuses S3_ACCESS_KEY_ID or S3_SECRET_ACCESS_KEY")
	case said.Code == minio.AccessDenied:
		return fmt.Errorf("the key may not list, put, get and delete in bucket %q; grant it all four", c.Bucket)
	case said.Code == "AuthorizationHeaderMalformed" || said.Code == "InvalidRegion":
		return fmt.Errorf("it wants requests signed for another region than %s; correct S3_REGION (%s)", c.Region, said.Message)
	}
	return fmt.Errorf("it does not keep what is written in bucket %q (%s: %s)", c.Bucket, said.Code, said.Message)
}

var errOther = errors.New("it answers other bytes than were written")

func readBack(ctx context.Context, s blob.Store, ref blob.Ref, text string) error {
	c, err := s.Open(ctx, ref)
	if err != nil {
		return err
	}
	defer c.Close()
	got, err := io.ReadAll(c)
	if err == nil && string(got) != text {
		err = errOther
	}
	return err
}
