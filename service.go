package parachute

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/shahnk19/parachute/internal/deep"
	"github.com/shahnk19/parachute/internal/gate"
	"github.com/shahnk19/parachute/internal/lanes"
	"github.com/shahnk19/parachute/internal/publish"
	"github.com/shahnk19/parachute/internal/registry"
	"github.com/shahnk19/parachute/internal/targets"
	"github.com/shahnk19/parachute/internal/verbose"
)

// deploy brings d into service. If base is not nil, d was made of what that serves, and it
// has to serve until the switch.
func (p *Proxy) deploy(ctx context.Context, d Deployment, base *version) error {
	s, err := p.parseNew(ctx, d)
	if err != nil {
		return err
	}
	if current := p.served(s.Service); len(s.Canary.Steps) > 0 && current.checkChangeable() == nil {
		return p.canary(ctx, s, base)
	}
	m := &modification{publication: publication{Name: s.Service}, spec: s, part: partMain, isAlone: true, base: base}
	return p.change(ctx, []*modification{m}, func() error { return p.retireDeployed(m) })
}

// A modification is what a change makes of one service: of each that Apply is about, or of
// the one that is deployed, rolled out or removed alone.
type modification struct {
	publication
	current *version // when Apply was planned; nil: it was not there
	spec    *spec    // what is to serve, or to be the rollout; nil: the service is removed
	rollout *Rollout // of which spec was made; nil: this is no rollout
	part    publish.Part
	isKept  bool     // current serves what spec says
	isAlone bool     // it is deployed alone, so it may bake
	base    *version // what spec was made of, which has to serve until the switch; nil: nothing
	was     uint64   // the number that the change had before it was renumbered; 0: it was not

	// What was made of spec, and is not published yet.
	started *version  // nil: this is a rollout, or the service is removed
	brought []*target // the new targets, whose probes monitor follows
	monitor *monitor
	about   Event // has what every event of the change has until the switch
}

// event returns an event of m, which is reserved.
func (m *modification) event() Event {
	if m.spec == nil {
		return Event{Service: m.Name, Generation: m.Reservation.Number}
	}
	return m.spec.event(m.Reservation.Number)
}

// change makes all of these modifications, or none: it reserves what they want, prepares
// and publishes them. Then retire waits until what they have replaced has drained.
func (p *Proxy) change(ctx context.Context, modifications []*modification, retire func() error) error {
	ctx, err := p.reserveAll(ctx, modifications)
	if err != nil {
		return err
	}
	defer func() {
		for _, m := range modifications {
			p.router.book.End(m.Reservation)
		}
	}()
	if err := p.replaceAll(ctx, modifications); err != nil {
		return err
	}
	return retire()
}

// reserveAll reserves what all of these modifications want, or nothing.
func (p *Proxy) reserveAll(ctx context.Context, modifications []*modification) (_ context.Context, err error) {
	if m := modifications[0]; m.isAlone { // so an error need not say which it is about
		m.Reservation, ctx, err = p.router.book.Reserve(ctx, m.Name, m.part, m.spec.wants)
		return ctx, err
	}
	var changes []registry.Change
	for _, m := range modifications {
		c := registry.Change{Service: m.Name, Part: m.part}
		if m.spec != nil {
			c.Wants = &m.spec.wants
		}
		changes = append(changes, c)
	}
	all, ctx, err := p.router.book.ReserveAll(ctx, changes)
	for i, r := range all {
		modifications[i].Reservation = r
	}
	return ctx, err
}

// replaceAll prepares these modifications, waits until all of them may be published, and
// publishes them together. After an error it lets go of what was prepared.
func (p *Proxy) replaceAll(ctx context.Context, modifications []*modification) (err error) {
	served := p.router.routes.Load().Services()
	var all []*publication
	for _, m := range modifications {
		all, m.about = append(all, &m.publication), m.event()
		if m.spec == nil {
			m.Change = func(*version) (*version, error) { return nil, nil }
			m.Announce = func(*version) {
				p.emit(Event{Kind: EventRemoved, Service: m.Name, Generation: m.Reservation.Number})
			}
			continue
		}
		defer p.beginPhase(EventDeploying, m.about, nil)()
		p.emitDeploying(m.about, m.spec)
		switch {
		case err != nil:
		case m.rollout != nil:
			p.prepareRollout(m)
		default:
			// inherit asks that again, but only when everybody has waited for health.
			if err = served[m.Name].accepts(&m.spec.Deployment); err == nil {
				p.prepare(m)
			}
		}
	}
	if err == nil {
		err = p.awaitAll(ctx, modifications)
	}
	if err == nil {
		err = p.router.routes.PublishAll(ctx, all...)
	}
	if err == nil {
		return nil
	}
	for _, m := range modifications {
		targets.CloseAll(m.brought)
		if m.started != nil {
			m.started.certificates.Release()
		}
		if m.spec != nil {
			p.emitFailed(m.about, err)
		}
	}
	return err
}

