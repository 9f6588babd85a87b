package user_test

import (
	"testing"

	"github.com/google/uuid"

	"tulifo/event"
	"tulifo/platform/api/apitest"
	"tulifo/platform/token"
)

// A rate publishes an offer, and that takes a proven address. Only auth may say that it is not proven.
func TestPublishingTakesAProvenAddress(t *testing.T) {
	w := start(t)
	id := uuid.Must(uuid.NewV7())
	tell := func(verified bool) {
		w.peers.mu.Lock()
		defer w.peers.mu.Unlock()
		w.peers.accounts[id] = account{id, "gil@example.com", "Gil", "worker", verified, "active", monday}
	}
	tell(false)
	w.hear(id, event.UserCreated{UserID: id, Email: "gil@example.com", Name: "Gil", Role: "worker"})
	me, offer := w.Token(token.Worker, id), map[string]any{"hourlyRate": 80}
	w.Calls(
		apitest.Call{What: "anybody may edit", As: me, Method: "PUT", Path: "/api/workers/me", Body: map[string]any{"title": "Gardener", "hourlyRate": nil}, Status: 200, Has: `"active":false`},
		apitest.Call{What: "a rate without a proven address", As: me, Method: "PUT", Path: "/api/workers/me", Body: offer, Status: 403, Has: `"code":"email_unverified"`},
	)
	tell(true)
	w.Call(apitest.Call{What: "proven, though no event has told", As: me, Method: "PUT", Path: "/api/workers/me", Body: offer, Status: 200, Has: `"active":true`})
	w.peers.mu.Lock()
	w.peers.away = true
	w.peers.mu.Unlock()
	w.Call(apitest.Call{What: "it is remembered", As: me, Method: "PUT", Path: "/api/workers/me", Body: map[string]any{"hourlyRate": 90}, Status: 200})
}
