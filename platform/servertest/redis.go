package servertest

import (
	"bufio"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// redisDatabases is how many databases a Redis has; the first is not given to tests.
const redisDatabases = 1024

var redis = &kind{
	name:  "redis",
	ports: 1,
	command: func(dir string, port int) ([]string, error) {
		program, err := tool("", "redis-server", "redis")
		return []string{program, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir, "--databases", strconv.Itoa(redisDatabases),
			"--save", "", "--appendonly", "yes", "--appendfsync", "everysec"}, err
	},
	url: func(port int) string { return "redis://" + local(port) + "/0" },
	answers: func(url string, _ int) error {
		_, err := redisCommand(url, "PING")
		return err
	},
}

// redisCommand sends a command of words and answers its reply, which is one line.
func redisCommand(address, command string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	c, err := net.DialTimeout("tcp", u.Host, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return "", err
	}
	if _, err := c.Write([]byte("SELECT " + strings.TrimPrefix(u.Path, "/") + "\r\n" + command + "\r\n")); err != nil {
		return "", err
	}
	r := bufio.NewReader(c)
	line := ""
	for range 2 {
		if line, err = r.ReadString('\n'); err != nil {
			return "", err
		}
		if strings.HasPrefix(line, "-") {
			return "", errors.New(strings.TrimSpace(line[1:]))
		}
	}
	return strings.TrimSpace(line[1:]), nil
}
