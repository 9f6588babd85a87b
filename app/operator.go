package app

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tulifo/platform/api"
	"tulifo/platform/audit"
	"tulifo/platform/clock"
	"tulifo/platform/errs"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
	"tulifo/services/auth"
)

// within runs fn with a node over the installation's database: the one in the environment, the one that a running tulifo up has, or an
// embedded one that is started for the purpose.
func (e *environ) within(ctx context.Context, names []string, fn func(context.Context, *node) error) error {
	log := e.logger("warn")
	c, err := readConfig(e.vars)
	if err != nil {
		return err
	}
	if c.needsPostgres(names) {
		leave, err := e.installation(ctx, log)
		if err != nil {
			return err
		}
		defer leave()
		if c, err = readConfig(e.vars); err != nil {
			return err
		}
	}
	n, err := newNode(ctx, c, log, nodeOptions{names: names, poolMax: 2, remote: true, command: true})
	if err != nil {
		return err
	}
	defer n.close()
	n.ready(true)
	if err := e.seal(ctx, n); err != nil {
		return err
	}
	return errors.Join(fn(ctx, n), e.seal(ctx, n))
}

// seal chains the audit rows of a platform that does not run, because nobody else does: those of its last moment, and the command's own.
func (e *environ) seal(ctx context.Context, n *node) error {
	if !e.stopped {
		return nil
	}
	for _, r := range n.rooms {
		if r.db == nil {
			continue
		}
		if err := audit.Flush(ctx, r.db); err != nil {
			return fmt.Errorf("seal the audit log of %s: %w", r.name, err)
		}
	}
	return nil
}

// installation completes the environment with the installation's own addresses and secrets, unless it names a database.
func (e *environ) installation(ctx context.Context, log *slog.Logger) (leave func(), err error) {
	leave = func() {}
	if e.vars["DATABASE_URL"] != "" {
		return leave, nil
	}
	c, err := readConfig(e.vars)
	if err != nil {
		return nil, err
	}
	d, err := existing(orDefault(e.dir, c))
	if err != nil {
		return nil, err
	}
	e.vars["TULIFO_DATA"] = d.dir
	if r, ok := d.found(); ok {
		e.vars["DATABASE_URL"], e.vars["DATABASE_DIRECT_URL"] = r.DatabaseURL, ""
		if e.vars["STRIPE_SECRET_KEY"] == "" {
			e.vars["STRIPE_API_URL"] = r.Stripe
		}
	} else if e.alive {
		return nil, errors.New("the rehearsal does not run, and what is due is done by its services; start it with tulifo up --rehearsal")
	} else {
		// While somebody works there without a word of where, he starts or is an operator's command: both are soon done.
		unlock, err := d.lock(ctx)
		if err != nil {
			return nil, err
		}
		server, err := postgres.Start(ctx, postgres.Options{Dir: d.path("postgres"), Log: log, Progress: progress(e.errOut, "Fetching Postgres")})
		if err != nil {
			unlock()
			return nil, err
		}
		leave = func() {
			bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			if err := server.Stop(bounded); err != nil {
				log.Error("Postgres did not stop", "error", err)
			}
			unlock()
		}
		e.vars["DATABASE_URL"], e.vars["DATABASE_DIRECT_URL"] = server.URL(embeddedDatabase), ""
		e.stopped = true
	}
	if err := d.secrets(e.vars); err != nil {
		leave()
		return nil, err
	}
	complete(e.vars)
	return leave, nil
}

// complete sets what services ask for and no command uses.
func complete(vars map[string]string) {
	for name, value := range map[string]string{"PUBLIC_URL": "http://localhost:" + strconv.Itoa(gatewayPort), "SMTP_HOST": loopback} {
		if vars[name] == "" {
			vars[name] = value
		}
	}
}

func (e *environ) migrate() *cobra.Command {
	return &cobra.Command{Use: "migrate", Short: "Bring the database up to date", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error {
		return e.within(c.Context(), serviceNames(), func(context.Context, *node) error {
			fmt.Fprintln(e.out, "The database is up to date.")
			return nil
		})
	}}
}

