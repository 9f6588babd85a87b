package interleave

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
)

// door passes connections of one actor on to Postgres, and stops each at its statements.
// The messages are those of https://www.postgresql.org/docs/current/protocol-message-formats.html.
type door struct {
	stage  *Stage
	actor  int
	listen net.Listener
	to     *pgconn.Config
	url    string

	mu    sync.Mutex
	conns []net.Conn
	shut  bool
	work  sync.WaitGroup
}

func openDoor(s *Stage, actor int, address string) (*door, error) {
	to, err := pgconn.ParseConfig(address)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	here := l.Addr().(*net.TCPAddr)
	u := url.URL{Scheme: "postgres", User: url.UserPassword(to.User, to.Password), Host: here.String(), Path: "/" + to.Database, RawQuery: "sslmode=disable"}
	d := &door{stage: s, actor: actor, listen: l, to: to, url: u.String()}
	d.work.Go(d.accept)
	return d, nil
}

func (d *door) close() {
	d.listen.Close()
	d.mu.Lock()
	d.shut = true
	for _, c := range d.conns {
		c.Close()
	}
	d.mu.Unlock()
	d.work.Wait()
}

// keep remembers a connection, so that it ends with the door.
func (d *door) keep(c net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut {
		c.Close()
	}
	d.conns = append(d.conns, c)
}

func (d *door) accept() {
	for {
		client, err := d.listen.Accept()
		if err != nil {
			return
		}
		d.keep(client)
		network, address := pgconn.NetworkAddress(d.to.Host, d.to.Port)
		server, err := net.Dial(network, address)
		if err != nil {
			client.Close()
			continue
		}
		d.keep(server)
		p := &passage{door: d, client: client, server: server, answered: make(chan byte, 64), prepared: map[string]string{}}
		d.work.Go(func() { p.answers(); client.Close(); server.Close() })
		d.work.Go(func() { _ = p.requests(); client.Close(); server.Close() })
	}
}

// passage is one connection through a door.
type passage struct {
	door           *door
	client, server net.Conn
	answered       chan byte // the type of each message that ends a statement or a round trip
	mu             sync.Mutex
	pid            uint32
	prepared       map[string]string // statement → SQL
}

// The messages that matter here, by who sends them.
const (
	parse, bind, execute, query, sync_             = 'P', 'B', 'E', 'Q', 'S'
	complete, empty, suspended, failed, ready, key = 'C', 'I', 's', 'E', 'Z', 'K'
)

var flush = []byte{'H', 0, 0, 0, 4}

// answers passes on what Postgres says, and notes what ends a statement.
func (p *passage) answers() {
	defer close(p.answered)
	in := bufio.NewReader(p.server)
	for greeted := false; ; {
		kind, raw, err := message(in)
		if err != nil {
			return
		}
		if kind == key && len(raw) >= 9 {
			p.mu.Lock()
			p.pid = binary.BigEndian.Uint32(raw[5:])
			p.mu.Unlock()
		}
		// What is answered is noted before the client knows: it may send the next statement at once.
		switch kind {
		case complete, empty, suspended, failed, ready:
			if greeted {
				p.answered <- kind
			}
			greeted = greeted || kind == ready
		}
		if _, err := p.client.Write(raw); err != nil {
			return
		}
	}
}

// requests passes on what the client says, each statement when the stage lets it.
func (p *passage) requests() error {
	in := bufio.NewReaderSize(p.client, 1<<16)
	if err := p.hello(in); err != nil {
		return err
	}
	var one *step // let through, and left when it is answered
	for skipping := false; ; {
		kind, raw, err := message(in)
		if err != nil {
			return err
		}
		switch {
		case kind == parse:
			name, rest := text(raw[5:])
			p.prepared[name], _ = text(rest)
		case kind == bind && !skipping:
			// Here and not when it is executed: a query sees what was committed when it was bound.
			_, rest := text(raw[5:])
			name, _ := text(rest)
			one = p.enter(p.prepared[name])
		case kind == execute && !skipping:
			raw = append(raw, flush...)
		case kind == query:
			sql, _ := text(raw[5:])
			one = p.enter(sql)
		}
		if err := p.send(raw); err != nil {
			return err
		}
		switch {
		case kind == execute && !skipping:
			skipping = p.until(complete, empty, suspended, failed) == failed
			if next, err := in.Peek(1); err == nil && next[0] == sync_ {
				continue // a statement that commits by itself does so when its round trip ends
			}
		case kind == sync_, kind == query:
			p.until(ready)
			skipping = false
		default:
			continue
		}
		p.door.stage.leave(one)
		one = nil
	}
}

// hello passes on what comes before messages have types.
func (p *passage) hello(in *bufio.Reader) error {
	head, err := in.Peek(4)
	if err != nil {
		return err
	}
	raw := make([]byte, binary.BigEndian.Uint32(head))
	if _, err := io.ReadFull(in, raw); err != nil {
		return err
	}
	return p.send(raw)
}

func (p *passage) send(raw []byte) error {
	_, err := p.server.Write(raw)
	return err
}

// until takes answers until one of those kinds comes; 0 when the connection ends.
func (p *passage) until(kinds ...byte) byte {
	for kind := range p.answered {
		if slices.Contains(kinds, kind) {
			return kind
		}
	}
	return 0
}

func (p *passage) enter(sql string) *step {
	short := strings.ToLower(strings.TrimSpace(sql))
	if strings.HasPrefix(short, "begin") || short == "" || strings.HasPrefix(short, "--") {
		return nil
	}
	p.mu.Lock()
	pid := p.pid
	p.mu.Unlock()
	return p.door.stage.enter(p.door.actor, pid, sql)
}

// message reads one: its type, and all of its bytes.
func message(in *bufio.Reader) (kind byte, raw []byte, err error) {
	head, err := in.Peek(5)
	if err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[1:])
	if n < 4 || n > 1<<30 {
		return 0, nil, fmt.Errorf("a message of %d bytes", n)
	}
	raw = make([]byte, 1+n)
	_, err = io.ReadFull(in, raw)
	return raw[0], raw, err
}

// text takes a string that ends with a zero byte off the front.
func text(raw []byte) (string, []byte) {
	word, rest, _ := bytes.Cut(raw, []byte{0})
	return string(word), rest
}
