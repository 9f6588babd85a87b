package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"

	"tulifo/platform/blob"
	"tulifo/platform/token"
)

// Config is what this process reads of its environment for itself; each service reads its own part beside it. It is read once.
type Config struct {
	Env     string `env:"TULIFO_ENV"`
	NodeEnv string `env:"NODE_ENV"` // counts when TULIFO_ENV is not set
	Host    string `env:"HOST"`     // 127.0.0.1 in up, 0.0.0.0 in serve, unless set
	Port    int    `env:"PORT"`     // counts when exactly one service is served

	DatabaseURL       string `env:"DATABASE_URL"`        // empty: the embedded Postgres
	DatabaseDirectURL string `env:"DATABASE_DIRECT_URL"` // past a pooler, for LISTEN, locks and migrations; DATABASE_URL when empty
	DatabasePooled    bool   `env:"DATABASE_POOLED"`     // DATABASE_URL leads to a transaction pooler
	DatabasePoolMax   int    `env:"DATABASE_POOL_MAX"`   // connections per service; 6 in up, 10 in serve

	DatabaseWait time.Duration `env:"DATABASE_WAIT" envDefault:"10s"` // how long a start waits for a database that does not answer yet

	Files     blob.S3Config
	MongoURI  string `env:"MONGODB_URI"`  // where services keep documents, as mongodb://user:password@host:27017/tulifo_gig?replicaSet=rs0; empty: the database does
	RedisURL  string `env:"REDIS_URL"`    // where processes share limits and a copy of the revocations, as redis://user:password@host:6379/0; empty: this process's memory
	RabbitURL string `env:"RABBITMQ_URL"` // the broker that carries events, as amqp://user:password@host:5672/vhost; empty: the database does

	PublicURL      string   `env:"PUBLIC_URL"` // the only source of hosts in links
	CORSOrigins    []string `env:"CORS_ORIGIN"`
	TrustedProxies []string `env:"TRUSTED_PROXIES"` // address ranges whose X-Forwarded-For is believed
	TLSCertFile    string   `env:"TLS_CERT_FILE"`
	TLSKeyFile     string   `env:"TLS_KEY_FILE"`
	LogLevel       string   `env:"LOG_LEVEL" envDefault:"info"`
	LogEndpoint    string   `env:"LOG_ENDPOINT"`    // where the gateway's http-log plugin sends to
	GatewayOverlay string   `env:"GATEWAY_OVERLAY"` // a file of plugins that replace those of kong.yml; refused in production
	Token          token.Config

	Rehearsal       bool      `env:"TULIFO_REHEARSAL"`        // business time is virtual, and tulifo clock moves it; refused in production and with a live Stripe key
	RehearsalAt     time.Time `env:"TULIFO_REHEARSAL_AT"`     // business time at which a rehearsal begins, as 2026-03-02T08:00:00Z; now when empty. It counts once
	RehearsalFrozen bool      `env:"TULIFO_REHEARSAL_FROZEN"` // business time stands still between moves, instead of running as the world's does. It counts once

	Data        string `env:"TULIFO_DATA"` // the data directory
	SingleNode  bool   `env:"-"`           // embedded stores are meant, even in production
	PortBase    int    `env:"-"`           // is added to every port
	environment map[string]string
}

const production = "production"

// embedded names what each address in the environment replaces, and is refused in production unless it is set.
var embedded = []struct {
	variable, store string
	by              []string // the services that use it; all when nil
	apart           bool     // serve runs without it too, and then each process or machine has its own, or all load the database with it
}{
	{"DATABASE_URL", "Postgres", nil, false},
	{"RABBITMQ_URL", "the bus", nil, true},
	{"REDIS_URL", "the cache", nil, true},
	{"MONGODB_URI", "the document store", []string{"notification"}, true},
	{"S3_ENDPOINT", "the file store", uploading, true},
	{"SMTP_HOST", "the inbox", nil, false},
	{"STRIPE_SECRET_KEY", "the Stripe simulator", nil, false},
}

