package servertest

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Variable names in the environment the socket at which a test run's servers are asked for.
const Variable = "TULIFO_TEST_SERVERS"

// shared is what a test needs to know of a server.
type shared struct{ url, dir string }

// started are the servers of this process, each started when it is first asked for.
var started = func() map[*kind]func() (shared, error) {
	m := map[*kind]func() (shared, error){}
	for _, k := range kinds {
		m[k] = sync.OnceValues(func() (shared, error) {
			p, err := launch(k)
			if err != nil {
				return shared{}, err
			}
			return shared{p.url, p.dir}, nil
		})
	}
	return m
}()

// need is the run's server of a kind, or one that this binary starts now.
func need(t testing.TB, k *kind) shared {
	t.Helper()
	ask := started[k]
	if socket := os.Getenv(Variable); socket != "" {
		ask = func() (shared, error) { return request(socket, k) }
	}
	s, err := ask()
	if err != nil {
		t.Fatalf("test server: %v", err)
	}
	return s
}

// Share has the commands that this process runs from now on share its servers, by a variable in this process's environment. A server starts when one of them first asks for it,
// and all end when the answered function is called, at the latest with this process.
func Share() (end func() error, err error) {
	dir, err := root()
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "ask")
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("test servers: %w", err)
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answer(c)
		}
	}()
	return clearAway, os.Setenv(Variable, socket)
}

// answer reads the name of a kind and says its server's address and directory, or "error" and why there is none.
func answer(c net.Conn) {
	defer c.Close()
	name, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return
	}
	k, err := kindOf(strings.TrimSpace(name))
	var s shared
	if err == nil {
		s, err = started[k]()
	}
	if err != nil {
		fmt.Fprintf(c, "error\n%s", err)
		return
	}
	fmt.Fprintf(c, "%s\n%s", s.url, s.dir)
}

func request(socket string, k *kind) (shared, error) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return shared{}, fmt.Errorf("the test run's servers: %w", err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(2 * longest)); err != nil {
		return shared{}, err
	}
	if _, err := fmt.Fprintln(c, k.name); err != nil {
		return shared{}, err
	}
	var said strings.Builder
	if _, err := bufio.NewReader(c).WriteTo(&said); err != nil {
		return shared{}, err
	}
	url, dir, ok := strings.Cut(said.String(), "\n")
	if !ok {
		return shared{}, errors.New("the test run's servers did not answer")
	}
	if url == "error" {
		return shared{}, errors.New(dir)
	}
	return shared{url, dir}, nil
}
