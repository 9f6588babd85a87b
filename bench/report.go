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

Two programs are compared in turns within one run: up to %d pairs, the first dropped; the ratio is the median with its spread. The primary figure is CPU time (user and system) of the
server's processes for a unit of work, Postgres apart unless it is said, because machines are shared and wall time is not ours. Load, opponents and platform run on the same cores over
loopback. Latency is measured by an open model, from the moment at which a call was meant to be sent. `+"`bench/reference`"+` is the opponent called Express: our own, the same routes over the
same database, with named prepared statements, bcryptjs and jsonwebtoken.

| job | ours | opponent | ratio | target | | what bounds it |
|---|---|---|---|---|---|---|
`, time.Now().UTC().Format(time.DateOnly), processor(), runtime.NumCPU(), memory(), strings.Join(versions(ctx, b), ", "), b.pairs)
	missed := 0
	for _, f := range found {
		met := "met"
		switch {
		case f.Target == "":
			met = ""
		case !f.Met:
			met = "**missed**"
			missed++
		}
		fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %s | %s |\n", f.Job, f.Ours, f.Opponent, f.Ratio, f.Target, met, f.Bound)
	}
	fmt.Fprintf(&out, "\n%d of %d figures miss their target.\n", missed, len(found))
	fmt.Printf("%d of %d figures miss their target; %s is written.\n", missed, len(found), path)
	return os.WriteFile(path, out.Bytes(), 0o644)
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
	for name, args := range map[string][]string{"Node": {"node", "--version"}, "nginx": {"nginx", "-v"}, "Caddy": {"caddy", "version"}} {
		if said, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err == nil {
			f := strings.Fields(strings.TrimPrefix(string(said), "nginx version: nginx/"))
			if len(f) > 0 {
				out = append(out, name+" "+f[0])
			}
		}
	}
	if said, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Version}", "rabbitmq-server").Output(); err == nil {
		out = append(out, "RabbitMQ "+string(said))
	}
	return out
}
