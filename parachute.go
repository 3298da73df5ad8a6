// Package parachute is an HTTP reverse proxy whose one purpose is that a
// deploy costs nobody a request.
//
// A Proxy is an http.Handler that sends the requests for each host to the
// targets of the service that was deployed for it:
//
//	p := parachute.New(parachute.Options{})
//	defer p.Close()
//	go http.ListenAndServe(":80", p)
//
//	err := p.Deploy(ctx, parachute.Deployment{
//		Service: "web",
//		Targets: []string{"10.0.0.7:3000"},
//		Hosts:   []string{"app1.example.com"},
//	})
//
// Deploy waits until the new targets are healthy, moves all new requests to
// them in one step, waits until the previous targets have answered what they
// were asked before, and returns: then those can be stopped. If it returns an
// error, nothing has changed.
//
// # What else there is
//
// A service is paused, stopped and resumed by the methods of these names, and
// Rollout puts a second version beside it, for a share of the visitors. Services
// tells what is deployed and how it is, Certificates what there is of those.
//
// A server that is given the Proxy's TLSConfig serves HTTPS as well, for the
// services that ask for it with Deployment.TLS: certificates are obtained, and
// renewed, by the Proxy.
//
// Options has the hooks: Commit is handed what has to outlive the process, which
// Restore takes; Observe hears of every request, and Notify of every event.
//
// In all that is handed in, a zero is the default, and where something can be
// turned off, a negative number or duration does so. Errors are told apart by
// errors.Is.
//
// # What is left to the caller
//
// A Proxy owns no listener and no signal, and keeps nothing on disk but bodies that
// it buffers, and certificates where a folder for them is named. To end in good
// order, call Shutdown beside http.Server.Shutdown, and then Close. Two of them in
// one process share nothing.
package parachute

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/shahnk19/parachute/internal/buffer"
	"github.com/shahnk19/parachute/internal/descriptors"
	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/gate"
	"github.com/shahnk19/parachute/internal/hostname"
	"github.com/shahnk19/parachute/internal/pages"
	"github.com/shahnk19/parachute/internal/resolve"
)

// A Proxy serves what is deployed to it. All its methods may be called at any
// time and from any goroutine, but not from within its hooks. Make one with
// New.
type Proxy struct {
	options          Options   // normalized
	began            time.Time // from which on the times of what is counted are told
	trustsExplicitly bool      // Options.TrustedProxies was given
	router           *router
	certificates     *certificates
	pages            *pages.Set // where a service has none of its own
	spool            *buffer.Store
	roll             *roll
	schedule         schedule
	hop              []string         // of one: what probes are known by that the Proxy sends
	names            *resolve.Options // of how names of targets are looked up; nil: Options.Dial does
	shortages        *descriptors.Reporter
	checks           chan struct{} // a place for each password that may be checked at once
	speaksTLS        atomic.Bool   // TLSConfig was called: requests over TLS are on connections of that

	stopping     chan struct{} // closed by Shutdown and Close
	stoppingOnce sync.Once
	done         chan struct{} // closed by Close
	doneOnce     sync.Once

	events sync.Mutex // held while Notify runs
}

// New returns a Proxy without services. Nothing runs until the first Deploy or
// Restore.
func New(opts Options) *Proxy {
	p := &Proxy{
		options:          opts.normalize(),
		began:            time.Now(),
		trustsExplicitly: opts.TrustedProxies != nil,
		router:           newRouter(opts.Commit),
		pages:            pages.New(opts.ErrorPages),
		roll:             newRoll(),
		hop:              newHop(),
		shortages:        descriptors.NewReporter(opts.Logger),
		checks:           make(chan struct{}, runtime.GOMAXPROCS(0)),
		stopping:         make(chan struct{}),
		done:             make(chan struct{}),
	}
	if opts.Dial == nil {
		p.names = &resolve.Options{Logger: opts.Logger}
	}
	p.spool = buffer.New(buffer.Options(p.options.Spool))
	p.certificates = newCertificates(p.options, p.emit)
	return p
}

