package parachute

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shahnk19/parachute/internal/backend"
	"github.com/shahnk19/parachute/internal/bake"
	"github.com/shahnk19/parachute/internal/certificate"
	"github.com/shahnk19/parachute/internal/deep"
	"github.com/shahnk19/parachute/internal/endpoint"
	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/gate"
	"github.com/shahnk19/parachute/internal/histogram"
	"github.com/shahnk19/parachute/internal/interrupted"
	"github.com/shahnk19/parachute/internal/publish"
	"github.com/shahnk19/parachute/internal/routing"
	"github.com/shahnk19/parachute/internal/rules"
	"github.com/shahnk19/parachute/internal/split"
	"github.com/shahnk19/parachute/internal/trial"
	"github.com/shahnk19/parachute/internal/underway"
	"github.com/shahnk19/parachute/internal/waiting"
)

// amend deploys what change makes of what the service serves.
func (p *Proxy) amend(ctx context.Context, service string, change func(*Deployment) error) error {
	table := p.router.routes.Load()
	if table.closed {
		return ErrClosed
	}
	current := table.services[service]
	if current == nil {
		return faultf(ErrNotFound, "no such service, so there is nothing to keep: deploy it first")
	}
	d := current.status.Deployment.withoutOnce()
	if err := change(&d); err != nil {
		return err
	}
	return p.deploy(ctx, d, current)
}

// withoutOnce returns a copy of d without what it says of one deploy alone.
func (d Deployment) withoutOnce() Deployment {
	d = deep.Copy(d)
	d.Release, d.By, d.Force = "", "", false
	return d
}

// ofRollout returns what the rollout of s is deployed as.
func (s *Status) ofRollout() Deployment {
	d := deep.Copy(s.Deployment)
	d.Targets, d.ReadTargets = slices.Clone(s.Rollout.Targets), slices.Clone(s.Rollout.ReadTargets)
	d.Timeouts = s.Rollout.Timeouts.over(d.Timeouts)
	return d
}

// check does what deploy does before the switch.
func (p *Proxy) check(ctx context.Context, d Deployment) (different Difference, err error) {
	s, err := p.parse(d)
	if err == nil {
		err = p.checkElsewhere(ctx, s.targets)
	}
	if err != nil {
		return Difference{}, err
	}
	table := p.router.routes.Load()
	if table.closed {
		return Difference{}, ErrClosed
	}
	if err = p.router.changes.Look(func(pending iter.Seq2[string, wants]) error {
		return conflictError(table.sites.Conflict(s.Service, s.wants, pending))
	}); err != nil {
		return Difference{}, err
	}
	current := table.services[s.Service]
	if err := current.accepts(&s.Deployment); err != nil {
		return Difference{}, err
	}
	if !s.Force {
		group, m := p.newGroup(s.Service, 0, s, true)
		targets := group.Targets()
		defer closeAll(targets)
		for _, t := range targets {
			t.start()
		}
		if err := m.awaitHealthy(ctx, targets, &s.Deployment); err != nil {
			return Difference{}, err
		}
	}
	return p.compare(current, s), nil
}

// compare returns what a deploy of s makes different for a service, which is nil where
// it is new.
func (p *Proxy) compare(current *version, s *spec) Difference {
	if current == nil || p.options.Compare == nil {
		return Difference{}
	}
	return p.options.Compare(deep.Copy(current.status.Deployment), deep.Copy(s.Deployment))
}

// deploy brings d into service. If base is not nil, d was made of what it serves, and it
// has to serve until then.
func (p *Proxy) deploy(ctx context.Context, d Deployment, base *version) error {
	s, err := p.parse(d)
	if err == nil {
		err = p.checkElsewhere(ctx, s.targets)
	}
	if err != nil {
		return err
	}
	if current := p.router.routes.Load().services[s.Service]; len(s.Canary.Steps) > 0 && current.checkChangeable() == nil {
		return p.canary(ctx, s, base)
	}
	m := &member{publication: publication{Name: s.Service}, spec: s, isAlone: true, base: base}
	if m.Reservation, ctx, err = p.router.reserve(ctx, m.Name, partMain, s.wants); err != nil {
		return err
	}
	defer p.router.changes.End(m.Reservation)
	if err := p.replaceAll(ctx, []*member{m}); err != nil {
		return err
	}
	about, previous, next := m.event(), m.Previous, m.Next
	if next.fallback == nil {
		return p.retireOnTrial(about, previous, next, s.Timeouts)
	}
	var retiring sync.WaitGroup
	defer retiring.Wait()
	if previous.fallback != nil { // what is replaced had not proved itself, and is not what is returned to
		retiring.Go(func() { p.retire(about, previous, next, s.Timeouts) })
	}
	err = p.bake(about, next, s.Timeouts)
	if errors.Is(err, ErrSuperseded) {
		p.emitFailed(about, err)
	}
	return err
}

// A member is one of the services that are changed together: one of those that Apply is
// about, or the one that is deployed or removed alone.
type member struct {
	publication
	current *version // when Apply was planned; nil: it was not there
	spec    *spec    // nil: it is to be taken out
	isKept  bool     // current serves what spec says
	isAlone bool     // it is deployed alone, so it may bake
	base    *version // what spec was made of, which has to serve until the switch; nil: nothing
	was     uint64   // the number of the change until now; 0: it has had none

	about   Event    // has what every event has until the switch
	started *version // of spec, not published yet
	monitor *monitor
}

// event returns an event of the change of m, which is reserved.
func (m *member) event() Event {
	if m.spec == nil {
		return Event{Service: m.Name, Generation: m.Reservation.Number}
	}
	return m.spec.event(m.Reservation.Number)
}

func (p *Proxy) apply(ctx context.Context, deployments []Deployment, remove []string) error {
	members, err := p.plan(ctx, deployments, remove)
	if err != nil {
		return err
	}
	members = slices.DeleteFunc(members, func(m *member) bool { return m.isKept })
	if len(members) == 0 {
		return nil
	}
	if ctx, err = p.router.reserveAll(ctx, members); err != nil {
		return err
	}
	defer func() {
		for _, m := range members {
			p.router.changes.End(m.Reservation)
		}
	}()
	if err := p.replaceAll(ctx, members); err != nil {
		return err
	}
	var retired sync.WaitGroup
	for _, m := range members {
		retired.Go(func() { p.retireMember(m) })
	}
	retired.Wait()
	return nil
}

// retireMember waits for the end of what m, which is published, has replaced.
func (p *Proxy) retireMember(m *member) {
	if m.Previous != nil {
		p.retire(m.event(), m.Previous, m.Next, cmp.Or(m.Next, m.Previous).status.Deployment.Timeouts)
	}
}

