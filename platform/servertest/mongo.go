package servertest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

var mongo = &kind{
	name:  "mongo",
	ports: 1,
	command: func(dir string, port int) ([]string, error) {
		program, err := tool("mongo/fiftyone/db/bin/mongod", "mongod", "mongo")
		if err != nil {
			return nil, err
		}
		data := filepath.Join(dir, "data")
		if err := os.MkdirAll(data, 0o700); err != nil {
			return nil, err
		}
		// Small caches and logs: it keeps little, and there may be several beside the tests.
		return []string{program, "--dbpath", data, "--port", strconv.Itoa(port), "--bind_ip", "127.0.0.1", "--replSet", "rs0", "--nounixsocket", "--quiet",
			"--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "50", "--wiredTigerEngineConfigString", "log=(file_max=8MB,prealloc=false)",
			"--setParameter", "diagnosticDataCollectionEnabled=false", "--setParameter", "ttlMonitorSleepSecs=1"}, nil
	},
	url: func(port int) string { return "mongodb://" + local(port) + "/?replicaSet=rs0" },
	answers: func(_ string, port int) error {
		said, err := mongoCommand(local(port), element(0x10, "hello", int32Value(1)), "admin")
		if err != nil || bytes.Contains(said, []byte("\x08isWritablePrimary\x00\x01")) {
			return err
		}
		// Twice does no harm: the second is refused.
		member := document(element(0x10, "_id", int32Value(0)), element(0x02, "host", stringValue(local(port))))
		set := document(element(0x02, "_id", stringValue("rs0")), element(0x04, "members", document(element(0x03, "0", member))))
		if _, err := mongoCommand(local(port), element(0x03, "replSetInitiate", set), "admin"); err != nil && !errors.Is(err, errMongo) {
			return err
		}
		return errors.New("it is no primary yet")
	},
}

// guardedMongo asks who comes, and knows one who may read and no more.
var guardedMongo = &kind{
	name:  "guarded mongo",
	ports: mongo.ports,
	command: func(dir string, port int) ([]string, error) {
		key := filepath.Join(dir, "key")
		if err := os.WriteFile(key, []byte("membersOfTheSetShowIt"), 0o600); err != nil {
			return nil, err
		}
		c, err := mongo.command(dir, port)
		return append(c, "--keyFile", key), err
	},
	url: func(port int) string { return "mongodb://reader:geheim@" + local(port) + "/?replicaSet=rs0" },
	answers: func(url string, port int) error {
		if err := mongo.answers(url, port); err != nil {
			return err
		}
		// Whoever comes from the same machine may make the first user, and then no other.
		role := document(element(0x02, "role", stringValue("readAnyDatabase")), element(0x02, "db", stringValue("admin")))
		reader := bytes.Join([][]byte{element(0x02, "createUser", stringValue("reader")), element(0x02, "pwd", stringValue("geheim")), element(0x04, "roles", document(element(0x03, "0", role)))}, nil)
		_, err := mongoCommand(local(port), reader, "admin")
		if errors.Is(err, errMongo) && strings.Contains(err.Error(), "requires authentication") {
			return nil
		}
		return err
	},
}

var errMongo = errors.New("the server refuses")

// mongoCommand sends a command to a database and answers the reply's document. The wire protocol is enough for the three commands that prepare a server;
// with the driver, all tests would be linked with it.
func mongoCommand(host string, command []byte, database string) ([]byte, error) {
	c, err := net.DialTimeout("tcp", host, 5*time.Second)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return nil, err
	}
	const opMsg = 2013
	body := document(command, element(0x02, "$db", stringValue(database)))
	message := binary.LittleEndian.AppendUint32(nil, uint32(16+5+len(body)))
	for _, v := range []uint32{1, 0, opMsg, 0} {
		message = binary.LittleEndian.AppendUint32(message, v)
	}
	message = append(append(message, 0), body...)
	if _, err := c.Write(message); err != nil {
		return nil, err
	}
	head := make([]byte, 21)
	if _, err := io.ReadFull(c, head); err != nil {
		return nil, err
	}
	length := binary.LittleEndian.Uint32(head)
	if length < 21 || length > 1<<20 {
		return nil, fmt.Errorf("a reply of %d bytes", length)
	}
	reply := make([]byte, length-21)
	if _, err := io.ReadFull(c, reply); err != nil {
		return nil, err
	}
	if !bytes.Contains(reply, append([]byte("\x01ok\x00"), 0, 0, 0, 0, 0, 0, 0xf0, 0x3f)) {
		return nil, fmt.Errorf("%w: %q", errMongo, reply)
	}
	return reply, nil
}

// document is BSON of elements.
func document(elements ...[]byte) []byte {
	body := bytes.Join(elements, nil)
	return append(append(binary.LittleEndian.AppendUint32(nil, uint32(len(body)+5)), body...), 0)
}

func element(kind byte, name string, value []byte) []byte {
	return append(append(append([]byte{kind}, name...), 0), value...)
}

func int32Value(n int32) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }

func stringValue(s string) []byte {
	return append(append(binary.LittleEndian.AppendUint32(nil, uint32(len(s)+1)), s...), 0)
}
