// Command bench measures the platform beside real opponents and writes docs/benchmarks.md: nginx, Caddy, RabbitMQ, pgbench, and an Express
// service of our own (reference) that answers the same routes over the same database.
//
// Work that two programs do is compared in turns within one run, the first pair is dropped, and the median of the ratios is what counts; the
// primary figure is CPU time of the server's processes for a unit of work, because machines are shared and wall time is not ours. Always:
// nothing is written that was not measured in this run, and nothing at all by a run of some jobs only.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// job measures one thing and says what it found.
type job struct {
	name string // of the -only flag
	run  func(context.Context, *bench) ([]finding, error)
}

var jobs = []job{
	{"footprint", footprint},
	{"gateway", gatewayOne},
	{"split", gatewaySplit},
	{"read", readByID},
	{"login", login},
	{"slots", slots},
	{"booking", hotBooking},
	{"ledger", ledger},
	{"release", release},
	{"relay", relay},
	{"bus", buses},
	{"kv", keyValue},
	{"docdb", documents},
	{"overload", overload},
	{"slopes", slopes},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := measure(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context) (err error) {
	binary := flag.String("binary", "bin/tulifo", "the platform's binary")
	only := flag.String("only", "", "jobs to run, separated by commas, without writing the file; all when empty")
	out := flag.String("out", "docs/benchmarks.md", "the file that is written")
	pairs := flag.Int("pairs", 7, "pairs of a comparison, the dropped first included")
	bare := flag.String("proxy", "", "serve as a bare proxy in front of this address, and measure nothing")
	flag.Parse()
	if *bare != "" {
		return proxy(ctx, *bare)
	}
	if *pairs < 2 {
		return errors.New("-pairs: two at least, since the first is dropped")
	}
	b, err := newBench(ctx, *binary, *pairs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	var found []finding
	for _, j := range jobs {
		if *only != "" && !strings.Contains(","+*only+",", ","+j.name+",") {
			continue
		}
		fmt.Println("Measuring:", j.name)
		f, err := j.run(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", j.name, err)
		}
		for _, one := range f {
			fmt.Println("  ", one)
		}
		found = append(found, f...)
	}
	if *only != "" {
		return nil
	}
	return write(ctx, *out, b, found)
}
