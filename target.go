package parachute

import (
	"context"
	"crypto/tls"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute/internal/balance"
	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/histogram"
	"github.com/shahnk19/parachute/internal/hostname"
	"github.com/shahnk19/parachute/internal/listening"
	"github.com/shahnk19/parachute/internal/probe"
	"github.com/shahnk19/parachute/internal/resolve"
	"github.com/shahnk19/parachute/internal/upstream"
)

// A target is one address that requests are sent to, with the connections to
// it and what its probes have shown. Whoever calls start must call close.
type target struct {
	address  string
	name     *resolve.Name // of the host in address; nil: it has none to be looked up
	conns    transport
	exchange forward.Exchange // of conns, for what is no request of a client's
	http2    bool             // it speaks HTTP/2, if only in gRPC calls
	check    HealthCheck
	prober   *prober
	trust    trust     // in what TLS says; of prober
	schedule *schedule // of all targets of the Proxy
	watch    *watch
	traffic  *histogram.Histogram // of the requests that were sent to the address, whichever deploy named it
	roll     *roll

	healthy  atomic.Bool              // as the probes have it
	record   balance.Record           // of the requests to it
	refusals atomic.Int32             // connections in a row that could not be made since the last probe passed
	ejection atomic.Pointer[ejection] // nil: it is not taken out

	stop    context.CancelFunc             // ends the eager probing
	settled chan struct{}                  // closed when that has ended
	regular *probe.Member[check, *finding] // what has come after it; nil: nothing has. Valid once settled is closed

	mu     sync.Mutex // guards what follows
	health Health
	since  time.Time // when health became what it is
	streak int       // how many probes in a row have ended as the last one did
	probes int       // how many have ended
	last   *Probe

	outlier ejection // the last one as an outlier; zero: there was none lately
}

// newTarget returns the target of d that has an address, and is watched by w. Its
// name is looked up as p.names say; nil: Options.Dial does that.
func (p *Proxy) newTarget(address string, d Deployment, w *watch) (*target, error) {
	at, err := parseTarget(address)
	if err != nil {
		return nil, err
	}
	var secure *tls.Config
	var trust trust
	if at.scheme == "https" {
		if secure, trust, err = d.TargetTLS.config(); err != nil {
			return nil, err
		}
	}
	u := upstream.Options{
		Network:         at.network,
		Address:         at.address,
		Dial:            p.options.Dial,
		TLS:             secure,
		ResponseTimeout: d.Timeouts.Response,
	}
	name := at.name(p.names, d, address)
	if name != nil {
		u.Dial, u.IsCurrent = name.Dial, name.IsCurrent
	}
	t := &target{
		address:  address,
		name:     name,
		conns:    at.open(u),
		check:    d.HealthCheck,
		prober:   newProber(at, u, d, p.options.UserAgent, p.hop, name),
		trust:    trust,
		schedule: &p.schedule,
		watch:    w,
		traffic:  new(histogram.Histogram),
		roll:     p.roll,
		http2:    at.scheme != "http",
		health:   HealthUnknown,
		since:    time.Now(),
	}
	t.exchange = t.conns.Exchange
	return t, nil
}

// start begins to probe the target.
func (t *target) start() {
	t.roll.enter(t.prober.endpoint)
	ctx, stop := context.WithCancel(context.Background())
	t.stop, t.settled = stop, make(chan struct{})
	go t.probeEagerly(ctx)
}

// stopProbes ends the probing and waits for it: no event about the target
// comes after it returned.
func (t *target) stopProbes() {
	t.stop()
	<-t.settled
	if t.regular != nil {
		t.regular.Leave()
	}
}

// close ends the probing and cuts off every exchange. When it returns, nothing
// more is sent to the target and no goroutine of it is left.
func (t *target) close() {
	t.stopProbes()
	t.conns.Close()
	if t.name != nil {
		t.name.Close()
	}
	t.roll.leave(t.prober.endpoint)
}

// A roll counts the targets that are in use, by where they are: several
// versions, of several services, may have one.
type roll struct {
	mu    sync.Mutex // guards inUse
	inUse map[endpoint]int
}

func newRoll() *roll { return &roll{inUse: make(map[endpoint]int)} }

func (r *roll) enter(at endpoint) { r.add(at, 1) }
func (r *roll) leave(at endpoint) { r.add(at, -1) }

