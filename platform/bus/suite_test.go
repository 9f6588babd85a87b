package bus_test

import (
	"testing"

	"tulifo/platform/bus"
	"tulifo/platform/bus/bustest"
	"tulifo/platform/postgres/pgtest"
	"tulifo/platform/servertest"
)

func TestSuite(t *testing.T) {
	t.Run("postgres", func(t *testing.T) {
		bustest.Suite(t, func(t *testing.T) func() bustest.Process {
			url := pgtest.Database(t, bus.Migration)
			return func() bustest.Process {
				b, _, session := process(t, url)
				return bustest.Process{Bus: b, Kill: session.Close}
			}
		})
	})
	t.Run("rabbitmq", func(t *testing.T) {
		bustest.Suite(t, func(t *testing.T) func() bustest.Process {
			url := servertest.RabbitMQ(t)
			return func() bustest.Process {
				b, line := rabbitProcess(t, url, nil)
				return bustest.Process{Bus: b, Kill: line.Close}
			}
		})
	})
}