// replaceAll publishes what members are to serve as soon as it may, together.
func (p *Proxy) replaceAll(ctx context.Context, members []*member) (err error) {
	served := p.router.routes.Load().services
	var all []*publication
	for _, m := range members {
		all, m.about = append(all, &m.publication), m.event()
		if m.spec == nil {
			m.Change = func(*version) (*version, error) { return nil, nil }
			m.Announce = func(*version) {
				p.emit(Event{Kind: EventRemoved, Service: m.Name, Generation: m.Reservation.Number})
			}
			continue
		}
		defer p.router.underWay.Begin(phase{service: m.Name, change: changeOf(EventDeploying, m.about)})()
		p.emitDeploying(m.about, m.spec)
		if err = cmp.Or(err, served[m.Name].accepts(&m.spec.Deployment)); err == nil { // now, and not when everybody has waited for health
			m.started, m.monitor = p.start(Status{Service: m.Name, Generation: m.Reservation.Number, State: StateServing, Deployment: m.spec.Deployment}, m.spec, !m.spec.Force)
			p.bringIn(m)
		}
	}
	if err == nil {
		err = p.awaitAll(ctx, members)
	}
	if err == nil {
		err = p.router.routes.PublishAll(ctx, all...)
	}
	if err == nil {
		return nil
	}
	for _, m := range members {
		if m.started != nil {
			m.started.abandon()
		}
		if m.spec != nil {
			p.emitFailed(m.about, err)
		}
	}
	return err
}

// bringIn has the publication of m be of the version that is started.
func (p *Proxy) bringIn(m *member) {
	var different Difference
	m.Change = func(current *version) (*version, error) {
		if m.base != nil && (current == nil || current.status.Generation != m.base.status.Generation) {
			return nil, faultf(ErrSuperseded, "generation %d, whose options were to be kept, does not serve any more: deploy again", m.base.status.Generation)
		}
		if current != nil && current.status.Generation > m.Reservation.Number { // one was taken back meanwhile
			m.was = m.Reservation.Number
			p.router.changes.Renumber(m.Reservation)
			m.started.status.Generation = m.Reservation.Number
			m.monitor.generation.Store(m.Reservation.Number)
		}
		different = p.compare(current, m.spec)
		v, err := m.started.replacing(current)
		if err == nil && m.isAlone && v.status.Deployment.Bake.For > 0 && current != nil && current.status.State != StateFailed {
			v.beginBake(current, time.Since(p.began))
		}
		return v, err
	}
	m.Announce = func(*version) {
		e := m.event()
		e.Kind, e.Targets, e.Hosts, e.Was = EventSwitched, slices.Concat(m.spec.Targets, m.spec.ReadTargets), append([]string(nil), m.spec.Hosts...), m.was
		e.Difference = different
		p.emit(e)
	}
}

// start makes a version of s that is not published yet, begins to obtain its
// certificates and to probe its targets. While a deploy waits for them every
// probe is an event.
func (p *Proxy) start(status Status, s *spec, waiting bool) (*version, *monitor) {
	main, m := p.newGroup(status.Service, status.Generation, s, waiting)
	if current := p.router.routes.Load().services[status.Service]; current != nil {
		main.inherit(&current.main)
	}
	v := p.newVersion(status, s, main)
	for _, t := range v.targets() {
		t.start()
	}
	return v, m
}

// newVersion returns a version of s with the targets of main, and begins to obtain its
// certificates.
func (p *Proxy) newVersion(status Status, s *spec, main group) *version {
	v := newVersion(status, s.wants, main)
	v.rules, v.targetTLS = s.rules, s.targetTLS
	v.hop = forward.HopOf(p.hop, status.Service)
	v.certificates = p.certificates.acquire(s, v.ask)
	return v
}

// newGroup returns the group of the targets of s, which are not probed yet.
func (p *Proxy) newGroup(service string, generation uint64, s *spec, waiting bool) (group, *monitor) {
	m := newMonitor(len(s.targets), s.Affinity != "", waiting, s.Timeouts.Deploy, func(e Event) {
		if generation == 0 {
			return // it is of a check, which changes nothing
		}
		e.Service, e.Release, e.By = service, s.Release, s.By
		p.emit(e)
	})
	m.generation.Store(generation)
	m.shortages = p.shortages
	current := p.router.routes.Load().services[service]
	var targets []*target
	for _, at := range s.targets {
		t := p.newTarget(at, s, m)
		if waiting && current.isAt(at.Place()) {
			t.health.DemandProof(proofOfReuse)
		}
		targets = append(targets, t)
	}
	return newGroup(targets[:len(s.Targets)], targets[len(s.Targets):], s.Release), m
}

// await returns nil when v has what its Deployment wants it to have before it
// serves, all within Timeouts.Deploy.
func (p *Proxy) await(ctx context.Context, v *version, m *monitor) error {
	d := &v.status.Deployment
	limited, cancel := ctx, context.CancelFunc(func() {})
	if d.Timeouts.Deploy >= 0 {
		limited, cancel = context.WithTimeout(ctx, d.Timeouts.Deploy)
	}
	defer cancel()
	if !d.Force {
		if err := m.awaitHealthy(ctx, v.targets(), d); err != nil {
			return err
		}
	}
	var err error
	if d.TLS.Wait {
		var host string
		if host, err = v.certificates.AwaitEach(limited); err != nil {
			err = faultf(ErrNoCertificate, "no certificate for %s: %v", host, err)
		}
	}
	if err != nil && ctx.Err() != nil {
		return interrupted.Error(ctx, err, ErrSuperseded, ErrClosed)
	}
	if err != nil {
		return err
	}
	return p.agree(ctx, d, v.status.Generation, v.targets(), m)
}

// agree asks Options.Agree whether d, which targets are healthy for, may serve.
func (p *Proxy) agree(ctx context.Context, d *Deployment, generation uint64, targets []*target, m *monitor) error {
	if p.options.Agree == nil {
		return nil
	}
	limited, cancel := ctx, context.CancelFunc(func() {})
	if d.Timeouts.Deploy >= 0 {
		limited, cancel = context.WithDeadline(ctx, m.began.Add(d.Timeouts.Deploy))
	}
	defer cancel()
	err := p.options.Agree(limited, deep.Copy(*d), generation)
	switch {
	case err == nil && !d.Force && !allHealthy(targets): // by now
		return m.awaitHealthy(ctx, targets, d)
	case err != nil && ctx.Err() != nil:
		return interrupted.Error(ctx, err, ErrSuperseded, ErrClosed)
	}
	return err
}

// event returns an event of the deploy of s that has that generation.
func (s *spec) event(generation uint64) Event {
	return Event{Service: s.Service, Generation: generation, Release: s.Release, By: s.By}
}

// event returns an event of what s serves.
func (s *Status) event() Event {
	return Event{Service: s.Service, Generation: s.Generation, Release: s.Deployment.Release, By: s.Deployment.By}
}

// emitDeploying tells that the deploy of s that e is of has begun.
func (p *Proxy) emitDeploying(e Event, s *spec) {
	e.Kind, e.Limit = EventDeploying, max(s.Timeouts.Deploy, 0)
	p.emit(e)
}

// emitFailed tells that the deploy that e is of has failed.
func (p *Proxy) emitFailed(e Event, err error) {
	e.Kind, e.Err = EventFailed, err
	p.emit(e)
}

// retire waits for the end of what a change has replaced: of the requests to
// those of the previous version's targets that the next one does not have or,
// if there is no next one, of all that the service has. Then it lets go of the
// targets.
func (p *Proxy) retire(about Event, previous, next *version, limits Timeouts) {
	if previous == nil {
		return
	}
	gone, lanes := previous.leftBehind(next)
	for _, t := range gone {
		t.StopProbes()
	}
	omitCloseFrames(lanes, previous, next)
	e := p.drain(about, lanes, limits, p.done)
	letGo(gone, previous, next)
	e.Unused = unusedOf(gone)
	p.emit(e)
}

