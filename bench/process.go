package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a server that was started for the bench and ends with it.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string
	done chan struct{}
	end  sync.Once
}

// start runs a server whose output goes to a file of the bench's directory.
func (b *bench) start(name string, env []string, args ...string) (*process, error) {
	log := filepath.Join(b.dir, name+".log")
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Env = f, f, append(os.Environ(), env...)
	// Killed alone, a shell script leaves the server that it started behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, log: log, done: make(chan struct{})}
	go func() { _ = cmd.Wait(); close(p.done) }()
	b.processes = append(b.processes, p)
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop asks the server to end, and insists after ten seconds; once, since its id may be another's afterwards.
func (p *process) stop() {
	p.end.Do(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(10 * time.Second):
		}
		_ = syscall.Kill(-p.pid(), syscall.SIGKILL)
		<-p.done
	})
}

// until waits for ok, and answers what the server wrote if it does not come.
func (p *process) until(ctx context.Context, bound time.Duration, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	for !ok() {
		select {
		case <-p.done:
			return p.failed("ended")
		case <-ctx.Done():
			return p.failed("is not ready")
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

func (p *process) failed(what string) error {
	said, err := os.ReadFile(p.log)
	return errors.Join(fmt.Errorf("%s %s: %s", p.name, what, said[max(0, len(said)-2000):]), err)
}

// tick is the unit of /proc/PID/stat on every Linux.
const tick = 10 * time.Millisecond

type stat struct {
	parent        int
	own, children time.Duration // CPU time; children's once they are reaped
	rss           int64
}

func statOf(pid int) (stat, bool) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return stat{}, false
	}
	f := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	n := func(i int) int64 { v, _ := strconv.ParseInt(f[i-3], 10, 64); return v }
	return stat{int(n(4)), time.Duration(n(14)+n(15)) * tick, time.Duration(n(16)+n(17)) * tick, n(24) * int64(os.Getpagesize())}, true
}

// tree is the processes below pid, itself included.
func tree(pid int) []int {
	entries, _ := os.ReadDir("/proc")
	children := map[int][]int{}
	for _, e := range entries {
		if id, err := strconv.Atoi(e.Name()); err == nil {
			if s, ok := statOf(id); ok {
				children[s.parent] = append(children[s.parent], id)
			}
		}
	}
	out := []int{pid}
	for i := 0; i < len(out); i++ {
		out = append(out, children[out[i]]...)
	}
	return out
}

// cpu is the CPU time of a process alone.
func cpu(pid int) time.Duration { s, _ := statOf(pid); return s.own }

// cpuOfTree is the CPU time of a process with all that it has started, ended ones included.
func cpuOfTree(pid int) (sum time.Duration) {
	for _, id := range tree(pid) {
		s, _ := statOf(id)
		sum += s.own + s.children
	}
	return sum
}

func rss(pid int) int64 { s, _ := statOf(pid); return s.rss }

// pss is the memory of a process, with its share of what it shares, in bytes.
func pss(pid int) int64 {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Pss:" {
			kb, _ := strconv.ParseInt(f[1], 10, 64)
			return kb << 10
		}
	}
	return 0
}
