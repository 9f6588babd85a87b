package app

import (
	"context"
	"errors"
	"time"

	"tulifo/platform/clock"
)

// demoPast is how long before now a demo's business begins.
const demoPast = 60 * 24 * time.Hour

func (m *machine) seed(context.Context, *clock.Virtual, uint64) error {
	return errors.New("the demo needs services that are not there yet")
}
