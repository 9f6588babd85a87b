package servertest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"tulifo/platform/servertest"
	"tulifo/platform/soak"
)

// TestMain lets the binary stand for a test run that is killed.
func TestMain(m *testing.M) {
	if os.Getenv("TULIFO_TEST_HANG") != "" {
		hang()
	}
	os.Exit(m.Run())
}

// hang starts one server of each kind, says where they are, and waits for its end.
func hang() {
	testing.Init()
	testing.Main(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "hang", F: func(t *testing.T) {
		for _, address := range addresses(t) {
			fmt.Println("at", address)
		}
		fmt.Println("all")
		select {}
	}}}, nil, nil)
}

func addresses(t testing.TB) []string {
	return []string{servertest.Redis(t), servertest.RabbitMQ(t), servertest.Mongo(t), servertest.S3(t).Endpoint}
}

func open(address string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false
	}
	c, err := net.DialTimeout("tcp", u.Host, time.Second)
	if err == nil {
		c.Close()
	}
	return err == nil
}

func TestKilledRunLeavesNoServer(t *testing.T) {
	t.Parallel()
	temp := t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "TULIFO_TEST_HANG=1", "TMPDIR="+temp, servertest.Variable+"=")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var at []string
	said := ""
	for lines := bufio.NewScanner(out); said != "all" && lines.Scan(); {
		said = lines.Text()
		if address, ok := strings.CutPrefix(said, "at "); ok {
			at = append(at, address)
		}
	}
	if said != "all" || len(at) != 4 {
		t.Fatalf("it ended with %q after %q", said, at)
	}
	for _, a := range at {
		if !open(a) {
			t.Errorf("nothing listens at %s", a)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t.Context(), t, "its servers or their files are still there", func() bool {
		left, err := os.ReadDir(temp)
		if err != nil || len(left) > 0 {
			return false
		}
		for _, a := range at {
			if open(a) {
				return false
			}
		}
		return true
	})
}

func TestRunSharesItsServers(t *testing.T) {
	t.Parallel()
	if os.Getenv(servertest.Variable) == "" {
		if _, err := servertest.Share(); err != nil {
			t.Fatal(err)
		}
	}
	host := func(address string) string { u, _ := url.Parse(address); return u.Host }
	a, b := servertest.Redis(t), servertest.Redis(t)
	if host(a) != host(b) || a == b {
		t.Errorf("%s and %s are not two rooms of one server", a, b)
	}
	c, err := net.Dial("unix", os.Getenv(servertest.Variable))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintln(c, "oracle")
	if said, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(said), "error\n") {
		t.Errorf("asked for a server that does not exist: %q, %v", said, err)
	}
}

func TestRedisComesBackWithItsData(t *testing.T) {
	t.Parallel()
	s := servertest.OwnRedis(t)
	say := func(command string) string {
		u, err := url.Parse(s.URL())
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, command+"\r\n")
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(line)
	}
	comesBack(t, s, true, func() { say("INCR kept") }, func() error {
		if n := say("INCR kept"); n != ":2" {
			return fmt.Errorf("the second is %s", n)
		}
		say("DEL kept")
		return nil
	})
}

func TestRabbitMQComesBackWithItsMessages(t *testing.T) {
	t.Parallel()
	s := servertest.OwnRabbitMQ(t)
	channel := func() *amqp.Channel {
		c, err := amqp.Dial(s.URL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		ch, err := c.Channel()
		if err != nil {
			t.Fatal(err)
		}
		return ch
	}
	if _, err := channel().QueueDeclare("kept", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	// That there is a queue is not on disk at once, and a broker of this age does not say when it is, unless it ends in order.
	s.Stop()
	s.Start()
	comesBack(t, s, false, func() {
		ch := channel()
		if err := ch.Confirm(false); err != nil {
			t.Fatal(err)
		}
		sure, err := ch.PublishWithDeferredConfirm("", "kept", true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("x")})
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := sure.WaitContext(t.Context()); !ok || err != nil {
			t.Fatalf("confirm: %v, %v", ok, err)
		}
	}, func() error {
		messages, err := channel().Consume("kept", "", false, false, false, false, nil)
		if err != nil {
			return err
		}
		select {
		case got := <-messages:
			if string(got.Body) != "x" {
				return fmt.Errorf("got %q", got.Body)
			}
			return got.Ack(false)
		case <-time.After(2 * time.Minute):
			return errors.New("the message is gone")
		}
	})
}

func TestS3ComesBackWithItsBucket(t *testing.T) {
	t.Parallel()
	s, b := servertest.OwnS3(t)
	comesBack(t, s, true, func() {}, func() error {
		// Nobody may look into the bucket without a key; one that is absent cannot be told from it by its status alone.
		w, err := http.Get(b.Endpoint + "/" + b.Name)
		if err != nil {
			return err
		}
		defer w.Body.Close()
		said, err := io.ReadAll(w.Body)
		if err != nil || !strings.Contains(string(said), "AccessDenied") {
			return fmt.Errorf("%s: %s, %v", w.Status, said, err)
		}
		return nil
	})
}

func TestMongoComesBack(t *testing.T) {
	t.Parallel()
	s := servertest.OwnMongo(t)
	comesBack(t, s, true, func() {}, func() error {
		if !open(s.URL()) {
			return errors.New("nobody listens")
		}
		return nil
	})
}

// comesBack has the server keep something, and be asked for it after a kill and, when it is quick to end or there is time, after a stop.
func comesBack(t *testing.T, s *servertest.Server, quick bool, keep func(), kept func() error) {
	t.Helper()
	ends := map[string]func(){"kill": s.Kill}
	if quick || soak.On() {
		ends["stop"] = s.Stop
	}
	for name, end := range ends {
		keep()
		end()
		if open(s.URL()) {
			t.Errorf("%s: it still answers", name)
		}
		at := s.URL()
		s.Start()
		if s.URL() != at || !open(at) {
			t.Errorf("%s: nobody listens at %s afterwards", name, at)
		}
		if err := kept(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func eventually(ctx context.Context, t *testing.T, not string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatal(not)
		case <-tick.C:
		}
	}
}
