package main

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/shahnk19/parachute/cmd/parachute/internal/server"
)

// A listenerList is a flag that may be repeated. Its values may each hold several
// listeners, as that of a variable does, separated by spaces or commas.
type listenerList []server.FurtherListener

func (l *listenerList) UnmarshalText(text []byte) error {
	for _, s := range splitListeners(string(text)) {
		further, err := parseListener(s)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(*l, func(other server.FurtherListener) bool { return overlap(other.Address, further.Address) }) {
			return fmt.Errorf("%q: its port is listened on already: want each port once, with all its services", s)
		}
		*l = append(*l, further)
	}
	return nil
}

// listenerStart matches a list that begins with an address and a port. The name of
// a service does not look like that.
var listenerStart = regexp.MustCompile(`^(\[[^\]]*\]|[0-9.]*):[0-9]+([=,\s]|$)`)

// splitListeners splits a list where a comma or a space has a listener behind it, and
// not another service of the one before.
func splitListeners(list string) []string {
	const separators = ", \t\n"
	var all []string
	begin := 0
	for i := 1; i < len(list); i++ {
		if strings.IndexByte(separators, list[i-1]) >= 0 && listenerStart.MatchString(list[i:]) {
			all, begin = append(all, list[begin:i]), i
		}
	}
	all = append(all, list[begin:])
	for i := range all {
		all[i] = strings.Trim(all[i], separators)
	}
	return slices.DeleteFunc(all, func(s string) bool { return s == "" && len(all) > 1 })
}

// parseListener parses ADDRESS:PORT, or :PORT, with or without services behind a '='.
func parseListener(s string) (server.FurtherListener, error) {
	address, names, named := strings.Cut(s, "=")
	at, err := parseAddrPort(address)
	if err != nil {
		return server.FurtherListener{}, fmt.Errorf("%q is no address to listen on: want an IP address and a port, or a port alone, such as 10.0.0.1:9000=admin, [::1]:9000 or :8081", s)
	}
	l := server.FurtherListener{Address: at}
	if !named {
		return l, nil
	}
	for name := range strings.SplitSeq(names, ",") {
		if name = strings.TrimSpace(name); name == "" {
			return l, fmt.Errorf("%q names no service behind '=' or ',': want names separated by commas, such as %s=admin, or no '=' for all services", s, address)
		}
		if !slices.Contains(l.Services, name) {
			l.Services = append(l.Services, name)
		}
	}
	return l, nil
}

// parseAddrPort is netip.ParseAddrPort, which wants an address.
func parseAddrPort(s string) (netip.AddrPort, error) {
	port, isAlone := strings.CutPrefix(s, ":")
	if !isAlone {
		return netip.ParseAddrPort(s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(netip.Addr{}, uint16(n)), err
}

// overlap reports whether nobody can listen at both. Without an address, and at
// "0.0.0.0" and "::", it is listened on at every address.
func overlap(a, b netip.AddrPort) bool {
	x, y := a.Addr().Unmap(), b.Addr().Unmap()
	isEvery := func(ip netip.Addr) bool { return !ip.IsValid() || ip.IsUnspecified() }
	return a.Port() == b.Port() && a.Port() != 0 && (x == y || isEvery(x) || isEvery(y))
}

// checkListeners returns an error if one of the further listeners has a port that
// another flag has.
func (c *runCommand) checkListeners() error {
	for _, l := range c.Listen {
		at := l.Address
		if !at.Addr().IsValid() {
			at = netip.AddrPortFrom(c.Bind.Addr, at.Port())
		}
		for _, other := range []struct {
			flag string
			port int
		}{
			{"--http-port", int(c.HTTPPort)},
			{"--https-port", max(c.HTTPSPort.orDefault(), 0)},
			{"--metrics-port", int(c.MetricsPort)},
		} {
			if overlap(at, netip.AddrPortFrom(c.Bind.Addr, uint16(other.port))) {
				return fmt.Errorf("--listen: port %d is that of %s: want another one", at.Port(), other.flag)
			}
		}
	}
	return nil
}
