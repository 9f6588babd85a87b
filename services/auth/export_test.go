package auth

import (
	"time"

	"github.com/google/uuid"
)

func (s *Service) LinkToken(id uuid.UUID) string         { return s.linkToken(id) }
func (s *Service) LinkOf(tok string) (uuid.UUID, bool)   { return s.linkOf(tok) }
func (s *Service) Introduce(cookie, email string) string { return s.introduce(cookie, email) }
func (s *Service) KnownDevice(cookie, email string) bool {
	_, known := s.knownDevice(cookie, email)
	return known
}

// Flow is the cookie of a sign-in that was begun with a provider under a state.
func (s *Service) Flow(provider, state string, expires time.Time) string {
	return s.sealFlow(flow{State: state, Provider: provider, Next: "/", Expires: expires})
}

func (s *Service) ArrivedFlow(cookie, provider, state string) (expires time.Time, err error) {
	f, err := s.arrivedFlow(cookie, provider, state)
	return f.Expires, err
}
