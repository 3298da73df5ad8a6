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
// error, what served before serves.
//
// # What else there is
//
// Pause, Stop and Resume do what they say to a service, and Rollout puts a second
// version beside it, for a share of the visitors. Services returns what is deployed
// and its health, Certificates the state of every certificate.
//
// A server that is given the Proxy's TLSConfig serves HTTPS as well, for the
// services that ask for it with Deployment.TLS: certificates are obtained, and
// renewed, by the Proxy.
//
// Options has the hooks: Commit is called with what has to outlive the process,
// which Restore takes; Observe is called for every request, and Notify for every
// event.
//
// In every argument the zero value is the default, and a negative number or
// duration turns off what can be turned off. Use errors.Is to tell errors apart.
//
// # What is left to the caller
//
// A Proxy owns no listener and handles no signal. It keeps nothing on disk but the
// bodies that it buffers, and certificates if a folder for them is named. To shut
// down gracefully, call Shutdown beside http.Server.Shutdown, and then Close. Two
// Proxies in one process share nothing.
package parachute

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute/internal/admission"
	"github.com/shahnk19/parachute/internal/backend"
	"github.com/shahnk19/parachute/internal/buffer"
	"github.com/shahnk19/parachute/internal/descriptors"
	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/gate"
	"github.com/shahnk19/parachute/internal/history"
	"github.com/shahnk19/parachute/internal/inprocess"
	"github.com/shahnk19/parachute/internal/lanes"
	"github.com/shahnk19/parachute/internal/logline"
	"github.com/shahnk19/parachute/internal/pages"
	"github.com/shahnk19/parachute/internal/resolve"
	"github.com/shahnk19/parachute/internal/routing"
	"github.com/shahnk19/parachute/internal/verbose"
)

// A Proxy serves what is deployed to it. All its methods may be called at any
// time and from any goroutine, but from within its hooks only where a method
// says so. Make one with New.
type Proxy struct {
	options          Options   // normalized
	began            time.Time // when New was called; what is counted is kept by the time since then
	trustsExplicitly bool      // Options.TrustedProxies was given
	router           *router
	certificates     *certificates
	pages            *pages.Set // where a service has none of its own
	spool            *buffer.Store
	backends         backend.Shared
	hop              []string // one element: the X-Parachute-Hop of the probes that the Proxy sends
	shortages        *descriptors.Reporter
	checks           chan struct{} // has room for as many passwords as are checked at once
	speaksTLS        atomic.Bool   // TLSConfig was called, so requests over TLS came over such connections

	stopping     chan struct{} // closed by Shutdown and Close
	stoppingOnce sync.Once
	done         chan struct{} // closed by Close
	doneOnce     sync.Once

	events sync.Mutex // held while Notify runs

	changes lanes.Changes[*target, Change] // under way; what is left behind is what Follow has replaced
}

// New returns a Proxy without services. Nothing runs until the first Deploy or
// Restore.
func New(opts Options) *Proxy {
	normalized := opts.normalize()
	p := &Proxy{
		options:          normalized,
		began:            time.Now(),
		trustsExplicitly: opts.TrustedProxies != nil,
		router:           newRouter(&normalized),
		pages:            pages.New(opts.ErrorPages),
		hop:              forward.NewHop(),
		shortages:        descriptors.NewReporter(opts.Logger),
		checks:           make(chan struct{}, runtime.GOMAXPROCS(0)),
		stopping:         make(chan struct{}),
		done:             make(chan struct{}),
	}
	p.backends.Dial = opts.Dial
	if opts.Dial == nil {
		p.backends.Names = &resolve.Options{Logger: opts.Logger}
	}
	p.backends.Listening = p.options.Listening
	p.backends.Handlers = inprocess.NewAll(opts.Handlers, opts.Logger)
	p.backends.Header = http.Header{"User-Agent": {p.options.UserAgent}, "X-Parachute-Hop": p.hop}
	p.spool = buffer.New(buffer.Options(p.options.Spool))
	p.certificates = newCertificates(p.options, p.emit)
	return p
}

