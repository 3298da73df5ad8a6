package control

import (
	"context"
	"slices"
	"sync"

	"github.com/shahnk19/parachute"
)

// followers hand the events of the proxy to the changes that they belong to.
// Every change comes through here, which is how each learns its number: one at
// a time begins, and the first event of the kind that a change begins with is
// of the one whose turn it is. Changes that alter what a deploy has brought
// about, such as a pause, have the number of that deploy, so that several may have
// the same. What happens to the certificate of a host belongs to every change
// that waits for it.
type followers struct {
	turn chan struct{} // has an element while a change has begun that has no number yet

	mu        sync.Mutex             // guards what follows, and the fields of every follower
	beginning *follower              // whose turn it is
	numbered  map[uint64][]*follower // by generation
}

func newFollowers() *followers {
	return &followers{
		turn:     make(chan struct{}, 1),
		numbered: make(map[uint64][]*follower),
	}
}

// A follower gets the events of one change.
type follower struct {
	service string
	awaited map[string]bool     // hosts whose certificates are waited for, in the spelling of events
	begins  parachute.EventKind // the first event, from the goroutine of the change
	wake    chan struct{}       // has an element if there is something new

	generation uint64 // 0: not known yet
	waiting    []parachute.Event
	drained    parachute.Event
	ended      bool
}

// follow returns a follower of a change that the caller must now begin. It
// waits until those that were begun before have their numbers, or ctx ends.
// The caller must unfollow.
func (s *followers) follow(ctx context.Context, t task) (*follower, error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	f := &follower{
		service: t.service,
		awaited: canonicalHosts(t.awaited),
		begins:  t.begins,
		wake:    make(chan struct{}, 1),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beginning = f
	return f, nil
}

// unfollow is called when the change has ended. It may be called again.
func (s *followers) unfollow(f *follower) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.beginning == f {
		s.endTurnLocked()
	}
	rest := slices.DeleteFunc(s.numbered[f.generation], func(other *follower) bool { return other == f })
	if s.numbered[f.generation] = rest; len(rest) == 0 {
		delete(s.numbered, f.generation)
	}
	f.ended = true
	f.wakeUp()
}

func (s *followers) endTurnLocked() {
	s.beginning = nil
	<-s.turn
}

// notify hands e to the change that it belongs to. It does not wait.
func (s *followers) notify(e parachute.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.beginning; f != nil && f.service == e.Service && f.begins == e.Kind {
		f.generation = e.Generation
		s.numbered[e.Generation] = append(s.numbered[e.Generation], f)
		s.endTurnLocked()
	}
	for _, f := range s.numbered[e.Generation] {
		f.addLocked(e)
	}
	if e.Host != "" {
		s.notifyHostLocked(e)
	}
}

// notifyHostLocked hands an event of a host to the changes that wait for its
// certificate, as one of theirs.
func (s *followers) notifyHostLocked(e parachute.Event) {
	for generation, followers := range s.numbered {
		for _, f := range followers {
			if f.awaited[e.Host] {
				e.Service, e.Generation = f.service, generation
				f.addLocked(e)
			}
		}
	}
}

// maxWaiting is about how many events may wait for a client that does not read
// them.
const maxWaiting = 256

// addLocked keeps e for take. Where many wait already, what there can be any
// number of is dropped: probes, changes of health, certificates, and how a
// drain goes on. Of all others a change has a handful.
func (f *follower) addLocked(e parachute.Event) {
	if len(f.waiting) >= maxWaiting && isFrequent(e) {
		return
	}
	if e.Kind == parachute.EventDrained {
		f.drained = e
	}
	f.waiting = append(f.waiting, e)
	f.wakeUp()
}

func isFrequent(e parachute.Event) bool {
	switch e.Kind {
	case parachute.EventProbed, parachute.EventHealthy, parachute.EventUnhealthy,
		parachute.EventCertificate, parachute.EventNoCertificate:
		return true
	case parachute.EventDraining:
		return e.Elapsed > 0
	}
	return false
}

func (f *follower) wakeUp() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// take returns the events that wait, and whether they are the last.
func (s *followers) take(f *follower) (events []parachute.Event, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	events, f.waiting = f.waiting, nil
	return events, f.ended
}

// result returns what the events told of a change that has taken effect.
func (s *followers) result(f *follower) Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Result{
		Service:    f.service,
		Generation: f.generation,
		Requests:   f.drained.Requests,
		Streams:    f.drained.Streams,
	}
}
