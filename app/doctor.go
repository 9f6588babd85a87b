package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

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
	c := &cobra.Command{Use: "doctor", Short: "Look for what would keep the platform from running well; exit code 1 when something would", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			faults := 0
			for _, f := range e.examine(c.Context(), portBase) {
				if f.err == nil {
					fmt.Fprintf(e.out, "ok    %s\n", f.what)
					continue
				}
				faults++
				fmt.Fprintf(e.out, "FAULT %s: %v\n", f.what, f.err)
			}
			if faults > 0 {
				return fmt.Errorf("%d faults", faults)
			}
			return nil
		}}
	c.Flags().IntVar(&portBase, "port-base", 0, "is added to every port")
	return c
}

func (e *environ) examine(ctx context.Context, portBase int) []finding {
	c, err := readConfig(e.vars)
	if err != nil {
		return []finding{{"environment", err}}
	}
	out := []finding{{"environment", c.noEmbedded()}}
	if c.DatabaseURL == "" {
		return append(out, e.examineData(c, portBase)...)
	}
	_, keys := token.NewKeys(c.Token)
	out = append(out, finding{"secrets", keys}, finding{"database at DATABASE_URL", examineDatabase(ctx, c)})
	if host := e.vars["SMTP_HOST"]; host != "" {
		port := e.vars["SMTP_PORT"]
		if port == "" {
			port = "1025"
		}
		out = append(out, finding{"mail server at " + net.JoinHostPort(host, port), examineSMTP(ctx, net.JoinHostPort(host, port))})
	}
	return out
}

// examineData looks at what tulifo up would use on this machine.
func (e *environ) examineData(c Config, portBase int) []finding {
	dir := orDefault(e.dir, c)
	d, err := existing(dir)
	if _, stat := os.Stat(dir); errors.Is(stat, os.ErrNotExist) {
		return append([]finding{{"data directory " + dir + ", which tulifo up will make", nil}}, examinePorts(portBase)...)
	}
	out := []finding{{"data directory " + dir, err}}
	if err != nil {
		return out
	}
	if r, ok := d.found(); ok {
		return append(out, finding{fmt.Sprintf("tulifo up runs there (process %d)", r.PID), nil})
	}
	return append(out, examinePorts(portBase)...)
}

func examinePorts(base int) []finding {
	d := &doors{host: "127.0.0.1"}
	defer d.shut(time.Second)
	ports := map[string]int{"the gateway": gatewayPort, "the gateway's admin page": adminPort, "the inbox (SMTP)": smtpPort, "the inbox's page": inboxPort, "the Stripe simulator": stripePort}
	for _, s := range services {
		ports[s.name] = s.port
	}
	var out []finding
	for name, port := range ports {
		if _, err := d.open(name, port+base); err != nil {
			out = append(out, finding{"ports", err})
		}
	}
	if out == nil {
		out = []finding{{"ports", nil}}
	}
	return out
}

// examineDatabase proves version, rights, the extension, the budget of connections, and that the connection is a session of its own.
func examineDatabase(ctx context.Context, c Config) error {
	ctx, cancel := context.WithTimeout(ctx, 4*reachBound)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.DatabaseDirectURL)
	if err != nil {
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
	switch need := len(services)*per + 10; {
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