// ServeHTTP sends r to a target of the service that claims its host and path,
// and returns when the answer has gone out.
//
// A plain request is redirected to https:// if the host has a certificate, or may
// have one on demand, unless TLS.NoRedirect is set; a request for another host than
// Deployment.CanonicalHost is redirected to that. The status is 301 for GET and
// HEAD, and 308 for every other method. Challenges of the certificate authority are
// answered.
//
// What else the proxy has to answer itself is a page, with X-Parachute-Error
// where that tells more than the status: 400 for a request that cannot be passed
// on as it is; 401 and 403 as Deployment.Access says; 404 (or Options.NotFound)
// where no service claims host and path; 405 for CONNECT and TRACE; 408 for a
// body if the client has sent no byte of it for a minute; 413 for one above
// Deployment.MaxRequestBody; 421 where the connection's TLS is that of another
// host with other settings, or the host has no TLS any more (RFC 9110, section
// 15.5.20); 502 where no target gave an answer that can be passed on; 503, with
// Retry-After, where the service is stopped or has failed, there is no room to
// wait or to buffer, or the Proxy is closed; 504 where the target took longer than
// Timeouts.Response, the service was paused for too long, or the request was cut
// off before its answer began; and 508 where the request has been sent to the same
// service before, and has come back (X-Parachute-Hop lists what it has passed).
//
// Event streams and upgrades are answered 502 if w wraps the server's ResponseWriter
// and has neither Unwrap, for http.ResponseController, nor Flush or Hijack.
//
// ServeHTTP panics with http.ErrAbortHandler if an answer breaks off, so that the
// client does not take a part for the whole, and if the client has left.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.serve(w, r, nil) }

// Only returns a handler that does what ServeHTTP does for the services with these
// names, which need not be there yet, and for no other: as on a listener of their
// own. To a request for another service it is as if that were not there. No
// request is redirected to https://, since nobody says that the services are served
// over TLS as well, and redirects to http:// name the port that the client named.
func (p *Proxy) Only(services ...string) http.Handler { return p.entrance(services, true) }

// Except returns a handler that does what ServeHTTP does, but not for the services
// with these names: for a request for one of them it is as if it were not there.
func (p *Proxy) Except(services ...string) http.Handler { return p.entrance(services, false) }

// Deploy brings d into service, in place of what its service served before.
//
// It takes d's hosts at once, or returns ErrConflict; begins to obtain the
// certificates that they lack; waits until every target is healthy and, if
// d.TLS.Wait says so, the certificates are there; has Options.Commit keep the
// change; and from one moment to the next sends all new requests for these hosts to
// the new targets. Then it waits for the previous targets to answer what was sent to
// them before, for at most d.Timeouts.Drain, and for their streams, for at most
// d.Timeouts.Stream more, and cuts off what is left, which it gives a moment to end.
// A service that was paused or stopped stays so, and its rollout goes on; if that is not
// possible with d, Deploy returns ErrInvalid.
//
// Until then the previous targets are still probed. If every new target refuses
// connections, or fails three probes in a row, and a previous one passes its own, the
// deploy is taken back: what served before is published again, as a new generation,
// and Deploy returns ErrTakenBack when the new targets have drained.
//
// With d.Canary, the version serves a growing share of the visitors first, and ctx is
// looked at until the first of them goes there.
//
// With d.Bake, the drain comes after a bake. Meanwhile the previous version stays warm,
// and is returned to in the same way if the new one is worse. If a newer change ends the
// bake, Deploy returns ErrSuperseded; if the Proxy ends, ErrUndecided: then neither
// version may be stopped, and the bake goes on after a Restore.
//
// Any other error means that nothing was changed: ErrInvalid, ErrConflict,
// ErrUnhealthy, ErrNoCertificate, ErrClosed, what Commit, Agree or ctx said, or
// ErrSuperseded where a newer Deploy or Remove of the service came before the
// switch. When Deploy returns nil, d is in service and the previous targets get
// nothing more, unless a later deploy names them again. The verb %+v formats an
// error in several lines, with all that is known; the last one says what serves.
//
// Ending ctx before the switch ends the deploy; the error is ErrUnhealthy as well as
// ctx's. Later it is not looked at. A next deploy may begin while one drains.
func (p *Proxy) Deploy(ctx context.Context, d Deployment) error {
	return p.explain("deploy", d.Service, p.deploy(ctx, d, nil))
}

