package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// call is one request of a load.
type call struct {
	method, url string
	token, key  string
	body        []byte
	want        int
}

func newClient(conns int) *http.Client {
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: conns, MaxConnsPerHost: conns, DisableCompression: true}}
}

// send makes the call and answers its status; the answer is read to its end.
func send(ctx context.Context, c *http.Client, k call) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, k.method, k.url, bytes.NewReader(k.body))
	if err != nil {
		return 0, nil, err
	}
	if k.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if k.token != "" {
		req.Header.Set("Authorization", "Bearer "+k.token)
	}
	if k.key != "" {
		req.Header.Set("Idempotency-Key", k.key)
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	return res.StatusCode, answer, err
}

// must makes the call and fails unless it is answered as wanted.
func must(ctx context.Context, c *http.Client, k call) ([]byte, error) {
	status, answer, err := send(ctx, c, k)
	if err == nil && status != k.want {
		err = fmt.Errorf("%s %s answered %d instead of %d: %.300s", k.method, k.url, status, k.want, answer)
	}
	return answer, err
}

// closed makes n calls over conns connections, each as soon as the one before it is answered, and answers how long all took.
func closed(ctx context.Context, n, conns int, next func(i int) call) (time.Duration, error) {
	client := newClient(conns)
	defer client.CloseIdleConnections()
	var taken atomic.Int64
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	began := time.Now()
	for range conns {
		wg.Go(func() {
			for i := taken.Add(1) - 1; i < int64(n) && failed.Load() == nil; i = taken.Add(1) - 1 {
				if _, err := must(ctx, client, next(int(i))); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return time.Since(began), nil
}

// mostOpen is how many calls of an open load are under way at most; further ones wait, and their time runs.
const mostOpen = 512

// open makes calls at a rate a second for a while, whether earlier ones are answered or not, and answers how long each took from the moment
// at which it was meant to be sent, and its status.
func open(ctx context.Context, rate int, during time.Duration, next func(i int) call) ([]time.Duration, []int, error) {
	client := newClient(mostOpen)
	defer client.CloseIdleConnections()
	n := int(float64(rate) * during.Seconds())
	took, status := make([]time.Duration, n), make([]int, n)
	var failed atomic.Pointer[error]
	var wg sync.WaitGroup
	began := time.Now()
	for i := range n {
		due := began.Add(time.Duration(float64(i) / float64(rate) * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			select {
			case <-ctx.Done():
				return nil, nil, ctx.Err()
			case <-time.After(wait):
			}
		}
		wg.Go(func() {
			s, _, err := send(ctx, client, next(i))
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
			took[i], status[i] = time.Since(due), s
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return nil, nil, *err
	}
	return took, status, nil
}

// perCall is the CPU time that a call costs, in microseconds, by what spent reads before and after n of them.
func perCall(ctx context.Context, n, conns int, spent func() time.Duration, next func(i int) call) (float64, error) {
	before := spent()
	if _, err := closed(ctx, n, conns, next); err != nil {
		return 0, err
	}
	return float64((spent() - before).Microseconds()) / float64(n), nil
}
