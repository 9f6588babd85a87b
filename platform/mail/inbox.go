package mail

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/google/uuid"

	"tulifo/platform/errs"
)

// Bounds of an Inbox.
const (
	InboxKeeps    = 1000
	InboxMaxBytes = 10 << 20 // of one message
	inboxMaxTo    = 100
)

// Inbox is an SMTP server for development that delivers nothing: it takes every message for anybody, keeps the newest InboxKeeps in a directory, and shows them.
// A message that it has taken survives a restart. It asks for no password and must not be reachable from outside.
type Inbox struct {
	dir   string
	log   *slog.Logger
	hosts []string

	mu    sync.Mutex
	list  []Received // oldest first
	grown chan struct{}
}

// Received is a message as a list shows it.
type Received struct {
	ID       string    `json:"id"`
	From     string    `json:"from"` // of the envelope, as To is
	To       []string  `json:"to"`
	Subject  string    `json:"subject"`
	Preview  string    `json:"preview"`
	Received time.Time `json:"receivedAt"`
	Size     int64     `json:"size"`
}

// NewInbox opens the messages kept in dir, which is made if it is missing and belongs to the inbox alone.
// Its page answers under IP addresses and names without dots only, and under hosts: a web page elsewhere must not be able to read it by pointing its own name here.
func NewInbox(dir string, log *slog.Logger, hosts ...string) (*Inbox, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("mail: inbox: %w", err)
	}
	in := &Inbox{dir: dir, log: log, hosts: hosts, grown: make(chan struct{})}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("mail: inbox: %w", err)
	}
	for _, e := range entries {
		name, ours := strings.CutSuffix(e.Name(), suffix)
		switch {
		case strings.HasPrefix(e.Name(), "new-"):
			_ = os.Remove(filepath.Join(dir, e.Name()))
		case ours && uuid.Validate(name) == nil:
			r, err := in.head(name)
			if err != nil {
				log.Warn("a message in the inbox cannot be read", "file", e.Name(), "error", err)
				continue
			}
			in.list = append(in.list, r)
		}
	}
	slices.SortFunc(in.list, func(a, b Received) int { return strings.Compare(a.ID, b.ID) })
	in.drop()
	return in, nil
}

const suffix = ".mail"

// ServeSMTP takes messages on l until ctx ends; then those being received are finished, for 5 s at most. It closes l.
func (in *Inbox) ServeSMTP(ctx context.Context, l net.Listener) error {
	s := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{in: in}, nil }))
	s.Domain = "inbox.tulifo.localhost"
	s.MaxMessageBytes = InboxMaxBytes
	s.MaxRecipients = inboxMaxTo
	s.AllowInsecureAuth = true
	s.EnableSMTPUTF8 = true
	s.ReadTimeout = time.Minute
	s.WriteTimeout = time.Minute
	s.ErrorLog = slog.NewLogLogger(in.log.Handler(), slog.LevelDebug) // clients that break off
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if s.Shutdown(rest) != nil {
			_ = s.Close()
		}
	})
	err := s.Serve(l)
	if stop() {
		_ = s.Close()
		return fmt.Errorf("mail: inbox: %w", err)
	}
	<-stopped
	return nil
}

// take keeps a message; it is on disk when take returns nil.
func (in *Inbox) take(from string, to []string, raw io.Reader) error {
	body, err := io.ReadAll(raw)
	if err != nil {
		return err
	}
	m := open(bytes.NewReader(body))
	// Ids have to follow the order of the list, so they are given out under its lock.
	in.mu.Lock()
	defer in.mu.Unlock()
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("mail: inbox: %w", err)
	}
	r := Received{ID: id.String(), From: from, To: to, Received: time.Now().UTC().Truncate(time.Millisecond), Size: int64(len(body))}
	r.Subject, r.Preview = m.Title, preview(m)
	head, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("mail: inbox: %w", err)
	}
	tmp, err := os.CreateTemp(in.dir, "new-")
	if err != nil {
		return fmt.Errorf("mail: inbox: %w", err)
	}
	_, err = tmp.Write(slices.Concat(head, []byte("\n"), body))
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), in.file(r.ID))
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("mail: inbox: %w", err)
	}
	in.list = append(in.list, r)
	in.drop()
	close(in.grown)
	in.grown = make(chan struct{})
	return nil
}

// drop forgets the oldest above the bound. The caller holds mu.
func (in *Inbox) drop() {
	for len(in.list) > InboxKeeps {
		if err := os.Remove(in.file(in.list[0].ID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			in.log.Warn("an old message cannot be removed from the inbox", "error", err)
		}
		in.list = slices.Delete(in.list, 0, 1)
	}
}

func (in *Inbox) file(id string) string { return filepath.Join(in.dir, id+suffix) }

// head reads what a list shows from the first line of a message's file.
func (in *Inbox) head(id string) (Received, error) {
	var r Received
	f, err := os.Open(in.file(id))
	if err != nil {
		return r, err
	}
	defer f.Close()
	line, err := bufio.NewReaderSize(f, 64<<10).ReadBytes('\n')
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return r, err
	}
	if r.ID != id {
		return r, errors.New("the file has another message's name")
	}
	return r, nil
}

var errNoMessage = errs.New(errs.NotFound, "There is no such message.")

// raw answers a message as it was received.
func (in *Inbox) raw(id string) (Received, []byte, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	at := slices.IndexFunc(in.list, func(r Received) bool { return r.ID == id })
	if at < 0 {
		return Received{}, nil, errNoMessage
	}
	b, err := os.ReadFile(in.file(id))
	if err != nil {
		return Received{}, nil, fmt.Errorf("mail: inbox: %w", err)
	}
	_, body, _ := bytes.Cut(b, []byte("\n"))
	return in.list[at], body, nil
}

// Messages answers the newest messages first: those to an address, in any letter case, or all when to is empty; those newer than the id after, when it is not empty.
func (in *Inbox) Messages(to, after string, limit int) []Received {
	in.mu.Lock()
	defer in.mu.Unlock()
	found := []Received{}
	for _, r := range slices.Backward(in.list) {
		if len(found) == limit || r.ID <= after {
			break
		}
		if to == "" || slices.ContainsFunc(r.To, func(a string) bool { return strings.EqualFold(a, to) }) {
			found = append(found, r)
		}
	}
	return found
}

// Wait is Messages, but while there are none it waits for one until ctx ends.
func (in *Inbox) Wait(ctx context.Context, to, after string, limit int) []Received {
	for {
		in.mu.Lock()
		grown := in.grown
		in.mu.Unlock()
		found := in.Messages(to, after, limit)
		if len(found) > 0 {
			return found
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return found
		}
	}
}

// Total is how many messages are kept.
func (in *Inbox) Total() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.list)
}

// Delete forgets one message, or all when id is empty. errs.NotFound: there is no such message.
func (in *Inbox) Delete(id string) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	var failed error
	before := len(in.list)
	in.list = slices.DeleteFunc(in.list, func(r Received) bool {
		if id != "" && r.ID != id {
			return false
		}
		if err := os.Remove(in.file(r.ID)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = fmt.Errorf("mail: inbox: %w", err)
			return false
		}
		return true
	})
	if failed == nil && id != "" && before == len(in.list) {
		return errNoMessage
	}
	return failed
}
