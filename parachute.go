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
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/gate"
	"github.com/shahnk19/parachute/internal/upstream"
)

// A Proxy serves what is deployed to it. All its methods may be called at any
// time and from any goroutine, but not from within its hooks. Make one with
// New.
type Proxy struct {
	options      Options // normalized
	router       *router
	certificates *certificates

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
		options:  opts.normalize(),
		router:   newRouter(opts.Commit),
		stopping: make(chan struct{}),
		done:     make(chan struct{}),
	}
	p.certificates = newCertificates(p.options, p.emit)
	return p
}

// ServeHTTP sends r to a target of the service that claims its host and path,
// and returns when the answer has gone out.
//
// Plain requests are redirected to https:// where the host has a certificate
// and TLS.NoRedirect does not say otherwise, and those for other hosts than
// Deployment.CanonicalHost to that: with 301 for GET and HEAD, with 308 for
// every other method, never health checks. Challenges of the certificate
// authority are answered.
//
// What else the proxy has to answer itself is 400 for a request that cannot be
// passed on as it is, 404 (or Options.NotFound) where no service claims host
// and path, 405 for CONNECT and TRACE, 421 where the connection's TLS is that of
// another host with other settings (RFC 9110, section 15.5.20), 502 where no target gave an answer that can
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
	target  string // the request target that the service sees
	outcome Outcome
	served  bool // ServeHTTP did not panic

	tried []*target // that could not take the request
	last  error     // why the last of them could not
	lost  int       // how many of them had it, and went away
	hold  hold
}

func (v *visit) serve() {
	r := v.r
	if r.TLS != nil && r.TLS.NegotiatedProtocol == acme.ALPNProto {
		v.abort("challenge", errors.New("a request on a connection for a TLS-ALPN-01 challenge")) // RFC 8737, section 3
	}
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
		if table.closed {
			v.refuse(http.StatusServiceUnavailable, "closed", ErrClosed)
			return
		}
		site := table.lookup(r.Host)
		if v.isMisdirected(table, site) {
			v.refuse(http.StatusMisdirectedRequest, "misdirected", nil)
			return
		}
		version := v.route(site, target)
		if v.answerChallenge(target) || v.redirect(site, version, target) {
			return
		}
		if version == nil {
			v.notFound()
			return
		}
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
		if ok && v.forward(lane.target, passage) {
			return
		}
		// Otherwise a newer table is there, or the target could not take it.
	}
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
	o.Service, o.Generation = version.status.Service, version.status.Generation
	o.Prefix, v.target = prefix, rest
	if version.status.Deployment.KeepPrefix {
		o.Prefix, v.target = "", target
	}
	return version
}

// isMisdirected reports whether the request came over a connection that was
// made to another host, and may not be for that of s.
func (v *visit) isMisdirected(t *table, s *site) bool {
	if v.r.TLS == nil || v.r.TLS.ServerName == "" {
		return false
	}
	sni, name := canonicalHost(v.r.TLS.ServerName), canonicalHost(v.r.Host)
	return sni != name && !s.isFor(name, t.lookup(sni), sni)
}

// answerChallenge answers a request of a certificate authority that wants to
// see that the host is ours.
func (v *visit) answerChallenge(target string) bool {
	if !strings.HasPrefix(target, challengePath) {
		return false
	}
	answer, ok := v.proxy.certificates.token(v.r.Context(), canonicalHost(v.r.Host), target)
	if ok {
		v.outcome.Reason = "challenge"
		v.reply(http.StatusOK, string(answer))
	}
	return ok
}

// redirect answers a request that belongs elsewhere. version, which may be nil,
// is what it is for.
func (v *visit) redirect(s *site, version *version, target string) bool {
	if s == nil || s.policy.canonical == "" && !s.policy.isSecure() {
		return false
	}
	if version != nil && version.isHealthCheck(v.target) {
		return false
	}
	secure := v.r.TLS != nil || v.client.Trusted && strings.EqualFold(v.r.Header.Get("X-Forwarded-Proto"), "https")
	origin, ok := s.redirect(v.r.Host, secure, v.proxy.options.HTTPSPort)
	if !ok {
		return false
	}
	status := http.StatusPermanentRedirect
	if v.r.Method == http.MethodGet || v.r.Method == http.MethodHead {
		status = http.StatusMovedPermanently
	}
	v.w.Header()["Location"] = []string{origin + target}
	v.refuse(status, "redirect", nil)
	return true
}

