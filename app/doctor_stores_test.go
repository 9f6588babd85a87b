package app

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"tulifo/platform/servertest"
)

func TestOlderVersions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		version string
		least   []int
		older   bool
	}{
		{"3.10.8", []int{3, 10}, false}, {"3.9.30", []int{3, 10}, true}, {"3.10", []int{3, 10}, false}, {"4.0.1", []int{3, 10}, false}, {"2.99", []int{3, 10}, true},
		{"3.13.0-rc.1", []int{3, 10}, false}, {"6.0.5", []int{6}, false}, {"5.0.31", []int{6}, true}, {"6.2.0", []int{6, 2}, false}, {"6.0.20", []int{6, 2}, true},
		{"7", []int{6, 2}, false}, {"6", []int{6, 2}, true}, {"255.255.255", []int{6, 2}, false}, {"", []int{6}, false}, {"unknown", []int{6}, false}, {"10.0", []int{6}, false},
	} {
		if older(c.version, c.least) != c.older {
			t.Errorf("%q before %v: %v", c.version, c.least, !c.older)
		}
	}
	if said := tooOld("3.9.1", oldestRabbit).Error(); said != "it is version 3.9.1; 3.10 or newer is needed" {
		t.Error(said)
	}
}

// liar leads to a server of files, and turns each byte of what is read into another.
func liar(t *testing.T, endpoint string) string {
	t.Helper()
	to, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	l := httptest.NewServer(&httputil.ReverseProxy{
		// The host is signed.
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host },
		ModifyResponse: func(res *http.Response) error {
			if res.Request.Method != http.MethodGet || !strings.Contains(res.Request.URL.Path, "/blobs/") {
				return nil
			}
			was, err := io.ReadAll(res.Body)
			res.Body = io.NopCloser(strings.NewReader(strings.Repeat("x", len(was))))
			return err
		},
	})
	t.Cleanup(l.Close)
	return l.URL
}

