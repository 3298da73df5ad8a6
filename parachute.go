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
// A Proxy owns no listener, no file and no signal. Two of them in one process
// share nothing.
package parachute

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/gate"
	"github.com/shahnk19/parachute/internal/upstream"
)

// A Proxy serves what is deployed to it. All its methods may be called at any
// time and from any goroutine, but not from within its hooks. Make one with
// New.
type Proxy struct {
	options Options // normalized
	router  *router

	stopping     chan struct{} // closed by Shutdown and Close
	stoppingOnce sync.Once
	done         chan struct{} // closed by Close
	doneOnce     sync.Once

	events sync.Mutex // held while Notify runs
}

// New returns a Proxy without services. Nothing runs until the first Deploy or
// Restore.
func New(opts Options) *Proxy {
	return &Proxy{
		options:  opts.normalize(),
		router:   newRouter(opts.Commit),
		stopping: make(chan struct{}),
		done:     make(chan struct{}),
	}
}

// ServeHTTP sends r to a target of the service that claims its host and
// returns when the answer has gone out.
//
// What the proxy has to answer itself is 400 for a request that cannot be
// passed on as it is, 404 (or Options.NotFound) where no service claims the
// host, 405 for CONNECT and TRACE, 502 where no target gave an answer that can
// be passed on, 503 where the service has failed or the Proxy is closed, and
// 504 where the target took longer than Timeouts.Response, or the request was
// cut off before its answer began. An answer that breaks off makes ServeHTTP
// panic with http.ErrAbortHandler, so that the client does not take what came
// for all of it.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := visit{proxy: p, w: w, r: r, start: time.Now(), client: forward.ClientOf(r, p.options.TrustedProxies)}
	v.outcome.Client = v.client.Addr
	v.outcome.RequestID = forward.RequestID(r.Header)
	defer v.end()
	v.serve()
	v.served = true
}

// A visit is one request on its way through the Proxy.
type visit struct {
	proxy   *Proxy
	w       http.ResponseWriter
	r       *http.Request
	start   time.Time
	client  forward.Client
	outcome Outcome
	served  bool // ServeHTTP did not panic

	tried []*target // that could not take the request
	last  error     // why the last of them could not
	lost  int       // how many of them had it, and went away
	hold  hold
}

func (v *visit) serve() {
	r := v.r
	target, err := forward.Target(r, "")
	switch {
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace:
		v.w.Header().Set("Allow", "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")
		v.refuse(http.StatusMethodNotAllowed, "method", nil)
		return
	case r.Method == http.MethodOptions && r.RequestURI == "*":
		v.outcome.Status = http.StatusOK
		v.w.WriteHeader(http.StatusOK)
		return
	case err != nil:
		v.refuse(http.StatusBadRequest, "request", err)
		return
	}
	for {
		table := v.proxy.router.routes.Load()
		version := table.lookup(r.Host)
		switch {
		case table.closed:
			v.refuse(http.StatusServiceUnavailable, "closed", ErrClosed)
			return
		case version == nil:
			v.notFound()
			return
		}
		v.outcome.Service, v.outcome.Generation = version.status.Service, version.status.Generation
		if version.settling() {
			if !version.settle(r.Context()) {
				v.abort("gone", r.Context().Err())
			}
			continue
		}
		lane := version.pick(v.tried)
		switch {
		case len(version.lanes) == 0:
			v.refuse(http.StatusServiceUnavailable, "failed", errors.New(version.status.Error))
			return
		case lane == nil:
			if !v.waitForTarget(version) {
				return
			}
			continue
		}
		passage, ok := lane.Enter()
		if ok && v.forward(lane.target, passage, target) {
			return
		}
		// Otherwise a newer table is there, or the target could not take it.
	}
}