// prepare starts the version that m is to bring into service, and has m publish it.
func (p *Proxy) prepare(m *modification) {
	m.started, m.monitor = p.start(Status{Service: m.Name, Generation: m.Reservation.Number, State: StateServing, Deployment: m.spec.Deployment}, m.spec, !m.spec.Force)
	m.brought = m.started.Targets()
	p.bringIn(m)
}

// bringIn has m publish the version that it has started.
func (p *Proxy) bringIn(m *modification) {
	var different Difference
	m.Change = func(current *version) (*version, error) {
		if m.base != nil && (current == nil || current.status.Generation != m.base.status.Generation) {
			return nil, faultf(ErrSuperseded, "generation %d, whose options were to be kept, does not serve any more: deploy again", m.base.status.Generation)
		}
		if current != nil && current.status.Generation > m.Reservation.Number { // one was taken back meanwhile, as a newer generation
			m.was = m.Reservation.Number
			p.router.book.Renumber(m.Reservation)
			m.started.status.Generation = m.Reservation.Number
			m.monitor.Generation.Store(m.Reservation.Number)
		}
		different = p.compare(current, m.spec)
		v := m.started
		if err := v.inherit(current); err != nil {
			return nil, err
		}
		if m.isAlone && v.status.Deployment.Bake.For > 0 && current != nil && current.status.State != StateFailed {
			v.beginBake(current, time.Since(p.began))
		}
		return v, nil
	}
	m.Announce = func(*version) {
		e := m.event()
		e.Kind, e.Targets, e.Hosts, e.Was = EventSwitched, slices.Concat(m.spec.Targets, m.spec.ReadTargets), append([]string(nil), m.spec.Hosts...), m.was
		e.Difference = different
		p.emit(e)
	}
}

// prepareRollout begins to probe the targets of the rollout that m is to bring into service,
// and has m publish it.
func (p *Proxy) prepareRollout(m *modification) {
	second, monitor := p.newGroup(m.Name, m.Reservation.Number, m.spec, true)
	m.brought, m.monitor = second.Targets(), monitor
	targets.StartProbes(m.brought)
	p.alter(&m.publication, EventSwitched, func(v *version) (*version, error) {
		if m.spec.own == nil { // it follows the service's Deployment, which may be another by now
			if err := v.status.Deployment.checkTargets(m.spec.targets); err != nil {
				return nil, invalid(err)
			}
		}
		r := *m.rollout
		r.Targets, r.ReadTargets = m.spec.Targets, m.spec.ReadTargets // each once
		return v.withRollout(r, m.spec, &second), nil
	})
}

// awaitAll is await for all of these modifications at once. The error tells of each that
// may not be published, by the name of its service if it is not alone.
func (p *Proxy) awaitAll(ctx context.Context, modifications []*modification) error {
	errs := make([]error, len(modifications))
	var waiting sync.WaitGroup
	for i, m := range modifications {
		if m.spec != nil {
			waiting.Go(func() { errs[i] = p.await(ctx, m) })
		}
	}
	waiting.Wait()
	if cause := context.Cause(ctx); errors.Is(cause, ErrSuperseded) || errors.Is(cause, ErrClosed) {
		return cause // which is the same for each
	}
	for i, m := range modifications {
		if errs[i] != nil && !m.isAlone {
			errs[i] = registry.OfService(m.Name, errs[i])
		}
	}
	return verbose.Join(errs...)
}

// event returns an event of the deploy of s.
func (s *spec) event(generation uint64) Event {
	return Event{Service: s.Service, Generation: generation, Release: s.Release, By: s.By}
}

