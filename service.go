package parachute

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute/internal/answer"
	"github.com/shahnk19/parachute/internal/credentials"
	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/gate"
	"github.com/shahnk19/parachute/internal/headers"
	"github.com/shahnk19/parachute/internal/hostname"
	"github.com/shahnk19/parachute/internal/networks"
	"github.com/shahnk19/parachute/internal/pages"
	"github.com/shahnk19/parachute/internal/split"
	"github.com/shahnk19/parachute/internal/waiting"
)

func (p *Proxy) deploy(ctx context.Context, d Deployment) error {
	d, err := d.normalize()
	if err != nil {
		return err
	}
	if err := p.checkElsewhere(ctx, slices.Concat(d.Targets, d.ReadTargets)); err != nil {
		return err
	}
	if policyOf(d).isSecure() && p.options.NoHTTPS != nil {
		return faultf(ErrInvalid, "TLS is not to be had here: %v", p.options.NoHTTPS)
	}
	res, ctx, err := p.router.reserve(ctx, d.Service, scopeMain, claims(d), p.policyOf(d))
	if err != nil {
		return err
	}
	defer p.router.leave(res)
	p.emit(Event{Kind: EventDeploying, Service: d.Service, Generation: res.generation, Limit: max(d.Timeouts.Deploy, 0)})

	previous, next, err := p.replace(ctx, res, d)
	if err != nil {
		p.emit(Event{Kind: EventFailed, Service: d.Service, Generation: res.generation, Err: err})
		return err
	}
	p.retire(res, previous, next, d.Timeouts)
	return nil
}

// replace publishes d as soon as it may, and returns what it replaced.
func (p *Proxy) replace(ctx context.Context, res *reservation, d Deployment) (previous, next *version, err error) {
	defer p.router.begin(&ongoing{service: res.service, change: changeOf(EventDeploying, res.generation)})()
	if err := p.router.routes.Load().services[d.Service].admits(d); err != nil {
		return nil, nil, err // now, and not when everybody has waited for health
	}
	status := Status{Service: d.Service, Generation: res.generation, State: StateServing, Deployment: d}
	v, w, err := p.start(status, res.claims, !d.Force)
	if err != nil {
		return nil, nil, err
	}
	if err = p.await(ctx, v, w); err == nil {
		previous, next, err = p.router.publish(ctx, res, d.Service, v.succeed, func(next *version) {
			p.emit(Event{Kind: EventSwitched, Service: d.Service, Generation: res.generation})
		})
	}
	if err != nil {
		v.rollout = nil // which goes on as it was
		v.close()
	}
	return previous, next, err
}

// start makes a version that is not published yet, begins to obtain its
// certificates, and to probe its targets. While a deploy waits for them every
// probe is an event.
func (p *Proxy) start(s Status, claims []claim, waiting bool) (*version, *watch, error) {
	d := s.Deployment
	main, w, err := p.newGroup(s, d.Targets, d.ReadTargets, waiting)
	if err != nil {
		return nil, nil, err
	}
	v := newVersion(s, claims, main)
	v.policy, v.hop = p.policyOf(d), p.hopOf(d.Service)
	if v.conduct, err = newConduct(d, p.options, p.pages, p.checks); err != nil {
		return nil, nil, err
	}
	if v.holding, err = p.certificates.acquire(d, v.ask); err != nil {
		return nil, nil, err
	}
	for _, t := range v.targets() {
		t.start()
	}
	return v, w, nil
}

// newGroup returns the group of the targets, which are not probed yet but
// otherwise as the deployment of s says.
func (p *Proxy) newGroup(s Status, writers, readers []string, waiting bool) (group, *watch, error) {
	service, generation := s.Service, s.Generation // lest all of s is kept
	w := newWatch(len(writers)+len(readers), waiting, s.Deployment.Timeouts.Deploy, func(e Event) {
		e.Service, e.Generation = service, generation
		p.emit(e)
	})
	w.shortages = p.shortages
	var targets []*target
	for _, address := range slices.Concat(writers, readers) {
		t, err := p.newTarget(address, s.Deployment, w)
		if err != nil {
			return group{}, nil, err
		}
		targets = append(targets, t)
	}
	return newGroup(targets[:len(writers)], targets[len(writers):]), w, nil
}

