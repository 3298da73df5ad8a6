package parachute

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute/internal/gate"
)

// A version is what one service serves from one publication to the next. What
// requests read of it never changes.
type version struct {
	status  Status   // as Commit gets it
	claims  []claim  // what it answers for
	policy  policy   // of its hosts
	holding *holding // of its certificates; nil if the service failed
	lanes   []*lane  // one for each target; none if the service failed

	// Requests wait until settled is closed, for the first probes, but no
	// longer than until settledBy. It is nil where they never do: after a
	// deploy.
	settled   <-chan struct{}
	settledBy time.Time

	held atomic.Int64 // requests that wait for a target to be there again
}

// A lane is the way to one target in one version. Its gates tell how much of
// that version is still under way.
type lane struct {
	target *target
	gate.Lane
}

func newVersion(status Status, claims []claim, targets []*target) *version {
	v := &version{status: status, claims: claims}
	for _, t := range targets {
		v.lanes = append(v.lanes, &lane{target: t})
	}
	return v
}

// renewed returns the same version with gates of its own.
func (v *version) renewed() *version {
	next := newVersion(v.status, v.claims, v.targets())
	next.policy, next.holding = v.policy, v.holding
	next.settled, next.settledBy = v.settled, v.settledBy
	return next
}

// close cuts off what goes on in v and lets go of what it has.
func (v *version) close() {
	closeAll(v.targets())
	if v.holding != nil {
		v.holding.release()
	}
}

func (v *version) targets() []*target {
	var targets []*target
	for _, l := range v.lanes {
		targets = append(targets, l.target)
	}
	return targets
}

// settling reports whether requests have to wait before they are sent on.
func (v *version) settling() bool {
	if v.settled == nil {
		return false
	}
	select {
	case <-v.settled:
		return false
	default:
		return time.Now().Before(v.settledBy)
	}
}

// settle waits until requests may be sent on, and reports false if ctx ended
// before.
func (v *version) settle(ctx context.Context) bool {
	limit := time.NewTimer(time.Until(v.settledBy))
	defer limit.Stop()
	select {
	case <-v.settled:
	case <-limit.C:
	case <-ctx.Done():
		return false
	}
	return true
}

// ask asks one of v's targets whether a name may have a certificate.
func (v *version) ask(ctx context.Context, requestTarget string) error {
	t := v.pick(nil).target
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+t.prober.host, nil)
	if err != nil {
		return err
	}
	resp, err := t.exchange(r, requestTarget, t.prober.header, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return allowed(resp)
}

// isHealthCheck reports whether a request target is the path that v's targets
// are probed at.
func (v *version) isHealthCheck(requestTarget string) bool {
	asked, _, _ := strings.Cut(requestTarget, "?")
	probed, _, _ := strings.Cut(v.status.Deployment.HealthCheck.Path, "?")
	return asked == probed
}

// redirect returns where a request with that Host header goes instead, if it
// goes elsewhere: to https, to the canonical host, or to both in one step.
// secure says that it came over TLS.
func (s *site) redirect(asked string, secure bool, httpsPort int) (origin string, ok bool) {
	name := canonicalHost(asked)
	host := cmp.Or(s.policy.canonical, name)
	toHTTPS := !secure && s.policy.isSecure() && !s.policy.tls.NoRedirect && s.isReady(name)
	if host == name && !toHTTPS {
		return "", false
	}
	// What the client says is only repeated where nothing else is known.
	if s.policy.canonical == "" && s.host != anyHost && !strings.HasPrefix(s.host, "*.") {
		host = s.host
	}
	switch addr, err := netip.ParseAddr(host); {
	case err == nil && addr.Is6():
		host = "[" + host + "]"
	case err != nil && !isHostName(host):
		return "", false
	}
	switch {
	case toHTTPS && httpsPort == 443:
		return "https://" + host, true
	case toHTTPS:
		return "https://" + host + ":" + strconv.Itoa(httpsPort), true
	case secure:
		return "https://" + host + portOf(asked), true
	}
	return "http://" + host + portOf(asked), true
}

// portOf returns the port in a Host header, with the colon, or "".
func portOf(host string) string {
	i := strings.LastIndexByte(host, ':')
	if i < 0 {
		return ""
	}
	if _, err := strconv.ParseUint(host[i+1:], 10, 16); err != nil {
		return "" // of an address in brackets, or nonsense
	}
	return host[i:]
}