// letGo closes the targets that are gone with the change from previous to next, and
// releases the certificates.
func letGo(gone []*target, previous, next *version) {
	closeAll(gone)
	releaseCertificates(previous, next)
}

// releaseCertificates releases those of previous that next, which may be nil, has not.
func releaseCertificates(previous, next *version) {
	kept := next.allCertificates()
	for _, c := range previous.allCertificates() {
		if !slices.Contains(kept, c) {
			c.Release()
		}
	}
}

// drain waits for the end of the requests inside of lanes, which it closes, and
// cuts off what is late. It emits an event at the beginning, and again each second
// in which something has ended; the returned one is for the end. e says which
// change they are of.
func (p *Proxy) drain(e Event, lanes laneSet, limits Timeouts, done <-chan struct{}) Event {
	defer p.router.underWay.Begin(phase{e.Service, changeOf(EventDraining, e), lanes})()
	e.Kind = EventDraining
	e.Requests, e.Streams = lanes.Inside()
	// What is cut off has a second to end.
	e.Limit = max(limits.Drain, 0)
	e.Limit += min(max(limits.Stream, 0), math.MaxInt64-e.Limit)
	e.Limit = max(e.Limit, time.Second)
	began := time.Now()
	p.emit(e)
	stop := waiting.Every(time.Second, func() {
		if requests, streams := lanes.Inside(); requests != e.Requests || streams != e.Streams {
			e.Requests, e.Streams, e.Elapsed = requests, streams, time.Since(began)
			p.emit(e)
		}
	})
	elsewhere := p.drainElsewhere(e.Service, limits, done)
	requests, streams := lanes.Drain(gate.Limits{Requests: limits.Drain, Streams: limits.Stream}, done)
	alsoRequests, alsoStreams := elsewhere()
	requests, streams = requests+alsoRequests, streams+alsoStreams
	stop()
	e.Kind, e.Requests, e.Streams, e.Elapsed, e.Limit = EventDrained, requests, streams, time.Since(began), 0
	return e
}

func (p *Proxy) remove(ctx context.Context, service string) error {
	m := &member{publication: publication{Name: service}}
	ctx, err := p.router.reserveAll(ctx, []*member{m})
	if err != nil {
		return err
	}
	defer p.router.changes.End(m.Reservation)
	if err := p.replaceAll(ctx, []*member{m}); err != nil {
		return err
	}
	if m.Previous == nil && !m.Reservation.Supersedes {
		return ErrNotFound
	}
	p.retireMember(m)
	return nil
}

// halt publishes the service with the status that set makes of its own, and
// waits for the requests that run.
func (p *Proxy) halt(ctx context.Context, service string, kind EventKind, how any, limit time.Duration, set func(*Status)) error {
	if err := checkDurations(how); err != nil {
		return err
	}
	if !p.router.changes.Enter() {
		return ErrClosed
	}
	defer p.router.changes.Leave()
	previous, next, err := p.update(ctx, nil, service, kind, func(v *version) (*version, error) {
		s := v.status
		set(&s)
		return v.withNewGates(s), nil
	})
	if err != nil {
		return err
	}
	limits := Timeouts{Drain: limit, Stream: previous.status.Deployment.Timeouts.Stream}
	omitCloseFrames(next.leaving, next)
	p.emit(p.drain(next.status.event(), next.leaving, limits, next.resumed))
	return nil
}

func (p *Proxy) resume(ctx context.Context, service string) error {
	if !p.router.changes.Enter() {
		return ErrClosed
	}
	defer p.router.changes.Leave()
	_, _, err := p.update(ctx, nil, service, EventResumed, func(v *version) (*version, error) {
		s := v.status
		s.State, s.Pause, s.Stop = StateServing, nil, nil
		return v.withStatus(s), nil
	})
	return err
}

// update publishes what change makes of a service that is there and has not
// failed. res may be nil.
func (p *Proxy) update(ctx context.Context, res *reserved, service string, kind EventKind, change func(*version) (*version, error)) (previous, next *version, err error) {
	var before Status
	checked := func(current *version) (*version, error) {
		if err := current.checkChangeable(); err != nil {
			return nil, err
		}
		before = current.status
		return change(current)
	}
	return p.router.routes.Publish(ctx, res, service, checked, func(next *version) {
		e := next.status.event()
		if e.Kind = kind; res != nil {
			e.Generation = res.Number
		}
		if kind == EventSwitched && before.Rollout != nil && p.options.Compare != nil {
			e.Difference = p.options.Compare(before.ofRollout(), next.status.ofRollout())
		}
		p.emit(e.ofRollout(&next.status))
	})
}

// rollOut returns what every event of the rollout has.
func (p *Proxy) rollOut(ctx context.Context, service string, r Rollout) (about Event, err error) {
	table := p.router.routes.Load()
	if table.closed {
		return about, ErrClosed
	}
	current := table.services[service]
	if err := current.checkChangeable(); err != nil {
		return about, err
	}
	s, err := p.parseRollout(r, current)
	if err == nil {
		err = p.checkElsewhere(ctx, s.targets)
	}
	if err != nil {
		return about, err
	}
	res, ctx, err := p.router.reserve(ctx, service, partRollout, s.wants)
	if err != nil {
		return about, err
	}
	defer p.router.changes.End(res)
	about = s.event(res.Number)
	p.emitDeploying(about, s)
	previous, next, err := p.replaceRollout(ctx, res, r, s)
	if err != nil {
		p.emitFailed(about, err)
		return about, err
	}
	return about, p.retireOnTrial(about, previous, next, r.Timeouts.over(next.status.Deployment.Timeouts))
}

// replaceRollout publishes r, of which s was made, as soon as it may.
func (p *Proxy) replaceRollout(ctx context.Context, res *reserved, r Rollout, s *spec) (previous, next *version, err error) {
	defer p.router.underWay.Begin(phase{service: res.Name, change: changeOf(EventDeploying, s.event(res.Number))})()
	second, m := p.newGroup(res.Name, res.Number, s, true)
	targets := second.Targets()
	for _, t := range targets {
		t.start()
	}
	err = m.awaitHealthy(ctx, targets, &s.Deployment)
	if err == nil && r.Deployment != nil && len(r.Deployment.Canary.Steps) > 0 { // it is a deploy
		err = p.agree(ctx, r.Deployment, res.Number, targets, m)
	}
	if err == nil {
		previous, next, err = p.update(ctx, res, res.Name, EventSwitched, func(v *version) (*version, error) {
			if r.Deployment == nil { // that of the service may be another by now
				if _, err := r.parse(&v.status.Deployment, v.targetTLS); err != nil {
					return nil, err
				}
			}
			r.Targets, r.ReadTargets = s.Targets, s.ReadTargets // each once
			return v.withRollout(r, s.split, &second), nil
		})
	}
	if err != nil {
		closeAll(targets)
	}
	return previous, next, err
}

func (p *Proxy) amendSplit(ctx context.Context, service string, change func(*Split) error) error {
	if !p.router.changes.Enter() {
		return ErrClosed
	}
	defer p.router.changes.Leave()
	_, _, err := p.update(ctx, nil, service, EventSplit, func(v *version) (*version, error) {
		if v.rollout == nil {
			return nil, errNoRollout
		}
		r := *v.status.Rollout
		r.Split = deep.Copy(r.Split)
		if err := change(&r.Split); err != nil {
			return nil, err
		}
		parsed, err := r.Split.parse()
		if err != nil {
			return nil, err
		}
		return v.withoutRollout().withRollout(r, parsed, v.rollout), nil // what was set before does not count
	})
	return err
}

