package app

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

const (
	oldestPostgres = 150000
	reachBound     = 3 * time.Second
)

// finding is one thing that doctor looked at.
type finding struct {
	what string
	err  error
}

func (e *environ) doctor() *cobra.Command {
	var portBase int
	var singleNode bool
	c := &cobra.Command{Use: "doctor", Short: "Look for what would keep the platform from running well; exit code 1 when something would", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			faults := 0
			for _, f := range e.examine(c.Context(), portBase, singleNode) {
				if f.err == nil {
					fmt.Fprintf(e.out, "ok    %s\n", f.what)
					continue
				}
				faults++
				fmt.Fprintf(e.out, "FAULT %s: %v\n", f.what, f.err)
			}
			switch faults {
			case 0:
				return nil
			case 1:
				return errors.New("1 fault")
			}
			return fmt.Errorf("%d faults", faults)
		}}
	c.Flags().IntVar(&portBase, "port-base", 0, "is added to every port")
	c.Flags().BoolVar(&singleNode, "single-node", false, "embedded stores are meant, even in production")
	return c
}

func (e *environ) examine(ctx context.Context, portBase int, singleNode bool) []finding {
	out, err := e.examineNames()
	if err != nil {
		return []finding{{"environment", err}}
	}
	c, err := readConfig(e.vars)
	if err != nil {
		return append(out, finding{"environment", err})
	}
	out = append(out, finding{"environment", c.noEmbedded()})
	if c.DatabaseURL == "" {
		// What is not set, up generates.
		for _, g := range generated {
			if e.vars[g.name] == "" {
				e.vars[g.name] = strings.Repeat("x", 32)
			}
		}
		if c, err = readConfig(e.vars); err != nil {
			return append(out, finding{"environment", err})
		}
	}
	_, keys := token.NewKeys(c.Token)
	out = append(out, finding{"secrets", keys})
	if c.DatabaseURL == "" {
		out = append(out, e.examineData(ctx, c, portBase)...)
	} else {
		out = append(out, finding{"database at DATABASE_URL", examineDatabase(ctx, c)})
	}
	out = append(out, e.examineStores(ctx, c)...)
	if host := e.vars["SMTP_HOST"]; host != "" {
		address := net.JoinHostPort(host, cmp.Or(e.vars["SMTP_PORT"], strconv.Itoa(smtpPort)))
		out = append(out, finding{"mail server at " + address, examineSMTP(ctx, address)})
	}
	return out
}

// examineNames finds the variables that nothing reads.
func (e *environ) examineNames() (out []finding, err error) {
	found, err := unread(e.vars)
	for _, name := range slices.Sorted(maps.Keys(found)) {
		out = append(out, finding{"variable " + name, errors.New(found[name])})
	}
	return out, err
}

// examineData looks at what tulifo up uses, or would use, on this machine.
func (e *environ) examineData(ctx context.Context, c Config, portBase int) []finding {
	dir := orDefault(e.dir, c)
	d := data{dir}
	var out []finding
	_, err := os.Stat(dir)
	if errors.Is(err, os.ErrNotExist) {
		out = []finding{{"data directory " + dir + ", which tulifo up will make", examineParent(dir)}}
	} else {
		d, err = existing(dir)
		out = []finding{{"data directory " + dir, err}}
		if err != nil {
			return out
		}
	}
	if r, ok := d.found(); ok {
		return append(out, finding{fmt.Sprintf("tulifo up (process %d) at %s", r.PID, r.Gateway), examineRunning(ctx, r)})
	}
	uses, err := postgres.Binaries(d.path("postgres"))
	if err != nil {
		uses = "Postgres"
	}
	return append(out, finding{uses, err}, finding{"ports", examinePorts(portBase)})
}

// examineParent tells whether dir can be made.
func examineParent(dir string) error {
	for p := filepath.Dir(dir); ; p = filepath.Dir(p) {
		if _, err := os.Stat(p); err == nil || p == filepath.Dir(p) {
			const write = 2
			if err := syscall.Access(p, write); err != nil {
				return fmt.Errorf("it cannot be made: %s cannot be written to (%w); choose another with --data", p, err)
			}
			return nil
		}
	}
}

