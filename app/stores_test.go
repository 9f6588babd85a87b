package app

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tulifo/platform/servertest"
)

// An installation goes from its embedded stores to MongoDB, RabbitMQ and S3, and back, each time killed while events wait: nobody's message is lost
// or told twice, no file is lost, and whoever starts it on what was left is told where the data is.
func TestStoresMoveOutAndBack(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	bucket := servertest.S3(t)
	embedded := i.env
	servers := append(slices.Clip(embedded), "MONGODB_URI="+servertest.Mongo(t), "RABBITMQ_URL="+servertest.RabbitMQ(t), "S3_ENDPOINT="+bucket.Endpoint,
		"S3_BUCKET="+bucket.Name, "S3_ACCESS_KEY_ID="+bucket.AccessKeyID, "S3_SECRET_ACCESS_KEY="+bucket.SecretAccessKey)
	move := func(to string) (int, string) {
		t.Helper()
		i.env = servers
		code, out, said := i.run(t, "", "stores", "move", "--to", to)
		return code, out + said
	}
	people := 0
	join := func(n int) {
		t.Helper()
		for range n {
			i.register(t, fmt.Sprintf("p%d@example.com", people))
			people++
		}
	}
	// waiting has somebody join whose event the platform dies over, so that it waits on the bus, or in the outbox when that is where it dies.
	waiting := func(env []string, at string) {
		t.Helper()
		// Told to stop, since what is handled but not acknowledged would come again at the start, and the platform would die there.
		i.terminate(t)
		i.env = append(slices.Clip(env), "TULIFO_CRASH="+at)
		i.up(t)
		// The answer may be cut off; the death shows that there is an event, and so the person.
		_, _, _ = ask("POST", i.at(gatewayPort)+"/api/auth/register", "", map[string]string{"email": fmt.Sprintf("p%d@example.com", people), "password": processPassword, "name": "Ada Test", "role": "client"}, nil)
		people++
		i.exit(t, 30*time.Second)
	}
	told := func() {
		t.Helper()
		for n := range people {
			email := fmt.Sprintf("p%d@example.com", n)
			token, status, err := i.login(email, processPassword)
			if err != nil || status != http.StatusOK {
				t.Fatalf("login: %d %v", status, err)
			}
			welcomes := 0
			soon(t, email+" to be told", 30*time.Second, func() bool {
				var all []struct{ Type string }
				if status, _, err := ask("GET", i.at(gatewayPort)+"/api/notifications", token, nil, &all); err != nil || status != http.StatusOK {
					t.Fatalf("notifications: %d %v", status, err)
				}
				welcomes = 0
				for _, n := range all {
					if n.Type == "user.created" {
						welcomes++
					}
				}
				return welcomes > 0
			})
			if welcomes != 1 {
				t.Errorf("%s is welcomed %d times", email, welcomes)
			}
		}
	}
	i.up(t)
	join(2)
	shown := i.picture(t, "p0@example.com")
	seen := func() {
		t.Helper()
		res, err := quick.Get(i.at(gatewayPort) + shown)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if got, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK || len(got) == 0 {
			t.Errorf("the picture: %d, %d bytes, %v", res.StatusCode, len(got), err)
		}
	}
	seen()
	told()
	if code, said := move("servers"); code != 1 || !strings.Contains(said, "stop it") {
		t.Fatalf("a move under a running platform: %d, %s", code, said)
	}
	const onBus, inOutbox = "notification.handle.before(user.created)", "auth.publish.before"
	waiting(embedded, onBus)
	i.env = servers
	if code, _, said := i.run(t, "", "check"); code != 1 || !strings.Contains(said, "documents are in Postgres, and MongoDB is empty") {
		t.Errorf("on servers to which nothing was moved: %d, %s", code, said)
	}
	named := servers
	servers = append(slices.Clip(named), "S3_BUCKET=nobody-made-it")
	if code, said := move("servers"); code != 1 || !strings.Contains(said, "files of user") {
		t.Fatalf("out with a bucket that is not there: %d, %s", code, said)
	}
	servers = named
	if code, said := move("servers"); code != 0 || !strings.Contains(said, "user: 1 files are copied") {
		t.Fatalf("out: %d, %s", code, said)
	}
	i.env = embedded
	if code, _, said := i.run(t, "", "check"); code != 1 || !strings.Contains(said, "set MONGODB_URI") {
		t.Errorf("on the stores that were left: %d, %s", code, said)
	}
	i.env = servers
	i.up(t)
	told()
	seen()
	// A second move does not hand what waits to consumers whose documents are elsewhere.
	waiting(servers, inOutbox)
	if code, said := move("servers"); code != 1 || !strings.Contains(said, "moved already") {
		t.Errorf("a second move: %d, %s", code, said)
	}
	i.up(t)
	told()
	waiting(servers, onBus)
	if code, said := move("embedded"); code != 0 {
		t.Fatalf("back: %d, %s", code, said)
	}
	i.env = embedded
	i.up(t)
	told()
	seen()
	i.kill(t)
	if code, out, said := i.run(t, "", "check"); code != 0 {
		t.Errorf("check: %d, %s%s", code, out, said)
	}
}

