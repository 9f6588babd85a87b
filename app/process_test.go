package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// built is where the real binary stands; it is built once for all tests of this package.
var built struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

func binary(t *testing.T) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "tulifo-bin-"); built.err != nil {
			return
		}
		// Other users run it too.
		if built.err = os.Chmod(built.dir, 0o755); built.err != nil {
			return
		}
		if out, err := exec.Command("go", "build", "-o", filepath.Join(built.dir, "tulifo"), "tulifo/cmd/tulifo").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("build: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "tulifo")
}

// process is one run of the binary.
type process struct {
	cmd      *exec.Cmd
	out, err *lines
	ended    chan struct{}
}

// bare is an environment in which nothing of the test's own stands.
func bare(t *testing.T, extra ...string) []string {
	home := t.TempDir()
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "AUTH_BCRYPT_COST=4"}, extra...)
}

// launch runs the binary; it is killed when the test ends.
func launch(t *testing.T, env []string, attr *syscall.SysProcAttr, args ...string) *process {
	t.Helper()
	return run(t, binary(t), env, attr, args...)
}

// run is launch of a binary of another version.
func run(t *testing.T, path string, env []string, attr *syscall.SysProcAttr, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(path, args...), out: newLines(), err: newLines(), ended: make(chan struct{})}
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr, p.cmd.SysProcAttr, p.cmd.Dir = env, p.out, p.err, attr, "/"
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.cmd.Wait()
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("tulifo %s\n%s\n%s", strings.Join(args, " "), tail(p.out.String(), 20), tail(p.err.String(), 20))
		}
	})
	return p
}

// exit waits for the end of the process and answers its code; -1 when a signal ended it.
func (p *process) exit(t *testing.T, within time.Duration) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(within):
		t.Fatalf("the process has not ended after %v", within)
		return 0
	}
}

func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// kill ends the process at once.
func (p *process) kill(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGKILL)
	p.exit(t, time.Minute)
}

// terminate asks the process to end, and expects that it does in order.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t, time.Minute); code != 0 {
		t.Errorf("%v: code %d", p.cmd.Args[1:], code)
	}
}

// soon polls cond until it holds.
func soon(t *testing.T, what string, within time.Duration, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited %v in vain for %s", within, what)
		case <-tick.C:
		}
	}
}

// folder is a temporary directory that every user can enter: as root, Postgres runs as another.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tulifo-up-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// nobody is the ordinary user that tests run as beside root.
const nobody = 65534

var bases atomic.Int64

// portBase is a base of ports that no other test of this process has, below those that the system gives to clients.
func portBase(t *testing.T) int {
	t.Helper()
	for range 200 {
		base := 13000 + (os.Getpid()%70*100+int(bases.Add(1))*50)%7500
		free := true
		for _, p := range append([]int{gatewayPort, adminPort, secureGatewayPort, secureAdminPort, smtpPort, inboxPort, stripePort}, servicePorts()...) {
			l, err := net.Listen("tcp", net.JoinHostPort(loopback, strconv.Itoa(p+base)))
			if err != nil {
				free = false
				break
			}
			l.Close()
		}
		if free {
			return base
		}
	}
	t.Fatal("no free ports")
	return 0
}

func servicePorts() (ports []int) {
	for _, e := range services {
		ports = append(ports, e.port, e.port+twinPorts)
	}
	return ports
}

// installation is a data directory with tulifo up on it, and the ports it gets.
type installation struct {
	dir  string
	base int
	env  []string
	attr *syscall.SysProcAttr
	*process
}

func newInstallation(t *testing.T, extra ...string) *installation {
	return &installation{dir: filepath.Join(folder(t), "data"), base: portBase(t), env: bare(t, append(extra, "GATEWAY_OVERLAY="+overlay(t))...)}
}

// up starts it and waits until it says that it runs.
func (i *installation) up(t *testing.T, flags ...string) {
	t.Helper()
	i.launch(t, flags...)
	i.running(t)
}