// emitDeploying emits e, which is an event of the deploy of s, as EventDeploying.
func (p *Proxy) emitDeploying(e Event, s *spec) {
	e.Kind, e.Limit = EventDeploying, max(s.Timeouts.Deploy, 0)
	p.emit(e)
}

// emitFailed emits e as EventFailed.
func (p *Proxy) emitFailed(e Event, err error) {
	e.Kind, e.Err = EventFailed, err
	p.emit(e)
}

// retireReplaced retires what m, which is published, has replaced.
func (p *Proxy) retireReplaced(m *modification) {
	if m.Previous != nil {
		p.retire(m.event(), m.Previous, m.Next, cmp.Or(m.Next, m.Previous).status.Deployment.Timeouts)
	}
}

// retire drains the targets of previous that next does not have, and then closes them: all
// of them if next is nil. previous may be nil as well.
func (p *Proxy) retire(about Event, previous, next *version, limits Timeouts) {
	if previous == nil {
		return
	}
	left := previous.leftover(next)
	left.StopProbes()
	omitCloseFrames(left.Lanes, previous, next)
	e := p.drain(about, left.Lanes, limits, p.done)
	left.Close()
	if e.Unhealthy = p.unproved(next); len(e.Unhealthy) == 0 {
		e.Unused = targets.Unused(left.Gone)
	}
	p.emit(e)
}

// drain closes lanes, waits until the requests inside have ended, and those that the
// Predecessor has of the service, and cuts off what is late. It emits an event when it
// begins, and in each second in which their number has changed. It returns the one for the
// end. All of them are made of e, which is an event of the change.
func (p *Proxy) drain(e Event, lanes laneSet, limits Timeouts, done <-chan struct{}) Event {
	defer p.beginPhase(EventDraining, e, lanes)()
	bounds := gate.Limits{Requests: limits.Drain, Streams: limits.Stream}
	e.Kind, e.Limit = EventDraining, bounds.Longest()
	var elsewhere func() (requests, streams int64)
	if drain := p.options.Predecessor.Drain; drain != nil {
		elsewhere = func() (int64, int64) { return drain(e.Service, limits, done) }
	}
	began := time.Now()
	requests, streams := lanes.DrainTold(bounds, done, elsewhere, func(requests, streams int64, elapsed time.Duration) {
		now := e
		now.Requests, now.Streams, now.Elapsed = requests, streams, elapsed
		p.emit(now)
	})
	e.Kind, e.Requests, e.Streams, e.Elapsed, e.Limit = EventDrained, requests, streams, time.Since(began), 0
	return e
}

// amend deploys what change makes of what the service serves.
func (p *Proxy) amend(ctx context.Context, service string, change func(*Deployment) error) error {
	table := p.router.routes.Load()
	if table.IsClosed {
		return ErrClosed
	}
	current := table.Services()[service]
	if current == nil {
		return faultf(ErrNotFound, "no such service, so there is nothing to keep: deploy it first")
	}
	d := current.status.Deployment.withoutOnce()
	if err := change(&d); err != nil {
		return err
	}
	return p.deploy(ctx, d, current)
}

// check does what deploy does before the switch.
func (p *Proxy) check(ctx context.Context, d Deployment) (different Difference, err error) {
	s, err := p.parseNew(ctx, d)
	if err == nil {
		err = p.router.book.Check(s.Service, s.wants)
	}
	if err == nil {
		err = p.probeSpec(ctx, s)
	}
	if err != nil {
		return Difference{}, err
	}
	return p.compare(p.served(s.Service), s), nil
}

// probe waits until the targets of d are healthy.
func (p *Proxy) probe(ctx context.Context, d Deployment) error {
	s, err := p.parseNew(ctx, d)
	if err == nil {
		err = p.probeSpec(ctx, s)
	}
	return err
}

// probeSpec waits until the targets of s are healthy, if a deploy of it would.
func (p *Proxy) probeSpec(ctx context.Context, s *spec) error {
	table := p.router.routes.Load()
	if table.IsClosed {
		return ErrClosed
	}
	if err := table.Services()[s.Service].accepts(&s.Deployment); err != nil || s.Force {
		return err
	}
	group, m := p.newGroup(s.Service, 0, s, true)
	all := group.Targets()
	defer targets.CloseAll(all)
	targets.StartProbes(all)
	return awaitHealthy(ctx, m, all, &s.Deployment)
}

