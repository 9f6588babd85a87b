package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// write puts what was found into the report.
func write(ctx context.Context, path string, b *bench, found []finding) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, `# Benchmarks

Written by `+"`make bench`"+`; nothing here was not measured in its last run, on %s. Machine: %s, %d cores, %s. Versions: %s.

Where a ratio has its spread beside it, the two were measured in turns: up to %d pairs, the first dropped; the ratio is the median. What has none was measured once. CPU is time (user and
system) of the server's processes for a unit of work, Postgres apart unless it is said; it counts most, because machines are shared and wall time is not ours. Load, opponents and platform
run on the same cores over loopback. Percentiles are of an open model, from the moment at which a call was meant to be sent, over %d connections at most. `+"`bench/reference`"+` is the
opponent called Express: our own, the same routes over the same database, with named prepared statements, bcryptjs and jsonwebtoken. The last column says what the code or the run tells
about the figure; no profile stands behind it.

| job | ours | opponent | ratio | target | | what bounds it |
|---|---|---|---|---|---|---|
`, time.Now().UTC().Format(time.DateOnly), processor(), runtime.NumCPU(), memory(), strings.Join(versions(ctx, b), ", "), b.pairs, mostOpen)
	missed, wanted := 0, 0
	for _, f := range found {
		if f.Target != "" {
			wanted++
		}
		if f.missed() {
			missed++
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %s | %s |\n", f.Job, f.Ours, f.Opponent, f.Ratio, f.Target, f.verdict(), f.Bound)
	}
	fmt.Fprintf(&out, "\n%d of %d figures miss their target.\n", missed, wanted)
	if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
		return err
	}
	fmt.Printf("%d of %d figures miss their target; %s is written.\n", missed, wanted, path)
	return nil
}

func processor() string { return field("/proc/cpuinfo", "model name") }

func memory() string { return field("/proc/meminfo", "MemTotal") }

func field(file, name string) string {
	raw, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(raw)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return "unknown"
}

func versions(ctx context.Context, b *bench) []string {
	out := []string{runtime.Version()}
	var postgres string
	if err := b.db.QueryRow(ctx, `SHOW server_version`).Scan(&postgres); err == nil {
		out = append(out, "Postgres "+postgres)
	}
	for _, o := range []struct{ name, program, flag string }{{"nginx", "nginx", "-v"}, {"Caddy", "caddy", "version"}, {"Node", "node", "--version"}} {
		if said, err := exec.CommandContext(ctx, o.program, o.flag).CombinedOutput(); err == nil {
			f := strings.Fields(strings.TrimPrefix(string(said), "nginx version: nginx/"))
			if len(f) > 0 {
				out = append(out, o.name+" "+f[0])
			}
		}
	}
	if said, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Version}", "rabbitmq-server").Output(); err == nil {
		out = append(out, "RabbitMQ "+string(said))
	}
	return out
}
