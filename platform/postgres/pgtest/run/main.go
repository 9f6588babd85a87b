// Command run gives one Postgres to all tests of a run: go run ./platform/postgres/pgtest/run go test ./...
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"tulifo/platform/postgres/pgtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := pgtest.Run(ctx, os.Args[1:]...)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}