// Amend is Deploy of what a service serves when it is called, as change has altered
// that: with the same options, but for those that change sets. Release, By and Force
// are empty in what change gets, for they are of one deploy. If change returns an
// error, it is Amend's.
//
// An error means that nothing was changed: as for Deploy, or ErrNotFound where the
// service is not there, or ErrSuperseded where at the switch the service does not serve
// any more what change was given.
func (p *Proxy) Amend(ctx context.Context, service string, change func(*Deployment) error) error {
	return p.explain("deploy", service, p.amend(ctx, service, change))
}

// Check does what Deploy does before the switch, and changes nothing: it checks d and
// the files that it names, that its hosts are free, and that its targets are healthy
// within Timeouts.Deploy, unless d.Force says otherwise. It orders no certificate, and
// reserves nothing. It returns what Deploy would change, or the error that it would
// return.
func (p *Proxy) Check(ctx context.Context, d Deployment) (Difference, error) {
	different, err := p.check(ctx, d)
	return different, p.explain("deploy", d.Service, err)
}

// Turn waits until no deploy of the service is under way, and all who called Turn for
// the service before have called leave. Then a Deploy ends no other one. The caller must
// call leave when its deploy has returned, also if that has failed. After an error, which
// is ErrClosed or what ctx said, leave is nil.
func (p *Proxy) Turn(ctx context.Context, service string) (leave func(), err error) {
	leave, err = p.router.book.Turn(ctx, service, partMain)
	return leave, describe("deploy", service, err)
}

// Apply brings all of these into service together, and takes the services named in
// remove out, in one step: from one moment to the next, or not at all. A service that
// is deployed as its Deployment says already is not touched. The targets of the others
// are probed side by side; when all are healthy, Options.Commit keeps the change, once,
// and all new requests go to what is new. So a host may move from one service to
// another without a gap. What was replaced is drained as by Deploy and Remove. Nothing
// bakes, and nothing is taken back.
//
// Services that are in neither list stay as they are; to remove one that is not there
// changes nothing. Pauses, stops and rollouts go on as in a deploy.
//
// An error means that nothing was changed, and tells of every service that is why: as
// for Deploy; ErrInvalid where a service is named twice, and ErrConflict where two of
// them want one host. A newer Deploy or Remove of one of the services ends it all with
// ErrSuperseded.
func (p *Proxy) Apply(ctx context.Context, deployments []Deployment, remove ...string) error {
	return p.explain("apply", "", p.apply(ctx, deployments, remove))
}

// Plan returns what Apply would do now, sorted by the names of the services, or why it
// could not: all that can be found out without asking a target. An error reads as one
// of Apply.
func (p *Proxy) Plan(ctx context.Context, deployments []Deployment, remove ...string) ([]Step, error) {
	all, err := p.plan(ctx, deployments, remove)
	if err != nil {
		return nil, p.explain("apply", "", err)
	}
	steps := make([]Step, 0, len(all))
	for _, m := range all {
		steps = append(steps, m.step())
	}
	return steps, nil
}

// Remove takes a service out: its hosts are free again, and requests for them are
// answered 404. It returns when what was running has ended, within the service's
// own Timeouts.Drain and Timeouts.Stream.
//
// An error means that nothing was changed: ErrNotFound, ErrClosed, what Commit
// or ctx said, or ErrSuperseded. Remove ends a running Deploy or Rollout of the
// service, which returns ErrSuperseded.
func (p *Proxy) Remove(ctx context.Context, service string) error {
	return p.explain("remove", service, p.remove(ctx, service))
}

// Pause holds the requests of a service from now on, until Resume or Stop, and
// those of a deploy that comes meanwhile too: they wait for at most how.Max, and
// are then answered 504. At most Options.MaxHeld wait; others are answered 503.
// Health checks from outside are answered 200: GET and HEAD of HealthCheck.Path,
// unless that is "/", or gRPC's where HealthCheck.GRPC says so. Pause returns when
// no request of the service is running, whatever version it was sent to. It cuts
// off those that are still running after how.Drain and Timeouts.Stream. If Resume
// comes before that, Pause returns and cuts off nothing.
//
// An error means that nothing was changed: ErrNotFound, ErrClosed, ErrInvalid
// where the service could not be restored, or what Commit or ctx said. Ctx is
// not looked at once requests are held. Pause neither waits for a running deploy
// nor ends it.
func (p *Proxy) Pause(ctx context.Context, service string, how Pause) error {
	how = how.normalize()
	return p.explain("pause", service, p.halt(ctx, service, EventPaused, how, how.Drain, func(s *Status) {
		s.State, s.Pause, s.Stop = StatePaused, &how, nil
	}))
}