// errNoRollout is why there is nothing to be split.
var errNoRollout = faultf(ErrInvalid, "the service has no rollout: deploy one first")

func (p *Proxy) endRollout(ctx context.Context, service string) error {
	res, ctx, err := p.router.reserve(ctx, service, partRollout, wants{})
	if err != nil {
		return err
	}
	defer p.router.changes.End(res)
	var limits Timeouts
	previous, next, err := p.update(ctx, res, service, EventRolloutEnded, func(v *version) (*version, error) {
		if v.rollout != nil {
			limits = v.status.Rollout.Timeouts.over(v.status.Deployment.Timeouts)
		}
		return v.withoutRollout(), nil
	})
	if err != nil {
		return err
	}
	p.retire(Event{Service: service, Generation: res.Number}, previous, next, limits)
	return nil
}

// promote makes the rollout of a service its first version. If base is not nil, that has to
// serve until then. was is the number that the change had until now; 0: none.
func (p *Proxy) promote(ctx context.Context, service string, base *version, was uint64) error {
	table := p.router.routes.Load()
	if table.closed {
		return ErrClosed
	}
	current := table.services[service]
	if err := current.checkChangeable(); err != nil {
		return err
	}
	if current.rollout == nil {
		return errNoRollout
	}
	r := current.status.Rollout
	s, err := p.parse(r.promoted(*cmp.Or(r.Deployment, &current.status.Deployment), service))
	if err != nil {
		return err
	}
	res, ctx, err := p.router.reserve(ctx, service, partMain|partRollout, s.wants)
	if err != nil {
		return err
	}
	defer p.router.changes.End(res)
	m := &member{publication: publication{Name: service, Reservation: res}, spec: s, base: base, was: was, monitor: current.rollout.Targets()[0].monitor}
	m.started = p.newVersion(Status{Service: service, Generation: res.Number, Deployment: s.Deployment}, s, *current.rollout)
	p.bringIn(m)
	replacing := m.Change
	m.Change = func(now *version) (*version, error) {
		if err := now.checkChangeable(); err != nil {
			return nil, err
		}
		if now.rollout == nil || now.rollout.tally != current.rollout.tally {
			return nil, faultf(ErrSuperseded, "the rollout was ended, or replaced, meanwhile")
		}
		m.started.main = *now.rollout // with the gates that it has by now
		return replacing(now.withoutRollout())
	}
	if err := p.router.routes.PublishAll(ctx, &m.publication); err != nil {
		m.started.certificates.Release()
		return err
	}
	m.monitor.generation.Store(res.Number)
	return p.retireOnTrial(m.event(), m.Previous, m.Next, s.Timeouts)
}

// canary brings s into service step by step. If base is not nil, s was made of what it
// serves, and it has to serve until then.
func (p *Proxy) canary(ctx context.Context, s *spec, base *version) error {
	d := s.Deployment
	r := Rollout{Targets: d.Targets, ReadTargets: d.ReadTargets, Release: d.Release, By: d.By, Timeouts: d.Timeouts, Split: Split{Percent: d.Canary.Steps[0]}, Deployment: &d}
	about, err := p.rollOut(ctx, s.Service, r)
	if err != nil {
		return err
	}
	defer p.router.underWay.Begin(phase{service: s.Service, change: changeOf(EventBaking, about)})()
	v := p.router.routes.Load().services[s.Service]
	if v == nil || v.rollout == nil {
		return errCanaryEnded
	}
	t := &onTrial{proxy: p, about: about, previous: v, isCanary: true}
	t.Trial = trial.Trial[*target]{Brought: v.rollout.Targets(), Gone: v.main.Targets(), IsJudged: t.isJudged, TakeBack: t.takeBack, Done: p.done}
	v.rollout.tally.Collect()
	for i, percent := range d.Canary.Steps {
		if i > 0 {
			err = p.amendSplit(context.Background(), s.Service, func(split *Split) error { split.Percent = percent; return nil })
		}
		takenBack := false
		if err == nil {
			takenBack, err = t.step(percent, &d)
		}
		switch {
		case takenBack:
			p.retire(about, t.failed, t.restored, s.Timeouts)
			return t.why
		case errors.Is(err, ErrSuperseded):
			p.dropCanary(t)
			p.emitFailed(about, err)
			return err
		case errors.Is(err, ErrClosed):
			return errCanaryStays
		case err != nil:
			return err
		}
	}
	return p.promote(context.Background(), s.Service, base, about.Generation)
}

// Why a canary ends before its last step.
var (
	errCanaryEnded = faultf(ErrSuperseded, "a newer change of the service ended the canary")
	errCanaryStays = faultf(ErrUndecided, "the proxy ends while visitors try the version; the rollout stays as it is, to be promoted or ended")
)

// dropCanary ends the rollout of t, if it is still there.
func (p *Proxy) dropCanary(t *onTrial) {
	if !p.router.changes.Enter() {
		return
	}
	defer p.router.changes.Leave()
	previous, next, err := p.update(context.Background(), nil, t.about.Service, EventRolloutEnded, func(v *version) (*version, error) {
		if !t.isOf(v) {
			return nil, errCanaryEnded
		}
		return v.withoutRollout(), nil
	})
	if err == nil {
		p.retire(t.about, previous, next, next.status.Deployment.Timeouts)
	}
}

// mostRepeats is how often a step of a canary is repeated that has too few requests.
const mostRepeats = 10

// step has so many percent of the visitors try the version that was brought, until that is
// decided. It is as bake.
func (t *onTrial) step(percent int, d *Deployment) (takenBack bool, err error) {
	p := t.proxy
	rollout, main := t.previous.rollout.tally, t.previous.main.tally
	beside := bake.Compare(rollout, main, time.Since(p.began), bake.Settings(d.Bake).Limits())
	t.evidence = func(note string) (*BakeReport, []bake.FailedRoute) {
		now, others := beside.Figures()
		return &BakeReport{Now: BakeFigures(now), Before: BakeFigures(others), Note: note}, beside.Worst(3)
	}
	e := t.about
	e.Kind, e.Limit, e.Split = EventBaking, d.Canary.Step, &Split{Percent: percent}
	for range 1 + mostRepeats {
		takenBack, err = t.Bake(trial.Bake{
			Clock: trial.NewClock(d.Canary.Step),
			Drain: func(<-chan struct{}) {},
			Runs: func() (bool, error) {
				if !p.router.changes.Enter() {
					return false, errCanaryStays
				}
				p.router.changes.Leave()
				current := p.router.routes.Load().services[e.Service]
				if current == nil || current.rollout == nil || current.rollout.tally != rollout || current.main.tally != main {
					return false, errCanaryEnded
				}
				return !current.isHalted(), nil
			},
			Judge: func() (worse, note string) { return beside.Look(time.Since(p.began)), "" },
			Tell: func(elapsed time.Duration, note string) {
				e.Elapsed = elapsed
				e.Bake, _ = t.evidence(note)
				p.emit(e)
			},
		}, p.stopping)
		if errors.Is(err, trial.ErrStopped) {
			err = errCanaryStays
		}
		if takenBack || err != nil || beside.IsDecided() {
			return takenBack, err
		}
	}
	now, _ := beside.Figures()
	return false, faultf(ErrUndecided, "too little traffic to judge: %s in %d times %v; the rollout stays at %d percent, to be promoted or ended",
		bake.Plural(now.Requests, "request"), 1+mostRepeats, d.Canary.Step, percent)
}

