package control

import (
	"context"
	"slices"
	"sync"

	"github.com/shahnk19/parachute"
)

// A dispatcher hands the events of the proxy to the subscriptions of the changes
// that they belong to. Events are matched by generation. To learn the generation
// of each change, the dispatcher lets only one change start at a time: the first
// event of the kind with which that change starts is its own. Several changes can
// have the same generation, because a change such as a pause has the generation
// of the deploy that it affects. Events of a host's certificate belong to every
// change that waits for it.
type dispatcher struct {
	turn chan struct{} // has an element while a change has started and has no generation yet

	mu       sync.Mutex                 // guards the fields below, and those of every subscription
	starting *subscription              // the subscription of the change that has started
	numbered map[uint64][]*subscription // by generation
	together []*subscription            // of changes of several services
}

func newDispatcher() *dispatcher {
	return &dispatcher{
		turn:     make(chan struct{}, 1),
		numbered: make(map[uint64][]*subscription),
	}
}

// A subscription receives the events of one change.
type subscription struct {
	service    string
	hosts      map[string]bool     // hosts whose certificates the change waits for, in canonical form
	firstEvent parachute.EventKind // the first event, from the goroutine of the change
	wake       chan struct{}       // has an element if there is something new

	wantsQuestion bool // the client wants to be asked

	generation uint64 // 0: not known yet
	pending    []parachute.Event
	drained    parachute.Event
	different  parachute.Difference // by the switch
	ended      bool
	question   *Question        // that the client was not asked yet; nil: there is none
	answer     chan<- agreement // takes one; nil: nobody waits for it

	generations       map[string]uint64 // by the names of the services of a change of several; 0: not known yet
	requests, streams int64             // that these have cut off
}

// subscribe returns a subscription for a change that the caller must start next.
// It waits until all changes that have started have a generation, or ctx ends. The
// caller must call unsubscribe.
func (s *dispatcher) subscribe(ctx context.Context, t task) (*subscription, error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	f := &subscription{
		service:    t.service,
		hosts:      canonicalHosts(t.hosts),
		firstEvent: t.firstEvent,
		wake:       make(chan struct{}, 1),

		wantsQuestion: t.wantsQuestion,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.starting = f
	return f, nil
}

// unsubscribe ends a subscription, when the change has ended. It may be called
// again.
func (s *dispatcher) unsubscribe(f *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.starting == f {
		s.endTurnLocked()
	}
	rest := slices.DeleteFunc(s.numbered[f.generation], func(other *subscription) bool { return other == f })
	if s.numbered[f.generation] = rest; len(rest) == 0 {
		delete(s.numbered, f.generation)
	}
	s.together = slices.DeleteFunc(s.together, func(other *subscription) bool { return other == f })
	f.ended = true
	f.wakeUp()
}

func (s *dispatcher) endTurnLocked() {
	s.starting = nil
	<-s.turn
}

// dispatch adds e to the subscriptions that it belongs to. It does not block.
func (s *dispatcher) dispatch(e parachute.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.starting; f != nil && f.service == e.Service && f.firstEvent == e.Kind {
		f.generation = e.Generation
		s.numbered[e.Generation] = append(s.numbered[e.Generation], f)
		s.endTurnLocked()
	}
	if e.Was != 0 {
		s.renumberLocked(e.Was, e.Generation)
	}
	for _, f := range s.numbered[e.Generation] {
		f.addLocked(e)
	}
	for _, f := range s.together {
		if f.isOwnLocked(e) {
			f.addLocked(e)
		}
	}
	if e.Host != "" {
		s.dispatchHostLocked(e)
	}
}

// add adds e, which is not of the proxy itself, to one subscription.
func (s *dispatcher) add(f *subscription, e parachute.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.Generation = f.generation
	f.addLocked(e)
}

// renumberLocked has the subscriptions of a change follow it to its new number.
func (s *dispatcher) renumberLocked(was, generation uint64) {
	for _, f := range s.numbered[was] {
		f.generation = generation
	}
	s.numbered[generation] = append(s.numbered[generation], s.numbered[was]...)
	delete(s.numbered, was)
}

// dispatchHostLocked adds an event of a host to the subscriptions of changes that
// wait for its certificate, as an event of these changes.
func (s *dispatcher) dispatchHostLocked(e parachute.Event) {
	for generation, followers := range s.numbered {
		for _, f := range followers {
			if f.hosts[e.Host] {
				e.Service, e.Generation = f.service, generation
				f.addLocked(e)
			}
		}
	}
}

// maxPending is about how many events are kept for a client that does not read
// them.
const maxPending = 256

// addLocked adds e to the pending events. If there are many already, it drops
// events that can be frequent: probes, changes of health, certificates, and the
// progress of a drain. A change has only a few others.
func (f *subscription) addLocked(e parachute.Event) {
	if len(f.pending) >= maxPending && isFrequent(e) {
		return
	}
	switch e.Kind {
	case parachute.EventSwitched:
		f.different = e.Difference
	case parachute.EventDrained:
		f.drained = e
		f.requests += e.Requests
		f.streams += e.Streams
	}
	f.pending = append(f.pending, e)
	f.wakeUp()
}

func isFrequent(e parachute.Event) bool {
	switch e.Kind {
	case parachute.EventProbed, parachute.EventHealthy, parachute.EventUnhealthy,
		parachute.EventCertificate, parachute.EventNoCertificate:
		return true
	case parachute.EventDraining, parachute.EventBaking:
		return e.Elapsed > 0 && e.Elapsed != e.Limit
	}
	return false
}

func (f *subscription) wakeUp() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// next returns the pending events, a question that came after them, if there is one, and
// whether they are the last.
func (s *dispatcher) next(f *subscription) (events []parachute.Event, q *Question, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	events, f.pending = f.pending, nil
	q, f.question = f.question, nil
	return events, q, f.ended
}

// result returns the result of a change that has taken effect, from its events.
func (s *dispatcher) result(f *subscription) Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Result{
		Service:    f.service,
		Generation: f.generation,
		Requests:   f.drained.Requests,
		Streams:    f.drained.Streams,
		Unhealthy:  f.drained.Unhealthy,
		Difference: f.different,
	}
}

// subscribeAll returns a subscription for a change of services that the caller must
// start next. The caller must call unsubscribe.
func (s *dispatcher) subscribeAll(services []string) *subscription {
	f := &subscription{wake: make(chan struct{}, 1), generations: make(map[string]uint64, len(services))}
	for _, name := range services {
		f.generations[name] = 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.together = append(s.together, f)
	return f
}

// isOwnLocked reports whether e is of f, a change of several services. The first event of
// each has its generation: an older change of the service was ended by it.
func (f *subscription) isOwnLocked(e parachute.Event) bool {
	generation, ok := f.generations[e.Service]
	isFirst := e.Kind == parachute.EventDeploying || e.Kind == parachute.EventRemoved
	if ok && (generation == 0 && isFirst || generation != 0 && e.Was == generation) {
		f.generations[e.Service], generation = e.Generation, e.Generation
	}
	return ok && generation != 0 && e.Generation == generation
}

// cut returns how many requests and streams a change of several services has cut off.
func (s *dispatcher) cut(f *subscription) (requests, streams int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f.requests, f.streams
}