func (r *roll) add(at endpoint, n int) {
	at.scheme = "" // what is spoken there does not matter
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inUse[at] += n; r.inUse[at] == 0 {
		delete(r.inUse, at)
	}
}

// without returns the addresses of those targets that nobody uses.
func (r *roll) without(targets []*target) (unused []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range targets {
		at := t.prober.endpoint
		if at.scheme = ""; r.inUse[at] == 0 {
			unused = append(unused, t.address)
		}
	}
	return unused
}

func closeAll(targets []*target) {
	for _, t := range targets {
		t.close()
	}
}

// isHealthy reports whether requests may be sent to t.
func (t *target) isHealthy() bool { return t.healthy.Load() && t.ejection.Load() == nil }

// maxRefusals is how many connections in a row must fail for a target to be
// taken out although its probes pass.
const maxRefusals = 3

// refused notes that no connection could be made, and reports whether that was
// one too many.
func (t *target) refused() bool { return t.refusals.Add(1) >= maxRefusals }

// answered notes that a request was answered.
func (t *target) answered() {
	if t.refusals.Load() > 0 {
		t.refusals.Store(0)
	}
}

// An ejection is a target taken out because of its requests: until a probe
// passes after a time.
type ejection struct {
	since, until time.Time
}

// How long an outlier is taken out: the first time, and at most. Each time is
// twice as long as the one before, unless it has served for maxEjection between
// the two.
const (
	firstEjection = 5 * time.Second
	maxEjection   = 5 * time.Minute
)

// eject takes t out, and reports false if it is out already: until the next
// probe that passes or, as an outlier, for longer. Unless mayStay then says that
// it may, t is back at once, and eject reports false, too.
func (t *target) eject(outlier bool, mayStay func() bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ejection.Load() != nil {
		return false
	}
	now := time.Now()
	e := &ejection{since: now, until: now}
	if outlier {
		if now.Sub(t.outlier.until) > maxEjection {
			t.outlier = ejection{}
		}
		again := 2 * t.outlier.until.Sub(t.outlier.since)
		e.until = now.Add(min(max(again, firstEjection), maxEjection))
	}
	t.ejection.Store(e)
	if !mayStay() {
		t.ejection.Store(nil)
		return false
	}
	if outlier {
		t.outlier = *e
	}
	return true
}

// recoverLocked ends what requests have done to t, for a probe has passed. It
// reports whether requests are sent to t again that were not.
func (t *target) recoverLocked() bool {
	t.refusals.Store(0)
	now := time.Now()
	if e := t.ejection.Load(); e == nil || now.Before(e.until) {
		return false
	}
	t.ejection.Store(nil)
	t.since = now
	return t.health == HealthHealthy
}

// status returns what is known of the target at a time since the Proxy was made,
// but for what is in flight.
func (t *target) status(at time.Duration) TargetStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := TargetStatus{Address: t.address, Health: t.health, Since: t.since, Probe: t.last, Traffic: trafficOf(t.traffic.Minute(at))}
	if e := t.ejection.Load(); e != nil && t.health == HealthHealthy {
		s.Health, s.Since = HealthUnhealthy, e.since
	}
	return s
}

func trafficOf(m histogram.Minute) Traffic {
	t := Traffic{Rate: float64(m.Count) / m.Span.Seconds(), P50: m.P50, P99: m.P99}
	if m.Count > 0 {
		t.ErrorRate = float64(m.Failed) / float64(m.Count)
	}
	return t
}

// An endpoint is where a target is and what is spoken there.
type endpoint struct {
	scheme  string // "http", "https" or "h2c"
	network string // "tcp" or "unix"
	address string // host:port or a path
}

// A transport carries the exchanges with a target, as the methods of
// upstream.Pool say.
type transport interface {
	Exchange(r *http.Request, target string, header field.View, interim func(status int, h http.Header)) (*http.Response, error)
	Group() *upstream.Group
	CloseStale()
	Close()
}

// open returns a transport for what is spoken at the endpoint.
func (e endpoint) open(o upstream.Options) transport {
	switch e.scheme {
	case "h2c":
		return upstream.NewH2C(o)
	case "https":
		return upstream.NewSecure(o)
	}
	return upstream.New(o)
}

// newHop returns a name that no other Proxy goes by.
func newHop() []string {
	return []string{fmt.Sprintf("%016x", rand.Uint64())}
}

