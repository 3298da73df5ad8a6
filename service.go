package parachute

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/shahnk19/parachute/internal/answer"
	"github.com/shahnk19/parachute/internal/balance"
	"github.com/shahnk19/parachute/internal/buffer"
	"github.com/shahnk19/parachute/internal/cookies"
	"github.com/shahnk19/parachute/internal/credentials"
	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/gate"
	"github.com/shahnk19/parachute/internal/grpc"
	"github.com/shahnk19/parachute/internal/headers"
	"github.com/shahnk19/parachute/internal/hostname"
	"github.com/shahnk19/parachute/internal/networks"
	"github.com/shahnk19/parachute/internal/pages"
	"github.com/shahnk19/parachute/internal/reason"
	"github.com/shahnk19/parachute/internal/split"
	"github.com/shahnk19/parachute/internal/upstream"
	"github.com/shahnk19/parachute/internal/waiting"
)

// A version is what one service serves from one publication to the next. What
// requests read of it never changes.
type version struct {
	status  Status       // as Commit gets it
	claims  []claim      // what it answers for
	policy  policy       // of its hosts
	holding *holding     // of its certificates; nil if the service failed
	conduct *conduct     // what its Deployment says of each request; nil if the service failed
	hop     []string     // of one: what its requests are known by; nil if the service failed
	main    group        // empty if the service failed
	rollout *group       // of the second version; nil: there is none
	split   *split.Split // who goes there; nil: nobody

	// The lanes of all versions before, and not of this one, that somebody may
	// still be inside of. Set by follow.
	leaving []*lane

	replaced chan struct{} // closed when a newer version is published
	resumed  chan struct{} // closed when a version that is not halted has taken the place of one that is, or the Proxy is closed

	// Requests wait until settled is closed, for the first probes, but no
	// longer than until settledBy. It is nil where they never do: after a
	// deploy.
	settled   <-chan struct{}
	settledBy time.Time

	held *waiting.Room // of requests that wait, over all versions of the service

	since time.Time // when the first version of this generation, in this state, was published
}

// A conduct is what a Deployment says of each request, ready to be followed.
type conduct struct {
	pages     *pages.Set // nil: the Proxy's
	networks  networks.Rules
	users     *credentials.Users // nil: no password is asked for
	redirects map[string]string  // by path
	trusted   []netip.Prefix     // who is believed what a request has been through
	request   func(http.Header)  // changes what goes to a target; nil: nothing does
	answer    answer.Rules
	answers   bool // something of answers is to be changed, kept or counted
}

// newConduct returns the conduct that a normalized Deployment asks for. Pages
// that the service has not are those of standard; checks has room for as many
// passwords as are checked at once. An error is ErrInvalid.
func newConduct(d Deployment, o Options, standard *pages.Set, checks chan struct{}) (*conduct, error) {
	c := &conduct{trusted: o.TrustedProxies}
	switch d.Forwarded.Trust {
	case TrustEverybody:
		c.trusted = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	case TrustNobody:
		c.trusted = nil
	}
	if len(d.Redirects) > 0 {
		c.redirects = make(map[string]string, len(d.Redirects))
		for _, r := range d.Redirects {
			c.redirects[r.From] = r.To
		}
	}
	c.answer = answer.Rules{ScopeCookies: d.Headers.ScopeCookies, WriterAffinity: d.Timeouts.WriterAffinity}
	if d.Headers.HSTS != "" {
		c.answer.HSTS = []string{d.Headers.HSTS}
	}
	rules, err := headers.ParseRequest(d.Headers.Request)
	if err == nil && len(d.Headers.Request) > 0 {
		c.request = rules.Apply
	}
	if err == nil {
		rules, err = headers.ParseResponse(d.Headers.Response)
	}
	if err == nil && len(d.Headers.Response) > 0 {
		c.answer.Headers = rules.Apply
	}
	if err == nil {
		c.networks, err = networks.Parse(d.Access.Allow, d.Access.Deny)
	}
	if err == nil && d.Access.BasicAuthFile != "" {
		c.users, err = credentials.Load(d.Access.BasicAuthFile, checks)
	}
	if err == nil && d.ErrorPages != "" {
		c.pages, err = standard.Load(d.ErrorPages)
	}
	if err != nil {
		return nil, faultf(ErrInvalid, "%v", err)
	}
	c.answers = !c.answer.IsZero() || d.Buffer.Responses || d.MaxResponseBody > 0
	return c, nil
}

// A group is the ways to the targets that came with one deploy.
type group struct {
	writers []*lane
	readers []*lane // for requests that only read
}

// A lane is the way to one target in one version. Its gates tell how much of
// that version is still under way.
type lane struct {
	target    *target
	exchanges *upstream.Group  // those of the requests inside
	exchange  forward.Exchange // of exchanges
	mute      atomic.Bool      // nobody is told when the streams inside are closed
	gate.Lane
}

func newVersion(status Status, claims []claim, main group) *version {
	return &version{
		status:   status,
		claims:   claims,
		conduct:  new(conduct),
		main:     main,
		replaced: make(chan struct{}),
		resumed:  make(chan struct{}),
		held:     new(waiting.Room),
		since:    time.Now(),
	}
}

// newGroup returns a group with gates of its own.
func newGroup(writers, readers []*target) group {
	return group{newLanes(writers), newLanes(readers)}
}

func newLanes(targets []*target) []*lane {
	var lanes []*lane
	for _, t := range targets {
		exchanges := t.conns.Group()
		lanes = append(lanes, &lane{target: t, exchanges: exchanges, exchange: exchanges.Exchange})
	}
	return lanes
}