// compare returns what a deploy of s makes different for a service, which is nil where
// it is new.
func (p *Proxy) compare(current *version, s *spec) Difference {
	if current == nil || p.options.Compare == nil {
		return Difference{}
	}
	return p.options.Compare(deep.Copy(current.status.Deployment), deep.Copy(s.Deployment))
}

func (p *Proxy) apply(ctx context.Context, deployments []Deployment, remove []string) error {
	modifications, err := p.plan(ctx, deployments, remove)
	if err != nil {
		return err
	}
	modifications = slices.DeleteFunc(modifications, func(m *modification) bool { return m.isKept })
	if len(modifications) == 0 {
		return nil
	}
	return p.change(ctx, modifications, func() error {
		var retired sync.WaitGroup
		for _, m := range modifications {
			retired.Go(func() { p.retireReplaced(m) })
		}
		retired.Wait()
		return nil
	})
}

// plan returns what Apply would do, sorted by the names of the services.
func (p *Proxy) plan(ctx context.Context, deployments []Deployment, remove []string) (modifications []*modification, err error) {
	table := p.router.routes.Load()
	if table.IsClosed {
		return nil, ErrClosed
	}
	specs := make(map[string]*spec)
	var wishes []registry.Wish
	for _, d := range deployments {
		current := table.Services()[d.Service]
		s, err := p.parseNew(ctx, d)
		if err == nil {
			err = current.accepts(&s.Deployment)
		}
		isKept := current != nil && current.status.State != StateFailed && current.status.Deployment.isSame(&s.Deployment)
		wishes = append(wishes, registry.Wish{Change: registry.Change{Service: d.Service, Part: partMain, Wants: &s.wants}, IsKept: isKept, Err: err})
		specs[d.Service] = s
	}
	for _, name := range remove {
		wishes = append(wishes, registry.Wish{Change: registry.Change{Service: name, Part: partMain | partRollout}})
	}
	planned, err := p.router.book.Plan(table, wishes)
	for _, w := range planned {
		m := &modification{publication: publication{Name: w.Service}, current: table.Services()[w.Service], part: w.Part, isKept: w.IsKept}
		if w.Wants != nil {
			m.spec = specs[w.Service]
		}
		modifications = append(modifications, m)
	}
	return modifications, err
}

// step returns what Plan tells of m.
func (m *modification) step() Step {
	s := Step{Service: m.Name, Action: ActionReplace}
	if m.current != nil {
		s.Before = new(m.current.status.clone().Deployment)
	}
	if m.spec != nil {
		s.After = &m.spec.Deployment
	}
	switch {
	case m.isKept:
		s.Action = ActionKeep
	case m.spec == nil:
		s.Action = ActionRemove
	case m.current == nil:
		s.Action = ActionAdd
	}
	return s
}

func (p *Proxy) remove(ctx context.Context, service string) error {
	m := &modification{publication: publication{Name: service}, part: partMain | partRollout}
	return p.change(ctx, []*modification{m}, func() error {
		if m.Previous == nil && !m.Reservation.Supersedes {
			return ErrNotFound
		}
		p.retireReplaced(m)
		return nil
	})
}

// halt publishes the service, paused or stopped as set makes its status say, and waits for
// the requests that run.
func (p *Proxy) halt(ctx context.Context, service string, kind EventKind, how any, limit time.Duration, set func(*Status)) error {
	if err := checkDurations(how); err != nil {
		return err
	}
	if !p.router.book.Enter() {
		return ErrClosed
	}
	defer p.router.book.Leave()
	previous, next, err := p.update(ctx, nil, service, kind, func(v *version) (*version, error) {
		s := v.status
		set(&s)
		return v.withNewGates(s), nil
	})
	if err != nil {
		return err
	}
	limits := Timeouts{Drain: limit, Stream: previous.status.Deployment.Timeouts.Stream}
	omitCloseFrames(next.Leaving, next)
	p.emit(p.drain(next.status.event(), next.Leaving, limits, next.resumed))
	return nil
}

func (p *Proxy) resume(ctx context.Context, service string) error {
	return p.updateAtOnce(ctx, service, EventResumed, func(v *version) (*version, error) {
		s := v.status
		s.State, s.Pause, s.Stop = StateServing, nil, nil
		return v.withStatus(s), nil
	})
}

