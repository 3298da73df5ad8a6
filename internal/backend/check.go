package backend

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/shahnk19/parachute/internal/endpoint"
	"github.com/shahnk19/parachute/internal/listening"
	"github.com/shahnk19/parachute/internal/resolve"
)

// CheckHandlers returns an error if one of the targets is a handler that is not in
// Handlers.
func (s *Shared) CheckHandlers(targets []endpoint.Target) error {
	for _, at := range targets {
		if at.IsHandler() && s.Handlers[at.Address] == nil {
			return fmt.Errorf("target %s: this program has no such handler: put it into Options.Handlers, or name a target as host:port", at.Given)
		}
	}
	return nil
}

// CheckNoLoop returns an error if one of the targets is this process itself. It cannot
// tell if Dial looks names up, or if addresses are translated on the way.
func (s *Shared) CheckNoLoop(ctx context.Context, targets []endpoint.Target) error {
	for _, at := range targets {
		if at.Network != "tcp" {
			continue
		}
		host, port := at.HostPort()
		addresses := func() []netip.Addr { return resolve.Addresses(ctx, host, s.Names) }
		if own, ok := listening.Find(s.Listening, port, addresses); ok {
			return fmt.Errorf("target %q is this proxy itself, which listens on %v: name the address and port that the app listens on, such as web-1:3000", at.Given, own)
		}
	}
	return nil
}
