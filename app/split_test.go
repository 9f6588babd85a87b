package app

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tulifo/platform/postgres/pgtest"
)

// split is a platform whose services are processes of their own, some of them two.
type split struct {
	base  int
	env   []string
	twins []string              // services that run twice
	runs  map[string][]*process // by the service's name
	turn  int                   // of a pair, which is killed next
}

// twinPorts is how far above its service's the port of a twin is.
const twinPorts = 20

func (s *split) serve(t *testing.T, name string) {
	t.Helper()
	s.runs[name] = nil
	for n := range s.processes(name) {
		s.runs[name] = append(s.runs[name], s.launch(t, name, n))
	}
}

func (s *split) processes(name string) int {
	if slices.Contains(s.twins, name) {
		return 2
	}
	return 1
}

// launch starts the first or the second process of a service.
func (s *split) launch(t *testing.T, name string, n int) *process {
	t.Helper()
	env := s.env
	if n > 0 {
		env = append(slices.Clip(env), "PORT="+strconv.Itoa(portOf(name)+twinPorts))
	}
	return launch(t, env, nil, "serve", name, "--port-base", strconv.Itoa(s.base))
}

// portOf is the service's port; 0 for other parts of the platform.
func portOf(name string) int {
	for _, e := range services {
		if e.name == name {
			return e.port
		}
	}
	return 0
}

// command runs another command on the platform.
func (s *split) command(t *testing.T, stdin string, args ...string) (code int, said string) {
	t.Helper()
	c := exec.Command(binary(t), args...)
	c.Env, c.Stdin, c.Dir = s.env, strings.NewReader(stdin), "/"
	out, _ := c.CombinedOutput()
	return c.ProcessState.ExitCode(), string(out)
}

func (s *split) at(port int) string {
	return "http://" + net.JoinHostPort(loopback, strconv.Itoa(port+s.base))
}

// down ends every process of a service without a warning.
func (s *split) down(t *testing.T, name string) {
	t.Helper()
	for _, p := range s.runs[name] {
		p.kill(t)
	}
}

// kill ends services without a warning, and starts them again; of one that runs twice one process each time, in turns, and the other takes over.
func (s *split) kill(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		s.runs[name][s.turn%s.processes(name)].kill(t)
	}
	for _, name := range names {
		n := s.turn % s.processes(name)
		s.runs[name][n] = s.launch(t, name, n)
	}
	s.turn++
	s.ready(t, names...)
}

// back starts services again, and waits until they are ready.
func (s *split) back(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		s.serve(t, name)
	}
	s.ready(t, names...)
}

func (s *split) ready(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		for n := range s.processes(name) {
			awaitReady(t, portOf(name)+n*twinPorts+s.base)
		}
	}
}

// newSplit starts a platform whose services are processes of their own, twins two each, with what extra adds to the environment.
func newSplit(t *testing.T, twins []string, extra ...string) (s *split, dir string) {
	t.Helper()
	s = &split{base: portBase(t), twins: twins, runs: map[string][]*process{}}
	dir = filepath.Join(t.TempDir(), "data")
	d, err := openData(dir)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{
		"DATABASE_URL": pgtest.Database(t), "AUTH_BCRYPT_COST": "4", "GATEWAY_OVERLAY": overlay(t), "HOST": loopback, "PATH": os.Getenv("PATH"),
		"PUBLIC_URL": s.at(gatewayPort), "STRIPE_API_URL": s.at(stripePort), "SMTP_HOST": loopback, "SMTP_PORT": strconv.Itoa(smtpPort + s.base),
		"SMTP_TLS": "off", "TULIFO_DATA": dir, "LOG_LEVEL": "warn", "DATABASE_POOL_MAX": "5", "FETCH_ALLOW": loopback,
	}
	if err := d.secrets(env); err != nil {
		t.Fatal(err)
	}
	for _, e := range services {
		urls := []string{}
		for n := range s.processes(e.name) {
			urls = append(urls, s.at(e.port+n*twinPorts))
		}
		env[envPrefix(e.name)+"_SERVICE_URL"] = strings.Join(urls, ",")
	}
	s.env = append(environ0(env), extra...)
	for _, name := range append(serviceNames(), besides...) {
		s.serve(t, name)
	}
	awaitPort(t, inboxPort+s.base)
	awaitPort(t, stripePort+s.base)
	s.ready(t, serviceNames()...)
	awaitReady(t, gatewayPort+s.base)
	return s, dir
}