func (e *environ) admin() *cobra.Command {
	var email, name, role string
	create := &cobra.Command{Use: "create", Short: "Make an admin or a mediator; the password is read from standard input", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if email == "" || name == "" || role != "admin" && role != "support" {
				return usageError{errors.New("--email and --name are needed, and --role is admin or support")}
			}
			if fi, err := os.Stdin.Stat(); err == nil && fi.Mode()&os.ModeCharDevice != 0 {
				fmt.Fprint(e.errOut, "Password: ")
			}
			line, err := bufio.NewReader(os.Stdin).ReadString('\n')
			if err != nil && line == "" {
				return errors.New("no password came on standard input")
			}
			return e.within(c.Context(), []string{"auth"}, func(ctx context.Context, n *node) error {
				u, err := n.rooms[0].service.(*auth.Service).CreateAdmin(ctx, email, name, role, strings.TrimRight(line, "\r\n"))
				if err == nil {
					fmt.Fprintf(e.out, "%s %s (%s) can sign in.\n", u.Role, u.Email, u.ID)
				}
				return sentence(err)
			})
		}}
	create.Flags().StringVar(&email, "email", "", "e-mail address to sign in with")
	create.Flags().StringVar(&name, "name", "", "name that others see")
	create.Flags().StringVar(&role, "role", "admin", "admin or support (a mediator)")
	c := &cobra.Command{Use: "admin", Short: "Accounts of those who run the platform", RunE: group}
	c.AddCommand(create)
	return c
}

func (e *environ) check() *cobra.Command {
	return &cobra.Command{Use: "check", Short: "Check every invariant of the data; exit code 1 when one is broken", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error {
		return e.within(c.Context(), serviceNames(), func(ctx context.Context, n *node) error {
			broken, err := n.check(ctx, !e.stopped)
			for _, b := range broken {
				fmt.Fprintln(e.out, b)
			}
			if err == nil && len(broken) > 0 {
				err = fmt.Errorf("%d breaches of the invariants", len(broken))
			}
			if err == nil {
				fmt.Fprintln(e.out, "Every invariant holds.")
			}
			return err
		})
	}}
}

// check asks every service for breaches of the invariants that it can see, and the platform for those of its tables in the service's schema.
func (n *node) check(ctx context.Context, running bool) ([]string, error) {
	var broken []string
	for _, r := range n.rooms {
		checks := []func(context.Context) ([]string, error){
			func(ctx context.Context) ([]string, error) { return outbox.Check(ctx, r.events(), running) },
		}
		if r.db != nil {
			checks = append(checks,
				func(ctx context.Context) ([]string, error) { return api.CheckKeys(ctx, r.db) },
				func(ctx context.Context) ([]string, error) { return audit.Verify(ctx, r.db) })
		}
		if s, ok := r.service.(interface {
			Check(context.Context) ([]string, error)
		}); ok {
			checks = append(checks, s.Check)
		}
		for _, check := range checks {
			found, err := check(ctx)
			if err != nil {
				return broken, fmt.Errorf("check of %s: %w", r.name, err)
			}
			for _, f := range found {
				broken = append(broken, r.name+": "+f)
			}
		}
	}
	return broken, nil
}

func (e *environ) events() *cobra.Command {
	replay := &cobra.Command{Use: "replay SERVICE", Short: "Deliver the service's dead letters again, and what waits behind them, in order", Args: oneService,
		RunE: func(c *cobra.Command, args []string) error {
			return e.within(c.Context(), args, func(ctx context.Context, n *node) error {
				count, err := outbox.Replay(ctx, n.rooms[0].events(), args[0])
				if err == nil {
					fmt.Fprintf(e.out, "%d events are delivered again.\n", count)
				}
				return err
			})
		}}
	c := &cobra.Command{Use: "events", Short: "Events that could not be handled", RunE: group}
	c.AddCommand(replay)
	return c
}

func (e *environ) openapi() *cobra.Command {
	return &cobra.Command{Use: "openapi SERVICE", Short: "Print a service's OpenAPI document", Args: oneService, RunE: func(c *cobra.Command, args []string) error {
		show := func(_ context.Context, n *node) error {
			enc := json.NewEncoder(e.out)
			enc.SetIndent("", "  ")
			return enc.Encode(n.rooms[0].router.Spec())
		}
		err := e.imagine(c.Context(), args, show)
		// A service that opens its documents when it is built needs an installation.
		if errs.KindOf(err) == errs.Unavailable {
			err = e.within(c.Context(), args, show)
		}
		return err
	}}
}

// imagine runs fn with a node that has no database, and leaves nothing behind.
func (e *environ) imagine(ctx context.Context, names []string, fn func(context.Context, *node) error) error {
	dir, err := os.MkdirTemp("", "tulifo-openapi-")
	if err != nil {
		return fmt.Errorf("temporary directory: %w", err)
	}
	defer os.RemoveAll(dir)
	vars := map[string]string{"TULIFO_DATA": filepath.Join(dir, "data"), "DATABASE_URL": "postgres://" + net.JoinHostPort(loopback, "1") + "/none"}
	for _, g := range generated {
		vars[g.name] = g.prefix + strings.Repeat("x", 32)
	}
	complete(vars)
	c, err := readConfig(vars)
	if err != nil {
		return err
	}
	n, err := newNode(ctx, c, e.logger("warn"), nodeOptions{names: names, clock: clock.System, poolMax: 1, offline: true})
	if err != nil {
		return err
	}
	defer n.close()
	return fn(ctx, n)
}
