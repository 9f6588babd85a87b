package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"

	"tulifo/gateway"
	"tulifo/platform/api"
	"tulifo/platform/audit"
	"tulifo/platform/bus"
	"tulifo/platform/clock"
	"tulifo/platform/docdb"
	"tulifo/platform/errs"
	"tulifo/platform/kv"
	"tulifo/platform/obs"
	"tulifo/platform/outbox"
	"tulifo/platform/pause"
	"tulifo/platform/peer"
	"tulifo/platform/postgres"
	"tulifo/platform/rehearsal"
	"tulifo/platform/token"
)

// Service is what app asks of a service. One may also have timed exits (timer.Timed, timer.Retry), a loop (Run), metrics (Collectors) and
// invariants to check (Check).
type Service interface {
	Routes(*api.Router)
	Subscribe(*outbox.Inbox)
}

// node is this process's part of the platform: some services over one database. Nothing runs until run.
type node struct {
	c        Config
	log      *slog.Logger
	clock    clock.Clock
	keys     *token.Keys
	revoked  *token.Revocations
	session  *postgres.Session
	busDB    *postgres.DB
	clockDB  *postgres.DB // of the rehearsal's clock
	bus      bus.Bus
	rabbit   *bus.RabbitMQ // the bus, when it is RabbitMQ
	kv       kv.Store
	redis    *kv.Redis // the same, where processes share it; else nil
	closeBus func()
	gateway  *gateway.Gateway
	metrics  *obs.Metrics // of the process
	rooms    []*room
	local    map[string]http.Handler

	rehearsal *rehearsal.Clock // nil: business time is the system's
	begun     bool             // this process has begun the rehearsal
}

// room is one service with what the platform gives it.
type room struct {
	entry
	service Service
	db      *postgres.DB // nil where everything of the service's is in MongoDB
	docs    docdb.DB     // of a service whose data are documents
	router  *api.Router
	inbox   *outbox.Inbox
	relay   *outbox.Relay
	metrics *obs.Metrics
	log     *slog.Logger
}

// nodeOptions say how a node differs between up, serve and the commands.
type nodeOptions struct {
	names     []string    // of services and parts of the platform
	clock     clock.Clock // business time; the system's or a rehearsal's when nil
	poolMax   int
	accessLog bool // of services; the outermost writes it
	remote    bool // services of other processes are at the addresses of kong.yml
	command   bool // an operator's: it does not stay
	moving    bool // stores are moved: documents may be on their way
	offline   bool // the database is not asked: the node shows what it is made of and must not run
}

// newNode migrates the database and builds the services. Unavailable databases are errors here: nothing starts half.
func newNode(ctx context.Context, c Config, log *slog.Logger, o nodeOptions) (_ *node, err error) {
	n := &node{c: c, log: log, clock: o.clock, revoked: token.NewRevocations(), kv: kv.NewMemory(1 << 16), metrics: obs.NewMetrics("process"), local: map[string]http.Handler{}}
	if c.DatabasePoolMax > 0 {
		o.poolMax = c.DatabasePoolMax
	}
	if n.keys, err = token.NewKeys(c.Token); err != nil {
		return nil, err
	}
	if c.RedisURL != "" {
		if n.redis, err = kv.NewRedis(c.RedisURL, log); err != nil {
			return nil, fmt.Errorf("REDIS_URL: %w", err)
		}
		n.kv = n.redis
	}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	if n.clock == nil && c.DatabaseURL == "" {
		n.clock = clock.System // a rehearsal's is in Postgres
	}
	if n.clock == nil {
		if n.clock, err = n.businessClock(ctx, o.command); err != nil {
			return nil, err
		}
	}
	entries := chosen(o.names)
	if !o.offline {
		if err = migrate(ctx, c, entries, log); err != nil {
			return nil, err
		}
	}
	if !o.offline && c.DatabaseURL != "" {
		if n.session, err = postgres.NewSession(c.DatabaseDirectURL, log); err != nil {
			return nil, err
		}
	}
	if !o.offline {
		if err = n.openBus(ctx); err != nil {
			return nil, err
		}
	}
	for _, e := range entries {
		if err = n.furnish(ctx, e, o); err != nil {
			return nil, fmt.Errorf("%s: %w", e.name, err)
		}
	}
	if slices.Contains(o.names, "gateway") {
		if n.gateway, err = n.newGateway(o.remote); err != nil {
			return nil, err
		}
	} else if len(n.rooms) > 0 {
		n.rooms[0].metrics.Process()
	}
	return n, nil
}

