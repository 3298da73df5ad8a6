package server

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/handover"
	"github.com/shahnk19/parachute/cmd/parachute/internal/systemd"
)

// findSockets sets Sockets, if they are nil, to those of the service manager.
func (c *Config) findSockets() error {
	if c.Sockets != nil {
		return nil
	}
	c.Sockets = new(handover.Sockets)
	places, names := c.places()
	set, err := systemd.Sockets(places)
	if err != nil {
		return err
	}
	for i, p := range places {
		if f := set.Take(p); f != nil {
			c.Sockets.Add(names[i], f)
			c.Kept = append(c.Kept, names[i])
		}
	}
	return nil
}

// places returns where c asks to listen, and the name of each among Sockets. For the
// manager, further listeners have the name of the first.
func (c *Config) places() (places []systemd.Place, names []string) {
	add := func(name string, p systemd.Place) {
		places, names = append(places, p), append(names, name)
	}
	tcp := func(name, option string, port int) {
		add(name, systemd.Place{Name: name, Address: at(c.Bind, port), Flag: option})
	}
	tcp(handover.HTTP, c.describe("--http-port", int(c.HTTPPort)), int(c.HTTPPort))
	for _, f := range c.Further {
		where := c.furtherAddress(f)
		add(handover.Further, systemd.Place{Name: systemd.HTTP, Address: where, Flag: "--listen " + joinHostPort(where)})
	}
	if c.HTTPSPort >= 0 {
		option := c.describe("--https-port", c.HTTPSPort)
		tcp(handover.HTTPS, option, c.HTTPSPort)
		if c.HTTP3 {
			tcp(handover.HTTP3, option, c.HTTPSPort)
		}
	}
	if c.MetricsPort != 0 {
		tcp(handover.Metrics, c.describe("--metrics-port", max(c.MetricsPort, 0)), max(c.MetricsPort, 0))
	}
	add(handover.Control, systemd.Place{Name: systemd.Control, Path: c.Socket, Flag: "--socket " + c.Socket})
	return places, names
}

// describe returns an option with its value, and the address that goes with it.
func (c *Config) describe(option string, port int) string {
	if c.Bind.IsValid() {
		return fmt.Sprintf("--bind %v %s %d", c.Bind, option, port)
	}
	return fmt.Sprintf("%s %d", option, port)
}

// listenForCommands returns the control socket: the one that was given, or a new one.
func (c *Config) listenForCommands() (*control.Listener, error) {
	given, err := c.Sockets.Listener(handover.Control, func(bound net.Addr) bool { return isSamePath(bound.String(), c.Socket) })
	if err != nil {
		return nil, err
	}
	if l, ok := given.(*net.UnixListener); ok {
		return control.Adopt(l, c.Socket, c.SocketOptions, slices.Contains(c.Kept, handover.Control))
	}
	return control.Listen(c.Socket, c.SocketOptions)
}

func isSamePath(a, b string) bool {
	a, errA := filepath.Abs(a)
	b, errB := filepath.Abs(b)
	return errA == nil && errB == nil && a == b
}

// String returns the addresses of l, for the status of the process.
func (l *listeners) String() string {
	var all []string
	add := func(protocol string, a net.Addr) { all = append(all, protocol+" "+addressOf(a)) }
	add("http", l.http.Addr())
	for _, f := range l.further {
		add("http", f.Addr())
	}
	if l.https != nil {
		add("https", l.https.Addr())
	}
	if l.quic != nil {
		add("http3", l.quic.LocalAddr())
	}
	if l.metrics != nil {
		add("metrics", l.metrics.Addr())
	}
	return strings.Join(all, ", ")
}

// addressOf returns an address without the IP address that is every one.
func addressOf(a net.Addr) string {
	if at, err := netip.ParseAddrPort(a.String()); err == nil && at.Addr().IsUnspecified() {
		return fmt.Sprintf(":%d", at.Port())
	}
	return a.String()
}