// updateAtOnce is update for a change that is over when it is published.
func (p *Proxy) updateAtOnce(ctx context.Context, service string, kind EventKind, change func(*version) (*version, error)) error {
	if !p.router.book.Enter() {
		return ErrClosed
	}
	defer p.router.book.Leave()
	_, _, err := p.update(ctx, nil, service, kind, change)
	return err
}

// update publishes what change makes of a service that is there and has not
// failed. res may be nil.
func (p *Proxy) update(ctx context.Context, res *reserved, service string, kind EventKind, change func(*version) (*version, error)) (previous, next *version, err error) {
	pub := &publication{Name: service, Reservation: res}
	p.alter(pub, kind, change)
	if err := p.router.routes.PublishAll(ctx, pub); err != nil {
		return nil, nil, err
	}
	return pub.Previous, pub.Next, nil
}

// alter has pub publish what change makes of a service that is there and has not
// failed, and announce that by an event of a kind.
func (p *Proxy) alter(pub *publication, kind EventKind, change func(*version) (*version, error)) {
	var before Status
	pub.Change = func(current *version) (*version, error) {
		if err := current.checkChangeable(); err != nil {
			return nil, err
		}
		before = current.status
		return change(current)
	}
	pub.Announce = func(next *version) {
		e := next.status.event()
		if e.Kind = kind; pub.Reservation != nil {
			e.Generation = pub.Reservation.Number
		}
		if kind == EventSwitched && before.Rollout != nil && p.options.Compare != nil {
			e.Difference = p.options.Compare(before.ofRollout(), next.status.ofRollout())
		}
		p.emit(e.ofRollout(&next.status))
	}
}

// rollOut brings r into service beside what a service has.
func (p *Proxy) rollOut(ctx context.Context, service string, r Rollout) error {
	table := p.router.routes.Load()
	if table.IsClosed {
		return ErrClosed
	}
	current := table.Services()[service]
	if err := current.checkChangeable(); err != nil {
		return err
	}
	s, err := p.parseRollout(r, current)
	if err == nil {
		err = p.checkNoLoop(ctx, s.targets)
	}
	if err != nil {
		return err
	}
	return p.rollOutSpec(ctx, partRollout, r, s, func(Event) error { return nil })
}

// rollOutSpec brings r, of which s was made, into service, as a change of part. When what it
// replaced is retired, it calls then with an event of the change, which goes on until then
// returns.
func (p *Proxy) rollOutSpec(ctx context.Context, part publish.Part, r Rollout, s *spec, then func(about Event) error) error {
	m := &modification{publication: publication{Name: s.Service}, spec: s, rollout: &r, part: part, isAlone: true}
	return p.change(ctx, []*modification{m}, func() error {
		if err := p.retireOnTrial(m.event(), m.Previous, m.Next, r.Timeouts.over(m.Next.status.Deployment.Timeouts)); err != nil {
			return err
		}
		return then(m.event())
	})
}

func (p *Proxy) amendSplit(ctx context.Context, service string, change func(*Split) error) error {
	return p.updateAtOnce(ctx, service, EventSplit, func(v *version) (*version, error) {
		if v.Rollout == nil {
			return nil, errNoRollout
		}
		r := *v.status.Rollout
		r.Split = deep.Copy(r.Split)
		if err := change(&r.Split); err != nil {
			return nil, err
		}
		who, err := r.Split.parse()
		return v.withSplit(r, who), err
	})
}

func (p *Proxy) endRollout(ctx context.Context, service string) error {
	res, ctx, err := p.router.book.Reserve(ctx, service, partRollout, wants{})
	if err != nil {
		return err
	}
	defer p.router.book.End(res)
	return p.dropRollout(ctx, res, Event{Service: service, Generation: res.Number}, func(*version) bool { return true })
}

// dropRollout ends the rollout of a service, if it has one. It returns ErrSuperseded unless
// isRight reports true of what serves. about is an event of the change; res may be nil.
func (p *Proxy) dropRollout(ctx context.Context, res *reserved, about Event, isRight func(*version) bool) error {
	var limits Timeouts
	previous, next, err := p.update(ctx, res, about.Service, EventRolloutEnded, func(v *version) (*version, error) {
		if v.Rollout != nil {
			limits = v.status.Rollout.Timeouts.over(v.status.Deployment.Timeouts)
		}
		if !isRight(v) {
			return nil, ErrSuperseded
		}
		return v.withoutRollout(), nil
	})
	if err == nil {
		p.retire(about, previous, next, limits)
	}
	return err
}

