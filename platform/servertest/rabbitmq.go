package servertest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Programs that stand behind the machine's wrapper, which would change the user and write to places of the machine.
const (
	rabbitProgram = "/usr/lib/rabbitmq/bin/rabbitmq-server"
	rabbitControl = "/usr/lib/rabbitmq/bin/rabbitmqctl"
)

// The ports of a broker, from its first.
const (
	amqpAt = iota
	managementAt
	distributionAt
	epmdAt
	rabbitPorts
)

// mapped runs the port mapper as a child beside the broker; one that the broker starts would outlive it.
const mapped = `epmd -port "$0" -address 127.0.0.1 &
until epmd -port "$0" -names >/dev/null 2>&1; do sleep 0.02; done
exec "$@"`

var rabbitmq = &kind{
	name:  "rabbitmq",
	ports: rabbitPorts,
	command: func(dir string, port int) ([]string, error) {
		if _, err := os.Stat(rabbitProgram); err != nil {
			return nil, fmt.Errorf("RabbitMQ was not found: run tools/need rabbitmq in the repository's folder")
		}
		conf := fmt.Sprintf("listeners.tcp.1 = %s\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = %d\ndisk_free_limit.absolute = 100MB\nvm_memory_high_watermark.absolute = 1GB\nlog.file.level = warning\n",
			local(port+amqpAt), port+managementAt)
		return []string{"sh", "-c", mapped, strconv.Itoa(port + epmdAt), rabbitProgram}, errors.Join(
			os.WriteFile(filepath.Join(dir, "rabbitmq.conf"), []byte(conf), 0o600),
			os.WriteFile(filepath.Join(dir, "enabled_plugins"), []byte("[rabbitmq_management].\n"), 0o600))
	},
	env: func(dir string, port int) []string {
		return []string{"RABBITMQ_CONF_ENV_FILE=/dev/null", "RABBITMQ_NODENAME=test@localhost", "RABBITMQ_MNESIA_BASE=" + dir + "/mnesia", "RABBITMQ_LOG_BASE=" + dir + "/logs",
			"RABBITMQ_CONFIG_FILE=" + dir + "/rabbitmq.conf", "RABBITMQ_ENABLED_PLUGINS_FILE=" + dir + "/enabled_plugins", "RABBITMQ_PID_FILE=" + dir + "/pid",
			"RABBITMQ_DIST_PORT=" + strconv.Itoa(port+distributionAt), "ERL_EPMD_PORT=" + strconv.Itoa(port+epmdAt), "ERL_EPMD_ADDRESS=127.0.0.1",
			// A broker that waits for work must not spin on processors that others need.
			"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"}
	},
	url: func(port int) string { return "amqp://guest:guest@" + local(port) + "/" },
	answers: func(url string, port int) error {
		// An open port is not enough: it serves when its protocol's header is answered.
		c, err := net.DialTimeout("tcp", local(port), time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
			return err
		}
		if _, err := c.Write([]byte("AMQP\x00\x00\x09\x01")); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, make([]byte, 8)); err != nil {
			return err
		}
		return management(url, http.MethodGet, "/api/vhosts", "")
	},
}

// Management is the address of the HTTP API of a RabbitMQ of this package, given its AMQP address. What tests need of users and rights is made there.
func Management(amqp string) (string, error) {
	u, err := url.Parse(amqp)
	if err != nil {
		return "", err
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		return "", fmt.Errorf("the port of %s: %w", amqp, err)
	}
	return "http://guest:guest@" + local(port+managementAt), nil
}

// Full has a server of OwnRabbitMQ take its disk for full, or not any more: it then takes no messages.
func (s *Server) Full(full bool) {
	s.t.Helper()
	limit := "1000000"
	if full {
		limit = "1000000000000000"
	}
	cmd := exec.Command(rabbitControl, "-n", "test@localhost", "set_disk_free_limit", limit)
	cmd.Env = append(s.p.kind.env(s.p.dir, s.p.port), "PATH="+os.Getenv("PATH"), "HOME="+s.p.dir)
	if said, err := cmd.CombinedOutput(); err != nil {
		s.must(fmt.Errorf("set the limit of the disk: %w: %s", err, said))
	}
}

func management(amqp, method, path, body string) error {
	address, err := Management(amqp)
	if err != nil {
		return err
	}
	r, err := http.NewRequest(method, address+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	w, err := client.Do(r)
	if err != nil {
		return err
	}
	defer w.Body.Close()
	if w.StatusCode >= 300 {
		said, _ := io.ReadAll(io.LimitReader(w.Body, 1000))
		return fmt.Errorf("%s %s: %s %s", method, path, w.Status, said)
	}
	return nil
}
