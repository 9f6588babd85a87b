// Package token says who is calling: it issues and verifies access tokens and keeps what was revoked.
//
// The algorithm comes from the configuration, never from a token. A user's token and a service's token are signed with different
// secrets, and a service's token is good for one target only. All times here are system time.
package token

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
)

// The roles a caller can have.
const (
	Worker  = "worker"
	Client  = "client"
	Admin   = "admin"
	Support = "support"
	Service = "service"
)

// Caller is who makes a request; the zero Caller is anonymous.
type Caller struct {
	ID      uuid.UUID // of the user; nil for a service
	Role    string
	Session uuid.UUID // the sign-in this token belongs to
	Service string    // name of the calling service when Role is Service

	// ProvedAt is when the user last proved who he is: by signing in, or by a step-up since. Zero: never so that it would count.
	ProvedAt time.Time
}

// ProofLife is how long a proof counts where an operation asks for a fresh one.
const ProofLife = 10 * time.Minute

// Proved says whether the user has proved who he is within ProofLife before now, which is system time. A service needs no proof.
func (c Caller) Proved(now time.Time) bool {
	return c.Role == Service || !c.ProvedAt.IsZero() && now.Sub(c.ProvedAt) < ProofLife
}

// Is says whether the caller has one of the roles.
func (c Caller) Is(roles ...string) bool { return c.Role != "" && slices.Contains(roles, c.Role) }

// String names the caller for audit rows and logs: the user's id, service:<name>, or anonymous.
func (c Caller) String() string {
	switch {
	case c.Role == Service:
		return "service:" + c.Service
	case c.Role == "":
		return "anonymous"
	}
	return c.ID.String()
}

type callerKey struct{}

// With is ctx with the caller.
func With(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// From is the caller of ctx.
func From(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}