// A service that is started while its documents are copied may write what the copy has not: it keeps them, and the move is run again.
func TestMoveSeesWhoStartedMeanwhile(t *testing.T) {
	t.Parallel()
	s, _ := newSplit(t, nil)
	vars := map[string]string{}
	for _, one := range s.env {
		name, value, _ := strings.Cut(one, "=")
		vars[name] = value
	}
	open := func() (*node, *room) {
		t.Helper()
		c, err := readConfig(maps.Clone(vars))
		if err != nil {
			t.Fatal(err)
		}
		n, err := newNode(t.Context(), c, slog.New(slog.DiscardHandler), nodeOptions{names: []string{"notification"}, poolMax: 4, remote: true, command: true, moving: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(n.close)
		return n, n.rooms[0]
	}
	source, from := open()
	vars["MONGODB_URI"] = servertest.Mongo(t)
	_, to := open()
	move := func() error {
		_, _, err := source.moveDocuments(t.Context(), from, to)
		return err
	}
	state := func(r *room) string {
		t.Helper()
		state, err := stateOf(t.Context(), r.docs)
		if err != nil {
			t.Fatal(err)
		}
		return state
	}
	if err := move(); err == nil || !strings.Contains(err.Error(), "it runs; stop every process") {
		t.Errorf("under a service that has started: %v", err)
	}
	if here, there := state(from), state(to); here != "" || there != filling {
		t.Errorf("the documents count where they were: %q, and not where they were to go: %q", here, there)
	}
	s.kill(t, "notification")
	s.down(t, "notification")
	if err := move(); err != nil {
		t.Errorf("once it is stopped: %v", err)
	}
	moved := func() {
		t.Helper()
		if here, there := state(from), state(to); here != left || there != "" {
			t.Errorf("the documents are left: %q, and count where they went: %q", here, there)
		}
	}
	moved()

	// One that was ended between its last two marks leaves no place that counts, until it is run again.
	if err := mark(t.Context(), to.docs, filling); err != nil {
		t.Fatal(err)
	}
	for _, name := range serviceNames() {
		if name != "notification" {
			s.down(t, name)
		}
	}
	if code, said := s.command(t, "", "check"); code != 1 || !strings.Contains(said, "set MONGODB_URI") {
		t.Errorf("on what was left: %d, %s", code, said)
	}
	s.env = append(s.env, "MONGODB_URI="+vars["MONGODB_URI"])
	if code, said := s.command(t, "", "check"); code != 1 || !strings.Contains(said, "run tulifo stores move again") {
		t.Errorf("on what is not complete: %d, %s", code, said)
	}
	if code, said := s.command(t, "", "stores", "move", "--to", "embedded"); code != 1 || !strings.Contains(said, "finish that first") {
		t.Errorf("back: %d, %s", code, said)
	}
	if code, said := s.command(t, "", "stores", "move", "--to", "servers"); code != 0 {
		t.Errorf("again: %d, %s", code, said)
	}
	moved()
	if code, said := s.command(t, "", "check"); code != 0 {
		t.Errorf("check: %d, %s", code, said)
	}
}

// picture gives a person one, and answers where it is shown.
func (i *installation) picture(t *testing.T, email string) string {
	t.Helper()
	token, status, err := i.login(email, processPassword)
	if err != nil || status != http.StatusOK {
		t.Fatalf("login: %d %v", status, err)
	}
	var me struct{ ID string }
	if status, _, err := ask("GET", i.at(gatewayPort)+"/api/auth/me", token, nil, &me); err != nil || status != http.StatusOK {
		t.Fatalf("me: %d %v", status, err)
	}
	shown := "/api/users/" + me.ID + "/avatar"
	picture := image.NewGray(image.Rect(0, 0, 64, 64))
	picture.SetGray(3, 4, color.Gray{Y: 200})
	var raw bytes.Buffer
	if err := png.Encode(&raw, picture); err != nil {
		t.Fatal(err)
	}
	soon(t, "the profile to be there", 30*time.Second, func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, i.at(gatewayPort)+shown, bytes.NewReader(raw.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "image/png")
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := quick.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode < 300
	})
	return shown
}
