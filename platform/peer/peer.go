// Package peer asks another service over its HTTP API.
//
// When the other lives in this process the question is a function call, else it goes over HTTP. Both forms carry the deadline, the request
// id, the trace and a service token that the other checks, so a service cannot tell where its neighbours live. There is one retry layer,
// here: a question that did not arrive is asked again, once, as long as enough others arrive.
package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"

	"tulifo/platform/errs"
	"tulifo/platform/obs"
	"tulifo/platform/postgres"
	"tulifo/platform/token"
)

const (
	askBound  = 5 * time.Second
	maxAnswer = 4 << 20
	tokenLife = 30 * time.Second
	// retryCost and retryEarn keep repeated questions to about one in ten of those that arrive.
	retryEarn, retryCost, retryMax = 1, 10, 100
)

// Directory knows where the services live, for one asking service.
type Directory struct {
	from  string
	keys  *token.Keys
	local map[string]http.Handler
	urls  func(service string) []string

	mu      sync.Mutex
	clients map[string]*Client
}

// New is the directory of the service from. local are the services in this process; urls answers the base URLs of another, none when it
// is unknown.
func New(from string, keys *token.Keys, local map[string]http.Handler, urls func(service string) []string) *Directory {
	return &Directory{from: from, keys: keys, local: local, urls: urls, clients: map[string]*Client{}}
}

// To is the client for the service of that name. It may be asked for before that service exists.
func (d *Directory) To(name string) *Client {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.clients[name]
	if c == nil {
		c = &Client{d: d, name: name, breaker: circuitbreaker.NewBuilder[any]().WithFailureThresholdRatio(5, 10).WithDelay(time.Second).Build()}
		c.budget.Store(retryMax)
		d.clients[name] = c
	}
	return c
}

// Client asks one service.
type Client struct {
	d       *Directory
	name    string
	breaker circuitbreaker.CircuitBreaker[any]
	budget  atomic.Int64
	next    atomic.Uint64

	mu      sync.Mutex
	token   string
	renewAt time.Time
}

// Get asks path and answers its data. Errors keep the kind and code of the answer; Unavailable: the service was not reached.
func Get[T any](ctx context.Context, c *Client, path string) (T, error) {
	return ask[T](ctx, c, http.MethodGet, path, "", nil)
}

// Post sends body to path and answers the data. key is the Idempotency-Key; with one the question may be asked again when it is not known
// to have arrived.
func Post[T any](ctx context.Context, c *Client, path, key string, body any) (T, error) {
	return ask[T](ctx, c, http.MethodPost, path, key, body)
}

func ask[T any](ctx context.Context, c *Client, method, path, key string, body any) (T, error) {
	var out struct {
		Success bool `json:"success"`
		Data    T    `json:"data"`
	}
	answer, err := raw(ctx, c, method, path, key, body)
	if err != nil {
		return out.Data, err
	}
	err = json.Unmarshal(answer, &out)
	if err == nil && !out.Success {
		err = errors.New("the answer is not in the envelope")
	}
	if err != nil {
		return out.Data, errs.New(errs.Unavailable, "Another part of the platform answered in a way that cannot be read.").Because(fmt.Errorf("%s %s: %w", c.name, path, err))
	}
	return out.Data, nil
}

// raw is the body of a good answer.
func raw(ctx context.Context, c *Client, method, path, key string, body any) ([]byte, error) {
	if postgres.InsideTx(ctx) {
		if testing.Testing() {
			panic("peer: " + c.name + " is asked inside a transaction")
		}
		return nil, fmt.Errorf("%s is asked inside a transaction", c.name)
	}
	var question []byte
	if body != nil {
		var err error
		if question, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("encode question to %s: %w", c.name, err)
		}
	}
	a, err := c.send(ctx, method, path, key, question)
	if err != nil {
		return nil, err
	}
	if a.status >= 400 {
		return nil, c.refusal(a)
	}
	return a.body, nil
}