// Stop answers the requests of a service with 503 from now on, with how.Message
// on the page, until Resume or Pause, and those of a deploy that comes meanwhile
// too. Health checks from outside are answered as in a pause. It returns, and
// fails, as Pause does.
func (p *Proxy) Stop(ctx context.Context, service string, how Stop) error {
	how.Drain = cmp.Or(how.Drain, 30*time.Second)
	return p.explain("stop", service, p.halt(ctx, service, EventStopped, how, how.Drain, func(s *Status) {
		s.State, s.Stop, s.Pause = StateStopped, &how, nil
	}))
}

// Resume serves the requests of a service that was paused or stopped, those
// that wait first. An error means that nothing was changed: as for Pause. To
// resume what serves changes nothing.
func (p *Proxy) Resume(ctx context.Context, service string) error {
	return p.explain("resume", service, p.resume(ctx, service))
}

// Rollout brings r into service beside what the service has, in place of the
// rollout that it had, and returns when that has ended. r.Split and SetSplit say
// who goes to it. It stays when the service is deployed anew, until EndRollout or
// Promote.
//
// An error means that nothing was changed, or that the rollout was taken back, and the one
// before serves again: as for Deploy, or ErrNotFound. A newer Rollout of the service ends
// an older one that has not switched yet, and so do EndRollout and Remove.
func (p *Proxy) Rollout(ctx context.Context, service string, r Rollout) error {
	return p.explain("roll out", service, p.rollOut(ctx, service, r))
}

// SetSplit says who goes to the rollout of a service from now on. An error
// means that nothing was changed: as for Pause, or ErrInvalid where there is no
// rollout.
func (p *Proxy) SetSplit(ctx context.Context, service string, s Split) error {
	if _, err := s.parse(); err != nil {
		return p.explain("split", service, err)
	}
	return p.AmendSplit(ctx, service, func(served *Split) error { *served = s; return nil })
}

// AmendSplit is SetSplit of the Split that the rollout has, as change has altered that.
// If change returns an error, it is AmendSplit's. Change must not call the Proxy.
func (p *Proxy) AmendSplit(ctx context.Context, service string, change func(*Split) error) error {
	return p.explain("split", service, p.amendSplit(ctx, service, change))
}

// EndRollout sends everybody to the first version of a service again, and
// returns when the requests on the second have ended. Without a rollout there is
// nothing to end, and that is no error. An error means that nothing was changed: as
// for Pause, or ErrSuperseded.
func (p *Proxy) EndRollout(ctx context.Context, service string) error {
	return p.explain("end rollout", service, p.endRollout(ctx, service))
}

// Rollback deploys again what a service has served before, or had when it was removed,
// as Deploy does: with a new generation, and with probes of its targets, which must
// still be there, or be there again. An error is one of Deploy's, or ErrInvalid where the
// history does not have what how.To says, or ErrNotFound where there is no history.
func (p *Proxy) Rollback(ctx context.Context, service string, how Rollback) error {
	var d Deployment
	past, err := history.Restore(p.router.routes.Load().History(service), how.To, &d)
	switch {
	case errors.Is(err, history.ErrEmpty):
		err = ErrNotFound
	case err != nil:
		err = invalid(err)
	default:
		d.By = how.By
		err = p.deploy(ctx, d, nil)
	}
	if gone := (*UnhealthyError)(nil); errors.As(err, &gone) {
		err = fmt.Errorf("%w; start what was there in generation %d again, and then roll back", err, past.Generation)
	}
	return p.explain("roll back", service, err)
}

// Promote makes the rollout of a service its first version, in one step: all requests go
// to the targets of the rollout from then on, and those that it has go on there. What the
// service has besides its targets stays, unless Rollout.Deployment says otherwise. Then it
// waits for what was replaced, and may be taken back, as Deploy.
//
// An error means that nothing was changed, or that it was taken back: as for Deploy;
// ErrInvalid where there is no rollout, and ErrSuperseded where a newer Rollout came first.
func (p *Proxy) Promote(ctx context.Context, service string) error {
	return p.explain("promote", service, p.promote(ctx, service, nil, 0))
}

