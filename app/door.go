package app

import (
	"fmt"
	"net/http"
	"os"
	"strings"

	"tulifo/gateway"
	"tulifo/infrastructure"
	"tulifo/platform/api"
	"tulifo/platform/token"
)

// newGateway is the public door over the services of this process and, when remote is true, those of others.
func (n *node) newGateway(remote bool) (*gateway.Gateway, error) {
	trusted, err := n.c.trusted()
	if err != nil {
		return nil, err
	}
	var overlay []byte
	if n.c.GatewayOverlay != "" {
		if overlay, err = os.ReadFile(n.c.GatewayOverlay); err != nil {
			return nil, fmt.Errorf("GATEWAY_OVERLAY: %w", err)
		}
	}
	// The series of the process itself stand once, on the gateway's admin page.
	n.metrics.Process()
	local := map[string]gateway.Local{}
	for _, r := range n.rooms {
		local[r.name] = gateway.Local{Handler: r.router, Ready: r.router.Ready}
	}
	return gateway.New(gateway.Options{
		Config: infrastructure.Kong, Overlay: overlay, Local: local, Remote: remote,
		Targets:        n.c.targets,
		Limits:         n.kv,
		TrustedProxies: trusted,
		CORSOrigins:    n.c.CORSOrigins,
		RejectToken: func(h http.Header) bool {
			raw, ok := strings.CutPrefix(h.Get("Authorization"), "Bearer ")
			return ok && token.ClaimsService(raw)
		},
		Watch: func(r *http.Request, end func()) func() {
			session, ok := api.SignIn(r, n.keys, n.c.secure())
			if !ok {
				return func() {}
			}
			return n.revoked.Watch(session, end)
		},
		LogEndpoint: n.c.LogEndpoint,
		Log:         n.log,
		Metrics:     n.metrics.Registry,
	})
}