// hopOf returns what the requests of a service are known by, whichever version
// sends them. The services of one Proxy are told apart, for an app of one may well
// ask another and pass on the header of its own request.
func (p *Proxy) hopOf(service string) []string {
	sum := fnv.New32a()
	io.WriteString(sum, service)
	return []string{fmt.Sprintf("%s-%08x", p.hop[0], sum.Sum32())}
}

// checkElsewhere returns ErrInvalid if one of the targets is the Proxy itself, as
// far as that can be seen: not where an embedder's Dial looks names up, nor where
// addresses are changed on the way.
func (p *Proxy) checkElsewhere(ctx context.Context, targets []string) error {
	for _, target := range targets {
		at, err := parseTarget(target)
		if err != nil || at.network == "unix" {
			continue
		}
		host, port, _ := net.SplitHostPort(at.address)
		n, _ := strconv.ParseUint(port, 10, 16)
		if !listening.HasPort(p.options.Listening, uint16(n)) {
			continue
		}
		for _, addr := range p.addressesOf(ctx, host) {
			if own := netip.AddrPortFrom(addr, uint16(n)); listening.Reaches(p.options.Listening, own) {
				return faultf(ErrInvalid, "target %q is this proxy itself, which listens on %v: name the address and port that the app listens on, such as web-1:3000", target, own)
			}
		}
	}
	return nil
}

// addressesOf returns those of a target's host; none where they are not known.
func (p *Proxy) addressesOf(ctx context.Context, host string) []netip.Addr {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}
	}
	if p.names == nil {
		return nil
	}
	name := resolve.New(host, *p.names)
	defer name.Close()
	addrs, _ := name.LookUp(ctx) // its probes will tell of an error
	return addrs
}

// name returns the name of the endpoint, which is a target of d, or nil where
// there is nothing to look up. Of an outage it tells with the words that name the
// target elsewhere in the log.
func (e endpoint) name(names *resolve.Options, d Deployment, target string) *resolve.Name {
	if names == nil || e.network == "unix" {
		return nil
	}
	host, _, _ := net.SplitHostPort(e.address)
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	o := *names
	o.Fall = d.HealthCheck.Fall
	if o.Logger != nil {
		o.Logger = o.Logger.With("service", d.Service, "target", target)
	}
	return resolve.New(host, o)
}

// parseTarget reads a target of a Deployment.
func parseTarget(target string) (endpoint, error) {
	if path, ok := strings.CutPrefix(target, "unix:"); ok {
		if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
			return endpoint{}, faultf(ErrInvalid, "target %q: want an absolute path, as in unix:/run/web.sock", target)
		}
		return endpoint{"http", "unix", path}, nil
	}
	scheme, address, ok := strings.Cut(target, "://")
	switch {
	case !ok:
		scheme, address = "http", target
	case scheme == "http":
		return endpoint{}, faultf(ErrInvalid, "target %q has a scheme that goes without saying: want host:port alone, such as web-1:3000", target)
	case scheme != "https" && scheme != "h2c":
		return endpoint{}, faultf(ErrInvalid, "target %q has an unknown scheme: want host:port alone, https://host:port or h2c://host:port", target)
	}
	if err := checkAddress(target, address); err != nil {
		return endpoint{}, err
	}
	return endpoint{scheme, "tcp", address}, nil
}

// checkAddress returns why address, which target consists of but for a scheme,
// is none.
func checkAddress(target, address string) error {
	host, port, err := net.SplitHostPort(address)
	switch {
	case address == "":
		return faultf(ErrInvalid, "target is empty: want host:port, such as web-1:3000")
	case strings.Contains(address, "/"):
		return faultf(ErrInvalid, "target %q has a path: want host:port alone, such as web-1:3000", target)
	case err != nil && strings.Count(address, ":") > 1:
		return faultf(ErrInvalid, "target %q: an IPv6 address stands in brackets, as in [::1]:3000", target)
	case err != nil || port == "":
		return faultf(ErrInvalid, "target %q has no port: want host:port, such as web-1:3000", target)
	case host == "" || !hostname.IsHostHeader(host):
		return faultf(ErrInvalid, "target %q has no host name: want host:port, such as web-1:3000", target)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return faultf(ErrInvalid, "target %q: port %q is not between 1 and 65535", target, port)
	}
	return nil
}
