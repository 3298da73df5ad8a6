// Package zone finds the servers that have authority over a name of the DNS, and asks
// them for its TXT records. No resolver stands between, so what they say now is not what
// they said a while ago.
package zone

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

const (
	// maxAliases is how many CNAME records one name may lead over.
	maxAliases = 8

	// maxServers is how many addresses of a zone's servers are used.
	maxServers = 16

	// dnsPort is where the servers of zones answer.
	dnsPort = 53
)

// A Finder finds the servers of zones. The zero Finder asks the resolvers of the system
// for them. Its methods may be called from any goroutine.
type Finder struct {
	// Resolvers are addresses of servers, such as "192.0.2.1:53", that are asked for
	// those of a zone before the resolvers of the system are. One that has authority
	// over a name itself counts among the servers of its zone.
	Resolvers []string

	// Dial connects to a server, over "udp" or, where that does not do, over "tcp". If
	// nil, a net.Dialer does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// A Place is where the records of a name are.
type Place struct {
	Name    string   // what the name leads to, over CNAME records; mostly the name itself
	Zone    string   // that Name is in
	Servers []string // addresses of the zone's servers; there is one at least
}

// Find returns the place of name, which need not exist. An error says what could not be
// found out; the Name is then as far as it is known.
func (f *Finder) Find(ctx context.Context, name string) (Place, error) {
	p := Place{Name: strings.TrimSuffix(name, ".")}
	answer, err := f.follow(ctx, &p)
	if err != nil {
		return p, err
	}
	if answer.Authoritative {
		p.Servers = []string{answer.server}
	}
	if p.Zone, err = f.zoneOf(ctx, p.Name, answer); err == nil {
		err = f.addServers(ctx, &p)
	}
	if len(p.Servers) > 0 { // what else the zone has cannot be found out from here
		return p, nil
	}
	return p, err
}

// follow makes p's Name what it leads to, and returns the last answer about it.
func (f *Finder) follow(ctx context.Context, p *Place) (*answer, error) {
	for range maxAliases {
		answer, err := f.resolve(ctx, p.Name, dnsmessage.TypeCNAME)
		if err != nil {
			return nil, err
		}
		target := answer.alias(p.Name)
		if target == "" {
			return answer, nil
		}
		p.Name = target
	}
	return nil, fmt.Errorf("%s: a name that leads over more than %d CNAME records", p.Name, maxAliases)
}

// zoneOf returns the zone of name. about is an answer about name.
func (f *Finder) zoneOf(ctx context.Context, name string, about *answer) (string, error) {
	for above := name; ; {
		if zone := about.zone(name); zone != "" {
			return zone, nil
		}
		var err error
		if about, err = f.resolve(ctx, above, dnsmessage.TypeSOA); err != nil {
			return "", err
		}
		if zone := about.zone(name); zone != "" {
			return zone, nil
		}
		var isMore bool
		if _, above, isMore = strings.Cut(above, "."); !isMore {
			return "", fmt.Errorf("%s: no zone of it is known", name)
		}
	}
}

// addServers adds the servers of p's zone to p.
func (f *Finder) addServers(ctx context.Context, p *Place) error {
	answer, err := f.resolve(ctx, p.Zone, dnsmessage.TypeNS)
	if err != nil {
		return err
	}
	for _, name := range answer.servers(p.Zone) {
		addresses := answer.addresses(name)
		for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
			if len(addresses) > 0 {
				break
			}
			found, err := f.resolve(ctx, name, kind)
			if err == nil {
				addresses = found.addresses("")
			}
		}
		for _, a := range addresses {
			server := netip.AddrPortFrom(a, dnsPort).String()
			if len(p.Servers) < maxServers && !slices.Contains(p.Servers, server) {
				p.Servers = append(p.Servers, server)
			}
		}
	}
	if len(p.Servers) == 0 {
		return fmt.Errorf("zone %s: no address of its servers is known", p.Zone)
	}
	return nil
}

// TXT returns the TXT records of name that a server of its zone has, which may be none. A
// server that the zone does not belong to is an error: it may remember how things were.
func (f *Finder) TXT(ctx context.Context, server, name string) ([]string, error) {
	answer, err := f.ask(ctx, server, name, dnsmessage.TypeTXT)
	switch {
	case err != nil:
		return nil, err
	case !answer.Authoritative:
		return nil, fmt.Errorf("%s: it has no authority over %s", server, name)
	}
	return answer.texts(), nil
}

// resolve returns the answer of the first resolver that has one. Its RCode tells a
// name that does not exist.
func (f *Finder) resolve(ctx context.Context, name string, kind dnsmessage.Type) (*answer, error) {
	var errs []error
	for _, server := range slices.Concat(f.Resolvers, systemResolvers()) {
		answer, err := f.ask(ctx, server, name, kind)
		if err == nil {
			return answer, nil
		}
		if errs = append(errs, err); ctx.Err() != nil {
			break
		}
	}
	if len(errs) == 0 {
		return nil, errors.New("there is no resolver to ask")
	}
	return nil, errors.Join(errs...)
}

// ask returns what server says about name. A server that can say nothing about it is an
// error.
func (f *Finder) ask(ctx context.Context, server, name string, kind dnsmessage.Type) (*answer, error) {
	query, err := newQuery(name, kind)
	if err != nil {
		return nil, err
	}
	packed, err := f.send(ctx, server, query)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", server, err)
	}
	a := &answer{server: server}
	if err := a.Unpack(packed); err != nil {
		return nil, fmt.Errorf("%s: its answer about %s: %w", server, name, err)
	}
	switch {
	case a.RCode != dnsmessage.RCodeSuccess && a.RCode != dnsmessage.RCodeNameError:
		return nil, fmt.Errorf("%s: it answered %s about %s", server, strings.TrimPrefix(a.RCode.String(), "RCode"), name)
	case !a.Authoritative && !a.RecursionAvailable && len(a.Answers) == 0:
		return nil, fmt.Errorf("%s: it has no authority over %s", server, name)
	}
	return a, nil
}

// systemResolvers returns the addresses of the resolvers that the system has.
func systemResolvers() []string {
	text, _ := os.ReadFile("/etc/resolv.conf") // without it there are none
	return resolversIn(string(text))
}

// resolversIn returns the addresses of the resolvers that a resolv.conf names.
func resolversIn(text string) (all []string) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) > 1 && words[0] == "nameserver" {
			all = append(all, net.JoinHostPort(words[1], "53"))
		}
	}
	return all
}
