// Package servertest gives tests the real servers that an installation can stand on: Redis, RabbitMQ, MongoDB and an S3 (MinIO).
//
// One server of a kind serves a test run: the one that the run's Share has or starts, else one that the test binary starts and that ends with it, however it ends.
// A test gets a room of its own in it. A test that stops or kills its server takes one of its own.
// Always: servers listen on loopback only, on ports of their own, and none survives the process that it was started for, even one that is killed.
package servertest

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Redis is the address of an empty database of the run's Redis, such as redis://127.0.0.1:7000/7; it is emptied when the test ends. Channels of PUBLISH are all databases' alike.
func Redis(t testing.TB) string {
	t.Helper()
	s := need(t, redis)
	n, err := redisCommand(s.url, "INCR servertest")
	if err != nil {
		t.Fatalf("test Redis: %v", err)
	}
	i, err := strconv.Atoi(n)
	if err != nil {
		t.Fatalf("test Redis: %v", err)
	}
	room := strings.TrimSuffix(s.url, "/0") + "/" + strconv.Itoa(1+i%(redisDatabases-1))
	flush := func() {
		if _, err := redisCommand(room, "FLUSHDB"); err != nil {
			t.Errorf("test Redis: %v", err)
		}
	}
	flush()
	t.Cleanup(flush)
	return room
}

// RabbitMQ is the address of an empty virtual host of the run's RabbitMQ, as guest; the host goes when the test ends.
func RabbitMQ(t testing.TB) string {
	t.Helper()
	s := need(t, rabbitmq)
	name := "test-" + strings.ToLower(rand.Text())
	if err := management(s.url, http.MethodPut, "/api/vhosts/"+name, ""); err != nil {
		t.Fatalf("test RabbitMQ: %v", err)
	}
	t.Cleanup(func() {
		if err := management(s.url, http.MethodDelete, "/api/vhosts/"+name, ""); err != nil {
			t.Errorf("test RabbitMQ: %v", err)
		}
	})
	if err := management(s.url, http.MethodPut, "/api/permissions/"+name+"/guest", `{"configure":".*","write":".*","read":".*"}`); err != nil {
		t.Fatalf("test RabbitMQ: %v", err)
	}
	return s.url + name
}

// Mongo is the address of the run's MongoDB, a replica set of one member, with the name of an empty database of the test's own as its path; the database is dropped when the test ends.
func Mongo(t testing.TB) string {
	t.Helper()
	s := need(t, mongo)
	u, err := url.Parse(s.url)
	if err != nil {
		t.Fatalf("test MongoDB: %v", err)
	}
	name := "test_" + strings.ToLower(rand.Text())
	u.Path = "/" + name
	t.Cleanup(func() {
		if _, err := mongoCommand(u.Host, element(0x10, "dropDatabase", int32Value(1)), name); err != nil {
			t.Errorf("test MongoDB: %v", err)
		}
	})
	return u.String()
}

// Bucket is an empty bucket of an S3 server and the keys to it.
type Bucket struct {
	Endpoint, Region, Name, AccessKeyID, SecretAccessKey string
}

// S3 is an empty bucket of the run's S3 server; it goes with all that is in it when the test ends.
func S3(t testing.TB) Bucket {
	t.Helper()
	s := need(t, minio)
	return bucket(t, s.url, s.dir)
}

func bucket(t testing.TB, endpoint, dir string) Bucket {
	t.Helper()
	name := "test-" + strings.ToLower(rand.Text())
	// A directory of a single drive is a bucket.
	path := filepath.Join(dir, minioData, name)
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatalf("test S3: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(path) })
	return Bucket{Endpoint: endpoint, Region: "us-east-1", Name: name, AccessKeyID: minioUser, SecretAccessKey: minioPassword}
}

// Server is a server that one test has for itself. Its methods fail the test when they do not succeed; one goroutine at a time may call them.
type Server struct {
	t testing.TB
	p *Process
}

// OwnRedis starts a Redis that keeps its data on disk; it goes when the test ends.
func OwnRedis(t testing.TB) *Server { t.Helper(); return own(t, redis) }

// OwnRabbitMQ starts a RabbitMQ; it goes when the test ends. Its virtual host is "/".
func OwnRabbitMQ(t testing.TB) *Server { t.Helper(); return own(t, rabbitmq) }

// OwnMongo starts a MongoDB, a replica set of one member; it goes when the test ends.
func OwnMongo(t testing.TB) *Server { t.Helper(); return own(t, mongo) }

// OwnGuardedMongo is OwnMongo whose user may read everything and write nothing.
func OwnGuardedMongo(t testing.TB) *Server { t.Helper(); return own(t, guardedMongo) }

// OwnS3 starts an S3 server with an empty bucket; both go when the test ends.
func OwnS3(t testing.TB) (*Server, Bucket) {
	t.Helper()
	s := own(t, minio)
	return s, bucket(t, s.URL(), s.p.dir)
}

// URL is the server's address; it stays the same over Stop, Kill and Start.
func (s *Server) URL() string { return s.p.url }

// Stop asks the server to end in order, and returns when it has.
func (s *Server) Stop() { s.t.Helper(); s.must(s.p.Stop()) }

// Kill ends the server as kill -9 does, and returns when it has.
func (s *Server) Kill() { s.t.Helper(); s.must(s.p.Kill()) }

// Start starts the server that was stopped or killed, with its data, and returns when it answers.
func (s *Server) Start() { s.t.Helper(); s.must(s.p.Start()) }

func (s *Server) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Errorf("test server: %v", err)
	}
}

func own(t testing.TB, k *kind) *Server {
	t.Helper()
	p, err := launch(k)
	if err != nil {
		t.Fatalf("test server: %v", err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Errorf("test server: %v", err)
		}
	})
	return &Server{t, p}
}

// LaunchRabbitMQ starts a RabbitMQ for a program that is no test, such as a benchmark, which closes it.
func LaunchRabbitMQ() (*Process, error) { return launch(rabbitmq) }

// LaunchRedis starts a Redis for a program that is no test, which closes it.
func LaunchRedis() (*Process, error) { return launch(redis) }

// LaunchMongo starts a MongoDB for a program that is no test, which closes it.
func LaunchMongo() (*Process, error) { return launch(mongo) }

// longest is how long a server may take to its first answer, or to its end, on a machine that has other things to do.
const longest = 2 * time.Minute

// kind is how servers of one sort are run.
type kind struct {
	name    string
	ports   int                                          // consecutive ones that it listens on
	command func(dir string, port int) ([]string, error) // what runs it, in dir
	env     func(dir string, port int) []string          // nil: nothing but PATH and HOME
	url     func(port int) string                        //
	answers func(url string, port int) error             // nil when it serves
}

var kinds = []*kind{redis, rabbitmq, mongo, minio}

func kindOf(name string) (*kind, error) {
	for _, k := range kinds {
		if k.name == name {
			return k, nil
		}
	}
	return nil, fmt.Errorf("there is no test server %q", name)
}
