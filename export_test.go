package parachute

import (
	"context"
	"net"
	"net/netip"
)

// LookUpWith has p look up the names of targets with lookup, and dial their
// addresses with dial.
func (p *Proxy) LookUpWith(lookup func(context.Context, string) ([]netip.Addr, error), dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	names := *New(Options{Logger: p.options.Logger}).backends.Names
	names.Lookup, names.Dial = lookup, dial
	p.backends.Names = &names
}
