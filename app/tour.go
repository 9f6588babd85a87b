package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"tulifo/platform/pause"
)

// tour walks journey J1 against a running platform, through its gateway only, as a client and a worker would. It is a newcomer's first
// look, an operator's smoke test, and the story that the tests tell.
type tour struct {
	gateway, inbox, stripe string
	out                    io.Writer
	http                   *http.Client
	wait                   func(context.Context, time.Time) error // until a business time
	now                    func() time.Time                       // business time
	n                      int
	bound                  time.Duration // for what follows by itself

	worker, client person
	booking        uuid.UUID
	payment        uuid.UUID
	escrow         uuid.UUID
	start, end     time.Time
	price          int64 // minor units; 0 until it is booked
	currency       string
}

type person struct {
	id           uuid.UUID
	email, token string
}

const (
	tourPassword = "a walk through the platform"
	settleBound  = 20 * time.Second
	lookEvery    = 50 * time.Millisecond
)

func (e *environ) tour() *cobra.Command {
	var gateway, inbox, stripe string
	c := &cobra.Command{Use: "tour", Short: "Book and pay an hour on a running platform, step by step", Args: noArgs, RunE: func(c *cobra.Command, _ []string) error {
		conf, err := readConfig(e.vars)
		if err != nil {
			return err
		}
		if d, err := existing(orDefault(e.dir, conf)); err == nil {
			if r, ok := d.found(); ok && gateway == "" {
				gateway, inbox, stripe = r.Gateway, r.Inbox, r.Stripe
			}
		}
		if gateway == "" || inbox == "" || stripe == "" {
			return errors.New("no platform runs here that the tour can walk through: start one with tulifo up, or name one with --gateway, --inbox and --stripe (its mail must reach our inbox, its money our Stripe simulator)")
		}
		t := newTour(gateway, inbox, stripe, e.out)
		return t.walk(c.Context())
	}}
	c.Flags().StringVar(&gateway, "gateway", "", "origin of the gateway")
	c.Flags().StringVar(&inbox, "inbox", "", "origin of the inbox's page")
	c.Flags().StringVar(&stripe, "stripe", "", "origin of the Stripe simulator")
	return c
}

func newTour(gateway, inbox, stripe string, out io.Writer) *tour {
	t := &tour{gateway: gateway, inbox: inbox, stripe: stripe, out: out, http: &http.Client{Timeout: 15 * time.Second}, bound: settleBound}
	t.now, t.wait = t.businessTime, t.await
	return t
}

// businessTime is the platform's: a rehearsal says in each answer which it has, and otherwise it is the world's.
func (t *tour) businessTime() time.Time {
	res, err := t.http.Get(t.gateway + "/readyz")
	if err != nil {
		return time.Now()
	}
	res.Body.Close()
	if at, err := time.Parse(time.RFC3339, res.Header.Get(rehearsalHeader)); err == nil {
		return at
	}
	return time.Now()
}

// await waits until a business time; somebody may move a rehearsal's clock meanwhile.
func (t *tour) await(ctx context.Context, at time.Time) error {
	for {
		left := at.Sub(t.now())
		if left <= 0 {
			return nil
		}
		if err := pause.For(ctx, min(left, time.Second)); err != nil {
			return err
		}
	}
}

// walk takes every step of J1; its error names the step that did not go as promised.
func (t *tour) walk(ctx context.Context) error {
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"A worker registers, verifies her e-mail and makes her offer", t.offers},
		{"A client registers and finds her", t.finds},
		{"He books two hours; the server sets the price, and a second client is too late", t.books},
		{"She confirms", t.confirms},
		{"He pays; a declined card first, then one that works", t.pays},
		{"The work is done", t.works},
		{"He releases the money", t.releases},
		{"She withdraws", t.withdraws},
		{"Both review, and both reviews become visible together", t.reviews},
		{"The statement lists every entry", t.statement},
	} {
		t.n++
		fmt.Fprintf(t.out, "\n%2d. %s\n", t.n, step.what)
		err := step.do(ctx)
		if err == nil {
			err = t.holders(ctx)
		}
		if err != nil {
			return fmt.Errorf("step %d (%s): %w", t.n, step.what, err)
		}
	}
	fmt.Fprintf(t.out, "\nThe tour is over: everything went as promised.\n")
	return nil
}