// promote makes the rollout of a service its first version. base and was are those of a
// modification: a canary's, whose last step this is.
func (p *Proxy) promote(ctx context.Context, service string, base *version, was uint64) error {
	table := p.router.routes.Load()
	if table.IsClosed {
		return ErrClosed
	}
	current := table.Services()[service]
	if err := current.checkChangeable(); err != nil {
		return err
	}
	if current.Rollout == nil {
		return errNoRollout
	}
	s := current.promotion()
	if err := s.loadPair(); err != nil {
		return err
	}
	res, ctx, err := p.router.book.Reserve(ctx, service, partMain|partRollout, s.wants)
	if err != nil {
		return err
	}
	defer p.router.book.End(res)
	m := &modification{publication: publication{Name: service, Reservation: res}, spec: s, base: base, was: was, monitor: current.Rollout.Targets()[0].Monitor}
	m.started = p.newVersion(Status{Service: service, Generation: res.Number, Deployment: s.Deployment}, s, *current.Rollout)
	p.bringIn(m)
	bringIn := m.Change
	m.Change = func(now *version) (*version, error) {
		if err := now.checkChangeable(); err != nil {
			return nil, err
		}
		if now.Rollout == nil || now.Rollout.Tally != current.Rollout.Tally {
			return nil, faultf(ErrSuperseded, "the rollout was ended, or replaced, meanwhile")
		}
		m.started.Main = *now.Rollout // with the gates that it has by now
		return bringIn(now.withoutRollout())
	}
	if was == 0 { // what has tried itself as a canary was asked about before
		p.options.Propose(ctx, deep.Copy(s.Deployment), res.Number, false)
		err = p.agree(ctx, &s.Deployment, res.Number, time.Now())
	}
	if err == nil {
		err = p.router.routes.PublishAll(ctx, &m.publication)
	}
	if err != nil {
		m.started.certificates.Release()
		return err
	}
	m.monitor.Generation.Store(res.Number)
	return p.retireOnTrial(m.event(), m.Previous, m.Next, s.Timeouts)
}

// follow publishes what the Proxy which takes the place of p has made of a service.
func (p *Proxy) follow(service string, s *Status) {
	change := func(current *version) (*version, error) {
		if s == nil {
			return nil, nil
		}
		v, err := p.followed(current, *s)
		if v != nil {
			err = nil // it fails there, too
		}
		return v, err
	}
	previous, next, err := p.router.routes.Publish(context.Background(), nil, service, change, func(*version) {})
	if err != nil || previous == nil {
		return
	}
	left := previous.leftover(next)
	if next != nil && next.IsHalted() {
		left.Lanes = previous.LeftBehind(&next.Lineup)
	}
	left.StopProbes()
	omitCloseFrames(left.Lanes, previous, next)
	left.Release()
	p.changes.Add(service, left.Lanes, left.Gone)
}

// mirror publishes what next says of these services.
func (p *Proxy) mirror(services []string, next func(service string, current *Status) *Status) (drain func(), err error) {
	if !p.router.book.Enter() {
		return nil, ErrClosed
	}
	become := func(name string, current *version) (*version, error) {
		if s := next(name, current.copyStatus()); s != nil {
			return p.become(current, *s)
		}
		return nil, nil
	}
	fail := func(v, current *version, err error) *version {
		v.leftover(current).Close()
		status := v.status
		status.State, status.Error = StateFailed, err.Error()
		return newVersion(status, wants{}, group{})
	}
	var made map[string]*version
	var failed error
	all, err := p.router.routes.PublishMade(context.Background(), services, func() map[string]*version {
		made, failed = p.router.book.Impose(p.router.routes.Load(), services, become, fail)
		return made
	}, p.announceMirrored)
	if err != nil {
		for name, v := range made {
			v.leftover(p.served(name)).Close()
		}
		p.router.book.Leave()
		return nil, err
	}
	return func() {
		defer p.router.book.Leave()
		var retired sync.WaitGroup
		for _, one := range all {
			retired.Go(func() { p.retireMirrored(one.Previous, one.Next) })
		}
		retired.Wait()
	}, failed
}

