package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"tulifo/platform/token"
)

// portBase moves every port of the platform that is measured out of the way of one that runs already.
const portBase = 21000

// raised lets one client make as many calls as a bench does.
const raised = `plugins:
  - {name: rate-limiting, config: {minute: 1000000000}}
  - {name: rate-limiting, route: auth-login, config: {minute: 1000000000}}
`

// bench is one installation of the platform in a directory of its own, and whatever is measured beside it.
type bench struct {
	dir, binary string
	pairs       int
	processes   []*process
	app         *process
	db          *pgxpool.Pool
	env         map[string]string // the installation's secrets
	keys        *token.Keys
	database    *url.URL
	first, warm time.Duration // until healthy: with nothing there, and with Postgres initialised
	person      person
}

type person struct {
	id              uuid.UUID
	email, password string
}

func newBench(ctx context.Context, binary string, pairs int) (_ *bench, err error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	// The user that Postgres runs as has to pass.
	if err := os.Chmod(dir, 0o711); err != nil {
		return nil, err
	}
	binary, err = filepath.Abs(binary)
	b := &bench{dir: dir, binary: binary, pairs: pairs, env: map[string]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if err == nil {
		err = os.WriteFile(b.path("overlay.yml"), []byte(raised), 0o644)
	}
	if err == nil {
		b.first, err = b.up(ctx)
	}
	if err == nil {
		b.app.stop()
		b.warm, err = b.up(ctx)
	}
	if err == nil {
		err = b.connect(ctx)
	}
	if err == nil {
		b.person, err = b.register(ctx)
	}
	return b, err
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// at is the address of a path at one of the platform's ports; 8000 is the gateway's.
func (b *bench) at(port int, path string) string {
	return "http://127.0.0.1:" + strconv.Itoa(port+portBase) + path
}

// up starts the platform and answers how long it took until the gateway answered from the database.
func (b *bench) up(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	var err error
	b.app, err = b.start("tulifo", []string{"GATEWAY_OVERLAY=" + b.path("overlay.yml"), "LOG_LEVEL=warn", "AUTH_DEVICE_FAILURES=100000", "AUTH_OTHERS_FAILURES=100000", "AUTH_IP_FAILURES=100000"}, b.binary, "up", "--data", b.path("data"), "--port-base", strconv.Itoa(portBase))
	if err != nil {
		return 0, err
	}
	client := newClient(1)
	defer client.CloseIdleConnections()
	err = b.app.until(ctx, time.Minute, func() bool {
		status, _, err := send(ctx, client, call{method: http.MethodGet, url: b.at(8000, "/api/workers?limit=1")})
		return err == nil && status == http.StatusOK
	})
	return time.Since(began), err
}

// connect reads where the installation's database is, and its secrets.
func (b *bench) connect(ctx context.Context) error {
	raw, err := os.ReadFile(b.path("data/run.json"))
	if err != nil {
		return err
	}
	var run struct{ DatabaseURL string }
	if err := json.Unmarshal(raw, &run); err != nil {
		return err
	}
	if b.database, err = url.Parse(run.DatabaseURL); err != nil {
		return err
	}
	secrets, err := os.ReadFile(b.path("data/secrets.env"))
	if err != nil {
		return err
	}
	for lines := bufio.NewScanner(bytes.NewReader(secrets)); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), "="); ok {
			b.env[name] = value
		}
	}
	if b.keys, err = token.NewKeys(token.Config{Secret: b.env["JWT_SECRET"], ServiceSecret: b.env["SERVICE_SECRET"]}); err != nil {
		return err
	}
	b.db, err = pgxpool.New(ctx, run.DatabaseURL)
	return err
}

// libpq is the environment in which programs of Postgres and of Node find the database.
func (b *bench) libpq() []string {
	q, password := b.database.Query(), ""
	if p, ok := b.database.User.Password(); ok {
		password = p
	}
	host, port := q.Get("host"), q.Get("port")
	if host == "" {
		host, port = b.database.Hostname(), b.database.Port()
	}
	if port == "" {
		port = "5432"
	}
	return []string{"PGHOST=" + host, "PGPORT=" + port, "PGUSER=" + b.database.User.Username(), "PGPASSWORD=" + password, "PGDATABASE=" + strings.TrimPrefix(b.database.Path, "/")}
}

// postmaster is the process id of the installation's Postgres.
func (b *bench) postmaster() (int, error) {
	raw, err := os.ReadFile(b.path("data/postgres/postmaster.pid"))
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(raw), "\n")
	return strconv.Atoi(first)
}

// appCPU is the CPU time of the platform without its Postgres.
func (b *bench) appCPU() time.Duration { return cpu(b.app.pid()) }

func (b *bench) register(ctx context.Context) (person, error) {
	p := person{email: "bench@bench.example", password: "measured twice, cut once"}
	client := newClient(1)
	defer client.CloseIdleConnections()
	body, err := json.Marshal(map[string]string{"email": p.email, "password": p.password, "name": "Bench", "role": "client"})
	if err != nil {
		return p, err
	}
	answer, err := must(ctx, client, call{method: http.MethodPost, url: b.at(8000, "/api/auth/register"), body: body, want: http.StatusCreated})
	if err != nil {
		return p, err
	}
	var made struct {
		Data struct{ User struct{ ID uuid.UUID } }
	}
	err = json.Unmarshal(answer, &made)
	p.id = made.Data.User.ID
	return p, err
}

// token is an access token, as auth would sign it.
func (b *bench) token(id uuid.UUID, role string) string {
	signed, _, err := b.keys.Issue(id, role, uuid.New())
	if err != nil {
		panic(err) // the keys were made with a secret to sign with
	}
	return signed
}

// exec runs statements in the installation's database.
func (b *bench) exec(ctx context.Context, sql string, args ...any) error {
	if _, err := b.db.Exec(ctx, sql, args...); err != nil {
		return fmt.Errorf("%.60q: %w", sql, err)
	}
	return nil
}

// close stops everything, the last one first, and deletes the directory.
func (b *bench) close() error {
	if b.db != nil {
		b.db.Close()
	}
	for i := len(b.processes) - 1; i >= 0; i-- {
		b.processes[i].stop()
	}
	return os.RemoveAll(b.dir)
}