func (t *tour) say(format string, args ...any) {
	fmt.Fprintf(t.out, "      "+format+"\n", args...)
}

// call asks the gateway and decodes the data into out; want is the status promised.
func (t *tour) call(ctx context.Context, method, path, token string, body any, want int, out any) error {
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, t.gateway+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if method == http.MethodPost && token != "" {
		req.Header.Set("Idempotency-Key", uuid.NewString())
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return t.send(req, want, out)
}

func (t *tour) send(req *http.Request, want int, out any) error {
	res, err := t.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != want {
		return fmt.Errorf("%s %s answered %d instead of %d: %s", req.Method, req.URL.Path, res.StatusCode, want, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, &struct{ Data any }{out})
}

// until asks path again until is says that the answer is the outcome waited for.
func until[T any](ctx context.Context, t *tour, path, token string, is func(T) bool) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, t.bound)
	defer cancel()
	for {
		var got T
		err := t.call(ctx, http.MethodGet, path, token, nil, http.StatusOK, &got)
		if err == nil && is(got) {
			return got, nil
		}
		if pause.For(ctx, lookEvery) != nil {
			if err == nil {
				err = fmt.Errorf("%s is still %+v", path, got)
			}
			return got, err
		}
	}
}

var linkInMail = regexp.MustCompile(`https?://[^\s"<>]+/api/auth/links/[A-Za-z0-9._~-]+`)

// register makes an account and verifies it with the link from the mail that really arrived.
func (t *tour) register(ctx context.Context, name, role string) (person, error) {
	p := person{email: fmt.Sprintf("%s-%s@tour.example", strings.ToLower(name), uuid.NewString()[:8])}
	var made struct {
		User        struct{ ID uuid.UUID }
		AccessToken string
	}
	err := t.call(ctx, http.MethodPost, "/api/auth/register", "", map[string]string{"email": p.email, "password": tourPassword, "name": name, "role": role}, http.StatusCreated, &made)
	if err != nil {
		return p, err
	}
	p.id, p.token = made.User.ID, made.AccessToken
	link, err := t.mailedLink(ctx, p.email)
	if err != nil {
		return p, err
	}
	if err := t.call(ctx, http.MethodPost, link.Path, "", map[string]any{}, http.StatusOK, nil); err != nil {
		return p, err
	}
	var me struct{ EmailVerified bool }
	if err := t.call(ctx, http.MethodGet, "/api/auth/me", p.token, nil, http.StatusOK, &me); err != nil {
		return p, err
	}
	if !me.EmailVerified {
		return p, errors.New("the e-mail address is still not verified")
	}
	t.say("%s (%s) opened the link in the mail to %s", name, role, p.email)
	return p, nil
}

func (t *tour) mailedLink(ctx context.Context, to string) (*url.URL, error) {
	ctx, cancel := context.WithTimeout(ctx, t.bound)
	defer cancel()
	for {
		text, err := t.newestMail(ctx, to)
		if err == nil {
			if link := linkInMail.FindString(text); link != "" {
				return url.Parse(link)
			}
		}
		if pause.For(ctx, lookEvery) != nil {
			return nil, errors.Join(fmt.Errorf("no mail with a link reached %s", to), err)
		}
	}
}

func (t *tour) newestMail(ctx context.Context, to string) (string, error) {
	raw, err := t.fetch(ctx, t.inbox+"/api/messages?wait=5&to="+url.QueryEscape(to))
	if err != nil {
		return "", err
	}
	var list struct{ Messages []struct{ ID string } }
	if err := json.Unmarshal(raw, &list); err != nil || len(list.Messages) == 0 {
		return "", errors.Join(errors.New("no mail yet"), err)
	}
	text, err := t.fetch(ctx, t.inbox+"/api/messages/"+list.Messages[0].ID+"/text")
	return string(text), err
}

func (t *tour) fetch(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	res, err := t.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %d", address, res.StatusCode)
	}
	return io.ReadAll(res.Body)
}
