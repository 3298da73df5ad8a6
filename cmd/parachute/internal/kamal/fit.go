package kamal

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/hostname"
)

// fit returns services as a Proxy can restore all of them. kamal-proxy takes more than
// a Proxy does, and a service with one thing that cannot be would not be served at all.
// So what cannot be is left out by itself, with a warning. What a Proxy takes is found
// out by asking one.
func fit(services []parachute.Status, warn func(service, format string, args ...any)) []parachute.Status {
	fitted := slices.Clone(services)
	for range services { // what is left out of one service may be why another did not fit
		refused := restore(fitted)
		changed := false
		for i := range fitted {
			if refused[fitted[i].Service] == nil {
				continue
			}
			f := &fitting{before: neighbours(fitted[:i], fitted[i]), warn: warn}
			s, ok := f.fit(fitted[i])
			fitted[i], changed = s, changed || ok
		}
		if !changed {
			break
		}
	}
	return fitted
}

// restore has a Proxy that reaches nothing restore services, and returns the errors by
// the names of the services.
func restore(services []parachute.Status) map[string]error {
	var mu sync.Mutex // guards refused
	refused := make(map[string]error)
	p := parachute.New(parachute.Options{
		Dial: func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed },
		ACME: parachute.ACME{CacheAt: func(string) autocert.Cache { return emptyCache{} }},
		Notify: func(e parachute.Event) {
			if e.Kind == parachute.EventFailed && e.Err != nil {
				mu.Lock()
				defer mu.Unlock()
				refused[e.Service] = e.Err
			}
		},
	})
	p.Restore(services)
	p.Close()
	return refused
}

// An emptyCache keeps nothing.
type emptyCache struct{}

func (emptyCache) Get(context.Context, string) ([]byte, error) { return nil, autocert.ErrCacheMiss }
func (emptyCache) Put(context.Context, string, []byte) error   { return nil }
func (emptyCache) Delete(context.Context, string) error        { return nil }

// neighbours returns those of services that share a host with s, or are for every one:
// no others can conflict with it.
func neighbours(services []parachute.Status, s parachute.Status) (shared []parachute.Status) {
	hosts := hostsOf(s)
	for _, other := range services {
		isShared := func(host string) bool { return host == hostname.Any || slices.Contains(hosts, host) }
		if slices.ContainsFunc(hostsOf(other), isShared) {
			shared = append(shared, other)
		}
	}
	return shared
}