// forward sends the request to t and leaves. It reports whether that is the
// end of it; otherwise it may go to another target.
func (v *visit) forward(t *target, passage *gate.Passage) bool {
	defer passage.Leave() // also when the answer breaks off, which panics
	if v.last != nil {
		v.outcome.Retries++
	}
	res, err := forward.Forward(v.w, v.r, t.exchange, forward.Options{
		Target:    v.target,
		Prefix:    v.outcome.Prefix,
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
	v.outcome.Reason, v.outcome.Err = reason, err
	v.reply(status, fmt.Sprintf("%d %s\n", status, http.StatusText(status)))
}

// reply answers with a page of the proxy's own.
func (v *visit) reply(status int, page string) {
	h := v.w.Header()
	h["Content-Type"] = []string{"text/plain; charset=utf-8"}
	h["Content-Length"] = []string{strconv.Itoa(len(page))}
	h["X-Content-Type-Options"] = []string{"nosniff"}
	v.w.WriteHeader(status)
	o := &v.outcome
	o.Status, o.Header = status, h
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
// It takes d's hosts at once, or returns ErrConflict; begins to obtain the
// certificates that they lack; waits until every target is healthy and, if
// d.TLS.Wait says so, the certificates are there; has Options.Commit keep the change; and from one moment to the
// next sends all new requests for these hosts to the new targets. Then it
// waits for the previous targets to answer what was sent to them before, for
// at most d.Timeouts.Drain, and for their streams, for at most
// d.Timeouts.Stream more, and cuts off what is left, which it gives a moment to
// end.
//
// An error means that nothing was changed: ErrInvalid, ErrConflict,
// ErrUnhealthy, ErrNoCertificate, ErrClosed, what Commit or ctx said, or
// ErrSuperseded where a newer Deploy or Remove of the service came before the switch. When Deploy
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
	if policyOf(d).isSecure() && p.options.NoHTTPS != nil {
		return faultf(ErrInvalid, "TLS is not to be had here: %v", p.options.NoHTTPS)
	}
	res, ctx, err := p.router.reserve(ctx, d.Service, claims(d), p.policyOf(d))
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
	status := Status{Service: d.Service, Generation: res.generation, State: StateServing, Deployment: d}
	v, w, err := p.start(status, res.claims, !d.Force)
	if err != nil {
		return nil, err
	}
	if err = p.await(ctx, v, w); err == nil {
		previous, err = p.router.publish(ctx, res, v, func() {
			p.emit(Event{Kind: EventSwitched, Service: d.Service, Generation: res.generation})
		})
	}
	if err != nil {
		v.close()
	}
	return previous, err
}

// start makes a version that is not published yet, begins to obtain its
// certificates, and to probe its targets. While a deploy waits for them every
// probe is an event.
func (p *Proxy) start(s Status, claims []claim, waiting bool) (*version, *watch, error) {
	d := s.Deployment
	w := newWatch(len(d.Targets), waiting, func(kind EventKind, t *target, saw *Probe) {
		p.emit(Event{Kind: kind, Service: s.Service, Generation: s.Generation, Target: t.address, Probe: saw})
	})
	var targets []*target
	for _, address := range d.Targets {
		t, err := newTarget(address, d, p.options, w)
		if err != nil {
			return nil, nil, err
		}
		targets = append(targets, t)
	}
	v := newVersion(s, claims, targets)
	v.policy = p.policyOf(d)
	var err error
	if v.holding, err = p.certificates.acquire(d, v.ask); err != nil {
		return nil, nil, err
	}
	for _, t := range targets {
		t.start()
	}
	return v, w, nil
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
		if err := w.awaitHealthy(ctx, v.targets(), d.Timeouts.Deploy); err != nil {
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
	v.close()
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
	res, ctx, err := p.router.reserve(ctx, service, nil, policy{})
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
// the certificate authority. A client that names no host gets the certificate
// of the first one in the order of their names; one that names a host without a
// certificate gets the alert unrecognized_name. A handshake waits up to 10 s for
// a certificate that is being obtained. The caller may change what is returned.
func (p *Proxy) TLSConfig() *tls.Config {
	return &tls.Config{
		GetCertificate: p.certificate,
		NextProtos:     []string{"h2", "http/1.1", acme.ALPNProto},
		MinVersion:     tls.VersionTLS12,
	}
}

// certificate finds the certificate for a handshake. Without one it returns no
// error either, for that would be told to the client as an internal one.
func (p *Proxy) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := canonicalHost(hello.ServerName)
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
// deployed again or removed. The error tells of all of them.
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
		return newVersion(s, own, nil), err
	}
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
		if requests, streams := v.inFlight(); requests+streams > 0 {
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
			if host, err := canonicalPattern(given); err == nil {
				hosts = append(hosts, host)
			}
		}
	}
	if len(d.PathPrefixes) > 0 {
		prefixes = nil
		for _, given := range d.PathPrefixes {
			if prefix, err := canonicalPrefix(given); err == nil && !slices.Contains(prefixes, prefix) {
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
	var attrs []slog.Attr
	if e.Service != "" {
		attrs = append(attrs, slog.String("service", e.Service), slog.Uint64("generation", e.Generation))
	}
	if e.Host != "" {
		attrs = append(attrs, slog.String("host", e.Host))
	}
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
	case EventNoCertificate:
		level = slog.LevelWarn
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