// renewed returns the same group with gates of its own.
func (g group) renewed() group { return newGroup(targetsOf(g.writers), targetsOf(g.readers)) }

// inherit has the targets of g, which are not published yet, go on with what was
// counted for the same addresses in the group that g replaces.
func (g group) inherit(previous group) {
	was := targetsOf(slices.Concat(previous.writers, previous.readers))
	for _, t := range targetsOf(slices.Concat(g.writers, g.readers)) {
		if i := slices.IndexFunc(was, func(w *target) bool { return w.address == t.address }); i >= 0 {
			t.traffic = was[i].traffic
		}
	}
}

func targetsOf(lanes []*lane) []*target {
	var targets []*target
	for _, l := range lanes {
		targets = append(targets, l.target)
	}
	return targets
}

// as returns the next version of the service, with the same lanes, for a new
// status.
func (v *version) as(status Status) *version {
	next := *v
	next.status, next.replaced, next.resumed = status, make(chan struct{}), make(chan struct{})
	return &next
}

// with is as for a service with r as its rollout, whose targets are in second.
// A split that r leaves open is as it was.
func (v *version) with(r Rollout, second *group) (*version, error) {
	status := v.status
	if status.Rollout != nil && r.Split.isZero() {
		r.Split = status.Rollout.Split
	}
	status.Rollout = &r
	if v.rollout != nil {
		second.inherit(*v.rollout)
	}
	next := v.as(status)
	next.rollout, next.split = second, nil
	if r.Split.isZero() {
		return next, nil
	}
	var err error
	if next.split, err = split.New(r.Split.Percent, r.Split.List); err != nil {
		return nil, faultf(ErrInvalid, "%v", err)
	}
	return next, nil
}

// without is as for a service without a rollout.
func (v *version) without() *version {
	status := v.status
	status.Rollout = nil
	next := v.as(status)
	next.rollout, next.split = nil, nil
	return next
}

// renewed is as for a version with gates of its own.
func (v *version) renewed(status Status) *version {
	next := v.as(status)
	next.main = v.main.renewed()
	if v.rollout != nil {
		renewed := v.rollout.renewed()
		next.rollout = &renewed
	}
	return next
}

// follow makes v, which is about to be published, the version after previous,
// which is nil where v is the first.
func (v *version) follow(previous *version) {
	if previous == nil {
		return
	}
	v.leaving = previous.left(v)
	if v.isHalted() && previous.isHalted() {
		v.resumed = previous.resumed
	}
}

// end tells whoever waits that next, which is nil where the service was taken
// out, has taken v's place.
func (v *version) end(next *version) {
	close(v.replaced)
	if v.isHalted() && next != nil && !next.isHalted() {
		close(v.resumed)
	}
}

// left returns the lanes that next, which may be nil, has not any more, and
// those that v had not any more, unless nobody is inside of them.
func (v *version) left(next *version) []*lane {
	left := slices.DeleteFunc(slices.Clone(v.leaving), func(l *lane) bool { return l.IsDeserted() })
	left = append(left, v.lanes()...)
	if next != nil {
		kept := next.lanes()
		left = slices.DeleteFunc(left, func(l *lane) bool { return slices.Contains(kept, l) })
	}
	return left
}

// isHalted reports whether requests are not sent on, on somebody's demand.
func (v *version) isHalted() bool {
	return v.status.State == StatePaused || v.status.State == StateStopped
}

// lanes returns all that lead into v.
func (v *version) lanes() []*lane {
	lanes := slices.Concat(v.main.writers, v.main.readers)
	if v.rollout != nil {
		lanes = slices.Concat(lanes, v.rollout.writers, v.rollout.readers)
	}
	return lanes
}

func (v *version) targets() []*target { return targetsOf(v.lanes()) }

// takesCalls reports whether a target of v speaks HTTP/2, as gRPC calls want. A
// client may say of any request that it is one.
func (v *version) takesCalls() bool {
	return slices.ContainsFunc(v.lanes(), func(l *lane) bool { return l.target.http2 })
}

// addresses returns those of v's first version.
func (v *version) addresses() []string {
	return slices.Concat(v.status.Deployment.Targets, v.status.Deployment.ReadTargets)
}

// close cuts off what goes on in v and lets go of what it has.
func (v *version) close() {
	closeAll(v.targets())
	if v.holding != nil {
		v.holding.release()
	}
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

// ask asks one of v's targets whether a name may have a certificate, as a visitor
// to that name would: by Host alone an app with many of them may tell.
func (v *version) ask(ctx context.Context, name, requestTarget string) (*http.Response, error) {
	t := v.main.pick(0, nil, false).target
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+name, nil)
	if err != nil {
		return nil, err
	}
	return t.exchange(r, requestTarget, field.ViewOf(t.prober.header), nil)
}

// live returns what goes on in v now, which is at so long after the Proxy was
// made.
func (v *version) live(at time.Duration) *Live {
	live := &Live{Since: v.since, Targets: make([]TargetStatus, 0, len(v.lanes())), Held: v.held.Inside()}
	add := func(g group, rollout bool) {
		for i, l := range slices.Concat(g.writers, g.readers) {
			s := l.target.status(at)
			s.Requests, s.Streams = v.inside(l.target)
			s.Reads, s.Rollout = i >= len(g.writers), rollout
			live.Targets = append(live.Targets, s)
		}
	}
	add(v.main, false)
	if v.rollout != nil {
		add(*v.rollout, true)
	}
	return live
}