// hostsOf returns the hosts of s in their canonical form. Those that cannot be are
// left out.
func hostsOf(s parachute.Status) (hosts []string) {
	if len(s.Deployment.Hosts) == 0 {
		return []string{hostname.Any}
	}
	for _, given := range s.Deployment.Hosts {
		if host, err := hostname.ParsePattern(given); err == nil {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// A fitting fits one service to those before it that share a host with it.
type fitting struct {
	before []parachute.Status
	warn   func(service, format string, args ...any)
}

// errWildcard is why a service is refused that a Proxy might take, for the Proxy may have
// a way to set TXT records: kamal-proxy has none, so no such certificate was there.
var errWildcard = errors.New("a certificate for a wildcard is obtained automatically by TXT records alone, which kamal-proxy does not set: deploy it anew")

// refuses returns why s is refused, or nil.
func (f *fitting) refuses(s parachute.Status) error {
	isWildcard := func(host string) bool { return strings.HasPrefix(host, "*.") }
	if d := s.Deployment; d.TLS.Mode == parachute.TLSAutomatic && slices.ContainsFunc(d.Hosts, isWildcard) {
		return errWildcard
	}
	return restore(append(slices.Clip(f.before), s))[s.Service]
}

// fit leaves out of s what is refused, and reports whether s is taken in the end. If
// not, it returns s as it was. TLS comes last, because it is the hosts that decide
// whether it can be.
func (f *fitting) fit(s parachute.Status) (fitted parachute.Status, ok bool) {
	given := s
	s.Deployment.TLS = parachute.TLS{}
	var told []func()
	for {
		err := f.refuses(s)
		if err == nil {
			break
		}
		next, what := f.leaveOut(s, err)
		if what == "" {
			return given, false
		}
		told = append(told, func() { f.warn(s.Service, "%s: left out, so that the rest is served: %v", what, cause(err)) })
		s = next
	}
	for _, tell := range told {
		tell()
	}
	return f.withTLS(s, given.Deployment.TLS), true
}

// leaveOut returns s without the part that is refused with err, and what that is; "" if
// it is none that can be left out.
func (f *fitting) leaveOut(s parachute.Status, err error) (rest parachute.Status, what string) {
	isCured := func(s parachute.Status) bool {
		other := f.refuses(s)
		return other == nil || cause(other).Error() != cause(err).Error()
	}
	for _, p := range parts {
		c := copyOf(s)
		if p.omit(&c); isCured(c) {
			return c, p.name
		}
	}
	for _, p := range lists {
		var good, bad []string
		for _, element := range *p.of(&s) {
			alone := copyOf(s)
			alone.Deployment.CanonicalHost = "" // which may be another host
			if *p.of(&alone) = []string{element}; isCured(alone) {
				good = append(good, element)
			} else {
				bad = append(bad, element)
			}
		}
		if len(bad) == 0 || len(good) == 0 && !p.mayBeEmpty {
			continue
		}
		c := copyOf(s)
		*p.of(&c) = good
		without := c
		without.Deployment.CanonicalHost = ""
		if isCured(without) {
			return c, p.name + " " + strings.Join(bad, ", ")
		}
	}
	if s.Rollout != nil {
		s.Rollout = nil
		return s, "the rollout"
	}
	return s, ""
}

// copyOf returns a Status whose Rollout may be changed.
func copyOf(s parachute.Status) parachute.Status {
	if s.Rollout != nil {
		r := *s.Rollout
		s.Rollout = &r
	}
	return s
}

// lists are what may have an element too many. A service without hosts would be for
// every one, and without path prefixes for every path.
var lists = []struct {
	name       string
	mayBeEmpty bool
	of         func(s *parachute.Status) *[]string
}{
	{"host", false, func(s *parachute.Status) *[]string { return &s.Deployment.Hosts }},
	{"path prefix", false, func(s *parachute.Status) *[]string { return &s.Deployment.PathPrefixes }},
	{"target", false, func(s *parachute.Status) *[]string { return &s.Deployment.Targets }},
	{"read target", true, func(s *parachute.Status) *[]string { return &s.Deployment.ReadTargets }},
	{"target of the rollout", false, func(s *parachute.Status) *[]string { return &rolloutOf(s).Targets }},
	{"read target of the rollout", true, func(s *parachute.Status) *[]string { return &rolloutOf(s).ReadTargets }},
	{"visitor of the rollout", true, func(s *parachute.Status) *[]string { return &rolloutOf(s).Split.List }},
}

// rolloutOf returns the rollout of s, or one that nobody will look at.
func rolloutOf(s *parachute.Status) *parachute.Rollout {
	if s.Rollout == nil {
		return new(parachute.Rollout)
	}
	return s.Rollout
}

// parts are what a service can do without.
var parts = []struct {
	name string
	omit func(s *parachute.Status)
}{
	{"the canonical host", func(s *parachute.Status) { s.Deployment.CanonicalHost = "" }},
	{"the error pages", func(s *parachute.Status) { s.Deployment.ErrorPages = "" }},
	{"the path of the health check", func(s *parachute.Status) { s.Deployment.HealthCheck.Path = "" }},
	{"the port of the health check", func(s *parachute.Status) { s.Deployment.HealthCheck.Port = 0 }},
	{"the host of the health check", func(s *parachute.Status) { s.Deployment.HealthCheck.Host = "" }},
	{"the interval of the health check", func(s *parachute.Status) { s.Deployment.HealthCheck.Interval = 0 }},
	{"the timeout of the health check", func(s *parachute.Status) { s.Deployment.HealthCheck.Timeout = 0 }},
	{"the limits of bodies", func(s *parachute.Status) { s.Deployment.MaxRequestBody, s.Deployment.MaxResponseBody = 0, 0 }},
	{"the header with the client's address", func(s *parachute.Status) { s.Deployment.Forwarded.ClientHeader = "" }},
}

// withTLS returns s with TLS as t says, or as much of it as is taken.
func (f *fitting) withTLS(s parachute.Status, t parachute.TLS) parachute.Status {
	if t == (parachute.TLS{}) {
		return s
	}
	with := func(t parachute.TLS, hosts []string) parachute.Status {
		c := s
		c.Deployment.TLS, c.Deployment.Hosts = t, hosts
		return c
	}
	all := s.Deployment.Hosts
	if t.Mode == parachute.TLSOnDemand && len(all) > 0 {
		return f.withTLSOnDemand(s, t, with)
	}
	err := f.refuses(with(t, all))
	if err == nil {
		return with(t, all)
	}
	if conflict, ok := errors.AsType[*parachute.ConflictError](err); ok {
		i := slices.IndexFunc(f.before, func(other parachute.Status) bool { return other.Service == conflict.Owner })
		if owners := f.before[max(i, 0)].Deployment.TLS; i >= 0 && f.refuses(with(owners, all)) == nil {
			f.warn(s.Service, "TLS is that of service %s, which has host %s as well", conflict.Owner, conflict.Host)
			return with(owners, all)
		}
		return f.withoutTLS(s, err) // which leaves that to the owner
	}
	var rest, without []string
	for _, host := range all {
		c := with(t, []string{host})
		c.Deployment.CanonicalHost = ""
		if f.refuses(c) == nil {
			rest = append(rest, host)
		} else {
			without = append(without, host)
		}
	}
	c := with(t, rest)
	if f.refuses(c) != nil {
		c.Deployment.CanonicalHost = "" // it may be one of those without
	}
	if len(rest) == 0 || f.refuses(c) != nil {
		return f.withoutTLS(s, err)
	}
	f.warn(s.Service, "host %s: left out, for it cannot have the service's TLS: %v", strings.Join(without, ", "), cause(err))
	return c
}

// withoutTLS returns s, which is served without the TLS that is refused with err.
func (f *fitting) withoutTLS(s parachute.Status, err error) parachute.Status {
	f.warn(s.Service, "TLS: left out, so that the rest is served: %v", cause(err))
	return s
}

// withTLSOnDemand returns s with certificates on demand. A Proxy has them for services
// without hosts alone: names get theirs automatically, and a wildcard becomes every
// host, for which the service is asked in any case.
func (f *fitting) withTLSOnDemand(s parachute.Status, t parachute.TLS, with func(parachute.TLS, []string) parachute.Status) parachute.Status {
	automatic := t
	automatic.Mode, automatic.AskURL = parachute.TLSAutomatic, ""
	if c := with(automatic, s.Deployment.Hosts); f.refuses(c) == nil {
		f.warn(s.Service, "its hosts get their certificates without %s being asked, for they are named", t.AskURL)
		return c
	}
	if c := with(t, nil); f.refuses(c) == nil {
		f.warn(s.Service, "it is for every host that no other service has, and not for %s alone: certificates on demand are for names that are not known", strings.Join(s.Deployment.Hosts, ", "))
		return c
	}
	return f.withTLS(s, automatic)
}

// cause returns the error that says what cannot be, which is the last but the sentinel
// that it wraps: those around it tell of the service and its rollout. Of several, it is
// the first.
func cause(err error) error {
	for {
		inner := firstOf(err)
		if inner == nil || firstOf(inner) == nil {
			return err
		}
		err = inner
	}
}

// firstOf returns the error that err wraps, or the first one if there are several.
func firstOf(err error) error {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		return several.Unwrap()[0]
	}
	return errors.Unwrap(err)
}
