package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"tulifo/platform/obs"
)

// patience is how long a stop may take before the process ends at once; a second signal ends it at once too.
const patience = 15 * time.Second

// garbage is how much a process may have of it, in percent of what lives, before it collects; GOGC goes before it. What lives is some ten
// megabytes, so at Go's own 100 a busy process would collect many times a second.
const garbage = 300

// Main runs the command line and answers the exit code: 0 done, 1 failed with a sentence on stderr, 2 wrong usage.
func Main(args []string, stdout, stderr io.Writer) int {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	ctx, stop := signalled(stderr)
	defer stop()
	root := commands(processEnvironment(), stdout, stderr)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	fmt.Fprintln(stderr, "tulifo:", err)
	if _, usage := errors.AsType[usageError](err); usage {
		return 2
	}
	return 1
}

// signalled is a context that ends with the first SIGINT or SIGTERM. A second one, or a stop that takes too long, ends the process.
func signalled(stderr io.Writer) (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		select {
		case <-signals:
			fmt.Fprintln(stderr, "tulifo: stopped at once; what was acknowledged is kept")
		case <-time.After(patience):
			fmt.Fprintln(stderr, "tulifo: stopping took longer than", patience, "and was cut off; what was acknowledged is kept")
		}
		os.Exit(1)
	}()
	return ctx, func() { signal.Stop(signals); cancel() }
}

// usageError is a command line that asks for something that does not exist.
type usageError struct{ error }

func (u usageError) Unwrap() error { return u.error }

// group is a command that only holds others.
func group(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("there is no command %q; %s --help lists those that exist", args[0], c.CommandPath())}
	}
	return c.Help()
}

func commands(environment map[string]string, out, errOut io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use: "tulifo", Short: "An open gig marketplace: the whole platform in one binary",
		SilenceErrors: true, SilenceUsage: true, CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.Args, root.RunE = cobra.ArbitraryArgs, group
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	e := &environ{vars: environment, out: out, errOut: errOut}
	root.PersistentFlags().StringVar(&e.dir, "data", "", "data directory (default "+defaultData()+")")
	root.AddCommand(e.up(), e.serve(), e.migrate(), e.admin(), e.check(), e.openapi(), e.events(), e.files(), e.stores(), e.clock(), e.doctor(), e.tour(), e.version())
	return root
}

// environ is what all commands share.
type environ struct {
	vars        map[string]string
	dir         string
	alive       bool // the command needs an installation that runs
	stopped     bool // the installation does not run: its Postgres was started for this command
	out, errOut io.Writer
}

func (e *environ) logger(level string) *slog.Logger {
	var l slog.Level
	if l.UnmarshalText([]byte(level)) != nil {
		l = slog.LevelInfo
	}
	log := obs.NewLogger(e.errOut, l, "tulifo")
	slog.SetDefault(log)
	return log
}

func (e *environ) up() *cobra.Command {
	var o upOptions
	var r rehearsalFlags
	c := &cobra.Command{Use: "up", Short: "Run everything in this process, with nothing installed beforehand", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o.dir = e.dir
			// The person at the terminal wants to see where things are, not a line a request.
			level := e.vars["LOG_LEVEL"]
			if level == "" {
				level = "warn"
			}
			r.into(e.vars)
			o.begins = r.at != ""
			return up(c.Context(), o, e.vars, e.out, e.logger(level))
		}}
	c.Flags().BoolVar(&o.demo, "demo", false, "fill an empty data directory with a lively marketplace")
	c.Flags().Uint64Var(&o.seed, "seed", 1, "what the demo grows from")
	c.Flags().IntVar(&o.portBase, "port-base", 0, "is added to every port")
	r.of(c)
	c.Flags().BoolVar(&o.singleNode, "single-node", false, "embedded stores are meant, even in production")
	return c
}

func (e *environ) serve() *cobra.Command {
	var o serveOptions
	var r rehearsalFlags
	c := &cobra.Command{Use: "serve NAME...", Short: "Run the named services in this process, with stores from the environment", Args: someArgs,
		RunE: func(c *cobra.Command, names []string) error {
			r.into(e.vars)
			o.dir = e.dir
			return serve(c.Context(), names, o, e.vars, e.out, e.logger(e.vars["LOG_LEVEL"]))
		}}
	c.Flags().IntVar(&o.portBase, "port-base", 0, "is added to every port")
	c.Flags().BoolVar(&o.singleNode, "single-node", false, "embedded stores are meant, even in production")
	r.of(c)
	return c
}

func (e *environ) version() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Say which build this is", Args: noArgs, RunE: func(*cobra.Command, []string) error {
		fmt.Fprintln(e.out, "tulifo", version())
		return nil
	}}
}

// version is the module's version, the commit and its time, as far as the build knows them.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	parts := []string{info.Main.Version}
	for _, key := range []string{"vcs.revision", "vcs.time"} {
		for _, s := range info.Settings {
			if s.Key == key {
				parts = append(parts, s.Value[:min(20, len(s.Value))])
			}
		}
	}
	return strings.Join(append(parts, info.GoVersion), " ")
}

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError{fmt.Errorf("unexpected %q", args[0])}
	}
	return nil
}

// oneService takes the name of a service, or says which there are.
func oneService(_ *cobra.Command, args []string) error {
	if len(args) != 1 || len(chosen(args)) == 0 {
		return usageError{fmt.Errorf("name one service: %s", strings.Join(serviceNames(), ", "))}
	}
	return nil
}

func someArgs(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usageError{fmt.Errorf("name what to serve: %s", strings.Join(append(serviceNames(), besides...), ", "))}
	}
	return nil
}