// openBus is the bus on RabbitMQ where the environment names one, else on the database, which the services then have to share.
func (n *node) openBus(ctx context.Context) (err error) {
	if n.c.RabbitURL != "" {
		if n.rabbit, err = bus.NewRabbitMQ(ctx, bus.RabbitOptions{URL: n.c.RabbitURL, Consumers: hears, Log: n.log}); err != nil {
			return err
		}
		n.bus, n.closeBus = n.rabbit, n.rabbit.Close
		return nil
	}
	if n.busDB, err = n.open(ctx, bus.Schema, 6); err != nil {
		return err
	}
	b, err := bus.NewPostgres(ctx, bus.Options{DB: n.busDB, Session: n.session, Log: n.log})
	if err != nil {
		return err
	}
	n.bus, n.closeBus = b, b.Close
	return nil
}

func (n *node) open(ctx context.Context, schema string, max int) (*postgres.DB, error) {
	return postgres.Open(ctx, postgres.Config{URL: n.c.DatabaseURL, Schema: schema, MaxConns: max, Pooled: n.c.DatabasePooled})
}

// furnish builds one service and registers what it answers and hears.
func (n *node) furnish(ctx context.Context, e entry, o nodeOptions) error {
	r := &room{entry: e, log: n.log.With("service.name", e.name), metrics: obs.NewMetrics(e.name)}
	n.rooms = append(n.rooms, r)
	if err := n.keep(ctx, r, o); err != nil {
		return err
	}
	trusted, err := n.c.trusted()
	if err != nil {
		return err
	}
	spared := n.spared()
	r.router = api.NewRouter(api.Options{
		Service: e.name, Keys: n.keys, Revocations: n.revoked, DB: r.db, Metrics: r.metrics, Log: r.log, AccessLog: o.accessLog, Trusted: trusted,
		Bound:   n.c.secure(),
		Context: n.stamped, Rehearsal: n.rehearsalTime(),
		Stores: r.stores(), Spared: spared,
	})
	r.inbox = outbox.NewInbox(r.events(), e.name, r.log)
	r.relay = outbox.NewRelay(r.events(), n.bus, e.name, n.session, r.log)
	r.service, err = e.build(ctx, parts{
		Config: n.c, db: r.db, docs: r.docs, clock: n.clock, keys: n.keys, revoked: n.revoked, kv: n.kv, log: r.log,
		peers: peer.New(e.name, n.keys, n.local, n.addresses), spared: spared,
	})
	if err != nil {
		return err
	}
	r.service.Routes(r.router)
	r.service.Subscribe(r.inbox)
	n.local[e.name] = r.router
	return r.measure(n.bus)
}

// keep opens what the service keeps its data in.
func (n *node) keep(ctx context.Context, r *room, o nodeOptions) (err error) {
	if r.rows(n.c) {
		if r.db, err = n.open(ctx, r.schema(), o.poolMax); err != nil {
			return err
		}
	}
	switch {
	case r.documents == nil:
		return nil
	case r.db != nil:
		if r.docs, err = docdb.Open(ctx, r.db, append(r.documents(), places)...); err != nil || o.moving {
			return err
		}
		return r.counts(ctx)
	}
	err = awaitStore(ctx, n.c, n.log, "MONGODB_URI", func(ctx context.Context) (err error) {
		r.docs, err = docdb.OpenMongo(ctx, docdb.Mongo{URI: n.c.MongoURI, Service: r.name, MaxConns: o.poolMax}, slices.Concat(r.documents(), outbox.Collections(), []docdb.Declared{places})...)
		return err
	})
	if err != nil || o.moving {
		return err
	}
	if err := r.counts(ctx); err != nil {
		return err
	}
	return n.nothingBehind(ctx, r)
}

// events is where the service's events are: beside its data.
func (r *room) events() outbox.DB {
	if r.db != nil {
		return r.db
	}
	return r.docs
}

func (r *room) stores() map[string]func(context.Context) error {
	if r.db != nil {
		return map[string]func(context.Context) error{"postgres": r.db.Ping}
	}
	return map[string]func(context.Context) error{"mongodb": r.docs.Ping}
}

// measure registers the service's own series, its pool's and its inbox's.
func (r *room) measure(b bus.Bus) error {
	series := []prometheus.Collector{r.inbox.Collector(b)}
	pool := map[string]func() int32{}
	if r.db != nil {
		pool["used"] = func() int32 { return r.db.Stats().AcquiredConns() }
		pool["idle"] = func() int32 { return r.db.Stats().IdleConns() }
	}
	for state, count := range pool {
		series = append(series, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "tulifo_db_connections", Help: "Database connections of the service's pool, by state.", ConstLabels: prometheus.Labels{"service": r.name, "state": state},
		}, func() float64 { return float64(count()) }))
	}
	if s, ok := r.service.(interface{ Collectors() []prometheus.Collector }); ok {
		series = append(series, s.Collectors()...)
	}
	for _, s := range series {
		if err := r.metrics.Registry.Register(s); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return nil
}

