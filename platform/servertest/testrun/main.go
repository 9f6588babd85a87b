// Command testrun runs a command, such as go test ./..., while servers for tests are there for all of it: one Postgres, and of Redis, RabbitMQ, MongoDB and S3 those that a test asks for.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/servertest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "testrun:", err)
	}
	os.Exit(code)
}

func run(ctx context.Context, command []string) (code int, err error) {
	end, err := servertest.Share()
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, end()) }()
	return pgtest.Run(ctx, command...)
}