// An onTrial is a change that can be taken back, until what it has replaced is let go.
// Meanwhile the targets that are gone are probed.
type onTrial struct {
	trial.Trial[*target]
	proxy    *Proxy
	about    Event    // has what every event of the change has
	previous *version // which is returned to
	ofMain   bool     // the change is one of the service's first version, not of its rollout
	isCanary bool     // the rollout is one of a Canary: there is none to return to

	// evidence returns how a bake stands, with a note, and which routes fail most often;
	// nil: the change does not bake, or has baked.
	evidence func(note string) (*BakeReport, []bake.FailedRoute)

	// What served, what serves in its place, and why, once the change is taken back.
	failed, restored *version
	why              *TakenBackError
}

// newTrial returns the trial of a change that has brought targets in place of those that
// are gone.
func (p *Proxy) newTrial(about Event, previous *version, gone, brought []*target, ofMain bool) *onTrial {
	t := &onTrial{proxy: p, about: about, previous: previous, ofMain: ofMain}
	t.Trial = trial.Trial[*target]{Brought: brought, Gone: gone, IsJudged: t.isJudged, TakeBack: t.takeBack, Done: p.done}
	silence(gone, true)
	return t
}

// retireOnTrial is retire for a change that brought targets. It returns
// ErrTakenBack if it took the change back.
func (p *Proxy) retireOnTrial(about Event, previous, next *version, limits Timeouts) error {
	if previous == nil {
		return nil
	}
	gone, lanes := previous.leftBehind(next)
	ofMain, brought, returnsTo := next.status.Generation == about.Generation, next.main.Targets(), previous
	if !ofMain {
		brought = next.rollout.Targets()
	}
	hasBaked := ofMain && previous.status.Generation == next.status.Generation && previous.fallback != nil
	if hasBaked {
		returnsTo = previous.fallback
	}
	t := p.newTrial(about, returnsTo, gone, brought, ofMain)
	omitCloseFrames(lanes, previous, next)
	var e Event
	takenBack, failing := t.Watch(func(ending <-chan struct{}) bool {
		requests, streams := lanes.Inside()
		e = p.drain(about, lanes, limits, ending)
		return hasBaked || requests+streams > 0 // else the targets were healthy a moment ago
	})
	if takenBack {
		p.retire(about, t.failed, t.restored, limits)
		return t.why
	}
	letGo(gone, previous, next)
	if e.Unhealthy = t.unhealthy(failing); len(e.Unhealthy) == 0 {
		e.Unused = unusedOf(gone)
	}
	p.emit(e)
	return nil
}

// isOf reports whether what is on trial is a part of v.
func (t *onTrial) isOf(v *version) bool {
	if t.ofMain {
		return v.main.Has(t.Brought[0])
	}
	return v.rollout != nil && v.rollout.Has(t.Brought[0])
}

// isJudged implements trial.Trial.IsJudged. What is halted is not judged, nor by what was
// seen before it was resumed.
func (t *onTrial) isJudged() (since time.Time, ok bool) {
	v := t.proxy.router.routes.Load().services[t.about.Service]
	if v == nil || v.isHalted() || !t.isOf(v) {
		return time.Time{}, false
	}
	return v.since, true
}

// Lost implements trial.Target.
func (t *target) Lost(since time.Time) string {
	if !t.health.IsLost(since) {
		return ""
	}
	if last := t.health.Snapshot().Last; last != nil && !last.Passed {
		return t.failure(last)
	}
	return t.address + " takes no connections"
}

// Ask implements trial.Target.
func (t *target) Ask(ctx context.Context) (passes bool, lost string) {
	r := t.Probe(ctx)
	if r.Health().Refused && t.health.HasBeenHealthy() {
		lost = t.failure(r)
	}
	return r.Passed, lost
}

// failure returns what is wrong with t, since a probe did not pass.
func (t *target) failure(r *backend.Result) string {
	return fmt.Sprintf("%s is unhealthy: %v", t.address, probeOf(r))
}

// unhealthy returns the addresses of those targets that the change brought which are
// among failing, or do not pass their probes.
func (t *onTrial) unhealthy(failing []*target) (addresses []string) {
	v := t.proxy.router.routes.Load().services[t.about.Service]
	if v == nil || !t.isOf(v) {
		return nil // a newer change has let go of them
	}
	return addressesOf(slices.DeleteFunc(slices.Clone(t.Brought), func(b *target) bool {
		return !b.health.IsUnhealthy(v.since) && !slices.Contains(failing, b)
	}))
}

// takeBack implements trial.Trial.TakeBack: it publishes what the change has replaced, as
// a new generation, also where that cannot be committed.
func (t *onTrial) takeBack(reason string) bool {
	p := t.proxy
	why, wanted := &TakenBackError{Reason: reason, Targets: addressesOf(t.Gone)}, wants{}
	if t.evidence != nil {
		var routes []bake.FailedRoute
		why.Bake, routes = t.evidence("")
		for _, r := range routes {
			why.Routes = append(why.Routes, FailedRoute(r))
		}
	}
	if t.ofMain {
		wanted, why.Restores = t.previous.wants, t.previous.status.Generation
	}
	res, ctx, err := p.router.reserve(context.Background(), t.about.Service, partNone, wanted)
	if err != nil {
		return false
	}
	defer p.router.changes.End(res)
	var refused error
	change := &publication{Name: res.Name, Reservation: res, Refused: &refused}
	change.Change = func(current *version) (*version, error) {
		if current == nil || !t.isOf(current) || current.isHalted() {
			return nil, ErrSuperseded
		}
		if t.ofMain {
			return t.previous.restoredAfter(current, res.Number)
		}
		if t.isCanary {
			return current.withoutRollout(), nil
		}
		group := t.previous.rollout.withNewGates()
		rollout := *t.previous.status.Rollout
		rollout.Split = current.status.Rollout.Split
		return current.withRollout(rollout, current.split, &group), nil
	}
	change.Announce = func(next *version) {
		silence(t.Gone, false)
		why.Generation = next.status.Generation
		if refused != nil {
			why.Unkept = refused.Error()
		}
		told, serves := t.about, next.status.event()
		if told.Kind, told.Err, serves.Kind = EventTakenBack, why, EventSwitched; t.isCanary {
			why.Restores, serves.Kind = why.Generation, EventRolloutEnded
		}
		if told.Restores, serves.Restores = why.Restores, why.Restores; !t.ofMain {
			serves.Generation = res.Number
		}
		told.Targets, told.Hosts = why.Targets, append([]string(nil), next.status.Deployment.Hosts...)
		if serves.Targets, serves.Hosts = told.Targets, told.Hosts; !t.ofMain {
			serves = serves.ofRollout(&next.status)
		}
		p.emit(told)
		p.emit(serves)
	}
	if err := p.router.routes.PublishAll(ctx, change); err != nil {
		return false
	}
	if refused != nil {
		p.commitLater(res.Name, res.Number, refused)
	}
	t.failed, t.restored, t.why = change.Previous, change.Next, why
	return true
}

