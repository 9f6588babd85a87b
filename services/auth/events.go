package auth

import (
	"context"

	"tulifo/event"
	"tulifo/platform/outbox"
	"tulifo/platform/postgres"
)

// Subscribe names what the service listens to.
func (s *Service) Subscribe(in *outbox.Inbox) {
	outbox.On(in, s.onUserUpdated)
}

// onUserUpdated takes over the name, which is user-service's once the account is made.
func (s *Service) onUserUpdated(_ context.Context, tx postgres.Tx, e event.UserUpdated) error {
	setName(tx, e.UserID, e.Name, e.Version, s.clock.Now())
	return nil
}