// Services returns what is known of every service, sorted by name, with Live. A
// service that is deployed for the first time is listed from the switch on, and
// one that is removed until the switch.
//
// What is returned is what "parachute list --json" prints. The names in its JSON
// form stay, and so does what they mean; there may be more of them in a later
// version.
func (p *Proxy) Services() []Status {
	table := p.router.routes.Load()
	changes := p.changesUnderWay()
	var all []Status
	for _, name := range slices.Sorted(maps.Keys(table.Services())) {
		all = append(all, p.present(table.Services()[name], changes))
	}
	return all
}

// Service returns what Services has of one service, without a look at the others. It
// returns ErrNotFound where there is no such service.
func (p *Proxy) Service(name string) (Status, error) {
	v := p.served(name)
	if v == nil {
		return Status{}, describe("look at", name, ErrNotFound)
	}
	return p.present(v, p.changesUnderWay()), nil
}

// Probe returns nil once the targets of d are healthy, as Deploy waits for, or why d cannot
// be deployed. It changes nothing, reserves nothing, and does not ask whose its hosts are. It
// is for a Proxy that is to Mirror what another one deploys.
func (p *Proxy) Probe(ctx context.Context, d Deployment) error {
	return p.explain("probe", d.Service, p.probe(ctx, d))
}

// Mirror makes services what another Proxy has made of them, in one step and at once: it
// waits for no target and asks nobody, and it takes nothing back. When no other change is
// being published, next is called for each service, with its Status, or nil if it is not
// there. It returns the Status that the service has from now on, as Commit gets it, or nil
// if it is removed. Next must not call the Proxy. The next call of Commit is for what it has
// returned. Deploys under way end with ErrSuperseded if a newer one of the same service is
// mirrored, and with ErrConflict if they want hosts that others have now.
//
// If drain is nil, nothing was changed. Otherwise it must be called: it waits for what was
// replaced, for as long as the change that is mirrored would. Then err tells which services
// could not become what they should: they are as Restore leaves them.
func (p *Proxy) Mirror(services []string, next func(service string, current *Status) *Status) (drain func(), err error) {
	drain, err = p.mirror(services, next)
	return drain, describe("mirror", "", err)
}

// History returns the last deployments of a service, also of one that was removed, or
// those of all services, by name, if service is empty: the latest first, which is the
// one that serves if Ended is zero. It returns ErrNotFound for a service of which it
// knows nothing. Options.KeepHistory says how many it knows of a service. It knows the
// hundred services that were removed last. Past.Deployment is nil: it may have secrets.
func (p *Proxy) History(service string) ([]Past, error) {
	all := p.router.routes.Load().History(service)
	if len(all) == 0 && service != "" {
		return nil, describe("history", service, ErrNotFound)
	}
	for i := range all {
		all[i] = all[i].Told(time.Now())
	}
	return all, nil
}

// Restore brings back what Commit was last given: all of it at once, without
// waiting for health. It must be called once, before the first Deploy or Remove;
// otherwise it returns ErrInvalid, or ErrClosed, and does nothing. Requests wait
// for the first health check of a restored service, at most one second, and are
// then sent on whatever it said.
//
// A service that cannot be restored does not keep the others from it: it stays
// as StateFailed with its hosts, whose requests are answered 503, until it is
// deployed again or removed. One whose rollout alone cannot be restored serves
// without that, and one whose certificate files cannot be used does so as soon as
// they can. The error tells of all of them.
func (p *Proxy) Restore(services []Status) error {
	if !p.router.book.Enter() {
		return describe("restore", "", ErrClosed)
	}
	defer p.router.book.Leave()
	restored := make(map[string]*version, len(services))
	owners := make(routing.Owners)
	removed := make(history.Removals)
	var generation uint64
	var errs []error
	for _, s := range services {
		generation = max(generation, s.Generation)
		if s.State == StateRemoved {
			removed[s.Service] = s.History
			continue
		}
		v, err := p.restore(s, restored, owners)
		if err != nil {
			err = describe("restore", s.Service, err)
			errs = append(errs, err)
			p.emitFailed(s.event(), err)
		}
		if v != nil {
			restored[s.Service] = v
			owners.Add(s.Service, &v.wants)
		}
	}
	if !p.router.routes.PublishFirst(newTable(restored, removed, p.options.KeepHistory), generation) {
		for _, v := range restored {
			v.close()
		}
		return describe("restore", "", faultf(ErrInvalid, "want one call, before anything is deployed"))
	}
	p.bakeOn(restored)
	return errors.Join(errs...)
}