// Doctor asks each server that the environment names, and has one sentence for each fault.
func TestDoctorExaminesEachServer(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobodyThere := closed.Addr().String()
	closed.Close()

	rabbit, memory, documents, files := servertest.RabbitMQ(t), servertest.Redis(t), servertest.Mongo(t), servertest.S3(t)
	in := func(address string, change func(*url.URL)) string {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		change(u)
		return u.String()
	}
	login := func(user, password string) func(*url.URL) {
		return func(u *url.URL) { u.User = url.UserPassword(user, password) }
	}
	elsewhere := func(u *url.URL) { u.Host = nobodyThere }

	vhost := strings.TrimPrefix(in(rabbit, func(*url.URL) {})[strings.LastIndex(rabbit, "/"):], "/")
	manage(t, rabbit, "/api/users/limited", `{"password":"geheim","tags":""}`)
	manage(t, rabbit, "/api/permissions/"+vhost+"/limited", `{"configure":"","write":".*","read":".*"}`)
	o, err := redis.ParseURL(memory)
	if err != nil {
		t.Fatal(err)
	}
	c := redis.NewClient(o)
	t.Cleanup(func() {
		if err := c.Do(context.Background(), "ACL", "DELUSER", "limited").Err(); err != nil {
			t.Error(err)
		}
		c.Close()
	})
	if err := c.Do(t.Context(), "ACL", "SETUSER", "limited", "on", ">geheim", "~tulifo:*", "+@read", "+@connection", "+info").Err(); err != nil {
		t.Fatal(err)
	}
	s3 := func(change ...string) map[string]string {
		env := map[string]string{"S3_ENDPOINT": files.Endpoint, "S3_REGION": files.Region, "S3_BUCKET": files.Name, "S3_ACCESS_KEY_ID": files.AccessKeyID, "S3_SECRET_ACCESS_KEY": files.SecretAccessKey}
		for i := 0; i < len(change); i += 2 {
			env[change[i]] = change[i+1]
		}
		return env
	}
	one := func(name, value string) map[string]string { return map[string]string{name: value} }

	for _, c := range []struct {
		name string
		env  map[string]string
		says string
	}{
		{"a good broker", one("RABBITMQ_URL", rabbit), "ok    RabbitMQ at RABBITMQ_URL"},
		{"a broker that is no address", one("RABBITMQ_URL", "http://geheim"), "FAULT RabbitMQ at RABBITMQ_URL: RABBITMQ_URL is not the address of a broker"},
		{"a broker that is down", one("RABBITMQ_URL", in(rabbit, elsewhere)), "FAULT RabbitMQ at RABBITMQ_URL: it does not answer"},
		{"a broker's wrong password", one("RABBITMQ_URL", in(rabbit, login("guest", "geheim"))), "FAULT RabbitMQ at RABBITMQ_URL: it refuses the user or password of RABBITMQ_URL"},
		{"a broker's wrong vhost", one("RABBITMQ_URL", in(rabbit, func(u *url.URL) { u.Path = "/nowhere" })), `FAULT RabbitMQ at RABBITMQ_URL: there is no virtual host "nowhere"`},
		{"a vhost of others", one("RABBITMQ_URL", in(rabbit, func(u *url.URL) { login("limited", "geheim")(u); u.Path = "/" })), `FAULT RabbitMQ at RABBITMQ_URL: there is no virtual host "/", or the user may not enter it`},
		{"a broker's user without rights", one("RABBITMQ_URL", in(rabbit, login("limited", "geheim"))), "FAULT RabbitMQ at RABBITMQ_URL: the user may not declare, publish and consume"},
		{"a good Redis", one("REDIS_URL", memory), "ok    Redis at REDIS_URL"},
		{"a Redis that is no address", one("REDIS_URL", "geheim"), "FAULT Redis at REDIS_URL: REDIS_URL is not the address of a Redis"},
		{"a Redis that is down", one("REDIS_URL", in(memory, elsewhere)), "FAULT Redis at REDIS_URL: it does not answer"},
		{"a Redis' wrong password", one("REDIS_URL", in(memory, login("limited", "falsch-geheim"))), "FAULT Redis at REDIS_URL: it refuses the user or password of REDIS_URL"},
		{"a Redis' wrong database", one("REDIS_URL", in(memory, func(u *url.URL) { u.Path = "/99999" })), "FAULT Redis at REDIS_URL: it has no database 99999"},
		{"a Redis' user without rights", one("REDIS_URL", in(memory, login("limited", "geheim"))), "FAULT Redis at REDIS_URL: the user may not do what is needed"},
		{"a good MongoDB", one("MONGODB_URI", documents), "ok    MongoDB at MONGODB_URI"},
		{"a MongoDB that is no address", one("MONGODB_URI", "geheim"), "FAULT MongoDB at MONGODB_URI: MONGODB_URI is not the address of a MongoDB"},
		{"a MongoDB that is down", one("MONGODB_URI", in(documents, elsewhere)), "FAULT MongoDB at MONGODB_URI: no server that takes writes answers"},
		{"a MongoDB's wrong password", one("MONGODB_URI", in(documents, login("tulifo", "geheim"))), "FAULT MongoDB at MONGODB_URI: it refuses the user or password of MONGODB_URI"},
		{"a MongoDB's user without rights", one("MONGODB_URI", servertest.OwnGuardedMongo(t).URL()), "FAULT MongoDB at MONGODB_URI: the user may not write and index in database tulifo_gig; grant it readWrite there"},
		{"another replica set", one("MONGODB_URI", strings.Replace(documents, "rs0", "rs9", 1)), "FAULT MongoDB at MONGODB_URI: no server that takes writes answers; check the address, its replicaSet"},
		{"a good S3", s3(), "ok    S3 at S3_ENDPOINT"},
		{"an S3 that is no address", s3("S3_ENDPOINT", "geheim"), "FAULT environment: S3_ENDPOINT must be an address"},
		{"an S3 that is down", s3("S3_ENDPOINT", "http://"+nobodyThere), "FAULT S3 at S3_ENDPOINT: it does not answer"},
		{"an S3 that answers other bytes", s3("S3_ENDPOINT", liar(t, files.Endpoint)), "FAULT S3 at S3_ENDPOINT: it answers other bytes than were written"},
		{"an S3 without the bucket", s3("S3_BUCKET", "nowhere"), `FAULT S3 at S3_ENDPOINT: there is no bucket "nowhere"`},
		{"an S3's wrong key", s3("S3_ACCESS_KEY_ID", "nobody"), "FAULT S3 at S3_ENDPOINT: it refuses S3_ACCESS_KEY_ID or S3_SECRET_ACCESS_KEY"},
		{"an S3's wrong secret", s3("S3_SECRET_ACCESS_KEY", "falsch-geheim"), "FAULT S3 at S3_ENDPOINT: it refuses S3_ACCESS_KEY_ID or S3_SECRET_ACCESS_KEY"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			e := &environ{vars: c.env}
			config, err := readConfig(c.env)
			found := []finding{{"environment", err}}
			if err == nil {
				found = e.examineStores(t.Context(), config)
			}
			for _, f := range found {
				if f.err == nil {
					fmt.Fprintf(&out, "ok    %s\n", f.what)
				} else {
					fmt.Fprintf(&out, "FAULT %s: %v\n", f.what, f.err)
				}
			}
			if !strings.Contains(out.String(), c.says) {
				t.Errorf("%q is not in\n%s", c.says, &out)
			}
			if strings.Contains(out.String(), "geheim") {
				t.Errorf("a password is shown:\n%s", &out)
			}
		})
	}
	t.Cleanup(func() {
		names, err := c.Keys(context.Background(), "tulifo:doctor:*").Result()
		if err != nil || len(names) > 0 {
			t.Errorf("doctor left %v, %v", names, err)
		}
	})
}

// manage puts something at the broker's HTTP API.
func manage(t *testing.T, amqp, path, body string) {
	t.Helper()
	address, err := servertest.Management(amqp)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	if w.StatusCode >= 300 {
		t.Fatalf("PUT %s: %s", path, w.Status)
	}
}