// readConfig parses the environment. Its error names every variable that is wrong.
func readConfig(environment map[string]string) (Config, error) {
	c := Config{environment: environment}
	if err := env.ParseWithOptions(&c, env.Options{Environment: environment}); err != nil {
		return c, fmt.Errorf("environment: %w", err)
	}
	if c.Env == "" {
		c.Env = c.NodeEnv
	}
	if c.DatabaseDirectURL == "" {
		c.DatabaseDirectURL = c.DatabaseURL
	}
	if _, err := c.trusted(); err != nil {
		return c, err
	}
	if err := c.Files.Validate(); err != nil {
		return c, err
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return c, errors.New("LOG_LEVEL must be debug, info, warn or error")
	}
	if !c.Rehearsal && (!c.RehearsalAt.IsZero() || c.RehearsalFrozen) {
		return c, errors.New("--at and --frozen (TULIFO_REHEARSAL_AT, TULIFO_REHEARSAL_FROZEN) are a rehearsal's; say --rehearsal (TULIFO_REHEARSAL=true) too")
	}
	if c.GatewayOverlay != "" && c.Env == production {
		return c, errors.New("GATEWAY_OVERLAY is for tests and benchmarks, not for production")
	}
	return c, nil
}

// part reads a service's own configuration from the same environment.
func part[T any](c Config) (T, error) {
	var own T
	if err := env.ParseWithOptions(&own, env.Options{Environment: c.environment}); err != nil {
		return own, fmt.Errorf("environment: %w", err)
	}
	if v, ok := any(own).(interface{ Validate() error }); ok {
		if err := v.Validate(); err != nil {
			return own, err
		}
	}
	return own, nil
}

// noEmbedded refuses embedded stores in production.
func (c Config) noEmbedded() error {
	if c.Env != production {
		return nil
	}
	if c.SingleNode {
		if c.environment["STRIPE_SECRET_KEY"] == "" {
			return errors.New("production needs STRIPE_SECRET_KEY: the Stripe simulator moves no real money and is refused, also with --single-node")
		}
		return nil
	}
	return c.lacking(serviceNames(), false)
}

// noneApart refuses, in production, to serve the names with stores that their other processes and machines do not share.
func (c Config) noneApart(names []string) error {
	if c.Env != production || c.SingleNode {
		return nil
	}
	return c.lacking(names, true)
}

func (c Config) lacking(names []string, apart bool) error {
	var missing []string
	for _, e := range embedded {
		used := e.by == nil || slices.ContainsFunc(e.by, func(name string) bool { return slices.Contains(names, name) })
		if used && (e.apart || !apart) && c.environment[e.variable] == "" {
			missing = append(missing, e.variable+" (else "+e.store+" is embedded)")
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return errors.New("production needs " + strings.Join(missing, ", ") + "; say --single-node when one machine with embedded stores is what you mean")
}

func (c Config) trusted() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range c.TrustedProxies {
		p, err := netip.ParsePrefix(strings.TrimSpace(s))
		if err != nil {
			return nil, errors.New("TRUSTED_PROXIES must be address ranges such as 10.0.0.0/8, comma separated")
		}
		out = append(out, p)
	}
	return out, nil
}

// needsPostgres tells whether one of the services, or the bus, keeps something there.
func (c Config) needsPostgres(names []string) bool {
	return c.RabbitURL == "" || slices.ContainsFunc(chosen(names), func(e entry) bool { return e.rows(c) })
}

// secure says whether people reach the platform over TLS.
func (c Config) secure() bool { return strings.HasPrefix(c.PublicURL, "https://") }

// targets are the base URLs at which the environment says a service is.
func (c Config) targets(service string) []string {
	var out []string
	for s := range strings.SplitSeq(c.environment[envPrefix(service)+"_SERVICE_URL"], ",") {
		if s = strings.TrimRight(strings.TrimSpace(s), "/"); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// port is where a service listens: PORT when it is the only one served, else <NAME>_PORT, else its number in the table.
func (c Config) port(name string, standard int, alone bool) (int, error) {
	if alone && c.Port != 0 {
		return c.Port + c.PortBase, nil
	}
	if s := c.environment[envPrefix(name)+"_PORT"]; s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 0 || n > 65535 {
			return 0, fmt.Errorf("%s_PORT must be a port number", envPrefix(name))
		}
		standard = n
	}
	return standard + c.PortBase, nil
}

func envPrefix(service string) string {
	return strings.ToUpper(strings.ReplaceAll(service, "-", "_"))
}

func processEnvironment() map[string]string {
	out := map[string]string{}
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		out[name] = value
	}
	return out
}