// await returns nil when v has what its Deployment wants it to have before it
// serves, all within Timeouts.Deploy.
func (p *Proxy) await(ctx context.Context, v *version, w *watch) error {
	d := v.status.Deployment
	limited, cancel := ctx, context.CancelFunc(func() {})
	if d.Timeouts.Deploy >= 0 {
		limited, cancel = context.WithTimeout(ctx, d.Timeouts.Deploy)
	}
	defer cancel()
	if !d.Force {
		if err := w.awaitHealthy(ctx, v.targets(), d); err != nil {
			return err
		}
	}
	if !d.TLS.Wait {
		return nil
	}
	err := v.holding.await(limited)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// policyOf is that of d's hosts as they are served here.
func (p *Proxy) policyOf(d Deployment) policy {
	of := policyOf(d)
	if p.options.NoHTTPS != nil {
		of.tls = TLS{}
	}
	return of
}

// claims returns what d asks for, leaving out what cannot be.
func claims(d Deployment) []claim {
	hosts, prefixes := []string{anyHost}, []string{""}
	if len(d.Hosts) > 0 {
		hosts = nil
		for _, given := range d.Hosts {
			if host, err := hostname.ParsePattern(given); err == nil {
				hosts = append(hosts, host)
			}
		}
	}
	if len(d.PathPrefixes) > 0 {
		prefixes = nil
		for _, given := range d.PathPrefixes {
			if prefix, err := hostname.ParsePrefix(given); err == nil && !slices.Contains(prefixes, prefix) {
				prefixes = append(prefixes, prefix)
			}
		}
	}
	all := make([]claim, 0, len(hosts)*len(prefixes))
	for _, host := range hosts {
		for _, prefix := range prefixes {
			all = append(all, claim{host, prefix})
		}
	}
	return all
}

// retire waits for the end of what a change has replaced: of the requests to
// those of the previous version's targets that the next one does not have or,
// if there is no next one, of all that the service has. Then it lets go of the
// targets.
func (p *Proxy) retire(res *reservation, previous, next *version, limits Timeouts) {
	if previous == nil {
		return
	}
	gone, lanes := previous.targets(), previous.left(next)
	if next != nil {
		kept := next.targets()
		gone = slices.DeleteFunc(gone, func(t *target) bool { return slices.Contains(kept, t) })
		lanes = slices.DeleteFunc(lanes, func(l *lane) bool { return !slices.Contains(gone, l.target) })
	}
	for _, t := range gone {
		t.stopProbes()
	}
	mute(lanes, previous, next)
	e := p.drain(Event{Service: res.service, Generation: res.generation}, lanes, limits, p.done)
	closeAll(gone)
	e.Unused = p.roll.without(gone)
	if previous.holding != nil && (next == nil || next.holding != previous.holding) {
		previous.holding.release()
	}
	p.emit(e)
}

// drain waits for the end of the requests inside of lanes, which it closes, and
// cuts off what is late. The event says on account of what.
func (p *Proxy) drain(e Event, lanes []*lane, limits Timeouts, done <-chan struct{}) Event {
	defer p.router.begin(&ongoing{e.Service, changeOf(EventDraining, e.Generation), lanes})()
	e.Kind = EventDraining
	e.Requests, e.Streams = inFlight(lanes)
	// What is cut off has a second to end.
	e.Limit = max(limits.Drain, 0)
	e.Limit += min(max(limits.Stream, 0), math.MaxInt64-e.Limit)
	e.Limit = max(e.Limit, time.Second)
	begin := time.Now()
	p.emit(e)
	var counting sync.WaitGroup
	drained := make(chan struct{})
	counting.Go(func() { p.countDown(e, begin, lanes, drained) })
	requests, streams := drain(lanes, gate.Limits{Requests: limits.Drain, Streams: limits.Stream}, done)
	close(drained)
	counting.Wait()
	return Event{
		Kind: EventDrained, Service: e.Service, Generation: e.Generation,
		Requests: requests, Streams: streams, Elapsed: time.Since(begin),
	}
}

// countDown emits e, which has been emitted for what was inside of lanes at the
// beginning, again when that has changed, until they are drained.
func (p *Proxy) countDown(e Event, begin time.Time, lanes []*lane, drained <-chan struct{}) {
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for {
		select {
		case <-drained:
			return
		case <-second.C:
		}
		if requests, streams := inFlight(lanes); requests != e.Requests || streams != e.Streams {
			e.Requests, e.Streams, e.Elapsed = requests, streams, time.Since(begin)
			p.emit(e)
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

func (p *Proxy) remove(ctx context.Context, service string) error {
	res, ctx, err := p.router.reserve(ctx, service, scopeAll, nil, policy{})
	if err != nil {
		return err
	}
	defer p.router.leave(res)
	nothing := func(*version) (*version, error) { return nil, nil }
	previous, _, err := p.router.publish(ctx, res, service, nothing, func(*version) {
		p.emit(Event{Kind: EventRemoved, Service: service, Generation: res.generation})
	})
	switch {
	case err != nil:
		return err
	case previous == nil && !res.supersedes:
		return ErrNotFound
	case previous == nil:
		return nil
	}
	p.retire(res, previous, nil, previous.status.Deployment.Timeouts)
	return nil
}

// halt publishes the service with the status that set makes of its own, and
// waits for the requests that run.
func (p *Proxy) halt(ctx context.Context, service string, kind EventKind, limit time.Duration, set func(*Status)) error {
	if !p.router.changes.Enter() {
		return ErrClosed
	}
	defer p.router.changes.Leave()
	previous, next, err := p.alter(ctx, nil, service, kind, func(v *version) (*version, error) {
		s := v.status
		set(&s)
		return v.renewed(s), nil
	})
	if err != nil {
		return err
	}
	d := previous.status.Deployment
	limits := Timeouts{Drain: limit, Stream: d.Timeouts.Stream}
	mute(next.leaving, next)
	p.emit(p.drain(Event{Service: service, Generation: next.status.Generation}, next.leaving, limits, next.resumed))
	return nil
}

// alter publishes what make makes of a service that is there and has not
// failed.
func (p *Proxy) alter(ctx context.Context, res *reservation, service string, kind EventKind, make func(*version) (*version, error)) (previous, next *version, err error) {
	change := func(current *version) (*version, error) {
		switch {
		case current == nil:
			return nil, ErrNotFound
		case current.status.State == StateFailed:
			return nil, faultf(ErrInvalid, "the service could not be restored: %s; deploy it first", current.status.Error)
		}
		return make(current)
	}
	return p.router.publish(ctx, res, service, change, func(next *version) {
		e := Event{Kind: kind, Service: service, Generation: next.status.Generation}
		if res != nil {
			e.Generation = res.generation
		}
		p.emit(e)
	})
}

func (p *Proxy) rollOut(ctx context.Context, service string, r Rollout) error {
	if err := p.checkElsewhere(ctx, slices.Concat(r.Targets, r.ReadTargets)); err != nil {
		return err
	}
	res, ctx, err := p.router.reserve(ctx, service, scopeRollout, nil, policy{})
	if err != nil {
		return err
	}
	defer p.router.leave(res)
	limit := r.Timeouts.Deploy
	current := p.router.routes.Load().services[service]
	if current != nil {
		limit = cmp.Or(limit, current.status.Deployment.Timeouts.Deploy)
	}
	p.emit(Event{Kind: EventDeploying, Service: service, Generation: res.generation, Limit: max(limit, 0)})
	previous, next, err := p.replaceRollout(ctx, res, current, r)
	if err != nil {
		p.emit(Event{Kind: EventFailed, Service: service, Generation: res.generation, Err: err})
		return err
	}
	p.retire(res, previous, next, r.Timeouts.over(next.status.Deployment.Timeouts))
	return nil
}

// replaceRollout publishes r, for what the service is at present, as soon as it
// may.
func (p *Proxy) replaceRollout(ctx context.Context, res *reservation, current *version, r Rollout) (previous, next *version, err error) {
	defer p.router.begin(&ongoing{service: res.service, change: changeOf(EventDeploying, res.generation)})()
	if current == nil {
		return nil, nil, ErrNotFound
	}
	status := current.status
	status.Generation = res.generation
	status.Deployment, err = r.of(status.Deployment)
	if err != nil {
		return nil, nil, err
	}
	d := status.Deployment
	second, w, err := p.newGroup(status, d.Targets, d.ReadTargets, true)
	if err != nil {
		return nil, nil, err
	}
	targets := slices.Concat(targetsOf(second.writers), targetsOf(second.readers))
	for _, t := range targets {
		t.start()
	}
	if err = w.awaitHealthy(ctx, targets, d); err == nil {
		previous, next, err = p.alter(ctx, res, res.service, EventSwitched, func(v *version) (*version, error) {
			if _, err := r.of(v.status.Deployment); err != nil { // which may be another by now
				return nil, err
			}
			return v.with(r, &second)
		})
	}
	if err != nil {
		closeAll(targets)
	}
	return previous, next, err
}

func (p *Proxy) setSplit(ctx context.Context, service string, who Split) error {
	if err := who.check(); err != nil {
		return err
	}
	if !p.router.changes.Enter() {
		return ErrClosed
	}
	defer p.router.changes.Leave()
	_, _, err := p.alter(ctx, nil, service, EventSplit, func(v *version) (*version, error) {
		if v.rollout == nil {
			return nil, errNoRollout
		}
		rollout := *v.status.Rollout
		rollout.Split = who
		return v.without().with(rollout, v.rollout) // what was set before does not count
	})
	return err
}

// errNoRollout is why there is nothing to be split or ended.
var errNoRollout = faultf(ErrInvalid, "the service has no rollout: deploy one first")

func (p *Proxy) endRollout(ctx context.Context, service string) error {
	res, ctx, err := p.router.reserve(ctx, service, scopeRollout, nil, policy{})
	if err != nil {
		return err
	}
	defer p.router.leave(res)
	var limits Timeouts
	previous, next, err := p.alter(ctx, res, service, EventSplit, func(v *version) (*version, error) {
		if v.rollout == nil {
			return nil, errNoRollout
		}
		limits = v.status.Rollout.Timeouts.over(v.status.Deployment.Timeouts)
		return v.without(), nil
	})
	if err != nil {
		return err
	}
	p.retire(res, previous, next, limits)
	return nil
}

// restore returns the version that serves s, or one that has failed together
// with the reason, or no version at all for a name that cannot be or was there
// before. The others were restored before; byHost has them by what they claim.
func (p *Proxy) restore(s Status, others map[string]*version, byHost map[string][]*version) (*version, error) {
	before := s.Error
	s = s.normalize()
	s.Error = ""
	if err := checkServiceName(s.Service); err != nil {
		return nil, err
	}
	if others[s.Service] != nil {
		return nil, faultf(ErrConflict, "the service is there twice")
	}
	d, err := s.Deployment.normalize()
	if err != nil && before != "" {
		err = faultf(ErrInvalid, "%s", before) // it tells how the deployment came to be what cannot be
	}
	if err == nil && d.Service != s.Service {
		err = faultf(ErrInvalid, "the deployment is of service %s", d.Service)
	}
	var own []claim
	for _, c := range claims(d) {
		conflict := c.beside(byHost[c.host], s.Service, p.policyOf(d))
		if conflict == nil || conflict.Dispute != "" {
			own = append(own, c)
		}
		if conflict != nil && err == nil {
			err = conflict
		}
	}
	restored := s
	restored.Deployment = d
	var v *version
	var w *watch
	if err == nil {
		v, w, err = p.start(restored, own, false)
	}
	if err != nil {
		s.State, s.Error = StateFailed, err.Error()
		return newVersion(s, own, group{}), err
	}
	v.settled, v.settledBy = w.settled, time.Now().Add(time.Second)
	if s.Rollout == nil {
		return v, nil
	}
	next, err := p.restoreRollout(v)
	if err != nil {
		return v.without(), fmt.Errorf("the service serves without its rollout to %s: %w", strings.Join(s.Rollout.Targets, ", "), err)
	}
	return next, nil
}

// restoreRollout returns v, which is not published yet, with its rollout.
func (p *Proxy) restoreRollout(v *version) (*version, error) {
	s := v.status
	rollout := *s.Rollout
	d, err := rollout.of(s.Deployment)
	if err != nil {
		return nil, err
	}
	s.Deployment = d
	second, _, err := p.newGroup(s, d.Targets, d.ReadTargets, false)
	if err != nil {
		return nil, err
	}
	next, err := v.with(rollout, &second)
	if err != nil {
		return nil, err
	}
	for _, l := range slices.Concat(second.writers, second.readers) {
		l.target.start()
	}
	return next, nil
}

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

// succeed is the change to v, which was deployed: what else there is of the
// service stays as it is.
func (v *version) succeed(current *version) (*version, error) {
	if current == nil {
		return v, nil
	}
	if err := current.admits(v.status.Deployment); err != nil {
		return nil, err
	}
	v.held = current.held
	v.main.inherit(current.main)
	s, c := &v.status, current.status
	if current.rollout != nil { // else it could not be restored
		v.rollout, v.split, s.Rollout = current.rollout, current.split, c.Rollout
	}
	s.Pause, s.Stop = c.Pause, c.Stop
	s.State = s.demanded()
	return v, nil
}

// admits returns why d cannot take the place of v, which may be nil, or nil: the
// rollout goes on, and after a restart it would be one of d.
func (v *version) admits(d Deployment) error {
	if v == nil || v.rollout == nil {
		return nil
	}
	rollout := v.status.Rollout
	if _, err := rollout.of(d); err != nil {
		return faultf(ErrInvalid, "the rollout to %s goes on, but not with this deployment: %v; end the rollout first, or deploy what it can be part of",
			strings.Join(rollout.Targets, ", "), err)
	}
	return nil
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

// A router publishes tables: readers load the newest one, and each change
// takes its turn to replace it. It hands out generations and keeps two changes
// from having one claim.
type router struct {
	routes  atomic.Pointer[table]
	commit  func([]Status) error
	changes gate.Gate // counts the changes under way, their drains too; closed when no more may begin

	// publishing is held from before a commit until its table is stored, so
	// that what is kept and what is served change in the same order. It is
	// taken before mu.
	publishing sync.Mutex

	mu         sync.Mutex // guards what follows, and the table's agreement with pending
	generation uint64     // the last one handed out
	pending    map[*reservation]struct{}
	ongoing    map[*ongoing]struct{}
}

func newRouter(commit func([]Status) error) *router {
	r := &router{commit: commit, pending: make(map[*reservation]struct{}), ongoing: make(map[*ongoing]struct{})}
	r.routes.Store(newTable(map[string]*version{}))
	return r
}

// A reservation is a change of one service on its way to be published. It
// has what the service asks for.
type reservation struct {
	service    string
	scope      scope
	generation uint64
	claims     []claim
	policy     policy
	supersedes bool                    // it ended another change of the service
	end        context.CancelCauseFunc // ends its context; only the first call counts
	committing bool                    // guarded by router.mu: it is too late to end it
}

// A scope is what of a service a change is about. Changes end those before them
// that have not got as far as their commit and are about the same, or a part of
// it.
type scope int

const (
	scopeMain    scope = iota // its first version
	scopeRollout              // its second
	scopeAll
)

func (s scope) covers(other scope) bool { return s == other || s == scopeAll }

// reserve begins a change of a service. It fails at once, and has changed
// nothing, where a claim is another service's or reserved for one, or where the
// services of a host would contradict each other.
// Otherwise it ends the changes of the same service that its scope covers and
// that have not got as far as their commit. The returned context ends with ctx
// and, with the cause, when the reservation is ended. The caller must call leave
// when all is done.
func (r *router) reserve(ctx context.Context, service string, scope scope, claims []claim, mine policy) (*reservation, context.Context, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.conflictLocked(service, claims, mine); err != nil {
		return nil, nil, err
	}
	if !r.changes.Enter() {
		return nil, nil, ErrClosed
	}
	r.generation++
	res := &reservation{service: service, scope: scope, generation: r.generation, claims: claims, policy: mine}
	for other := range r.pending {
		if other.service == service && scope.covers(other.scope) && !other.committing {
			res.supersedes = true
			r.endLocked(other, faultf(ErrSuperseded, "superseded by generation %d of the service, which was asked for later", res.generation))
		}
	}
	ctx, res.end = context.WithCancelCause(ctx)
	r.pending[res] = struct{}{}
	return res, ctx, nil
}

func (r *router) conflictLocked(service string, claims []claim, mine policy) error {
	served := r.routes.Load()
	for _, c := range claims {
		if s := served.site(c.host); s != nil {
			if conflict := c.beside(s.versions(), service, mine); conflict != nil {
				return conflict
			}
		}
		for other := range r.pending {
			if conflict := c.against(other.claims, other.service, other.policy, service, mine); conflict != nil {
				return conflict
			}
		}
	}
	return nil
}

// beside returns why a service with the policy mine cannot have c besides what
// others have, or nil.
func (c claim) beside(others []*version, service string, mine policy) *ConflictError {
	for _, v := range others {
		if conflict := c.against(v.claims, v.status.Service, v.policy, service, mine); conflict != nil {
			return conflict
		}
	}
	return nil
}

// against is beside for what one owner has.
func (c claim) against(claims []claim, owner string, theirs policy, service string, mine policy) *ConflictError {
	shared := func(other claim) bool { return other.host == c.host }
	switch {
	case owner == service:
	case slices.Contains(claims, c):
		return &ConflictError{Host: c.host, Prefix: c.prefix, Owner: owner}
	case slices.ContainsFunc(claims, shared):
		if _, dispute := theirs.with(mine); dispute != "" {
			return &ConflictError{Host: c.host, Owner: owner, Dispute: dispute}
		}
	}
	return nil
}

// endLocked lets the claims of a reservation go, and keeps it from publishing.
func (r *router) endLocked(res *reservation, cause error) {
	delete(r.pending, res)
	res.end(cause)
}

// leave is the end of a change that reserve began, published or not.
func (r *router) leave(res *reservation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.endLocked(res, context.Canceled)
	r.changes.Leave()
}

// A change makes the next version of a service of the current one, which is nil
// where there is none; nil takes the service out. Its error refuses the change.
type change func(current *version) (next *version, err error)

// publish makes a change of a service, has the outcome committed, and then
// stores the table that says so; the reservation, if there is one, ends with
// that. It calls announce before the next change has its turn. It returns what
// was replaced and what it was replaced with, nil where there is none. After an
// error, which may be the cause of ctx's end, nothing has changed.
func (r *router) publish(ctx context.Context, res *reservation, service string, c change, announce func(next *version)) (previous, next *version, err error) {
	r.publishing.Lock()
	defer r.publishing.Unlock()
	if err := r.beginCommit(ctx, res); err != nil {
		return nil, nil, err
	}
	services := maps.Clone(r.routes.Load().services)
	previous = services[service]
	if next, err = c(previous); err != nil {
		return nil, nil, err
	}
	switch {
	case next != nil:
		if previous == nil || next.status.Generation != previous.status.Generation || next.status.State != previous.status.State {
			next.since = time.Now()
		}
		next.follow(previous)
		services[service] = next
	case previous != nil:
		delete(services, service)
	default:
		return nil, nil, nil
	}
	if r.commit != nil {
		if err := r.commit(statuses(services)); err != nil {
			return nil, nil, err
		}
	}
	r.store(newTable(services), res)
	if previous != nil {
		previous.end(next)
	}
	announce(next)
	return previous, next, nil
}

// store publishes t, with which res ends.
func (r *router) store(t *table, res *reservation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.routes.Store(t)
	if res != nil {
		r.endLocked(res, context.Canceled)
	}
}

// beginCommit is the point from which no other change ends this one.
func (r *router) beginCommit(ctx context.Context, res *reservation) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if res != nil {
		res.committing = true
	}
	return nil
}

// restore publishes services without a commit and reports true, if nothing has
// been asked of the router before.
func (r *router) restore(services map[string]*version, generation uint64) bool {
	r.publishing.Lock()
	defer r.publishing.Unlock()
	t := newTable(services)
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := r.routes.Load(); r.generation > 0 || len(old.services) > 0 || old.closed {
		return false
	}
	r.generation = generation
	r.routes.Store(t)
	return true
}

// renew publishes every version anew, with gates of its own, and returns those
// that were replaced.
func (r *router) renew() []*version {
	r.publishing.Lock()
	defer r.publishing.Unlock()
	old := r.routes.Load()
	if old.closed {
		return nil
	}
	services := make(map[string]*version, len(old.services))
	for name, v := range old.services {
		next := v.renewed(v.status)
		next.follow(v)
		services[name] = next
	}
	r.routes.Store(newTable(services))
	for name, v := range old.services {
		v.end(services[name])
	}
	return slices.Collect(maps.Values(old.services))
}

// refuse lets no change begin any more and ends those that have not got as far
// as their commit. The returned channel is closed when none is under way.
func (r *router) refuse() (idle <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	idle = r.changes.Close()
	for res := range r.pending {
		if !res.committing {
			r.endLocked(res, ErrClosed)
		}
	}
	return idle
}

// close publishes the last table, which serves nobody, and returns the
// versions that were served until then.
func (r *router) close() []*version {
	r.publishing.Lock()
	defer r.publishing.Unlock()
	old := r.routes.Load()
	r.routes.Store(&table{closed: true})
	for _, v := range old.services {
		v.end(nil)
		if v.isHalted() {
			close(v.resumed) // nothing is waited for any more
		}
	}
	return slices.Collect(maps.Values(old.services))
}

// statuses returns what a restart must restore, by name.
func statuses(services map[string]*version) []Status {
	all := make([]Status, 0, len(services))
	for _, name := range slices.Sorted(maps.Keys(services)) {
		all = append(all, services[name].status.clone())
	}
	return all
}

// An ongoing is a part of a change of a service that takes its time.
type ongoing struct {
	service string
	change  Change
	lanes   []*lane // that are waited for
}

// begin has others know of o until end is called.
func (r *router) begin(o *ongoing) (end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ongoing[o] = struct{}{}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.ongoing, o)
	}
}

// underWay returns what goes on, by service, the oldest first.
func (r *router) underWay() map[string][]Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[string][]Change)
	for o := range r.ongoing {
		c := o.change
		c.Requests, c.Streams = inFlight(o.lanes)
		all[o.service] = append(all[o.service], c)
	}
	for _, changes := range all {
		slices.SortFunc(changes, func(a, b Change) int {
			return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.Generation, b.Generation))
		})
	}
	return all
}