// beginBake makes v, which is about to be published in place of current, return to that
// or to what current would return to.
func (v *version) beginBake(current *version, at time.Duration) {
	v.fallback, v.bakeClock = cmp.Or(current.fallback, current), trial.NewClock(v.status.Deployment.Bake.For)
	s := &v.fallback.status
	b := &Baking{Generation: s.Generation, Deployment: s.Deployment}
	if current.status.Bake != nil {
		b.Before = current.status.Bake.Before
	} else {
		b.Before = v.fallback.main.recent(at)
	}
	v.status.Bake = b
	v.main.tally.Collect()
}

// keepBake puts into v's status, which is about to be committed, how much of the bake is
// left.
func (v *version) keepBake() {
	if v.fallback == nil {
		return
	}
	b := *v.status.Bake
	b.Left, b.Since = v.bakeClock.Left(), time.Now()
	v.status.Bake = &b
}

// bake watches next, which has just been published, until its bake is over, and then
// retires what it replaced, unless it has taken next back. It returns ErrTakenBack then,
// ErrSuperseded if a newer change ended the bake, and ErrUndecided if the Proxy did.
func (p *Proxy) bake(about Event, next *version, limits Timeouts) error {
	old := next.fallback
	defer p.router.underWay.Begin(phase{service: about.Service, change: changeOf(EventBaking, about)})()
	t := p.newTrial(about, old, old.main.Targets(), next.main.Targets(), true)
	lanes := next.leaving.To(t.Gone)
	omitCloseFrames(lanes, old, next)
	switch takenBack, err := t.bake(next, func(over <-chan struct{}) {
		lanes.Drain(gate.Limits{Requests: limits.Drain, Streams: math.MaxInt64}, over)
	}); {
	case takenBack:
		p.retire(about, t.failed, p.router.routes.Load().services[about.Service], limits)
		return t.why
	case err != nil:
		return err
	}
	var refused error
	proof := &publication{Name: about.Service, Refused: &refused, Announce: func(*version) {}}
	proof.Change = func(current *version) (*version, error) {
		if current == nil || current.fallback != old {
			return nil, errBakeEnded
		}
		s := current.status
		s.Bake = nil
		v := current.withStatus(s)
		v.fallback, v.bakeClock = nil, nil
		return v, nil
	}
	switch err := p.router.routes.PublishAll(context.Background(), proof); {
	case errors.Is(err, ErrClosed):
		return errBakeGoesOn
	case err != nil:
		return err
	}
	if refused != nil {
		p.commitLater(about.Service, about.Generation, refused)
	}
	return p.retireOnTrial(about, proof.Previous, proof.Next, limits)
}

// errBakeEnded is why a bake ends without a judgement.
var errBakeEnded = faultf(ErrSuperseded, "a newer change of the service ended the bake")

// errBakeGoesOn is why a deploy ends before its bake.
var errBakeGoesOn = faultf(ErrUndecided, "the proxy ends while the version bakes; the bake goes on when it is back")

// bake runs the bake of next, and drains what is left of the version before meanwhile. It
// is as trial.Trial.Bake, with the errors of a deploy.
func (t *onTrial) bake(next *version, drain func(over <-chan struct{})) (takenBack bool, err error) {
	p, d := t.proxy, &next.status.Deployment
	before := next.status.Bake.Before
	judge := bake.NewJudge(next.main.tally, time.Since(p.began), bake.Figures(before), bake.Settings(d.Bake).Limits())
	t.evidence = func(note string) (*BakeReport, []bake.FailedRoute) {
		return &BakeReport{Now: BakeFigures(judge.Figures()), Before: before, Note: note}, judge.Worst(3)
	}
	e := t.about
	e.Kind, e.Limit, e.Bake = EventBaking, d.Bake.For, &BakeReport{Before: before}
	p.emit(e)
	takenBack, err = t.Bake(trial.Bake{
		Clock: next.bakeClock,
		Drain: drain,
		Runs: func() (bool, error) {
			if !p.router.changes.Enter() {
				return false, faultf(ErrUndecided, "the proxy is replaced while the version bakes; the bake goes on in the next one")
			}
			p.router.changes.Leave()
			current := p.router.routes.Load().services[e.Service]
			if current == nil || current.fallback != next.fallback || !t.isOf(current) {
				return false, errBakeEnded
			}
			return !current.isHalted() && !t.isChanging(), nil
		},
		Judge: func() (worse, note string) { return judge.Look(time.Since(p.began)), judge.Note() },
		Tell: func(elapsed time.Duration, note string) {
			e.Elapsed = elapsed
			e.Bake, _ = t.evidence(note)
			p.emit(e)
		},
	}, p.stopping)
	if errors.Is(err, trial.ErrStopped) {
		err = errBakeGoesOn
	}
	return takenBack, err
}

// isChanging reports whether another change of the service is under way.
func (t *onTrial) isChanging() bool {
	return slices.ContainsFunc(t.proxy.router.underWay.All(), func(ph phase) bool {
		return ph.service == t.about.Service && ph.change.Generation != t.about.Generation && ph.change.Kind == EventDeploying
	})
}

// restoreFallback has v, which is restored, bake on as b says. If what it would return to
// cannot be restored, it bakes no more.
func (p *Proxy) restoreFallback(v *version, b Baking) {
	s, err := p.parse(b.Deployment)
	if err != nil {
		p.emitFailed(v.status.event(), fmt.Errorf("the version does not bake on, for what it would return to cannot be restored: %w", err))
		return
	}
	v.fallback, _ = p.start(Status{Service: v.status.Service, Generation: b.Generation, State: StateServing, Deployment: s.Deployment}, s, false)
	v.bakeClock = trial.ResumeClock(v.status.Deployment.Bake.For, b.Left, b.Since, !v.isHalted())
	v.status.Bake = &b
	v.main.tally.Collect()
}

// bakeOn begins to watch those of the restored versions that bake.
func (p *Proxy) bakeOn(restored map[string]*version) {
	for _, v := range restored {
		if v.fallback != nil && p.router.changes.Enter() {
			go p.bakeRestored(v)
		}
	}
}

// bakeRestored watches a restored version until its bake is over.
func (p *Proxy) bakeRestored(v *version) {
	defer p.router.changes.Leave()
	p.bake(v.status.event(), v, v.status.Deployment.Timeouts) // its events tell how it ends
}

// commitLater tries until it succeeds to commit what is served, which could not be
// when it was published.
func (p *Proxy) commitLater(service string, generation uint64, refused error) {
	p.router.routes.CommitLater(p.stopping, service)
	p.emit(Event{Kind: EventFailed, Service: service, Generation: generation,
		Err: fmt.Errorf("what serves could not be kept, and would not be there after a restart; it is tried again: %w", refused)})
}

// A version is what one service serves from one publication to the next. What
// requests read of it never changes.
type version struct {
	status       Status           // as Commit gets it
	wants                         // what it has, which no other service can have
	certificates *certificate.Set // of the certificates of its hosts; nil if the service failed
	rules        *rules.Rules     // what its Deployment says of each request; empty if the service failed
	targetTLS    targetTLS        // of its targets, whichever came with a rollout
	hop          []string         // of one: what its requests are known by; nil if the service failed
	main         group            // empty if the service failed
	rollout      *group           // of the second version; nil: there is none
	fallback     *version         // what is returned to if the version turns out to be worse; nil: it does not bake
	bakeClock    *trial.Clock     // of the bake, over all its versions
	split        *split.Split     // who goes there; nil: nobody

	// The lanes of all versions before, and not of this one, that somebody may
	// still be inside of. Set by setPredecessor.
	leaving laneSet

	replaced chan struct{} // closed when a newer version is published
	resumed  chan struct{} // closed when a version that is not halted has taken the place of one that is, or the Proxy is closed

	settling waiting.Settling // in which requests wait for the first probes; over where they never do: after a deploy
	waiting  *waiting.Room    // the requests that wait, over all versions of the service

	since time.Time // when the first version of this generation, in this state, was published
}