// inside returns how many requests and streams are on their way to t.
func (v *version) inside(t *target) (requests, streams int64) {
	for _, l := range slices.Concat(v.lanes(), v.leaving) {
		if l.target == t {
			r, s := l.Inside()
			requests += r
			streams += s
		}
	}
	return requests, streams
}

// canSpare reports whether a healthy target would get t's requests.
func (g *group) canSpare(t *target) bool {
	isOther := func(l *lane) bool { return l.target != t && l.target.isHealthy() }
	return slices.ContainsFunc(g.writers, isOther) ||
		g.isReader(t) && slices.ContainsFunc(g.readers, isOther)
}

func (g *group) isReader(t *target) bool {
	return slices.ContainsFunc(g.readers, func(l *lane) bool { return l.target == t })
}

// siblings returns the lanes of the targets that have the same to do as t, and
// its own.
func (g *group) siblings(t *target) []*lane {
	if g.isReader(t) {
		return g.readers
	}
	return g.writers
}

// hasOutlier reports whether t fails so much more than its siblings that it is
// to be taken out.
func (g *group) hasOutlier(t *target, now time.Duration) bool {
	return t.record.IsOutlier(func(yield func(*balance.Record) bool) {
		for _, l := range g.siblings(t) {
			if l.target != t && l.target.isHealthy() && !yield(&l.target.record) {
				return
			}
		}
	}, now)
}

// isHalfEjected reports whether more than half of t's siblings are taken out.
func (g *group) isHalfEjected(t *target) bool {
	all, ejected := g.siblings(t), 0
	for _, l := range all {
		if l.target.ejection.Load() != nil {
			ejected++
		}
	}
	return ejected > len(all)/2
}

// pick returns the lane to use, passing over targets that were tried: the better
// one of two that are healthy, as balance has it. What only reads goes to readers
// where one of them is healthy. Where no writer is healthy all are candidates, for
// a check may be wrong, and an answer beats none. It returns nil if no lane is
// left.
func (g *group) pick(now time.Duration, tried []*target, reading bool) *lane {
	isUntried := func(l *lane) bool { return !slices.Contains(tried, l.target) }
	suits := func(l *lane) bool { return l.target.isHealthy() && isUntried(l) }
	if reading {
		if l, ok := balance.Pick(g.readers, now, suits); ok {
			return l
		}
	}
	if l, ok := balance.Pick(g.writers, now, suits); ok {
		return l
	}
	l, _ := balance.Pick(g.writers, now, isUntried)
	return l
}

// InFlight is that of a balance.Candidate.
func (l *lane) InFlight() int64 {
	requests, streams := l.Inside()
	return requests + streams
}

// Record is that of a balance.Candidate.
func (l *lane) Record() *balance.Record { return &l.target.record }

// inFlight returns how many requests and streams are inside lanes.
func inFlight(lanes []*lane) (requests, streams int64) {
	for _, l := range lanes {
		r, s := l.Inside()
		requests += r
		streams += s
	}
	return requests, streams
}

// mute has the WebSockets inside of lanes cut when they are closed, if one of the
// versions, nil or not, is deployed so.
func mute(lanes []*lane, versions ...*version) {
	for _, v := range versions {
		if v == nil || !v.status.Deployment.NoWebSocketClose {
			continue
		}
		for _, l := range lanes {
			l.mute.Store(true)
		}
	}
}

// drain lets nobody into lanes any more and waits for those inside, as
// gate.Drain does; it cuts off the requests that are late. Nobody else's
// exchanges with the same targets are touched.
func drain(lanes []*lane, limits gate.Limits, done <-chan struct{}) (requests, streams int64) {
	gates := make([]*gate.Lane, len(lanes))
	for i, l := range lanes {
		gates[i] = &l.Lane
	}
	cut := func() (cut int64) {
		for _, l := range lanes {
			cut += l.exchanges.CutRequests()
		}
		return cut
	}
	return gate.Drain(gates, limits, cut, done)
}

// A visit is one request on its way through the Proxy.
type visit struct {
	proxy   *Proxy
	w       http.ResponseWriter
	r       *http.Request
	sent    *http.Request // r, or with a body that is limited or buffered
	body    *buffer.Body  // of sent, if it is buffered
	start   time.Time
	client  forward.Client
	version *version // that is to answer
	group   *group   // of version
	asked   string   // the request target as the client sent it
	target  string   // the same as version sees it
	decided bool     // which group the visitor belongs to
	second  bool     // it is that of the rollout
	outcome Outcome
	reason  reason.Reason // that of outcome
	served  bool          // ServeHTTP did not panic

	believed Forwarded // what of a Deployment client was found by

	sentTo   *target // that had it last; nil: none
	isStream bool    // what came back from there

	tried []*target     // that could not take the request
	last  error         // why the last of them could not
	why   reason.Reason // the same
	lost  int           // how many of them had it, and went away

	// What counts of Timeouts.Hold is the time that is spent waiting, for
	// connections too: not that in which a target had the request, nor that of a
	// pause.
	backoff waiting.Backoff
	paused  time.Duration // how long it has waited for a resume
}