// examineRunning asks a platform that runs how its services are.
func examineRunning(ctx context.Context, r running) error {
	ctx, cancel := context.WithTimeout(ctx, reachBound)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.Gateway+"/health", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("it does not answer (%w); stop it and start it again", err)
	}
	defer res.Body.Close()
	var said struct {
		Status   string
		Services map[string]string
	}
	if err := json.NewDecoder(res.Body).Decode(&said); err != nil {
		return fmt.Errorf("its gateway answers %d without a state of health; is another program on that port?", res.StatusCode)
	}
	if said.Status == "ok" {
		return nil
	}
	var ill []string
	for name, state := range said.Services {
		if state == "not_ready" {
			ill = append(ill, name)
		}
	}
	slices.Sort(ill)
	return fmt.Errorf("not ready: %s; look at /health on their ports and at the log", strings.Join(ill, ", "))
}

// examinePorts tells which port is taken.
func examinePorts(base int) error {
	d := &doors{host: loopback}
	defer d.shut(time.Second)
	type port struct {
		name string
		n    int
	}
	ports := []port{{"the gateway", gatewayPort}, {"the gateway's admin page", adminPort}, {smtpDoor, smtpPort}, {"the inbox's page", inboxPort}, {"the Stripe simulator", stripePort}}
	for _, s := range services {
		ports = append(ports, port{s.name, s.port})
	}
	for _, p := range ports {
		if _, err := d.open(p.name, p.n+base); err != nil {
			return err
		}
	}
	return nil
}

// examineDatabase proves version, rights, the extension, the budget of connections, and that the connection is a session of its own.
func examineDatabase(ctx context.Context, c Config) error {
	ctx, cancel := context.WithTimeout(ctx, 4*reachBound)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.DatabaseDirectURL)
	if err != nil {
		if _, said := errors.AsType[*pgconn.PgError](err); said {
			return databaseProblem(err)
		}
		return fmt.Errorf("it does not answer (%w); check the address and that it runs", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	var version, max int
	var extension, create bool
	err = conn.QueryRow(ctx, `
		SELECT current_setting('server_version_num')::int, current_setting('max_connections')::int,
		       EXISTS (SELECT FROM pg_available_extensions WHERE name = 'btree_gist'), has_database_privilege(current_database(), 'CREATE')`).
		Scan(&version, &max, &extension, &create)
	if err != nil {
		return err
	}
	per := c.DatabasePoolMax
	if per == 0 {
		per = 10
	}
	// Besides its pool a process has one of 6 for the bus and a session of its own; the gateway is one more process.
	switch need := len(services)*(per+7) + 7; {
	case version < oldestPostgres:
		return fmt.Errorf("it is version %d; 15 or newer is needed", version/10000)
	case !extension:
		return errors.New("the extension btree_gist is not installed on the server; install postgresql-contrib there")
	case !create:
		return errors.New("this role may not create schemas in the database; GRANT CREATE ON DATABASE to it")
	case need > max && !c.DatabasePooled:
		return fmt.Errorf("one process per service may take %d connections and max_connections is %d; raise it, or lower DATABASE_POOL_MAX", need, max)
	}
	return examineSession(ctx, conn)
}

// examineSession finds out whether a pooler stands between: through one, what a session listens to or has set does not stay.
func examineSession(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.Exec(ctx, "SET application_name = 'tulifo doctor'"); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "LISTEN tulifo_doctor"); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "NOTIFY tulifo_doctor"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reachBound)
	defer cancel()
	if _, err := conn.WaitForNotification(ctx); err != nil {
		return errors.New("a notification did not arrive: a transaction pooler stands between; set DATABASE_DIRECT_URL to the server itself and DATABASE_POOLED=true")
	}
	return nil
}

func examineSMTP(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{Timeout: reachBound}).DialContext(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("it does not answer (%w)", err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(reachBound))
	var greeting [3]byte
	if _, err := io.ReadFull(conn, greeting[:]); err != nil || string(greeting[:]) != "220" {
		return errors.New("it answers, but not as a mail server does")
	}
	return nil
}