// newVersion returns a version that is not published yet, and does nothing but
// pass requests on to the targets of main.
func newVersion(status Status, w wants, main group) *version {
	return &version{
		status:   status,
		wants:    w,
		main:     main,
		rules:    new(rules.Rules),
		replaced: make(chan struct{}),
		resumed:  make(chan struct{}),
		waiting:  new(waiting.Room),
		since:    time.Now(),
	}
}

// replacing returns v, which was deployed, with all of current that stays as it
// is.
func (v *version) replacing(current *version) (*version, error) {
	if current == nil {
		return v, nil
	}
	if err := current.accepts(&v.status.Deployment); err != nil {
		return nil, err
	}
	v.waiting = current.waiting
	s, c := &v.status, current.status
	if current.rollout != nil { // else it could not be restored
		v.rollout, v.split, s.Rollout = current.rollout, current.split, c.Rollout
	}
	s.Pause, s.Stop = c.Pause, c.Stop
	s.State = s.demanded()
	return v, nil
}

// restoredAfter returns the version that serves what v served, in place of current,
// as a generation of its own. What has been changed since then, but for the
// deployment, stays as it is in current.
func (v *version) restoredAfter(current *version, generation uint64) (*version, error) {
	s := current.status
	s.Generation, s.Restores, s.Deployment, s.Bake = generation, v.status.Generation, v.status.Deployment, nil
	next := v.withStatus(s)
	next.main = v.main.withNewGates()
	next.rollout, next.split, next.waiting = current.rollout, current.split, current.waiting
	return next, current.accepts(&s.Deployment)
}

// accepts returns nil if d may take the place of v, which may be nil, or else why it
// may not: v's rollout goes on, and must be possible as a rollout of d, too.
func (v *version) accepts(d *Deployment) error {
	if v == nil || v.rollout == nil {
		return nil
	}
	rollout := v.status.Rollout
	if _, err := rollout.parse(d, targetTLS{}); err != nil {
		return faultf(ErrInvalid, "the rollout to %s goes on, but not with this deployment: %v; end the rollout first, or deploy what it can be part of",
			strings.Join(rollout.Targets, ", "), err)
	}
	return nil
}

// checkChangeable returns why there is nothing to be changed but by a deploy: v is
// nil, or could not be restored.
func (v *version) checkChangeable() error {
	switch {
	case v == nil:
		return ErrNotFound
	case v.status.State == StateFailed:
		return faultf(ErrInvalid, "the service could not be restored: %s; deploy it first", v.status.Error)
	}
	return nil
}

// withStatus returns the next version of the service, with the same lanes.
func (v *version) withStatus(status Status) *version {
	next := *v
	next.status, next.replaced, next.resumed = status, make(chan struct{}), make(chan struct{})
	return &next
}

// withRollout returns the next version with r as its rollout, whose targets are
// in second. A split that r leaves open is as it was.
func (v *version) withRollout(r Rollout, parsed *split.Split, second *group) *version {
	status := v.status
	if status.Rollout != nil {
		r.Split = r.Split.over(status.Rollout.Split)
		parsed, _ = r.Split.parse() // both can be
	}
	status.Rollout = &r
	if v.rollout != nil {
		second.inherit(v.rollout)
	}
	next := v.withStatus(status)
	next.rollout, next.split = second, parsed
	return next
}

// withoutRollout returns the next version without a rollout.
func (v *version) withoutRollout() *version {
	status := v.status
	status.Rollout = nil
	next := v.withStatus(status)
	next.rollout, next.split = nil, nil
	return next
}

// withNewGates returns the next version, with the same targets but gates of its
// own.
func (v *version) withNewGates(status Status) *version {
	next := v.withStatus(status)
	next.main = v.main.withNewGates()
	if v.rollout != nil {
		rollout := v.rollout.withNewGates()
		next.rollout = &rollout
	}
	return next
}

// setPredecessor makes v, which is about to be published, the version after
// previous, which is nil where v is the first.
func (v *version) setPredecessor(previous *version) {
	v.keepBake()
	if previous == nil || v.status.Generation != previous.status.Generation || v.status.State != previous.status.State {
		v.since = time.Now()
	}
	if previous == nil {
		return
	}
	v.leaving = previous.lanesLeftBehind(v)
	if v.isHalted() && previous.isHalted() {
		v.resumed = previous.resumed
	}
}

// announceReplaced wakes the requests and changes that wait for v to be replaced by
// next, which is nil if the service was removed.
func (v *version) announceReplaced(next *version) {
	close(v.replaced)
	if v.isHalted() && next != nil && !next.isHalted() {
		close(v.resumed)
	}
}

// leftBehind returns the targets of v that next does not have, and the lanes to them,
// or all lanes where next is nil.
func (v *version) leftBehind(next *version) (gone []*target, lanes laneSet) {
	gone, lanes = v.allTargets(), v.lanesLeftBehind(next)
	if next != nil {
		kept := next.allTargets()
		gone = slices.DeleteFunc(gone, func(t *target) bool { return slices.Contains(kept, t) })
		lanes = lanes.To(gone)
	}
	return gone, lanes
}

// isHalted reports whether requests are not sent on, because somebody has paused
// or stopped the service.
func (v *version) isHalted() bool {
	return v.status.State == StatePaused || v.status.State == StateStopped
}

// isAt reports whether v, which may be nil, has a target at a place.
func (v *version) isAt(place endpoint.Endpoint) bool {
	return v != nil && slices.ContainsFunc(v.targets(), func(t *target) bool { return t.Place() == place })
}

// abandon lets go of v, which was not published. Its rollout, and what it would return to,
// go on as they were.
func (v *version) abandon() {
	v.rollout, v.fallback = nil, nil
	v.close()
}

// close cuts off what goes on in v and lets go of what it has.
func (v *version) close() {
	closeAll(v.allTargets())
	for _, c := range v.allCertificates() {
		c.Release()
	}
}

// allTargets returns v's targets, and those that it may return to.
func (v *version) allTargets() []*target {
	if v.fallback == nil {
		return v.targets()
	}
	return slices.Concat(v.targets(), v.fallback.main.Targets())
}

// allCertificates returns those of v's hosts, and of what it may return to. v may be
// nil.
func (v *version) allCertificates() (all []*certificate.Set) {
	for ; v != nil; v = v.fallback {
		if v.certificates != nil && !slices.Contains(all, v.certificates) {
			all = append(all, v.certificates)
		}
	}
	return all
}

// A router has the newest table, and orders the changes that replace it.
type router struct {
	changes  *publish.Book[wants]
	routes   *publish.Publisher[table, version, wants]
	underWay underway.Register[phase]
}

