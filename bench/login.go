package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

func (b *bench) loginAt(origin string) func(int) call {
	body, err := json.Marshal(map[string]string{"email": b.person.email, "password": b.person.password})
	if err != nil {
		panic(err) // two strings
	}
	return func(int) call {
		return call{method: http.MethodPost, url: origin + "/api/auth/login", body: body, want: http.StatusOK}
	}
}

// login is bcrypt of cost 12 on both sides.
func login(ctx context.Context, b *bench) ([]finding, error) {
	express, err := b.express(ctx, expressPort)
	if err != nil {
		return nil, err
	}
	defer express.stop()
	ours, theirs := b.loginAt(b.at(8000, "")), b.loginAt(local(expressPort, ""))
	pairs := min(b.pairs, 4)
	const calls = 12
	core, err := inTurns(pairs, func() (float64, error) { return perCall(ctx, calls, 1, b.appCPU, ours) },
		func() (float64, error) {
			return perCall(ctx, calls, 1, func() time.Duration { return cpu(express.pid()) }, theirs)
		})
	if err != nil {
		return nil, err
	}
	rate := func(next func(int) call) func() (float64, error) {
		return func() (float64, error) {
			took, err := closed(ctx, calls, 4, next)
			return calls / took.Seconds(), err
		}
	}
	cores, err := inTurns(pairs, rate(ours), rate(theirs))
	if err != nil {
		return nil, err
	}
	quiet, err := b.meDuringLogins(ctx, b.at(8000, ""))
	if err != nil {
		return nil, err
	}
	blocked, err := b.meDuringLogins(ctx, local(expressPort, ""))
	if err != nil {
		return nil, err
	}
	waits := float64(quiet) / float64(blocked)
	return []finding{
		{Job: "login, cost 12: CPU a login", Ours: fmt.Sprintf("%.0f ms", core.ours/1000), Opponent: fmt.Sprintf("bcryptjs %.0f ms", core.theirs/1000), Ratio: core.spread(), Target: "≤ 1/1.15 ×", Met: core.ratio <= 1/1.15, Bound: "one bcrypt of cost 12 on each side"},
		{Job: "login, cost 12: logins a second on all cores", Ours: fmt.Sprintf("%.1f/s", cores.ours), Opponent: fmt.Sprintf("bcryptjs %.1f/s", cores.theirs), Ratio: cores.spread(), Target: "≥ 2.2 ×", Met: cores.ratio >= 2.2, Bound: "ours hashes on as many threads as there are cores, bcryptjs on one; the load runs on the same cores"},
		{Job: "p99 of GET /api/auth/me during 20 logins", Ours: quiet.Round(100 * time.Microsecond).String(), Opponent: "Express " + blocked.Round(time.Millisecond).String(), Ratio: fmt.Sprintf("%.3f", waits), Target: "≤ 0.05 ×", Met: waits <= 0.05, Bound: "as many hashes run at a time as there are cores, and share them with the short calls"},
	}, nil
}

// meDuringLogins is the p99 of a light call at 50 a second while 20 people sign in at once.
func (b *bench) meDuringLogins(ctx context.Context, origin string) (time.Duration, error) {
	signed := b.token(b.person.id, "client")
	var wg sync.WaitGroup
	var failed error
	wg.Go(func() { _, failed = closed(ctx, 20, 20, b.loginAt(origin)) })
	took, _, err := open(ctx, 50, 4*time.Second, func(int) call {
		return call{method: http.MethodGet, url: origin + "/api/auth/me", token: signed, want: http.StatusOK}
	})
	wg.Wait()
	if err == nil {
		err = failed
	}
	if err != nil {
		return 0, err
	}
	return at(took, 0.99), nil
}