func (v *visit) serve() {
	r := v.r
	if r.TLS != nil && r.TLS.NegotiatedProtocol == acme.ALPNProto {
		v.abort(reason.NoHTTP, errors.New("a request on a connection for a TLS-ALPN-01 challenge")) // RFC 8737, section 3
	}
	target, err := forward.Target(r, "")
	switch {
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace:
		v.w.Header().Set("Allow", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")
		v.refuse(reason.Method, nil)
		return
	case r.Method == http.MethodOptions && r.RequestURI == "*":
		v.outcome.Status = http.StatusOK
		v.w.WriteHeader(http.StatusOK)
		return
	case err != nil:
		v.refuse(reason.BadRequest, err)
		return
	case forward.HasPassed(r.Header, v.proxy.hop):
		v.refuseBody(reason.Loop, errOwnProbe)
		return
	}
	for {
		table := v.proxy.router.routes.Load()
		if table.closed {
			v.refuse(reason.Closed, ErrClosed)
			return
		}
		site := table.lookup(r.Host)
		if v.isMisdirected(table, site) {
			v.refuseBody(reason.Misdirected, nil)
			return
		}
		v.version = v.route(site, target)
		if v.answerChallenge(target) || v.redirect(table, site, target) {
			return
		}
		if v.version == nil {
			v.notFound()
			return
		}
		if again := v.pass(); !again {
			return
		}
	}
}

// What is told of a request that has been here before.
var (
	errLoop     = errors.New("the request has come back: a target of the service leads to this proxy")
	errOwnProbe = errors.New("a health check has come back: a target leads to this proxy")
)

// pass sends the request through v.version. It reports true if there is a newer
// version to look for, or another target to try; otherwise it is answered.
func (v *visit) pass() (again bool) {
	version := v.version
	switch {
	case version.status.State == StateFailed:
		v.refuse(reason.Failed, errors.New(version.status.Error))
		return false
	case forward.HasPassed(v.r.Header, version.hop):
		v.refuseBody(reason.Loop, errLoop)
		return false
	case !v.isAdmitted():
		return false
	case version.isHalted():
		return v.waitForResume()
	case version.settling():
		if !version.settle(v.r.Context()) {
			v.abort(reason.Gone, v.r.Context().Err())
		}
		return true
	case !v.takeBody():
		return false
	}
	v.group = v.choose()
	lane := v.group.pick(v.start.Sub(v.proxy.began), v.tried, v.isReading())
	if lane == nil {
		return v.waitForTarget()
	}
	passage, ok := lane.Enter()
	// If not ok, a newer table is there.
	return !ok || !v.forward(lane, passage)
}

// route finds the version that answers for a request target, or returns nil.
func (v *visit) route(s *site, target string) *version {
	if s == nil {
		return nil
	}
	version, prefix, rest := s.route(target)
	if version == nil {
		return nil
	}
	o := &v.outcome
	o.Service, o.Generation, o.Deployment = version.status.Service, version.status.Generation, &version.status.Deployment
	o.Prefix, v.asked, v.target = prefix, target, rest
	if version.status.Deployment.KeepPrefix {
		o.Prefix, v.target = "", target
	}
	v.believe(version)
	return version
}

// believe has v.client be the client as a service sees it, for it may say itself
// whom to believe.
func (v *visit) believe(version *version) {
	if f := version.status.Deployment.Forwarded; f != v.believed {
		v.believed = f
		v.client = forward.ClientOf(v.r, version.conduct.trusted, f.ClientHeader)
		v.outcome.Client = v.client.Addr
	}
}

// isMisdirected reports whether the request came over a connection that was
// made to another host, and may not be for that of s; or that could not be made
// any more, since s, which is nil where there is no service, has no TLS now: what
// a change forbids holds for connections that were there before.
func (v *visit) isMisdirected(t *table, s *site) bool {
	if v.r.TLS == nil {
		return false
	}
	isNamed := v.r.TLS.ServerName != ""
	if v.proxy.speaksTLS.Load() && (s == nil && isNamed || s != nil && s.holding == nil) {
		return true
	}
	if !isNamed {
		return false
	}
	sni, name := hostname.Canonical(v.r.TLS.ServerName), hostname.Canonical(v.r.Host)
	return sni != name && !s.isFor(name, t.lookup(sni), sni)
}

// answerChallenge answers a request of a certificate authority that wants to
// see that the host is ours.
func (v *visit) answerChallenge(target string) bool {
	if !strings.HasPrefix(target, challengePath) {
		return false
	}
	answer, ok := v.proxy.certificates.token(v.r.Context(), hostname.Canonical(v.r.Host), target)
	if ok {
		v.reply(reason.Challenge, string(answer))
	}
	return ok
}

// redirect answers a request that belongs on another host, or on https.
func (v *visit) redirect(t *table, s *site, target string) bool {
	if s == nil || s.policy.canonical == "" && !s.policy.isSecure() {
		return false
	}
	origin, ok := t.redirect(v.r, s, v.client, v.proxy.options.HTTPSPort)
	if ok {
		v.moved(origin + strings.TrimPrefix(target, "*")) // which has no path
	}
	return ok
}

// isSecure reports whether the request came over TLS, if only to a proxy in
// front of this one.
func (v *visit) isSecure() bool { return v.client.IsSecure(v.r) }

func (v *visit) moved(location string) {
	how := reason.MovedOn
	if v.r.Method == http.MethodGet || v.r.Method == http.MethodHead {
		how = reason.Moved
	}
	v.w.Header()["Location"] = []string{location}
	v.refuse(how, nil)
}

// isAdmitted reports whether the request may go on to the service; otherwise it
// is answered.
func (v *visit) isAdmitted() bool {
	c := v.version.conduct
	if !c.networks.Allows(v.address()) {
		v.refuse(reason.Denied, nil)
		return false
	}
	if c.users != nil && !v.isKnown(c.users) {
		return false
	}
	if len(c.redirects) == 0 {
		return true
	}
	path, query, asked := strings.Cut(v.asked, "?")
	to, ok := c.redirects[path]
	if ok {
		if asked && !strings.Contains(to, "?") {
			to += "?" + query
		}
		v.moved(to)
	}
	return !ok
}

// isKnown reports whether the request has the password of one of users;
// otherwise it is answered.
func (v *visit) isKnown(users *credentials.Users) bool {
	ctx, cancel := context.WithTimeout(v.r.Context(), passwordLimit)
	defer cancel()
	known, err := users.Allows(ctx, v.r.Header)
	switch {
	case v.r.Context().Err() != nil:
		v.abort(reason.Gone, v.r.Context().Err())
	case err != nil:
		v.refuse(reason.Busy, err)
	case !known:
		v.w.Header()["Www-Authenticate"] = []string{`Basic realm="restricted", charset="UTF-8"`}
		v.refuse(reason.Unauthorized, nil)
	}
	return known && err == nil
}

// passwordLimit bounds the wait for a password to be checked, which takes its
// turn among others.
const passwordLimit = 10 * time.Second

// address is the one that Access judges by.
func (v *visit) address() netip.Addr {
	if v.proxy.trustsExplicitly {
		return v.client.Addr
	}
	return forward.ClientOf(v.r, nil, "").Addr
}

// waitForResume holds the request while the service is paused, and answers it
// if that takes too long or the service is stopped. It reports whether there is
// a newer version to look at.
func (v *visit) waitForResume() (again bool) {
	if v.isHealthCheck() {
		if v.isCallForHealth() {
			v.replyServing()
		} else {
			v.reply(reason.Halted, "halted\n")
		}
		return false
	}
	status := &v.version.status
	if status.Stop != nil {
		v.refusePage(reason.Stopped, status.Stop.Message, nil)
		return false
	}
	held := v.version.held
	if !held.Enter(v.proxy.options.MaxHeld) {
		v.refuse(reason.PausedFull, nil)
		return false
	}
	defer held.Leave()
	var late <-chan time.Time
	if status.Pause.Max >= 0 {
		timer := time.NewTimer(status.Pause.Max - v.paused)
		defer timer.Stop()
		late = timer.C
	}
	began := time.Now()
	select {
	case <-v.version.replaced:
		waited := time.Since(began)
		v.paused += waited
		v.backoff.Exclude(waited)
		return true
	case <-late:
		v.refuse(reason.PausedLong, nil)
	case <-v.r.Context().Done():
		v.abort(reason.Gone, v.r.Context().Err())
	case <-v.proxy.stopping:
		v.refuse(reason.Closed, ErrClosed)
	}
	return false
}

// isHealthCheck reports whether the request is a health check of somebody in
// front, as far as that can be told: it reads just what v.version's targets are
// probed at. The front page is for visitors, even if it is that.
func (v *visit) isHealthCheck() bool {
	if v.isCallForHealth() {
		return true
	}
	if v.r.Method != http.MethodGet && v.r.Method != http.MethodHead {
		return false
	}
	probed := v.version.status.Deployment.HealthCheck.Path
	path, _, _ := strings.Cut(probed, "?")
	return v.target == probed && path != "/"
}

// isCallForHealth is isHealthCheck for a service whose targets speak gRPC.
func (v *visit) isCallForHealth() bool {
	return v.version.status.Deployment.HealthCheck.GRPC && v.target == grpc.HealthPath && field.IsGRPC(v.r.Header)
}

// takeBody sees to the limits of the request's body, and reads it if it is to
// be buffered. It reports false if it answered the request instead.
func (v *visit) takeBody() bool {
	d := &v.version.status.Deployment
	// A gRPC call may wait for the answer to its first message before it sends
	// the next one.
	whole := d.Buffer.Requests && !(field.IsGRPC(v.r.Header) && v.version.takesCalls())
	if v.sent != v.r || v.r.ContentLength == 0 || d.MaxRequestBody == 0 && !whole {
		return true
	}
	if d.MaxRequestBody > 0 && v.r.ContentLength > d.MaxRequestBody {
		v.refuseBody(reason.RequestTooLarge, buffer.ErrTooLarge)
		return false
	}
	sent := *v.r
	v.sent = &sent
	if !whole {
		sent.Body = buffer.Limit(trailed{v.r.Body, v.r, &sent}, d.MaxRequestBody)
		return true
	}
	limits := buffer.Limits{Memory: d.Buffer.Memory, Size: d.MaxRequestBody}
	body, err := v.proxy.spool.ReadAll(forward.Patient(v.w, v.r.Body), v.r.ContentLength, limits)
	if err != nil {
		v.refuseBody(v.whyBody(err, reason.BufferedBody), err)
		return false
	}
	v.body = body
	sent.Body, sent.ContentLength, sent.TransferEncoding = body, body.Len(), nil
	if sent.Trailer = v.r.Trailer; len(sent.Trailer) > 0 && v.r.ContentLength < 0 {
		sent.ContentLength = -1 // a trailer section follows chunks alone (RFC 9112, section 7.1.2)
	}
	sent.Header = maps.Clone(v.r.Header)
	delete(sent.Header, "Expect") // its body is here
	return true
}

// A trailed is the body of a request, of which there is a copy. A server puts
// trailers that were not announced into the request that it has made.
type trailed struct {
	io.ReadCloser
	r, copy *http.Request
}

func (t trailed) Read(p []byte) (n int, err error) {
	n, err = t.ReadCloser.Read(p)
	if err == io.EOF {
		t.copy.Trailer = t.r.Trailer
	}
	return n, err
}

// refuseBody is refuse for a request of whose body nothing more is wanted: the
// server would read on before it answers.
func (v *visit) refuseBody(why reason.Reason, err error) {
	if v.r.ProtoMajor == 1 {
		v.w.Header()["Connection"] = []string{"close"}
	}
	v.refuse(why, err)
}

// choose returns the group that the visitor belongs to.
func (v *visit) choose() *group {
	who := v.version.split
	if who == nil {
		return &v.version.main
	}
	if !v.decided {
		v.decided = true
		kamal, _ := cookies.Value(v.r.Header, split.KamalCookie)
		own, _ := cookies.Value(v.r.Header, split.Cookie)
		var cookie string
		if v.second, cookie = who.Second(kamal, own, v.isSecure()); cookie != "" {
			v.w.Header().Add("Set-Cookie", cookie)
		}
	}
	if v.second {
		return v.version.rollout
	}
	return &v.version.main
}

// isReading reports whether the request may go to a target that only reads.
func (v *visit) isReading() bool {
	if len(v.group.readers) == 0 || v.r.Method != http.MethodGet && v.r.Method != http.MethodHead {
		return false
	}
	if len(v.r.Header["Upgrade"]) > 0 && !v.version.status.Deployment.ReadWebSockets {
		return false
	}
	return !cookies.HasWritten(v.r.Header, v.start)
}

// forward sends the request to l's target and leaves. It reports whether that
// is the end of it; otherwise it may go to another target.
func (v *visit) forward(l *lane, passage *gate.Passage) bool {
	defer passage.Leave() // also when the answer breaks off, which panics
	if v.last != nil {
		v.outcome.Retries++
	}
	var began time.Time
	if v.backoff.HasBegun() { // else nobody wants to know
		began = time.Now()
	}
	t := l.target
	a := v.amend()
	var change func(*http.Response) error
	if a != nil {
		change = a.make
	}
	res, err := forward.Forward(v.w, v.sent, l.exchange, forward.Options{
		Target:    v.target,
		Prefix:    v.outcome.Prefix,
		Client:    v.client,
		RequestID: v.outcome.RequestID,
		Hop:       v.version.hop,
		Start:     v.start,
		Calls:     t.http2,
		Stream:    passage.BecomeStream,
		Mute:      &l.mute,
		Request:   v.version.conduct.request,
		Answer:    change,
	})
	o := &v.outcome
	v.isStream = passage.IsStream()
	why := v.whyFailed(err, &res)
	if why != reason.Descriptors { // else nothing was sent
		v.sentTo, o.Target = t, t.address
	}
	o.Status, o.Header = res.Status, res.Header
	o.BytesIn, o.BytesOut = res.BytesIn, res.BytesOut
	if a != nil {
		o.Unbuffered = a.full
	}
	if !res.FirstByte.IsZero() {
		o.FirstByte = res.FirstByte.Sub(v.start)
	}
	v.judge(l, why, res.Status, v.at(res.FirstByte), err)
	if why == reason.Broken {
		v.lost++
		if !began.IsZero() {
			v.backoff.Exclude(time.Since(began))
		}
	}
	switch {
	case err == nil:
		return true
	case res.Open && why.Status() != reason.ClientClosed:
		v.tell(why, err)
		callStatus(why, "").End(v.w)
		return true
	case res.Status != 0:
		v.abort(why, err)
	case v.lost < maxLost && isRepeatable(err) && v.rewind(!res.BodyRead):
		if why != reason.Cut { // which t has no part in: what serves now may have it still
			v.tried = append(v.tried, t)
		}
		v.last, v.why = err, why
		return false
	}
	v.refuse(why, err)
	return true
}

// maxLost is how many targets a request may be lost with: it is sent again twice
// at most after a target had it and went away. That happens by chance, and in a
// deploy that restarts one instance after the other it happens twice. A request
// that is there when a third one dies is most likely what they die of, and it
// must neither go through the whole fleet nor, when that is up again, begin anew.
const maxLost = 3

// isRepeatable reports whether a request that an exchange failed with err may be
// sent again.
func isRepeatable(err error) bool {
	failure, ok := errors.AsType[*upstream.Error](err)
	return ok && failure.Repeatable
}

// whyFailed returns the reason for err, which Forward returned with res.
func (v *visit) whyFailed(err error, res *forward.Result) reason.Reason {
	if err == nil {
		return reason.None
	}
	failure, ok := errors.AsType[*upstream.Error](err)
	switch {
	case ok && failure.Reason == reason.ClientBody:
		return v.whyBody(failure.Err, reason.ClientBody)
	case ok && failure.Reason == reason.Gone && res.BodyErr != nil:
		// An HTTP/1 server takes whatever ends a Read for the end of the client.
		return v.whyBody(res.BodyErr, reason.Gone)
	case res.Status != 0 && (errors.Is(err, forward.ErrCut) || ok && failure.Reason == reason.Cut && v.isStream):
		return reason.StreamClosed
	case ok:
		return failure.Reason
	case errors.Is(err, buffer.ErrTooLarge):
		return reason.AnswerTooLarge
	case errors.Is(err, buffer.ErrSpool):
		return reason.Spool
	case res.Status != 0:
		return reason.Untaken // what else fails then is to write to the client
	}
	return reason.Target
}

// whyBody returns the reason for an error of reading the request's body:
// otherwise, unless it tells more.
func (v *visit) whyBody(err error, otherwise reason.Reason) reason.Reason {
	switch {
	case errors.Is(err, buffer.ErrTooLarge):
		return reason.RequestTooLarge
	case errors.Is(err, buffer.ErrSpool):
		return reason.Spool
	case errors.Is(err, os.ErrDeadlineExceeded):
		return reason.Stalled
	case v.hasLeft():
		return reason.Gone
	}
	return otherwise
}

// hasLeft reports whether the client is gone whose body could not be read. Then
// a server of HTTP/1 has ended the request's context before. Those of HTTP/2 and 3
// do it a moment later, or not at all where a client has reset its body alone and
// waits for an answer.
func (v *visit) hasLeft() bool {
	ctx := v.r.Context()
	if v.r.ProtoMajor > 1 {
		moment := time.NewTimer(10 * time.Millisecond)
		defer moment.Stop()
		select {
		case <-ctx.Done():
		case <-moment.C:
		}
	}
	return ctx.Err() != nil
}

// rewind reports whether the request's body can be sent again: it is untouched,
// or all of it is here.
func (v *visit) rewind(untouched bool) bool {
	if untouched || v.body == nil {
		return untouched
	}
	_, err := v.body.Seek(0, io.SeekStart)
	v.sent.Body = v.body
	return err == nil
}

// judge draws its conclusions for l's target from how an exchange with it
// ended, at that time. Where there is another target, one to which several
// connections in a row could not be made gets no requests until a probe passes;
// and one that fails where its siblings do not gets none for a while.
//
// A stream that breaks off tells nothing: it had come to something. Nor does a
// connection that the proxy may not open.
func (v *visit) judge(l *lane, why reason.Reason, status int, now time.Duration, err error) {
	t := l.target
	failed := why.IsUnhealthy() && why != reason.Dial && !v.isStream || why == reason.None && status >= 500
	if failed || err == nil {
		t.record.Note(now, failed)
	}
	if err == nil {
		t.answered()
	}
	switch {
	case why == reason.Descriptors:
		v.proxy.shortages.Report("a request could not be sent on", err)
	case why == reason.Dial && t.refused():
		v.eject(t, false, err)
	case failed && v.group.hasOutlier(t, now):
		v.eject(t, true, cmp.Or(err, errOutlier))
	}
}

// eject takes t out, if another can do without it, and tells of that.
func (v *visit) eject(t *target, outlier bool, err error) {
	mayStay := func() bool { return v.group.canSpare(t) && !(outlier && v.group.isHalfEjected(t)) }
	if t.eject(outlier, mayStay) {
		v.proxy.emit(Event{Kind: EventUnhealthy, Service: v.outcome.Service, Generation: v.outcome.Generation, Target: t.address, Err: err})
	}
}

// at returns how long after the Proxy was made a moment was; zero: now.
func (v *visit) at(moment time.Time) time.Duration {
	if moment.IsZero() {
		moment = time.Now()
	}
	return moment.Sub(v.proxy.began)
}

// errOutlier is why a target is taken out that answers.
var errOutlier = errors.New("it answers 5xx where its siblings do not")

// amend returns what has to be done with an answer before it is passed on, nil:
// nothing.
func (v *visit) amend() *amendment {
	if !v.version.conduct.answers && len(v.group.readers) == 0 {
		return nil
	}
	// Were this a method of v, every visit would have to be allocated.
	return &amendment{
		conduct:    v.version.conduct,
		deployment: &v.version.status.Deployment,
		spool:      v.proxy.spool,
		request: answer.Request{
			Method:     v.r.Method,
			Target:     v.asked,
			Prefix:     v.outcome.Prefix,
			IsSecure:   v.isSecure(),
			HasReaders: len(v.group.readers) > 0,
		},
	}
}

// An amendment is what is done with the answer to one request.
type amendment struct {
	conduct    *conduct
	deployment *Deployment
	spool      *buffer.Store
	request    answer.Request

	full error // why the answer is not buffered although it is to be; nil: it is, or is not to be
}

func (a *amendment) make(res *http.Response) (err error) {
	a.conduct.answer.Apply(res.Header, &a.request)
	d := a.deployment
	limits := buffer.Limits{Memory: d.Buffer.Memory, Size: d.MaxResponseBody}
	a.full, err = a.spool.TakeResponse(res, a.request.Method, d.Buffer.Responses, limits)
	return err
}

// waitForTarget waits before all targets of a service are tried again, and
// reports false if it answered the request instead.
func (v *visit) waitForTarget() (again bool) {
	again = v.why == reason.Dial || v.why == reason.Descriptors || v.why == reason.Broken
	if again && v.pause() {
		v.tried = v.tried[:0]
		return true
	}
	switch {
	case v.r.Context().Err() != nil:
		v.abort(reason.Gone, fmt.Errorf("%w while it waited: %w", v.r.Context().Err(), v.last))
	case v.proxy.isStopping():
		v.refuse(reason.Closed, v.last)
	default:
		v.refuse(v.why, v.last)
	}
	return false
}

// pause waits before the next look at the service, and reports false, at once, if
// there is no more waiting.
func (v *visit) pause() bool {
	held := v.version.held
	if !held.Enter(v.proxy.options.MaxHeld) {
		return false
	}
	defer held.Leave()
	return v.backoff.Pause(v.r.Context(), v.version.status.Deployment.Timeouts.Hold, v.proxy.stopping)
}

func (v *visit) refuse(why reason.Reason, err error) { v.refusePage(why, "", err) }

// refusePage answers with a page of the proxy's own, that has message on it. A
// gRPC client, which reads no pages, gets a status of its own kind. Nobody is
// there to be answered who has left.
func (v *visit) refusePage(why reason.Reason, message string, err error) {
	if why == reason.Gone {
		v.abort(why, err)
	}
	v.tell(why, err)
	h := v.w.Header()
	if part := why.Part(); part != "" {
		h["X-Parachute-Error"] = []string{part}
	}
	if why.RetryAfter() {
		h["Retry-After"] = []string{retryAfter}
	}
	o := &v.outcome
	o.Status, o.Header = why.Status(), h
	if field.IsGRPC(v.r.Header) && o.Status >= 400 {
		callStatus(why, message).Answer(v.w)
		return
	}
	set := v.proxy.pages
	if v.version != nil && v.version.conduct.pages != nil {
		set = v.version.conduct.pages
	}
	o.BytesOut = set.Write(v.w, v.r, pages.Page{Status: o.Status, Message: message, RequestID: o.RequestID})
}

// retryAfter is when a client may ask again, in seconds.
const retryAfter = "5"

// callStatus returns how a gRPC call ends for its client that ends because of
// why. message is for people.
func callStatus(why reason.Reason, message string) grpc.Status {
	if message != "" {
		message = ": " + message
	}
	status := why.Status()
	switch {
	case why == reason.AnswerTooLarge:
		return grpc.Status{Code: grpc.ResourceExhausted, Message: "parachute: the answer is too large" + message}
	case status == 0:
		return grpc.Status{Code: grpc.Unavailable, Message: fmt.Sprintf("parachute: the call was ended (%v)%s", why, message)}
	}
	return grpc.Status{
		Code:    grpc.CodeOf(status),
		Message: fmt.Sprintf("parachute: %d %s (%v)%s", status, http.StatusText(status), why, message),
	}
}

// tell has the outcome say why the request ended otherwise than by its target's
// answer.
func (v *visit) tell(why reason.Reason, err error) {
	v.reason = why
	v.outcome.Reason, v.outcome.Err = why.String(), err
}

// reply answers with a line of plain text.
func (v *visit) reply(why reason.Reason, text string) {
	v.tell(why, nil)
	h := v.w.Header()
	h["Content-Type"] = []string{"text/plain; charset=utf-8"}
	h["Content-Length"] = []string{strconv.Itoa(len(text))}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	o := &v.outcome
	o.Status, o.Header = why.Status(), h
	v.w.WriteHeader(o.Status)
	if v.r.Method != http.MethodHead {
		n, _ := io.WriteString(v.w, text) // an error is the client's, who has left
		o.BytesOut = int64(n)
	}
}

// replyServing answers a gRPC call that asks for health.
func (v *visit) replyServing() {
	v.tell(reason.Halted, nil)
	o, h := &v.outcome, v.w.Header()
	o.Status, o.Header = reason.Halted.Status(), h
	h["Content-Type"] = []string{grpc.ContentType}
	n, _ := v.w.Write(grpc.HealthAnswer(grpc.HealthServing))
	o.BytesOut = int64(n)
	grpc.Status{Code: grpc.OK}.End(v.w)
}

// abort ends the request without an answer, or in the middle of one.
func (v *visit) abort(why reason.Reason, err error) {
	v.tell(why, err)
	if o := &v.outcome; o.Status == 0 {
		o.Status = why.Status()
	}
	// Or the server would wait for what is left of the request's body.
	http.NewResponseController(v.w).SetReadDeadline(time.Unix(1, 0))
	panic(http.ErrAbortHandler)
}

func (v *visit) notFound() {
	if v.proxy.options.NotFound == nil {
		v.refuse(reason.NoService, nil)
		return
	}
	v.tell(reason.NoService, nil)
	w := &statusWriter{ResponseWriter: v.w}
	defer func() { v.outcome.Status = w.status }() // also where it panics
	v.proxy.options.NotFound.ServeHTTP(w, v.r)
	w.status = cmp.Or(w.status, http.StatusOK)
}

// end tells Observe of the request, also while it panics.
func (v *visit) end() {
	if v.body != nil {
		v.body.Close()
	}
	o := &v.outcome
	if !v.served && o.Err == nil {
		v.tell(reason.Panic, errors.New("panic while serving"))
	}
	if v.sentTo == nil && v.proxy.options.Observe == nil {
		return
	}
	o.Duration = time.Since(v.start)
	if v.sentTo != nil {
		v.count()
	}
	if v.proxy.options.Observe != nil {
		v.proxy.options.Observe(v.r, *o)
	}
}

// count counts the request for its target, as Traffic has it.
func (v *visit) count() {
	o := &v.outcome
	took := o.Duration
	if v.isStream {
		took = o.FirstByte
	}
	v.sentTo.traffic.Observe(v.start.Sub(v.proxy.began)+o.Duration, took, v.isError())
}

// isError reports whether the request failed, and that is the fault of nobody but
// the service and the proxy.
func (v *visit) isError() bool {
	if v.reason == reason.None {
		return v.outcome.Status >= 500
	}
	return v.reason.Fault() == reason.Server
}

// A statusWriter keeps the status that a handler answers with; 0: it has said
// none.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(p []byte) (int, error) {
	w.status = cmp.Or(w.status, http.StatusOK)
	return w.ResponseWriter.Write(p)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
