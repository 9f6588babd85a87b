package app

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"tulifo/platform/clock"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
	"tulifo/services/auth"
)

// within runs fn with a node over the installation's database: the one in the environment, the one that a running tulifo up has, or an
// embedded one that is started for the purpose.
func (e *environ) within(ctx context.Context, names []string, fn func(context.Context, *node) error) error {
	log := e.logger("warn")
	if e.vars["DATABASE_URL"] == "" {
		c, err := readConfig(e.vars)
		if err != nil {
			return err
		}
		d, err := existing(orDefault(e.dir, c))
		if err != nil {
			return err
		}
		if err := d.secrets(e.vars); err != nil {
			return err
		}
		if r, ok := d.found(); ok {
			e.vars["DATABASE_URL"] = r.DatabaseURL
		} else {
			server, err := postgres.Start(ctx, postgres.Options{Dir: d.path("postgres"), Log: log, Progress: progress(e.errOut, "Fetching Postgres")})
			if err != nil {
				return err
			}
			defer server.Stop(context.WithoutCancel(ctx))
			e.vars["DATABASE_URL"] = server.URL(embeddedDatabase)
		}
		for name, value := range map[string]string{"PUBLIC_URL": "http://localhost:8000", "SMTP_HOST": "127.0.0.1"} {
			if e.vars[name] == "" {
				e.vars[name] = value
			}
		}
	}
	c, err := readConfig(e.vars)
	if err != nil {
		return err
	}
	n, err := newNode(ctx, c, log, nodeOptions{names: names, clock: clock.System, poolMax: 2, remote: true})
	if err != nil {
		return err
	}
	defer n.close()
	n.ready(true)
	return fn(ctx, n)
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
			fmt.Fprint(e.errOut, "Password: ")
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
	c := &cobra.Command{Use: "admin", Short: "Accounts of those who run the platform"}
	c.AddCommand(create)
	return c
}

func (e *environ) check() *cobra.Command {
	return &cobra.Command{Use: "check", Short: "Check every invariant of the data; exit code 1 when one is broken", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error {
		return e.within(c.Context(), serviceNames(), func(ctx context.Context, n *node) error {
			broken, err := n.check(ctx)
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

// check asks every service for breaches of the invariants that it can see.
func (n *node) check(ctx context.Context) ([]string, error) {
	var broken []string
	for _, r := range n.rooms {
		s, ok := r.service.(interface {
			Check(context.Context) ([]string, error)
		})
		if !ok {
			continue
		}
		found, err := s.Check(ctx)
		if err != nil {
			return broken, fmt.Errorf("check of %s: %w", r.name, err)
		}
		for _, f := range found {
			broken = append(broken, r.name+": "+f)
		}
	}
	return broken, nil
}

func (e *environ) events() *cobra.Command {
	replay := &cobra.Command{Use: "replay SERVICE", Short: "Deliver the service's dead letters again, and what waits behind them, in order", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := known(args); err != nil || len(chosen(args)) == 0 {
				return usageError{fmt.Errorf("name one of %v", serviceNames())}
			}
			return e.within(c.Context(), args, func(ctx context.Context, n *node) error {
				count, err := outbox.Replay(ctx, n.rooms[0].db, args[0])
				if err == nil {
					fmt.Fprintf(e.out, "%d events are delivered again.\n", count)
				}
				return err
			})
		}}
	c := &cobra.Command{Use: "events", Short: "Events that could not be handled"}
	c.AddCommand(replay)
	return c
}

func (e *environ) openapi() *cobra.Command {
	return &cobra.Command{Use: "openapi SERVICE", Short: "Print a service's OpenAPI document", Args: cobra.ExactArgs(1), RunE: func(c *cobra.Command, args []string) error {
		if err := known(args); err != nil || len(chosen(args)) == 0 {
			return usageError{fmt.Errorf("name one of %v", serviceNames())}
		}
		return e.within(c.Context(), args, func(_ context.Context, n *node) error {
			enc := json.NewEncoder(e.out)
			enc.SetIndent("", "  ")
			return enc.Encode(n.rooms[0].router.Spec())
		})
	}}
}
