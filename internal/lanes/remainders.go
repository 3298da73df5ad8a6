package lanes

import (
	"slices"
	"sync"
	"time"

	"github.com/shahnk19/parachute/internal/gate"
)

// A Closer is a Target that is closed when it is not needed any more.
type Closer interface {
	Target
	Close()
}

// Remainders are what changes have left behind of services: lanes that are to be drained,
// and targets that are to be closed then. The zero value is empty. The methods may be
// called from any goroutine.
type Remainders[T Closer] struct {
	mu       sync.Mutex // guards the fields below
	all      []*remainder[T]
	isClosed bool
}

type remainder[T Closer] struct {
	service  string
	since    time.Time
	lanes    Set[T]
	targets  []T
	draining bool
}

// Add adds what a change of a service has left behind to what the next Drain of that
// service waits for. After Close, it closes the targets.
func (r *Remainders[T]) Add(service string, lanes Set[T], targets []T) {
	if !r.add(&remainder[T]{service: service, since: time.Now(), lanes: lanes, targets: targets}) {
		closeAll(targets)
	}
}

func (r *Remainders[T]) add(left *remainder[T]) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isClosed {
		return false
	}
	r.all = append(r.all, left)
	return true
}

// Drain drains what was added for a service since the last Drain of it, as [Set.Drain]
// does, and closes the targets. If done is closed before, it returns at once, and all is
// left to the next Drain.
func (r *Remainders[T]) Drain(service string, limits gate.Limits, done <-chan struct{}) (requests, streams int64) {
	taken := r.take(service)
	var lanes Set[T]
	for _, left := range taken {
		lanes = append(lanes, left.lanes...)
	}
	requests, streams = lanes.Drain(limits, done)
	select {
	case <-done:
		r.putBack(taken)
	default:
		for _, left := range r.remove(taken) {
			closeAll(left.targets)
		}
	}
	return requests, streams
}

func (r *Remainders[T]) take(service string) (taken []*remainder[T]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, left := range r.all {
		if left.service == service && !left.draining {
			left.draining = true
			taken = append(taken, left)
		}
	}
	return taken
}

func (r *Remainders[T]) putBack(taken []*remainder[T]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, left := range taken {
		left.draining = false
	}
}

// remove removes those of taken that are still there, and returns them.
func (r *Remainders[T]) remove(taken []*remainder[T]) (removed []*remainder[T]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = slices.DeleteFunc(r.all, func(left *remainder[T]) bool {
		if slices.Contains(taken, left) {
			removed = append(removed, left)
			return true
		}
		return false
	})
	return removed
}

// Lanes returns all lanes, those included that a Drain waits for.
func (r *Remainders[T]) Lanes() (lanes Set[T]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, left := range r.all {
		lanes = append(lanes, left.lanes...)
	}
	return lanes
}

// Left is what a change of a service has left behind.
type Left struct {
	Service           string
	Since             time.Time // when it was added
	Requests, Streams int64     // that are inside of its lanes
}

// Left returns what was left behind and has somebody inside, the oldest first.
func (r *Remainders[T]) Left() (all []Left) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, left := range r.all {
		if requests, streams := left.lanes.Inside(); requests+streams > 0 {
			all = append(all, Left{left.service, left.since, requests, streams})
		}
	}
	return all
}

// Close closes all targets, which cuts off what is inside.
func (r *Remainders[T]) Close() {
	for _, left := range r.end() {
		closeAll(left.targets)
	}
}

func (r *Remainders[T]) end() (all []*remainder[T]) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.isClosed = true
	all, r.all = r.all, nil
	return all
}

func closeAll[T Closer](targets []T) {
	for _, t := range targets {
		t.Close()
	}
}
