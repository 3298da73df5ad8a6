package systemd

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The names of sockets. There may be several with the name HTTP, at different
// addresses, and one of each other name.
const (
	HTTP    = "http"
	HTTPS   = "https"
	HTTP3   = "http3"
	Metrics = "metrics"
	Control = "control"
)

// names are all names, with the kind of socket that each is for.
var names = []struct {
	name string
	kind kind
}{
	{HTTP, tcpListener}, {HTTPS, tcpListener}, {HTTP3, udp}, {Metrics, tcpListener}, {Control, unixListener},
}

// A Socket is a listening socket, or a UDP socket, that was given to the process.
type Socket struct {
	Name string
	File *os.File
	By   string // whoever gave it, as it is named in errors
}

// A Place is where the process is to listen.
type Place struct {
	Name    string
	Address netip.AddrPort // without an Addr, every address; port 0 is any port
	Path    string         // in place of Address, for Control
	Flag    string         // the option that asks for it, as it is named in errors
}

// A Set holds sockets, and says which is for which place. The zero value and a nil Set
// are empty. It is for one goroutine at a time.
type Set struct {
	given    []*given
	assigned map[Place]*given
}

// given is a Socket with what the system says about it.
type given struct {
	Socket
	identity
}

func (g *given) String() string {
	return fmt.Sprintf("%s: the socket that %s gave (descriptor %d, %s)", g.Name, g.By, g.descriptor, g.identity)
}

// NewSet returns a Set of these sockets. It returns an error if one has a name that there
// is not, or is of another kind than its name asks for. Either way the Set has to be
// closed.
func NewSet(sockets ...Socket) (*Set, error) {
	s := &Set{assigned: make(map[Place]*given)}
	var errs []error
	for _, socket := range sockets {
		g := &given{socket, identify(socket.File)}
		s.given = append(s.given, g)
		errs = append(errs, g.check())
	}
	return s, errors.Join(errs...)
}

// check reports whether the name of g is one, and fits its kind.
func (g *given) check() error {
	for _, known := range names {
		if known.name != g.Name {
			continue
		}
		if g.kind != known.kind {
			return fmt.Errorf("%v is no %s%s", g, known.kind, howToBecome(g.kind))
		}
		return nil
	}
	var all []string
	for _, known := range names {
		all = append(all, known.name)
	}
	return fmt.Errorf("%s gave a socket with the name %q (descriptor %d, %s): want one of %s",
		g.By, g.Name, g.descriptor, g.identity, strings.Join(all, ", "))
}

// howToBecome says how a connection becomes a listener.
func howToBecome(k kind) string {
	if k == connection {
		return ": its socket unit needs Accept=no"
	}
	return ""
}

// Assign gives each socket its place, one of those where the process is to listen. It
// returns an error that names a socket which has none, and what the flags ask for.
func (s *Set) Assign(places []Place) error {
	if s == nil {
		return nil
	}
	for _, fits := range []func(*given, Place) bool{(*given).isExactlyAt, (*given).isAt} {
		for _, g := range s.given {
			s.assign(g, places, fits)
		}
	}
	var errs []error
	for _, g := range s.given {
		if !s.isAssigned(g) {
			errs = append(errs, s.misplaced(g, places))
		}
	}
	return errors.Join(errs...)
}

// assign gives g the first free place that fits, if it has none.
func (s *Set) assign(g *given, places []Place, fits func(*given, Place) bool) {
	if s.isAssigned(g) {
		return
	}
	for _, p := range places {
		if s.assigned[p] == nil && p.Name == g.Name && fits(g, p) {
			s.assigned[p] = g
			return
		}
	}
}

func (s *Set) isAssigned(g *given) bool {
	for _, other := range s.assigned {
		if other == g {
			return true
		}
	}
	return false
}

// isExactlyAt reports whether g is bound to the very address of p.
func (g *given) isExactlyAt(p Place) bool {
	if g.Name == Control {
		return samePath(g.path, p.Path)
	}
	return g.address.Port() == p.Address.Port() && g.address.Addr() == p.Address.Addr().Unmap()
}

// isAt reports whether g is where p asks for. Every address of the machine may be
// [::] or 0.0.0.0, as the system is set up.
func (g *given) isAt(p Place) bool {
	if g.Name == Control {
		return samePath(g.path, p.Path)
	}
	return Suits(g.address, p.Address)
}

// Suits reports whether what is bound to an address may be used where want is asked for,
// which may have no Addr for every address, and port 0 for any port.
func Suits(bound, want netip.AddrPort) bool {
	if want.Port() != 0 && want.Port() != bound.Port() {
		return false
	}
	ip := want.Addr().Unmap()
	if !ip.IsValid() || ip.IsUnspecified() {
		return bound.Addr().IsUnspecified()
	}
	return bound.Addr().Unmap() == ip
}

func samePath(a, b string) bool {
	a, errA := filepath.Abs(a)
	b, errB := filepath.Abs(b)
	return errA == nil && errB == nil && a == b
}

// misplaced is the error about a socket that has no place.
func (s *Set) misplaced(g *given, places []Place) error {
	var flags []string
	for _, p := range places {
		if p.Name == g.Name && !slices.Contains(flags, p.Flag) {
			flags = append(flags, p.Flag)
		}
	}
	if flags == nil {
		return fmt.Errorf("%v is not asked for: start with %s, or leave it out", g, flagFor(g))
	}
	for p, other := range s.assigned {
		if p.Name == g.Name && g.isAt(p) {
			return fmt.Errorf("%v is for what another one is for already (%s, by %s): leave one of them out", g, other.identity, p.Flag)
		}
	}
	return fmt.Errorf("%v is not where the flags ask for (%s): let both name the same address", g, strings.Join(flags, ", "))
}

// flagFor returns the option that asks for a socket of that name.
func flagFor(g *given) string {
	switch g.Name {
	case Metrics:
		return fmt.Sprintf("--metrics-port %d", g.address.Port())
	case HTTP3:
		return "--http3"
	case HTTPS:
		return fmt.Sprintf("--https-port %d", g.address.Port())
	}
	return "an option for " + g.Name
}

// Take returns the socket that is assigned to a place, or nil if there is none. The
// caller owns it then.
func (s *Set) Take(p Place) *os.File {
	if s == nil {
		return nil
	}
	g := s.assigned[p]
	if g == nil {
		return nil
	}
	delete(s.assigned, p)
	s.given = slices.DeleteFunc(s.given, func(other *given) bool { return other == g })
	return g.File
}

// Close closes the sockets that are still in s.
func (s *Set) Close() {
	if s == nil {
		return
	}
	for _, g := range s.given {
		g.File.Close()
	}
	s.given, s.assigned = nil, nil
}