// ServeHTTP sends r to a target of the service that claims its host and path,
// and returns when the answer has gone out.
//
// Plain requests are redirected to https:// where the host has a certificate, or
// may have one on demand, and TLS.NoRedirect does not say otherwise, and those for
// other hosts than Deployment.CanonicalHost to that: with 301 for GET and HEAD,
// with 308 for every other method. Challenges of the certificate authority are
// answered.
//
// What else the proxy has to answer itself is a page, with X-Parachute-Error
// where that tells more than the status: 400 for a request that cannot be passed
// on as it is; 401 and 403 as Deployment.Access says; 404 (or Options.NotFound)
// where no service claims host and path; 405 for CONNECT and TRACE; 408 for a
// body of which nothing has come for a minute; 413 for one above
// Deployment.MaxRequestBody; 421 where the connection's TLS is that of another
// host with other settings, or the host has no TLS any more (RFC 9110, section
// 15.5.20); 502 where no target gave an answer that can be passed on; 503, with
// Retry-After, where the service is stopped or has failed, there is no room to
// wait or to buffer, or the Proxy is closed; and 504 where the target took longer
// than Timeouts.Response, the service was paused for too long, or the request was
// cut off before its answer began; 508 where the request has been sent to the same
// service before, and has come back (X-Parachute-Hop lists what it has passed).
//
// An answer that breaks off makes ServeHTTP panic with http.ErrAbortHandler, so
// that the client does not take what came for all of it. So does a client that
// has left.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := visit{proxy: p, w: w, r: r, sent: r, start: time.Now(), client: forward.ClientOf(r, p.options.TrustedProxies, "")}
	v.outcome.Client = v.client.Addr
	v.outcome.RequestID = forward.RequestID(r.Header)
	defer v.end()
	v.serve()
	v.served = true
}

// Deploy brings d into service, in place of what its service served before.
//
// It takes d's hosts at once, or returns ErrConflict; begins to obtain the
// certificates that they lack; waits until every target is healthy and, if
// d.TLS.Wait says so, the certificates are there; has Options.Commit keep the
// change; and from one moment to the next sends all new requests for these hosts
// to the new targets. Then it waits for the previous targets to answer what was
// sent to them before, for at most d.Timeouts.Drain, and for their streams, for
// at most d.Timeouts.Stream more, and cuts off what is left, which it gives a
// moment to end. A service that was paused or stopped stays so, and its rollout
// goes on; where that does not go with d it is ErrInvalid.
//
// An error means that nothing was changed: ErrInvalid, ErrConflict,
// ErrUnhealthy, ErrNoCertificate, ErrClosed, what Commit or ctx said, or
// ErrSuperseded where a newer Deploy or Remove of the service came before the
// switch. When Deploy returns nil, d is in service and the previous targets get
// nothing more, unless a later deploy names them again. Of an error, %+v writes
// all that is known, in several lines, the last of which tells what serves still.
//
// Ending ctx before the switch ends the deploy; afterwards ctx is not looked
// at. While one deploy drains, the next of the same service may go on.
func (p *Proxy) Deploy(ctx context.Context, d Deployment) error {
	return p.refuse("deploy", d.Service, p.deploy(ctx, d))
}

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

