package app

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/bus"
	"tulifo/platform/servertest"
	"tulifo/platform/token"
)

// A service whose data are documents runs without Postgres: it hears events, tells people, and is killed and started again without forgetting.
func TestNotificationWithoutPostgres(t *testing.T) {
	t.Parallel()
	s := &split{base: portBase(t), runs: map[string][]*process{}}
	d, err := openData(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"HOST": loopback, "PATH": os.Getenv("PATH"), "PUBLIC_URL": s.at(gatewayPort), "SMTP_HOST": loopback, "SMTP_PORT": strconv.Itoa(smtpPort + s.base),
		"SMTP_TLS": "off", "TULIFO_DATA": d.dir, "LOG_LEVEL": "warn", "MONGODB_URI": servertest.Mongo(t), "RABBITMQ_URL": servertest.RabbitMQ(t),
	}
	if err := d.secrets(env); err != nil {
		t.Fatal(err)
	}
	c, err := readConfig(env)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := token.NewKeys(c.Token)
	if err != nil {
		t.Fatal(err)
	}
	s.env = environ0(env)
	s.serve(t, "inbox")
	s.serve(t, "notification")
	s.ready(t, "notification")

	broker, err := bus.NewRabbitMQ(t.Context(), bus.RabbitOptions{URL: c.RabbitURL, Consumers: hears, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	user := uuid.New()
	tell := func(typ string, e any) {
		t.Helper()
		data, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		err = broker.Publish(t.Context(), []bus.Envelope{{ID: uuid.Must(uuid.NewV7()), Type: typ, Version: 1, OccurredAt: time.Now().UTC(), Producer: "auth", Subject: user, Data: data}})
		if err != nil {
			t.Fatal(err)
		}
	}
	titles := func() (all []string) {
		raw, _, err := keys.Issue(user, "client", uuid.New())
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.at(portOf("notification"))+"/api/notifications", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+raw)
		res, err := quick.Do(req)
		if err != nil {
			return nil
		}
		defer res.Body.Close()
		var said struct {
			Data []struct{ Type string }
		}
		if err := json.NewDecoder(res.Body).Decode(&said); err != nil {
			t.Fatal(err)
		}
		for _, n := range said.Data {
			all = append(all, n.Type)
		}
		return all
	}
	tell("user.created", event.UserCreated{UserID: user, Email: "ada@example.com", Name: "Ada", Role: "client", Verified: true})
	tell("user.password_changed", event.UserPasswordChanged{UserID: user})
	soon(t, "the user is told in the app", 30*time.Second, func() bool { return strings.Contains(strings.Join(titles(), " "), "user.password_changed") })
	before := len(titles())
	s.kill(t, "notification")
	tell("user.factor_added", event.UserFactorAdded{UserID: user})
	soon(t, "what was told is there after the kill, and what is told since", 30*time.Second, func() bool { return len(titles()) == before+1 })
	if code, said := s.command(t, "", "events", "replay", "notification"); code != 0 || !strings.Contains(said, "0 events are delivered again") {
		t.Errorf("events replay: %d, %s", code, said)
	}
	p := s.runs["notification"][0]
	p.terminate(t)
	if said := p.err.String(); strings.Contains(said, "ERROR") || strings.Contains(said, "DATABASE_URL") {
		t.Errorf("the log:\n%s", said)
	}
}
