package bus_test

import (
	"context"
	"log/slog"
	"net/url"
	"testing"

	"tulifo/platform/bus"
	"tulifo/platform/fault"
)

// rabbitProcess is a RabbitMQ bus as one process has it, with its own line to the broker.
func rabbitProcess(t testing.TB, address string, consumers map[string][]string) (*bus.RabbitMQ, *fault.Proxy) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	line, err := fault.New(u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(line.Close)
	u.Host = line.Addr()
	b, err := bus.NewRabbitMQ(context.Background(), bus.RabbitOptions{URL: u.String(), Consumers: consumers, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b, line
}