// Shutdown prepares for the end: changes are refused with ErrClosed from now
// on, those that wait for health are ended so, and streams are closed as in a
// drain, but at the latest a second before ctx's deadline, if it has one. It returns
// nil when nobody is inside, or ctx's error when ctx ends before. Requests that wait
// in a pause are answered 503. All others are still served, so it is meant to be
// called beside http.Server.Shutdown.
func (p *Proxy) Shutdown(ctx context.Context) error {
	return p.empty(ctx, p.stop(), math.MaxInt64)
}

// HandOver prepares for the end of a Proxy whose place another one takes: see Predecessor.
// As with Shutdown, changes are refused with ErrClosed from now on, those that wait for
// health are ended so, and streams are closed. Unlike Shutdown, HandOver lets requests that
// are held wait on, since Follow may resume them; it cuts off running ones after limit; and
// Commit is not called any more. It returns nil when nobody is inside, or ctx's error when
// ctx ends before. It may be called again, if there is more time, or less, than ctx had.
// Call Shutdown after it.
func (p *Proxy) HandOver(ctx context.Context, limit time.Duration) error {
	changed := p.router.book.Close()
	p.router.routes.StopCommitting()
	return p.empty(ctx, changed, limit)
}

// Follow repeats a change that was made by the Proxy which takes the place of this one: see
// Predecessor. It must not be called before HandOver.
func (p *Proxy) Follow(service string, s *Status) { p.follow(service, s) }

// Drain waits for what Follow has replaced: see Predecessor.
func (p *Proxy) Drain(service string, limits Timeouts, done <-chan struct{}) (requests, streams int64) {
	return p.changes.Drain(service, gate.Limits{Requests: limits.Drain, Streams: limits.Stream}, done)
}

// CommitHistory calls Options.CommitDelta, for what was counted since the last changes, as
// Close does. It is for a program that hands what is kept to another process before it
// calls Close, and whose hook returns ErrClosed when Close calls it.
func (p *Proxy) CommitHistory() error { return p.router.routes.CommitAgain() }

// Close ends everything: running deploys return ErrClosed, requests in flight
// are cut off, and those that come later are answered 503. When it returns, no
// goroutine of the Proxy is left, and every call of Options.Handlers has returned.
// It returns nil, also when called again.
func (p *Proxy) Close() error {
	p.doneOnce.Do(p.close)
	return nil
}

func (p *Proxy) close() {
	changed := p.stop()
	if err := p.CommitHistory(); err != nil && !errors.Is(err, ErrClosed) && p.options.Logger != nil {
		p.options.Logger.Warn("the figures of the history are lost since the last change of each service", "error", err)
	}
	served := p.router.routes.Close(&table{IsClosed: true})
	for _, v := range served {
		if v.IsHalted() {
			close(v.resumed) // nothing is waited for any more
		}
	}
	close(p.done)
	for _, v := range served {
		v.close()
	}
	p.changes.Close()
	<-changed
	for _, h := range p.backends.Handlers {
		h.Close()
	}
	p.certificates.close()
}

// stop lets go of what waits and lets no change begin any more. The returned
// channel is closed when no change is under way.
func (p *Proxy) stop() <-chan struct{} {
	p.stoppingOnce.Do(func() { close(p.stopping) })
	return p.router.book.Close()
}

// describe says in front of an error what was being done, and to what.
func describe(verb, service string, err error) error {
	if err == nil {
		return nil
	}
	doing := "parachute: " + verb
	if checkServiceName(service) == nil {
		doing += " " + service
	}
	return &verbose.Wrapped{Doing: doing, Err: err}
}