// spared are the stores without which a service still answers: what it tells meanwhile waits in its outbox, and limits are counted by each process.
func (n *node) spared() map[string]func(context.Context) error {
	spared := map[string]func(context.Context) error{}
	if n.rabbit != nil {
		spared["rabbitmq"] = n.rabbit.Ping
	}
	if n.redis != nil {
		spared["redis"] = n.redis.Ping
	}
	return spared
}

// rehearsalTime tells business time in a rehearsal, and is nil otherwise.
func (n *node) rehearsalTime() func() time.Time {
	if n.rehearsal == nil {
		return nil
	}
	return n.rehearsal.Now
}

// stamped is ctx under which events are stamped with business time.
func (n *node) stamped(ctx context.Context) context.Context { return outbox.WithClock(ctx, n.clock) }

// addresses are where another process has a service: what the environment says, else its name as kong.yml has it.
func (n *node) addresses(service string) []string {
	if urls := n.c.targets(service); len(urls) > 0 {
		return urls
	}
	for _, e := range services {
		if e.name == service {
			return []string{fmt.Sprintf("http://%s-service:%d", e.name, e.port)}
		}
	}
	return nil
}

// close gives back what newNode opened, in reverse.
func (n *node) close() {
	if n.closeBus != nil {
		n.closeBus()
	}
	if n.busDB != nil {
		n.busDB.Close()
	}
	for _, r := range n.rooms {
		if r.db != nil {
			r.db.Close()
		} else if r.docs != nil {
			r.docs.Close()
		}
	}
	if n.clockDB != nil {
		n.clockDB.Close()
	}
	if n.session != nil {
		n.session.Close()
	}
	if n.redis != nil {
		_ = n.redis.Close()
	}
}

// migrate brings the schemas of the services and of the bus up to date. Its errors say what to do.
func migrate(ctx context.Context, c Config, entries []entry, log *slog.Logger) error {
	var all []postgres.Migration
	if c.RabbitURL == "" {
		all = append(all, bus.Migration)
	}
	for _, e := range entries {
		if !e.rows(c) {
			continue
		}
		m := e.migration()
		all = append(all, api.Migration(m.Schema), outbox.Migration(m.Schema), audit.Migration(m.Schema), m)
	}
	if len(all) == 0 {
		return nil
	}
	return migrateAll(ctx, c, log, all...)
}

func migrateAll(ctx context.Context, c Config, log *slog.Logger, all ...postgres.Migration) error {
	return awaitDatabase(ctx, c, log, func(ctx context.Context) error { return postgres.Migrate(ctx, c.DatabaseDirectURL, all...) })
}

// awaitDatabase runs ask, again while the database is just starting. Its errors say what to do.
func awaitDatabase(ctx context.Context, c Config, log *slog.Logger, ask func(context.Context) error) error {
	return awaitStore(ctx, c, log, "DATABASE_URL", func(ctx context.Context) error {
		err := ask(ctx)
		if err == nil || errs.KindOf(err) == errs.Unavailable {
			return err
		}
		return databaseProblem(err)
	})
}

// awaitStore runs ask, again while the store that the variable names is just starting.
func awaitStore(ctx context.Context, c Config, log *slog.Logger, variable string, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for began, told := time.Now(), false; ; {
		err := ask(ctx)
		switch {
		case err == nil:
			return nil
		case errs.KindOf(err) != errs.Unavailable:
			return err
		case time.Since(began) > c.DatabaseWait:
			return fmt.Errorf("the database does not answer; check %s and that it runs (%w)", variable, shortCause(err))
		case !told:
			log.Warn("waiting for the database", "for", c.DatabaseWait.String(), "error", shortCause(err))
			told = true
		}
		if err := pause.For(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// databaseProblem is a sentence for what the server says to a wrong address.
func databaseProblem(err error) error {
	if _, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
		return errors.New("DATABASE_URL is not the address of a database; it looks like postgres://user:password@host:5432/name")
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return fmt.Errorf("bring the database up to date: %w", err)
	}
	switch pg.Code {
	case "28P01", "28000":
		return fmt.Errorf("the database refuses the user or password of DATABASE_URL (%s)", pg.Message)
	case "3D000":
		return fmt.Errorf("the database that DATABASE_URL names does not exist (%s); create it, or correct the name", pg.Message)
	case "42501":
		return fmt.Errorf("the role of DATABASE_URL may not bring the database up to date (%s); GRANT CREATE ON DATABASE to it", pg.Message)
	}
	return fmt.Errorf("bring the database up to date: %w", err)
}

// shortCause is the reason alone, without what each layer adds and each attempt repeats.
func shortCause(err error) error {
	if dial, ok := errors.AsType[*net.OpError](err); ok {
		return dial
	}
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		return errors.New(pg.Message)
	}
	return err
}

func (n *node) ready(ready bool) {
	for _, r := range n.rooms {
		r.router.SetReady(ready)
	}
}