// forward sends the request to t and leaves. It reports whether that is the
// end of it; otherwise it may go to another target.
func (v *visit) forward(t *target, passage *gate.Passage, requestTarget string) bool {
	defer passage.Leave() // also when the answer breaks off, which panics
	if v.last != nil {
		v.outcome.Retries++
	}
	res, err := forward.Forward(v.w, v.r, t.exchange, forward.Options{
		Target:    requestTarget,
		Client:    v.client,
		RequestID: v.outcome.RequestID,
		Start:     v.start,
		Stream:    passage.BecomeStream,
	})
	o := &v.outcome
	o.Target = t.address
	o.Status, o.Header = res.Status, res.Header
	o.BytesIn, o.BytesOut = res.BytesIn, res.BytesOut
	if !res.FirstByte.IsZero() {
		o.FirstByte = res.FirstByte.Sub(v.start)
	}
	var failure *upstream.Error
	isTarget := errors.As(err, &failure)
	switch {
	case err == nil:
		return true
	case isTarget && (res.Status != 0 || failure.Reason == upstream.Gone):
		v.abort(failure.Reason.String(), err)
	case res.Status != 0:
		v.abort("client", err)
	case isTarget && failure.Repeatable && !res.BodyRead:
		v.tried = append(v.tried, t)
		v.last = err
		if failure.Reason == upstream.Broken {
			v.lost++
		}
		return false
	}
	v.fail(err)
	return true
}

// waitForTarget waits before all targets of a service are tried again, and
// reports false if it answered the request instead. An app that went away with
// the request, as one does that is killed, gets it once more: it may be the
// request that it died of.
func (v *visit) waitForTarget(version *version) bool {
	failure := (*upstream.Error)(nil)
	again := errors.As(v.last, &failure) && (failure.Reason == upstream.Dial || failure.Reason == upstream.Broken) && v.lost < 2
	if again && v.hold.wait(v.r.Context(), version, int64(v.proxy.options.MaxHeld), v.proxy.stopping) {
		v.tried = v.tried[:0]
		return true
	}
	switch {
	case v.r.Context().Err() != nil:
		v.abort("gone", v.last)
	case v.proxy.isStopping():
		v.refuse(http.StatusServiceUnavailable, "closed", v.last)
	default:
		v.fail(v.last)
	}
	return false
}

// fail answers for a target that gave no answer which could be passed on.
func (v *visit) fail(err error) {
	status, reason := http.StatusBadGateway, "target"
	if errors.Is(err, forward.ErrRefused) {
		status, reason = http.StatusGatewayTimeout, upstream.Cut.String()
	}
	if e := (*upstream.Error)(nil); errors.As(err, &e) {
		reason = e.Reason.String()
		switch e.Reason {
		case upstream.Timeout, upstream.Cut:
			status = http.StatusGatewayTimeout
		case upstream.ClientBody, upstream.BadRequest:
			status = http.StatusBadRequest
		}
	}
	v.refuse(status, reason, err)
}

func (v *visit) refuse(status int, reason string, err error) {
	page := fmt.Sprintf("%d %s\n", status, http.StatusText(status))
	h := v.w.Header()
	h["Content-Type"] = []string{"text/plain; charset=utf-8"}
	h["Content-Length"] = []string{strconv.Itoa(len(page))}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	v.w.WriteHeader(status)
	o := &v.outcome
	o.Status, o.Reason, o.Err, o.Header = status, reason, err, h
	if v.r.Method != http.MethodHead {
		n, _ := io.WriteString(v.w, page) // an error is the client's, who has left
		o.BytesOut = int64(n)
	}
}

// abort ends the request without an answer, or in the middle of one.
func (v *visit) abort(reason string, err error) {
	v.outcome.Reason, v.outcome.Err = reason, err
	panic(http.ErrAbortHandler)
}

func (v *visit) notFound() {
	if v.proxy.options.NotFound == nil {
		v.refuse(http.StatusNotFound, "no service", nil)
		return
	}
	v.outcome.Reason = "no service"
	w := &statusWriter{ResponseWriter: v.w, status: http.StatusOK}
	v.proxy.options.NotFound.ServeHTTP(w, v.r)
	v.outcome.Status = w.status
}

// end tells Observe of the request, also while it panics.
func (v *visit) end() {
	o := &v.outcome
	if !v.served && o.Err == nil {
		o.Reason, o.Err = "panic", errors.New("panic while serving")
	}
	if v.proxy.options.Observe != nil {
		o.Duration = time.Since(v.start)
		v.proxy.options.Observe(v.r, *o)
	}
}

// A statusWriter keeps the status that a handler answers with.
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

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Deploy brings d into service, in place of what its service served before.
//
// It takes d's hosts at once, or returns ErrConflict; waits until every target
// is healthy; has Options.Commit keep the change; and from one moment to the
// next sends all new requests for these hosts to the new targets. Then it
// waits for the previous targets to answer what was sent to them before, for
// at most d.Timeouts.Drain, and for their streams, for at most
// d.Timeouts.Stream more, and cuts off what is left, which it gives a moment to
// end.
//
// An error means that nothing was changed: ErrInvalid, ErrConflict,
// ErrUnhealthy, ErrClosed, what Commit or ctx said, or ErrSuperseded where a
// newer Deploy or Remove of the service came before the switch. When Deploy
// returns nil, d is in service and the previous targets get nothing more,
// unless a later deploy names them again.
//
// Ending ctx before the switch ends the deploy; afterwards ctx is not looked
// at. While one deploy drains, the next of the same service may go on.
func (p *Proxy) Deploy(ctx context.Context, d Deployment) error {
	return describe("deploy", d.Service, p.deploy(ctx, d))
}

