package servertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Process is a server and the directory of its data. One goroutine at a time may use it.
type Process struct {
	kind *kind
	dir  string
	port int
	url  string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process that was started is gone
}

func launch(k *kind) (*Process, error) {
	home, err := root()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(home, k.name+"-")
	if err != nil {
		return nil, err
	}
	port, err := freePorts(k.ports)
	if err != nil {
		return nil, err
	}
	p := &Process{kind: k, dir: dir, port: port, url: k.url(port)}
	if err := p.Start(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// URL is the server's address.
func (p *Process) URL() string { return p.url }

// PID is the id of the process that was started; the server may be a child of it.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// leader notes the process group before it becomes the server, so that who clears away finds it.
const leader = `echo $$ >"$0" && exec "$@"`

// Start starts the server in its directory and returns when it answers.
func (p *Process) Start() error {
	if p.cmd != nil {
		return fmt.Errorf("%s runs already", p.kind.name)
	}
	args, err := p.kind.command(p.dir, p.port)
	if err != nil {
		return err
	}
	log, err := os.Create(p.log())
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("sh", append([]string{"-c", leader, p.group()}, args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, log, log
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "TMPDIR=" + os.TempDir()}
	if p.kind.env != nil {
		cmd.Env = append(cmd.Env, p.kind.env(p.dir, p.port)...)
	}
	// A group of its own: the signal of a terminal is for the tests, and scripts leave children behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", p.kind.name, err)
	}
	p.cmd, p.done = cmd, make(chan struct{})
	go func(done chan struct{}) { _ = cmd.Wait(); close(done) }(p.done)
	var last error
	err = await(p.done, func() bool { last = p.kind.answers(p.url, p.port); return last == nil })
	if err != nil {
		said, _ := os.ReadFile(p.log())
		return errors.Join(fmt.Errorf("%s does not answer at %s: %w (%v); it said: %s", p.kind.name, p.url, err, last, said[max(0, len(said)-2000):]), p.Kill())
	}
	return nil
}

// Stop asks the server to end in order, and returns when it has.
func (p *Process) Stop() error { return p.end(syscall.SIGTERM) }

// Kill ends the server as kill -9 does, and returns when it has.
func (p *Process) Kill() error { return p.end(syscall.SIGKILL) }

// Close ends the server and removes its data.
func (p *Process) Close() error { return errors.Join(p.Kill(), os.RemoveAll(p.dir)) }

func (p *Process) end(with syscall.Signal) error {
	if p.cmd == nil {
		return nil
	}
	group := p.cmd.Process.Pid
	if with != syscall.SIGKILL {
		// To the first process alone: a broker stops its children in its own order.
		_ = syscall.Kill(group, with)
		select {
		case <-p.done:
		case <-time.After(longest):
		}
	}
	// What the first one has left has to go as well, and with it the ports.
	_ = syscall.Kill(-group, syscall.SIGKILL)
	<-p.done
	p.cmd = nil
	err := await(nil, func() bool {
		for i := range p.kind.ports {
			if c, err := net.DialTimeout("tcp", local(p.port+i), time.Second); err == nil {
				c.Close()
				return false
			}
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("%s does not end at %s: %w", p.kind.name, p.url, err)
	}
	return os.Remove(p.group())
}

func (p *Process) log() string   { return filepath.Join(p.dir, "log") }
func (p *Process) group() string { return filepath.Join(p.dir, "group") }

// await asks until ok, or until gone is closed or too much time has passed.
func await(gone <-chan struct{}, ok func() bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-gone:
			return errors.New("it ended")
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// freePorts are n consecutive ports that nobody listens on, answered by the first. They lie below those that the system gives to outgoing connections,
// so that they are still free when a server that was killed starts again, and below 13000, from where on tests put platforms.
func freePorts(n int) (int, error) {
next:
	for range 1000 {
		first := 5000 + rand.IntN(8000-n)
		for i := range n {
			l, err := net.Listen("tcp", local(first+i))
			if err != nil {
				continue next
			}
			l.Close()
		}
		return first, nil
	}
	return 0, errors.New("no free ports were found for a test server")
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// janitor waits for the end of its input, which is the end of the process that started it, then ends the servers and removes what they kept.
const janitor = `cat >/dev/null
for group in "$1"/*/group; do [ -e "$group" ] && kill -s KILL -- "-$(cat "$group")"; done
rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }`

// leash is the janitor's input, kept open until this process ends; cleared is closed when the janitor has done its work.
var (
	leash   io.Closer
	cleared = make(chan struct{})
)

// clearAway ends all servers of this process, and returns when they and their files are gone.
func clearAway() error {
	err := leash.Close()
	select {
	case <-cleared:
	case <-time.After(longest):
		err = errors.Join(err, errors.New("the test servers do not end"))
	}
	return err
}

// root is the directory of all servers of this process, which a janitor clears away after it.
var root = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "tulifo-servers-")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("sh", "-c", janitor, "sh", dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("janitor of the test servers: %w", err)
	}
	// Its end is of no interest, but a dead child wants to be waited for.
	go func() { _ = cmd.Wait(); close(cleared) }()
	leash = in
	return dir, nil
})

// tool is the path of a program that tools/need puts into the repository's cache, else of the machine's own.
func tool(inCache, onPath, needs string) (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	if path := filepath.Join(dir, ".cache", inCache); inCache != "" {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	if path, err := exec.LookPath(onPath); err == nil {
		return path, nil
	}
	return "", fmt.Errorf("%s was not found: run tools/need %s in the repository's folder", filepath.Base(onPath), needs)
}