func (i *installation) launch(t *testing.T, flags ...string) {
	t.Helper()
	i.launchIn(t, i.env, flags...)
}

// launchIn is launch in an environment that is not the installation's.
func (i *installation) launchIn(t *testing.T, env []string, flags ...string) {
	t.Helper()
	i.process = launch(t, env, i.attr, append([]string{"up", "--data", i.dir, "--port-base", strconv.Itoa(i.base)}, flags...)...)
}

func (i *installation) running(t *testing.T) {
	t.Helper()
	soon(t, "the platform to run", time.Minute, func() bool {
		select {
		case <-i.ended:
			t.Fatalf("up ended with code %d", i.cmd.ProcessState.ExitCode())
		default:
		}
		return strings.Contains(i.out.String(), "Tulifo runs")
	})
}

// stop sends the signal and expects an end in order, without a complaint.
func (i *installation) stop(t *testing.T, s syscall.Signal) {
	t.Helper()
	i.signal(t, s)
	i.ends(t)
}

// interrupt is stop by the keyboard, for one that has a group of its own.
func (i *installation) interrupt(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(-i.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	i.ends(t)
}

func (i *installation) ends(t *testing.T) {
	t.Helper()
	if code := i.exit(t, 20*time.Second); code != 0 {
		t.Errorf("code %d", code)
	}
	i.quiet(t)
}

// quiet fails the test when the process had anything to complain about.
func (i *installation) quiet(t *testing.T) {
	t.Helper()
	if said := i.err.String(); said != "" {
		t.Errorf("said without need:\n%s", said)
	}
}

// run is another command on the same installation.
func (i *installation) run(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	c := exec.Command(binary(t), append(args, "--data", i.dir)...)
	var out, errOut bytes.Buffer
	c.Env, c.Stdin, c.Stdout, c.Stderr, c.SysProcAttr, c.Dir = i.env, strings.NewReader(stdin), &out, &errOut, i.attr, "/"
	c.Run()
	return c.ProcessState.ExitCode(), out.String(), errOut.String()
}

func (i *installation) at(port int) string {
	return "http://" + net.JoinHostPort(loopback, strconv.Itoa(port+i.base))
}

var quick = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 32}}

// ask is one request as JSON; data gets what stands under data in the answer.
func ask(method, url, token string, body, data any) (status int, header http.Header, err error) {
	var in io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		in = bytes.NewReader(raw)
	}
	req, err := http.NewRequest(method, url, in)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := quick.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err == nil && data != nil && res.StatusCode < 300 {
		err = json.Unmarshal(raw, &struct {
			Data any `json:"data"`
		}{data})
	}
	return res.StatusCode, res.Header, err
}

// signedIn is what register and login answer.
type signedIn struct{ AccessToken string }

const processPassword = "what a process test signs in with"

func (i *installation) register(t *testing.T, email string) {
	t.Helper()
	status, _, err := ask("POST", i.at(gatewayPort)+"/api/auth/register", "", map[string]string{"email": email, "password": processPassword, "name": "Ada Test", "role": "client"}, nil)
	if err != nil || status != http.StatusCreated {
		t.Fatalf("register: %d %v", status, err)
	}
}

func (i *installation) login(email, password string) (string, int, error) {
	var in signedIn
	status, _, err := ask("POST", i.at(gatewayPort)+"/api/auth/login", "", map[string]string{"email": email, "password": password}, &in)
	return in.AccessToken, status, err
}

func (i *installation) mustLogin(t *testing.T, email, password string) {
	t.Helper()
	if token, status, err := i.login(email, password); err != nil || status != http.StatusOK || token == "" {
		t.Errorf("login: %d %v", status, err)
	}
}

// postmaster is the process id of the installation's Postgres, 0 when none runs.
func (i *installation) postmaster() int {
	raw, err := os.ReadFile(filepath.Join(i.dir, "postgres", "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(raw), "\n")
	pid, _ := strconv.Atoi(first)
	if !alive(pid) {
		return 0
	}
	return pid
}

func alive(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