func (p *Proxy) deploy(ctx context.Context, d Deployment) error {
	d, err := d.normalize()
	if err != nil {
		return err
	}
	res, ctx, err := p.router.reserve(ctx, d.Service, claims(d))
	if err != nil {
		return err
	}
	defer p.router.leave(res)
	p.emit(Event{Kind: EventDeploying, Service: d.Service, Generation: res.generation})

	previous, err := p.replace(ctx, res, d)
	if err != nil {
		p.emit(Event{Kind: EventFailed, Service: d.Service, Generation: res.generation, Err: err})
		return err
	}
	if previous != nil {
		p.retire(previous, res, d.Timeouts)
	}
	return nil
}

// replace publishes d as soon as it may, and returns what it replaced.
func (p *Proxy) replace(ctx context.Context, res *reservation, d Deployment) (previous *version, err error) {
	targets, w, err := p.start(d, res.generation, !d.Force)
	if err != nil {
		return nil, err
	}
	if !d.Force {
		err = w.awaitHealthy(ctx, targets, d.Timeouts.Deploy)
	}
	if err == nil {
		status := Status{Service: d.Service, Generation: res.generation, State: StateServing, Deployment: d}
		previous, err = p.router.publish(ctx, res, newVersion(status, res.hosts, targets), func() {
			p.emit(Event{Kind: EventSwitched, Service: d.Service, Generation: res.generation})
		})
	}
	if err != nil {
		closeAll(targets)
	}
	return previous, err
}

// start makes the targets of d and begins to probe them. While a deploy waits
// for them every probe is an event.
func (p *Proxy) start(d Deployment, generation uint64, waiting bool) ([]*target, *watch, error) {
	w := newWatch(len(d.Targets), waiting, func(kind EventKind, t *target, saw *Probe) {
		p.emit(Event{Kind: kind, Service: d.Service, Generation: generation, Target: t.address, Probe: saw})
	})
	var targets []*target
	for _, address := range d.Targets {
		t, err := newTarget(address, d, p.options, w)
		if err != nil {
			return nil, nil, err
		}
		targets = append(targets, t)
	}
	for _, t := range targets {
		t.start()
	}
	return targets, w, nil
}

// retire waits for the end of a version that was replaced by the change res,
// and lets go of its targets.
func (p *Proxy) retire(v *version, res *reservation, limits Timeouts) {
	for _, l := range v.lanes {
		l.target.stopProbes()
	}
	e := Event{Kind: EventDraining, Service: res.service, Generation: res.generation}
	e.Requests, e.Streams = v.inFlight()
	p.emit(e)
	e.Kind = EventDrained
	e.Requests, e.Streams = v.retire(gate.Limits{Requests: limits.Drain, Streams: limits.Stream}, p.done)
	closeAll(v.targets())
	p.emit(e)
}

// Remove takes a service out: its hosts are free again and requests for them
// are nobody's. It returns when what was running has ended, within the
// service's own Timeouts.Drain and Timeouts.Stream.
//
// An error means that nothing was changed: ErrNotFound, ErrClosed, what Commit
// or ctx said, or ErrSuperseded. Remove ends a running Deploy of the service,
// which returns ErrSuperseded.
func (p *Proxy) Remove(ctx context.Context, service string) error {
	return describe("remove", service, p.remove(ctx, service))
}