// isReady reports whether a client that comes back over TLS is likely to be
// served. Whether a certificate on demand can be had is seen when one asks.
func (s *site) isReady(name string) bool {
	return s.policy.tls.Mode == TLSOnDemand || s.holding.certificate(s.host, name) != nil
}

// isFor reports whether what came over a connection to sni may be for name,
// whose site s is, too. other is the site of sni.
func (s *site) isFor(name string, other *site, sni string) bool {
	if s == nil || other == nil || s.policy.tls != other.policy.tls {
		return s == other
	}
	if s.holding == nil || other.holding == nil {
		return s.holding == other.holding
	}
	return sameCertificate(s.holding.certificate(s.host, name), other.holding.certificate(other.host, sni))
}

// live returns what goes on in v now.
func (v *version) live() *Live {
	live := &Live{Targets: make([]TargetStatus, 0, len(v.lanes))}
	for _, l := range v.lanes {
		s := l.target.status()
		s.Requests, s.Streams = l.Inside()
		live.Targets = append(live.Targets, s)
	}
	return live
}

// pick returns the lane to use, passing over targets that were tried: of two
// healthy ones at random that with fewer in flight. Where none is healthy all
// are candidates, for a check may be wrong, and an answer beats none. It
// returns nil if no lane is left.
func (v *version) pick(tried []*target) *lane {
	wantHealthy := true
	n := v.candidates(wantHealthy, tried)
	if n == 0 {
		wantHealthy = false
		n = v.candidates(wantHealthy, tried)
	}
	switch n {
	case 0:
		return nil
	case 1:
		return v.candidate(0, wantHealthy, tried)
	}
	i := rand.IntN(n)
	a := v.candidate(i, wantHealthy, tried)
	b := v.candidate((i+1+rand.IntN(n-1))%n, wantHealthy, tried)
	if b.inFlight() < a.inFlight() {
		return b
	}
	return a
}

func (v *version) candidates(wantHealthy bool, tried []*target) int {
	n := 0
	for _, l := range v.lanes {
		if l.suits(wantHealthy, tried) {
			n++
		}
	}
	return n
}

// candidate returns the i-th lane that suits. Health may have changed since
// they were counted; then the last one that still suits, or any, will do.
func (v *version) candidate(i int, wantHealthy bool, tried []*target) *lane {
	found := v.lanes[0]
	for _, l := range v.lanes {
		if l.suits(wantHealthy, tried) {
			found = l
			if i == 0 {
				break
			}
			i--
		}
	}
	return found
}

func (l *lane) suits(wantHealthy bool, tried []*target) bool {
	return (!wantHealthy || l.target.healthy.Load()) && !slices.Contains(tried, l.target)
}

func (l *lane) inFlight() int64 {
	requests, streams := l.Inside()
	return requests + streams
}

// inFlight returns how many requests and streams are inside v.
func (v *version) inFlight() (requests, streams int64) {
	for _, l := range v.lanes {
		r, s := l.Inside()
		requests += r
		streams += s
	}
	return requests, streams
}

// A hold is the patience of one request with a service that no connection can
// be made to. It begins with the first wait.
type hold struct {
	until time.Time
	pause time.Duration // before the next look
}

// wait waits before the next look at the service: 50, 100, 200 ms and so on up
// to 1 s. It reports false, at once, if there is no more waiting: the time of
// Timeouts.Hold is up, max others wait already, ctx has ended, or done was
// closed.
func (h *hold) wait(ctx context.Context, v *version, max int64, done <-chan struct{}) bool {
	now := time.Now()
	if h.until.IsZero() {
		h.until = now.Add(v.status.Deployment.Timeouts.Hold)
		h.pause = 50 * time.Millisecond
	}
	defer v.held.Add(-1)
	if v.held.Add(1) > max || !now.Before(h.until) {
		return false
	}
	timer := time.NewTimer(min(h.pause, h.until.Sub(now)))
	defer timer.Stop()
	h.pause = min(2*h.pause, time.Second)
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-done:
	}
	return false
}

// retire lets nobody into v any more and waits for those inside, as gate.Drain
// does; it cuts off the requests that are late.
func (v *version) retire(limits gate.Limits, done <-chan struct{}) (requests, streams int64) {
	lanes := make([]*gate.Lane, len(v.lanes))
	for i, l := range v.lanes {
		lanes[i] = &l.Lane
	}
	return gate.Drain(lanes, limits, v.cutRequests, done)
}

func (v *version) cutRequests() {
	for _, l := range v.lanes {
		l.target.conns.CutRequests()
	}
}