// explain is describe, and adds what still serves where the error means that nothing was changed.
func (p *Proxy) explain(verb, service string, err error) error {
	if err == nil {
		return nil
	}
	e := describe(verb, service, err).(*verbose.Wrapped)
	isErr := func(known error) bool { return errors.Is(err, known) }
	if slices.ContainsFunc([]error{ErrSuperseded, ErrClosed, ErrNotFound, ErrTakenBack, ErrUndecided}, isErr) { // which say more
		return e
	}
	v := p.served(service)
	switch e.After = "nothing was changed"; {
	case v == nil && checkServiceName(service) == nil:
		e.After += "; " + service + " is not deployed"
	case v == nil:
	case v.status.State == StateServing:
		e.After += "; " + service + " still serves " + strings.Join(slices.Concat(v.status.Deployment.Targets, v.status.Deployment.ReadTargets), ", ")
	default:
		e.After += "; " + service + " is still " + string(v.status.State)
	}
	return e
}

// faultf returns an error that reads as the format says and is sentinel.
func faultf(sentinel error, format string, args ...any) error {
	return verbose.As(sentinel, fmt.Sprintf(format, args...))
}

// invalid returns an error that reads as err and is ErrInvalid, or nil if err is.
func invalid(err error) error {
	if err == nil {
		return nil
	}
	return faultf(ErrInvalid, "%v", err)
}

// EventKind says what an Event is about.
type EventKind string

const (
	EventDeploying EventKind = "deploying" // a deploy has its generation and waits for its targets
	EventProbed    EventKind = "probed"    // a probe ended, while a deploy waits
	EventHealthy   EventKind = "healthy"   // a target became healthy
	EventUnhealthy EventKind = "unhealthy" // a target in service stopped being healthy
	EventSwitched  EventKind = "switched"  // all new requests go to this generation
	EventDraining  EventKind = "draining"  // the replaced generation is being waited for; repeated, at most once a second, when Requests or Streams have changed
	EventDrained   EventKind = "drained"   // it has ended; Requests and Streams are what had to be cut off
	EventRemoved   EventKind = "removed"   // the service takes no requests any more
	EventPaused    EventKind = "paused"    // its requests wait
	EventStopped   EventKind = "stopped"   // its requests are answered 503
	EventResumed   EventKind = "resumed"   // its requests are served again
	EventSplit     EventKind = "split"     // its requests are split in another way between it and its rollout; Split says how
	EventFailed    EventKind = "failed"    // a deploy was refused, or a service could not be restored; Err tells why

	EventBaking    EventKind = "baking"     // the new version proves itself; Bake tells how it stands. Once a second at most, and at the end, when Elapsed is Limit
	EventTakenBack EventKind = "taken back" // the deploy is undone: what served before serves again, as a newer generation; Err tells why

	EventRolloutEnded  EventKind = "rollout ended"  // all of its requests go to its first version again
	EventCertificate   EventKind = "certificate"    // Host has a new certificate
	EventNoCertificate EventKind = "no certificate" // a new certificate for Host could not be obtained, or not be kept; Err tells why
)

// An Event is something that happened to a service.
type Event struct {
	Time       time.Time
	Service    string
	Generation uint64 // of the deploy or removal that it belongs to
	Kind       EventKind
	Release    string // of what has that Generation, as By; empty where it was not named, and for a removal
	By         string
	Target     string // the one concerned, if it is one
	Host       string // in EventCertificate and EventNoCertificate, which have neither Service nor Generation
	Probe      *Probe // in EventProbed, EventHealthy and EventUnhealthy
	Requests   int64  // in EventDraining and EventDrained
	Streams    int64  // likewise: upgraded connections and event streams
	Err        error

	// Targets and Hosts are what the switch was to, in EventSwitched. Split says who
	// goes to a rollout from now on, in EventSplit, in EventRolloutEnded, in
	// EventSwitched if it was to a rollout, and in EventBaking of a Canary; otherwise it
	// is nil.
	Targets, Hosts []string
	Split          *Split

	// Difference is what is different from what the service, or its rollout,
	// served before, in EventSwitched.
	Difference Difference

	// These say how far it has come. Probes is how many of the target have
	// ended, in EventProbed, and in EventHealthy while a deploy waits; Elapsed
	// is the time since the deploy began, in these, or the drain, in
	// EventDraining (0 in the first) and EventDrained; Limit is how long a
	// deploy or a drain may take, in EventDeploying, EventProbed and
	// EventDraining; 0: as long as it likes.
	Probes  int
	Elapsed time.Duration
	Limit   time.Duration

	// Unused are the replaced targets, in EventDrained, that may be stopped: no
	// service has them any more, and no deploy waits for them.
	Unused []string

	// Unhealthy are the new targets, in EventDrained, that have stopped being healthy
	// since the switch. Then nothing is said of Unused.
	Unhealthy []string

	// Restores is the generation that serves again, in EventTakenBack and in the
	// EventSwitched after it, which has the newer Generation; Targets and Hosts are
	// what serves in both. 0: it is a rollout that was taken back.
	Restores uint64

	// Bake is how a bake stands, in EventBaking.
	Bake *BakeReport

	// Was is the number that the deploy had until now, in EventSwitched, if an older
	// one was taken back while it waited, or if it was a Canary; otherwise 0.
	Was uint64
}