func (p *Proxy) remove(ctx context.Context, service string) error {
	res, ctx, err := p.router.reserve(ctx, service, nil)
	if err != nil {
		return err
	}
	defer p.router.leave(res)
	previous, err := p.router.publish(ctx, res, nil, func() {
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
	p.retire(previous, res, previous.status.Deployment.Timeouts)
	return nil
}

// Services returns what is known of every service, sorted by name.
func (p *Proxy) Services() []Status {
	services := p.router.routes.Load().services
	all := statuses(services)
	for i := range all {
		all[i].Live = services[all[i].Service].live()
	}
	return all
}

// Restore brings back what Commit was last given: all of it at once, without
// waiting for health. It must come once and before the first Deploy or Remove;
// otherwise it is ErrInvalid, or ErrClosed, and nothing happens. Requests wait
// for the first health check of a restored service, at most one second, and are
// then sent on whatever it said.
//
// A service that cannot be restored does not keep the others from it: it stays
// as StateFailed with its hosts, whose requests are answered 503, until it is
// deployed again or removed. The error tells of all of them.
func (p *Proxy) Restore(services []Status) error {
	if !p.router.changes.Enter() {
		return describe("restore", "", ErrClosed)
	}
	defer p.router.changes.Leave()
	restored := make(map[string]*version, len(services))
	claimed := make(map[string]string)
	var generation uint64
	var errs []error
	for _, s := range services {
		generation = max(generation, s.Generation)
		v, err := p.restore(s, restored, claimed)
		if err != nil {
			err = describe("restore", s.Service, err)
			errs = append(errs, err)
			p.emit(Event{Kind: EventFailed, Service: s.Service, Generation: s.Generation, Err: err})
		}
		if v != nil {
			restored[s.Service] = v
		}
	}
	if !p.router.restore(restored, generation) {
		for _, v := range restored {
			closeAll(v.targets())
		}
		return describe("restore", "", faultf(ErrInvalid, "want it once, and before anything is deployed"))
	}
	return errors.Join(errs...)
}

// restore returns the version that serves s, or one that has failed together
// with the reason, or no version at all for a name that cannot be or was there
// before.
func (p *Proxy) restore(s Status, others map[string]*version, claimed map[string]string) (*version, error) {
	before := s.Error
	s.Live, s.Error, s.State = nil, "", StateServing
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
	var hosts []string
	for _, host := range claims(d) {
		if owner, taken := claimed[host]; !taken {
			claimed[host] = s.Service
			hosts = append(hosts, host)
		} else if err == nil {
			err = &ConflictError{Host: host, Owner: owner}
		}
	}
	var targets []*target
	var w *watch
	if err == nil {
		targets, w, err = p.start(d, s.Generation, false)
	}
	if err != nil {
		s.State, s.Error = StateFailed, err.Error()
		return newVersion(s, hosts, nil), err
	}
	s.Deployment = d
	v := newVersion(s, hosts, targets)
	v.settled, v.settledBy = w.settled, time.Now().Add(time.Second)
	return v, nil
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
			retired.Go(func() { v.retire(limits, ctx.Done()) })
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
		closeAll(v.targets())
	}
	<-changed
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
		if requests, streams := v.inFlight(); requests+streams > 0 {
			return false
		}
	}
	return true
}

// claims returns the hosts of d as a table has them, leaving out what is none.
func claims(d Deployment) []string {
	if len(d.Hosts) == 0 {
		return []string{anyHost}
	}
	var hosts []string
	for _, h := range d.Hosts {
		if host, err := canonicalPattern(h); err == nil {
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// describe says in front of an error what was being done, and to what.
func describe(verb, service string, err error) error {
	switch {
	case err == nil:
		return nil
	case checkServiceName(service) != nil:
		return fmt.Errorf("parachute: %s: %w", verb, err)
	}
	return fmt.Errorf("parachute: %s %s: %w", verb, service, err)
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
		p.log(e)
	}
}

func (p *Proxy) log(e Event) {
	level := slog.LevelInfo
	attrs := []slog.Attr{slog.String("service", e.Service), slog.Uint64("generation", e.Generation)}
	if e.Target != "" {
		attrs = append(attrs, slog.String("target", e.Target))
	}
	if e.Probe != nil {
		attrs = append(attrs, slog.String("probe", e.Probe.String()))
	}
	switch e.Kind {
	case EventProbed:
		level = slog.LevelDebug
	case EventUnhealthy:
		level = slog.LevelWarn
	case EventFailed:
		level = slog.LevelError
		attrs = append(attrs, slog.Any("error", e.Err))
	case EventDraining:
		attrs = append(attrs, slog.Int64("requests", e.Requests), slog.Int64("streams", e.Streams))
	case EventDrained:
		attrs = append(attrs, slog.Int64("requests_cut", e.Requests), slog.Int64("streams_closed", e.Streams))
		if e.Requests > 0 {
			level = slog.LevelWarn
		}
	}
	p.options.Logger.LogAttrs(context.Background(), level, string(e.Kind), attrs...)
}