func newRouter(o *Options) *router {
	superseded := func(by uint64) error {
		return faultf(ErrSuperseded, "superseded by generation %d of the service, which was asked for later", by)
	}
	tables := publish.Snapshots[table, version]{
		Versions: func(t *table) map[string]*version { return t.services },
		Next: func(t *table, changes map[string]*version) *table {
			return t.next(changes, o.KeepHistory)
		},
		Commit:   o.commit,
		Replaced: (*version).announceReplaced,
	}
	if follow := o.Predecessor.Follow; follow != nil {
		tables.Published = func(service string, v *version) { follow(service, v.copyStatus()) }
	}
	changes := publish.NewBook[wants](superseded, ErrClosed)
	return &router{changes: changes, routes: publish.New(changes, newTable(map[string]*version{}), tables)}
}

// A reserved change of a service; its Number is the generation.
type reserved = publish.Reservation[wants]

// What of a service a change is about: its first version, or its rollout.
const (
	partMain publish.Part = 1 << iota
	partRollout

	partNone publish.Part = 0 // of a change that ends no other, and that each other ends
)

// reserve begins a change of a service, as [publish.Book.Reserve] does. It
// returns ErrConflict, and has changed nothing, where a claim is another service's
// or reserved for one, or where the services of a host would contradict each other.
func (r *router) reserve(ctx context.Context, service string, part publish.Part, w wants) (*reserved, context.Context, error) {
	return r.changes.Reserve(ctx, service, part, w, func(pending iter.Seq2[string, wants]) error {
		return conflictError(r.routes.Load().sites.Conflict(service, w, pending))
	})
}

// reserveAll begins the changes of all members, or of none.
func (r *router) reserveAll(ctx context.Context, members []*member) (context.Context, error) {
	var changes []publish.Change[wants]
	for _, m := range members {
		c := publish.Change[wants]{Name: m.Name, Part: partMain}
		if m.spec == nil {
			c.Part |= partRollout
		} else {
			c.Wants = m.spec.wants
		}
		changes = append(changes, c)
	}
	all, ctx, err := r.changes.ReserveAll(ctx, changes, func(pending iter.Seq2[string, wants]) error {
		return checkTogether(members, r.routes.Load(), pending)
	})
	for i, res := range all {
		members[i].Reservation = res
	}
	return ctx, err
}

// A publication is the next version of one service.
type publication = publish.Publication[version, wants]

// commit has the hooks keep what t, which takes the place of previous, says of services
// that have changed, and that those are forgotten whose history was kept. Without any,
// something was only counted.
func (o *Options) commit(previous, t *table, changed ...string) error {
	switch {
	case len(changed) == 0 && len(t.services) == 0:
	case o.CommitDelta != nil:
		d := Delta{All: t.all, Removed: previous.removed.Missing(t.removed)}
		d.Removed = slices.DeleteFunc(d.Removed, func(name string) bool { return t.services[name] != nil })
		for _, name := range changed {
			isThere := t.services[name] != nil
			if !isThere {
				d.Removed = append(d.Removed, name)
			}
			if isThere || t.removed[name] != nil {
				d.Changed = append(d.Changed, t.kept(name))
			}
		}
		return o.CommitDelta(d)
	case o.Commit != nil && len(changed) > 0:
		return o.Commit(t.statuses())
	}
	return nil
}

// all yields what a restart must restore: the services, and then what is known of
// those that were removed, each by name.
func (t *table) all(yield func(Status) bool) {
	for _, name := range slices.Concat(slices.Sorted(maps.Keys(t.services)), slices.Sorted(maps.Keys(t.removed))) {
		if !yield(t.kept(name)) {
			return
		}
	}
}

// statuses returns those of all that are services.
func (t *table) statuses() (all []Status) {
	for _, name := range slices.Sorted(maps.Keys(t.services)) {
		all = append(all, t.kept(name))
	}
	return all
}

// kept returns what a restart must restore of a service that is there or was removed.
func (t *table) kept(service string) Status {
	v := t.services[service]
	if v == nil {
		return Status{Service: service, State: StateRemoved, History: t.removed[service]}
	}
	s := v.status.clone()
	if f := cmp.Or(s.Figures, new(Figures)).Plus(v.counted()); f.Requests > 0 {
		s.Figures = &f
	}
	return s
}

// newTable returns the table of these versions, no two of which have the same
// claim.
func newTable(services map[string]*version) *table {
	return &table{services: services, sites: routing.New(services)}
}

// with returns the table in which these versions serve in place of those that t has of
// their services; nil stands for none.
func (t *table) with(changes map[string]*version) *table {
	sites := t.sites.With(changes)
	return &table{services: sites.Services(), sites: sites, removed: t.removed}
}

// next returns the table after t, in which these versions serve in place of those that t
// has of their services; nil stands for none. It knows what they have served before.
func (t *table) next(changes map[string]*version, keepHistory int) *table {
	next := t.with(changes)
	for _, service := range slices.Sorted(maps.Keys(changes)) {
		previous, v := t.services[service], changes[service]
		if v != nil {
			v.setPredecessor(previous)
		}
		next.remember(service, previous, v, keepHistory)
	}
	return next
}

// counted returns what counts the requests to v's main targets.
func (v *version) counted() (all []*histogram.Total) {
	for _, t := range v.main.Targets() {
		all = append(all, t.served.Load())
	}
	return all
}

// past returns what v serves, as History tells of it.
func (v *version) past() Past {
	s := &v.status
	return Past{
		Service: s.Service, Generation: s.Generation, Release: s.Deployment.Release, By: s.Deployment.By, Restores: s.Restores,
		Targets:  slices.Concat(s.Deployment.Targets, s.Deployment.ReadTargets),
		Switched: s.Switched, Figures: *cmp.Or(s.Figures, new(Figures)), Counted: v.counted(),
	}
}

// ended returns what v has served until next, which may be nil, took its place.
func (v *version) ended(next *version) Past {
	end := EndReplaced
	switch {
	case next == nil:
		end = EndRemoved
	case next.status.Restores != 0:
		end = EndTakenBack
	}
	h := v.past().EndedAs(end, time.Now().Round(0))
	h.Deployment, _ = json.Marshal(v.status.Deployment) // it came as JSON, or could have
	return h
}

// remember has t, in which next has just taken the place of previous, know what the
// service has served before. T is not published yet.
func (t *table) remember(service string, previous, next *version, most int) {
	past := t.removed[service]
	switch {
	case previous != nil && next != nil && previous.status.Generation == next.status.Generation:
		return // it serves the same
	case previous != nil:
		past = append([]Past{previous.ended(next)}, previous.status.History...)
	}
	if next == nil {
		t.removed = t.removed.With(service, past[:min(len(past), most)])
		return
	}
	if next.status.Restores != 0 {
		for _, t := range next.main.Targets() { // which have served before
			t.served.Store(new(histogram.Total))
		}
	}
	next.status.Switched, next.status.History = time.Now().Round(0), past[:min(len(past), most-1)]
	t.removed = t.removed.Without(service)
}

// history returns what is known of the deployments of a service or, if it is empty, of
// all, by name: the latest first. The caller may change it, but for what is in it.
func (t *table) history(service string) []Past {
	names := []string{service}
	if service == "" {
		names = slices.AppendSeq(slices.Collect(maps.Keys(t.services)), maps.Keys(t.removed))
		slices.Sort(names)
	}
	all := []Past{}
	for _, name := range names {
		if v := t.services[name]; v != nil {
			all = append(append(all, v.past()), v.status.History...)
		}
		all = append(all, t.removed[name]...)
	}
	return all
}