// answer is what came back, whatever its status.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (c *Client) refusal(a answer) error {
	var p struct {
		Error struct {
			Code, Message string
			Details       map[string]string
		}
	}
	kind := errs.KindFor(a.status)
	// A person who is signed in must not be told to sign in because services do not know each other.
	if json.Unmarshal(a.body, &p) != nil || p.Error.Code == "" || kind == errs.Internal || kind == errs.Unauthorized {
		return errs.New(errs.Unavailable, "Another part of the platform did not answer well. Try again shortly.").Because(fmt.Errorf("%s answered %d", c.name, a.status))
	}
	e := errs.Coded(kind, p.Error.Code, p.Error.Message)
	e.Details = p.Error.Details
	if seconds, err := strconv.Atoi(a.header.Get("Retry-After")); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}

func (c *Client) send(ctx context.Context, method, path, key string, body []byte) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	if h := c.d.local[c.name]; h != nil {
		req, err := c.request(ctx, method, "http://"+c.name, path, key, body)
		if err != nil {
			return answer{}, err
		}
		return call(h, req)
	}
	urls := c.d.urls(c.name)
	if len(urls) == 0 {
		return answer{}, c.away(errors.New("nobody knows where it is"))
	}
	if !c.breaker.TryAcquirePermit() {
		return answer{}, c.away(circuitbreaker.ErrOpen)
	}
	repeatable := method == http.MethodGet || key != ""
	for try := 0; ; try++ {
		base := urls[int(c.next.Add(1))%len(urls)]
		a, err := c.overHTTP(ctx, method, base, path, key, body)
		if err == nil {
			c.breaker.RecordSuccess()
			if c.budget.Load() < retryMax {
				c.budget.Add(retryEarn)
			}
			return a, nil
		}
		if try > 0 || !repeatable || ctx.Err() != nil || !c.mayRepeat() {
			c.blame(ctx, err)
			return answer{}, c.away(err)
		}
	}
}

// mayRepeat pays for one repetition, as far as the budget goes.
func (c *Client) mayRepeat() bool {
	if c.budget.Add(-retryCost) >= 0 {
		return true
	}
	c.budget.Add(retryCost)
	return false
}

// blame counts a failure against the service, unless it is the asker who gave up: strangers who hang up must not cut services off from each other.
func (c *Client) blame(ctx context.Context, err error) {
	if !errors.Is(ctx.Err(), context.Canceled) {
		c.breaker.RecordError(err)
	} else if c.breaker.IsHalfOpen() {
		c.breaker.RecordSuccess() // a permit that is not given back is lost
	}
}

func (c *Client) away(cause error) error {
	return errs.New(errs.Unavailable, "Another part of the platform is away at the moment. Try again shortly.").Because(fmt.Errorf("%s: %w", c.name, cause))
}

var transport = &http.Client{
	Transport:     &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute, ResponseHeaderTimeout: askBound},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func (c *Client) overHTTP(ctx context.Context, method, base, path, key string, body []byte) (answer, error) {
	req, err := c.request(ctx, method, base, path, key, body)
	if err != nil {
		return answer{}, err
	}
	res, err := transport.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err == nil && len(raw) > maxAnswer {
		err = errors.New("answer over its limit")
	}
	return answer{res.StatusCode, res.Header, raw}, err
}

func (c *Client) request(ctx context.Context, method, base, path, key string, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("question to %s: %w", c.name, err)
	}
	raw, err := c.serviceToken()
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+raw)
	req.Header.Set("X-Request-Id", obs.RequestID(ctx))
	req.Header.Set("Traceparent", obs.Traceparent(ctx))
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	return req, nil
}

func (c *Client) serviceToken() (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.After(c.renewAt) {
		raw, err := c.d.keys.ServiceToken(c.d.from, c.name)
		if err != nil {
			return "", fmt.Errorf("service token: %w", err)
		}
		c.token, c.renewAt = raw, now.Add(tokenLife)
	}
	return c.token, nil
}