// announceMirrored emits the event of a change that is mirrored.
func (p *Proxy) announceMirrored(previous, next *version) {
	if next == nil {
		p.emit(Event{Kind: EventRemoved, Service: previous.status.Service, Generation: previous.status.Generation})
		return
	}
	now, before, e := &next.status, new(Status), next.status.event()
	if previous != nil {
		before = &previous.status
	}
	switch {
	case now.State == StateFailed:
		p.emitFailed(e, errors.New(now.Error))
		return
	case now.Generation != before.Generation || before.State == StateFailed:
		e.Kind, e.Targets, e.Hosts = EventSwitched, slices.Concat(now.Deployment.Targets, now.Deployment.ReadTargets), append([]string(nil), now.Deployment.Hosts...)
		e.Difference, e.Restores = p.compare(previous, &spec{Deployment: now.Deployment}), now.Restores
	case now.State != before.State:
		e.Kind = map[State]EventKind{StatePaused: EventPaused, StateStopped: EventStopped, StateServing: EventResumed}[now.State]
	case now.Rollout == nil && before.Rollout != nil:
		e.Kind = EventRolloutEnded
	case now.Rollout != nil && !before.Rollout.hasTargetsOf(now.Rollout):
		e.Kind = EventSwitched
	case now.Rollout != nil && !slices.Equal(now.Rollout.Split.List, before.Rollout.Split.List) || now.Rollout != nil && now.Rollout.Split.Percent != before.Rollout.Split.Percent:
		e.Kind = EventSplit
	default:
		return
	}
	if now.Generation == before.Generation {
		e = e.ofRollout(now)
	}
	p.emit(e)
}

// retireMirrored retires what a mirrored change has replaced.
func (p *Proxy) retireMirrored(previous, next *version) {
	if previous == nil {
		return
	}
	limits := cmp.Or(next, previous).status.Deployment.Timeouts
	if len(previous.leftover(next).Gone) > 0 {
		if r := previous.status.Rollout; r != nil && next != nil && next.status.Generation == previous.status.Generation {
			limits = cmp.Or(next.status.Rollout, r).Timeouts.over(limits)
		}
		p.retire(cmp.Or(next, previous).status.event(), previous, next, limits)
	}
	if next == nil || !next.IsHalted() {
		return
	}
	limits.Drain = cmp.Or(next.status.Stop, new(Stop)).Drain
	if next.status.Pause != nil {
		limits.Drain = next.status.Pause.Drain
	}
	omitCloseFrames(next.Leaving, next)
	p.emit(p.drain(next.status.event(), next.Leaving, limits, next.resumed))
}

// empty closes the streams, and returns nil when nobody is inside any more and changed
// is closed, or ctx's error. It cuts off requests after limit. If ctx has a deadline, it
// closes the streams a second before that at the latest.
func (p *Proxy) empty(ctx context.Context, changed <-chan struct{}, limit time.Duration) error {
	replace := func() (all []lanes.Replaced[*target]) {
		for _, v := range p.router.routes.Renew(func(v *version) *version { return v.withNewGates(v.status) }) {
			left := slices.Concat(v.Lanes(), v.Leaving)
			omitCloseFrames(left, v)
			all = append(all, lanes.Replaced[*target]{Lanes: left, Streams: v.status.Deployment.Timeouts.Stream})
		}
		return append(all, lanes.Replaced[*target]{Lanes: p.changes.Lanes(), Streams: math.MaxInt64})
	}
	return lanes.Empty(ctx, changed, limit, replace, p.everyLane)
}

// publishAnyway publishes pub even if that cannot be committed; then it goes on trying to
// commit it, until that succeeds.
func (p *Proxy) publishAnyway(ctx context.Context, pub *publication, generation uint64) error {
	var refused error
	pub.Refused = &refused
	err := p.router.routes.PublishAll(ctx, pub)
	if refused != nil {
		p.router.routes.CommitLater(p.stopping, pub.Name)
		p.emit(Event{Kind: EventFailed, Service: pub.Name, Generation: generation,
			Err: fmt.Errorf("what serves could not be kept, and would not be there after a restart; it is tried again: %w", refused)})
	}
	return err
}

type (
	publication = publish.Publication[version, wants] // the next version of one service
	reserved    = publish.Reservation[wants]          // a change of a service; its Number is the generation
)