// level returns how much an operator should mind what a log says of e.
func (e Event) level() slog.Level {
	switch e.Kind {
	case EventFailed, EventTakenBack:
		return slog.LevelError
	case EventProbed:
		return slog.LevelDebug
	}
	isBad := e.Kind == EventUnhealthy ||
		e.Kind == EventSwitched && len(e.Difference.Opened) > 0 ||
		e.Kind == EventDrained && (e.Requests > 0 || len(e.Unhealthy) > 0) ||
		e.Kind == EventNoCertificate && !errors.Is(e.Err, admission.ErrRefused) // anybody can come to a name that is none of ours
	goesOn := e.Elapsed > 0 && // it was told that it has begun
		(e.Kind == EventDraining || e.Kind == EventBaking && e.Elapsed < e.Limit)
	switch {
	case isBad:
		return slog.LevelWarn
	case goesOn:
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// ofRollout returns e with what an event of its kind says of a rollout. s is the status
// of its service from now on.
func (e Event) ofRollout(s *Status) Event {
	r := cmp.Or(s.Rollout, new(Rollout))
	switch e.Kind {
	case EventSwitched:
		e.Release, e.By = r.Release, r.By
		e.Targets, e.Hosts = slices.Concat(r.Targets, r.ReadTargets), append([]string(nil), s.Deployment.Hosts...)
	case EventRolloutEnded:
		e.Release, e.By = "", "" // its number is of its own
	case EventSplit:
	default:
		return e
	}
	e.Split = &Split{Percent: r.Split.Percent, List: slices.Clone(r.Split.List), CookieOnly: r.Split.CookieOnly}
	return e
}

// attrs returns what a log says of e, but for its kind.
func (e Event) attrs() []slog.Attr {
	var all logline.Attrs
	if e.Service != "" {
		all.Add(slog.String("service", e.Service), slog.Uint64("generation", e.Generation))
	}
	all.AddSaid(slog.String("release", e.Release), slog.String("by", e.By), slog.String("host", e.Host), slog.String("target", e.Target))
	if e.Targets != nil {
		all.Add(slog.Any("targets", e.Targets), slog.Any("hosts", append([]string{}, e.Hosts...)))
	}
	change := &e.Difference
	all.AddSaid(slog.Any("no_longer", change.NoLonger), slog.Any("now", change.Now), slog.Any("opened", change.Opened))
	if e.Split != nil {
		all.Add(slog.Int("percent", e.Split.Percent), slog.Any("list", append([]string{}, e.Split.List...)))
	}
	all.AddSaid(slog.Any("probe", e.Probe), slog.Any("error", e.Err))
	switch e.Kind {
	case EventDraining:
		all.Add(slog.Int64("requests", e.Requests), slog.Int64("streams", e.Streams))
	case EventBaking:
		now, before := e.Bake.Now, e.Bake.Before
		all.Add(slog.Uint64("requests", now.Requests), slog.Uint64("errors", now.Errors), slog.Duration("p99", now.P99),
			slog.Uint64("requests_before", before.Requests), slog.Uint64("errors_before", before.Errors), slog.Duration("p99_before", before.P99))
		all.AddSaid(slog.String("note", e.Bake.Note))
	case EventDrained:
		all.Add(slog.Int64("requests_cut", e.Requests), slog.Int64("streams_closed", e.Streams))
	}
	all.AddSaid(slog.Any("unhealthy", e.Unhealthy), slog.Uint64("restores", e.Restores))
	return all
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