// Remove takes a service out: its hosts are free again and requests for them
// are nobody's. It returns when what was running has ended, within the
// service's own Timeouts.Drain and Timeouts.Stream.
//
// An error means that nothing was changed: ErrNotFound, ErrClosed, what Commit
// or ctx said, or ErrSuperseded. Remove ends a running Deploy or Rollout of the
// service, which returns ErrSuperseded.
func (p *Proxy) Remove(ctx context.Context, service string) error {
	return p.refuse("remove", service, p.remove(ctx, service))
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

// Pause holds the requests of a service from now on, until Resume or Stop, and
// those of a deploy that comes meanwhile too: they wait for at most how.Max, and
// are then answered 504. At most Options.MaxHeld wait; others are answered 503.
// Health checks from outside are answered 200: GET and HEAD of HealthCheck.Path,
// unless that is "/", or gRPC's where HealthCheck.GRPC says so. Pause returns when
// nothing of the service runs any more, whatever version it was sent to: after
// how.Drain and Timeouts.Stream at most, by when it has cut off what was late. Where
// Resume comes before that it returns, too, and has cut off nothing.
//
// An error means that nothing was changed: ErrNotFound, ErrClosed, ErrInvalid
// where the service could not be restored, or what Commit or ctx said. Ctx is
// not looked at once requests are held. Pause neither waits for a running deploy
// nor ends it.
func (p *Proxy) Pause(ctx context.Context, service string, how Pause) error {
	how = how.normalize()
	return p.refuse("pause", service, p.halt(ctx, service, EventPaused, how.Drain, func(s *Status) {
		s.State, s.Pause, s.Stop = StatePaused, &how, nil
	}))
}

// Stop answers the requests of a service with 503 from now on, with how.Message
// on the page, until Resume or Pause, and those of a deploy that comes meanwhile
// too. Health checks from outside are answered as in a pause. It returns, and
// fails, as Pause does.
func (p *Proxy) Stop(ctx context.Context, service string, how Stop) error {
	how.Drain = cmp.Or(how.Drain, 30*time.Second)
	return p.refuse("stop", service, p.halt(ctx, service, EventStopped, how.Drain, func(s *Status) {
		s.State, s.Stop, s.Pause = StateStopped, &how, nil
	}))
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

// Resume serves the requests of a service that was paused or stopped, those
// that wait first. An error means that nothing was changed: as for Pause. To
// resume what serves changes nothing.
func (p *Proxy) Resume(ctx context.Context, service string) error {
	if !p.router.changes.Enter() {
		return p.refuse("resume", service, ErrClosed)
	}
	defer p.router.changes.Leave()
	_, _, err := p.alter(ctx, nil, service, EventResumed, func(v *version) (*version, error) {
		s := v.status
		s.State, s.Pause, s.Stop = StateServing, nil, nil
		return v.as(s), nil
	})
	return p.refuse("resume", service, err)
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

// Rollout brings r into service beside what the service has, in place of the
// rollout that it had, and returns when that has ended. Who goes to it, r.Split
// and SetSplit say; it stays when the service is deployed anew, until
// EndRollout.
//
// An error means that nothing was changed: as for Deploy, or ErrNotFound. A
// newer Rollout of the service ends an older one that has not switched yet, and
// so do EndRollout and Remove.
func (p *Proxy) Rollout(ctx context.Context, service string, r Rollout) error {
	return p.refuse("roll out", service, p.rollOut(ctx, service, r))
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

// SetSplit says who goes to the rollout of a service from now on. An error
// means that nothing was changed: as for Pause, or ErrInvalid where there is no
// rollout.
func (p *Proxy) SetSplit(ctx context.Context, service string, s Split) error {
	return p.refuse("split", service, p.setSplit(ctx, service, s))
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

// EndRollout sends everybody to the first version of a service again, and
// returns when the requests on the second have ended. An error means that
// nothing was changed: as for SetSplit, or ErrSuperseded.
func (p *Proxy) EndRollout(ctx context.Context, service string) error {
	return p.refuse("end rollout", service, p.endRollout(ctx, service))
}

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

// Services returns what is known of every service, sorted by name, with Live. A
// service that is deployed for the first time is there from the switch on, and
// one that is removed no more from then on.
//
// What is returned is what "parachute list --json" prints. The names in its JSON
// form stay, and so does what they mean; there may be more of them in a later
// version.
func (p *Proxy) Services() []Status {
	services := p.router.routes.Load().services
	changes := p.router.underWay()
	at := time.Since(p.began)
	all := statuses(services)
	for i := range all {
		s := &all[i]
		s.Live = services[s.Service].live(at)
		s.Live.Changes = changes[s.Service]
	}
	return all
}

// Certificates returns what is known of the certificate of every host that is
// served over TLS, sorted by host. Those on demand are there once somebody came
// to their name.
func (p *Proxy) Certificates() []Certificate {
	all := []Certificate{}
	for s := range p.router.routes.Load().sites() {
		if s.holding != nil {
			all = append(all, s.holding.known(s.host)...)
		}
	}
	slices.SortFunc(all, func(a, b Certificate) int { return strings.Compare(a.Host, b.Host) })
	return all
}

// UnknownNames returns how many handshakes were refused because they named a
// host that has no certificate.
func (p *Proxy) UnknownNames() uint64 { return p.certificates.unknown.Load() }

// TLSConfig returns how a server has to speak TLS for the Proxy: with the
// certificates of its hosts, and with answers to the TLS-ALPN-01 challenges of
// the certificate authority. It speaks TLS 1.3, and TLS 1.2 with ephemeral keys
// and authenticated encryption alone. A client that names no host gets the certificate
// of the first one in the order of their names; one that names a host without a
// certificate gets the alert unrecognized_name. A handshake waits up to 10 s for
// a certificate that is being obtained.
//
// From then on, a request that comes over TLS for a host that has none, or has
// none any more, is answered 421, as on a connection that outlived the deploy
// which turned it off. So a Proxy whose TLSConfig is used serves TLS by that
// alone. The caller may change what is returned.
func (p *Proxy) TLSConfig() *tls.Config {
	p.speaksTLS.Store(true)
	return &tls.Config{
		GetCertificate: p.certificate,
		NextProtos:     []string{"h2", "http/1.1", acme.ALPNProto},
		MinVersion:     tls.VersionTLS12,
		// For TLS 1.2: those of RFC 9325, section 4.2, whose keys are ephemeral
		// and whose encryption is authenticated. CBC has had too many padding
		// oracles. TLS 1.3 has no others.
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
			tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		},
	}
}

// certificate finds the certificate for a handshake. Without one it returns no
// error either, for that would be told to the client as an internal one.
func (p *Proxy) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := hostname.Canonical(hello.ServerName)
	if isChallenge(hello) {
		return p.certificates.challenge(hello, name), nil
	}
	t := p.router.routes.Load()
	s := t.unnamed
	if name != "" {
		s = t.lookup(name)
	}
	if s != nil && s.holding != nil {
		if c := s.holding.awaitCertificate(hello, s.host, name); c != nil {
			return c, nil
		}
	}
	p.certificates.unknown.Add(1)
	return nil, nil
}

// Restore brings back what Commit was last given: all of it at once, without
// waiting for health. It must come once and before the first Deploy or Remove;
// otherwise it is ErrInvalid, or ErrClosed, and nothing happens. Requests wait
// for the first health check of a restored service, at most one second, and are
// then sent on whatever it said.
//
// A service that cannot be restored does not keep the others from it: it stays
// as StateFailed with its hosts, whose requests are answered 503, until it is
// deployed again or removed. One whose rollout alone cannot be restored serves
// without that. The error tells of all of them.
func (p *Proxy) Restore(services []Status) error {
	if !p.router.changes.Enter() {
		return describe("restore", "", ErrClosed)
	}
	defer p.router.changes.Leave()
	restored := make(map[string]*version, len(services))
	byHost := make(map[string][]*version)
	var generation uint64
	var errs []error
	for _, s := range services {
		generation = max(generation, s.Generation)
		v, err := p.restore(s, restored, byHost)
		if err != nil {
			err = describe("restore", s.Service, err)
			errs = append(errs, err)
			p.emit(Event{Kind: EventFailed, Service: s.Service, Generation: s.Generation, Err: err})
		}
		if v != nil {
			restored[s.Service] = v
			for _, c := range v.claims {
				byHost[c.host] = append(byHost[c.host], v)
			}
		}
	}
	if !p.router.restore(restored, generation) {
		for _, v := range restored {
			v.close()
		}
		return describe("restore", "", faultf(ErrInvalid, "want it once, and before anything is deployed"))
	}
	return errors.Join(errs...)
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

// Shutdown prepares for the end: changes are refused with ErrClosed from now
// on, those that wait for health are ended so, and streams are closed as in a
// drain. It returns nil when nobody is inside, or ctx's error when ctx ends
// before. New requests are still served, so it is meant to be called beside
// http.Server.Shutdown, which lets none come.
func (p *Proxy) Shutdown(ctx context.Context) error {
	changed := p.stop()
	for {
		var retired sync.WaitGroup
		for _, v := range p.router.renew() {
			limits := gate.Limits{Requests: math.MaxInt64, Streams: v.status.Deployment.Timeouts.Stream}
			lanes := slices.Concat(v.lanes(), v.leaving)
			mute(lanes, v)
			retired.Go(func() { drain(lanes, limits, ctx.Done()) })
		}
		retired.Wait()
		select {
		case <-ctx.Done():
		case <-changed:
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if p.idle() {
			return nil
		}
	}
}

// Close ends everything: running deploys return ErrClosed, requests in flight
// are cut off, and those that come later are answered 503. When it returns, no
// goroutine of the Proxy is left. It returns nil, also when called again.
func (p *Proxy) Close() error {
	p.doneOnce.Do(p.close)
	return nil
}

func (p *Proxy) close() {
	changed := p.stop()
	served := p.router.close()
	close(p.done)
	for _, v := range served {
		v.close()
	}
	<-changed
	p.certificates.close()
}

// stop lets go of what waits and lets no change begin any more. The returned
// channel is closed when no change is under way.
func (p *Proxy) stop() <-chan struct{} {
	p.stoppingOnce.Do(func() { close(p.stopping) })
	return p.router.refuse()
}

func (p *Proxy) isStopping() bool {
	select {
	case <-p.stopping:
		return true
	default:
		return false
	}
}

// idle reports whether nobody is inside of what is served.
func (p *Proxy) idle() bool {
	for _, v := range p.router.routes.Load().services {
		if requests, streams := inFlight(slices.Concat(v.lanes(), v.leaving)); requests+streams > 0 {
			return false
		}
	}
	return true
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

// describe says in front of an error what was being done, and to what.
func describe(verb, service string, err error) error {
	if err == nil {
		return nil
	}
	if checkServiceName(service) != nil {
		service = ""
	}
	return &changeError{verb: verb, service: service, err: err}
}

// refuse is describe for a change that has changed nothing.
func (p *Proxy) refuse(verb, service string, err error) error {
	if err == nil {
		return nil
	}
	refused := describe(verb, service, err)
	if errors.Is(err, ErrSuperseded) || errors.Is(err, ErrClosed) || errors.Is(err, ErrNotFound) {
		return refused // it says what it is that has come in between
	}
	e := refused.(*changeError)
	v := p.router.routes.Load().services[service]
	switch e.unchanged = "nothing was changed"; {
	case v == nil && e.service != "":
		e.unchanged += "; " + service + " is not deployed"
	case v == nil:
	case v.status.State == StateServing:
		e.unchanged += "; " + service + " still serves " + strings.Join(v.addresses(), ", ")
	default:
		e.unchanged += "; " + service + " is still " + string(v.status.State)
	}
	return e
}

// emit tells Notify and the log what has happened.
func (p *Proxy) emit(e Event) {
	p.events.Lock()
	defer p.events.Unlock()
	e.Time = time.Now()
	if p.options.Notify != nil {
		p.options.Notify(e)
	}
	if p.options.Logger != nil {
		p.options.Logger.LogAttrs(context.Background(), e.level(), string(e.Kind), e.attrs()...)
	}
}
