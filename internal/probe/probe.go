// Package probe repeats checks at intervals. A check that several want is made
// once for all of them. Between two checks there is a timer, but no goroutine.
package probe

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A Schedule repeats checks that end with a result of type R. Checks with the same
// key are taken for the same. The zero value has none. Its methods may be called
// from any goroutine.
type Schedule[K comparable, R any] struct {
	mu     sync.Mutex // guards rounds, and the members of each round
	rounds map[K]*round[K, R]
}

// A Check is what a Schedule repeats.
type Check[R any] struct {
	// Run makes the check. It returns soon when ctx ends.
	Run func(ctx context.Context) R

	// Interval is the pause between the end of one check and the beginning of
	// the next, and that before the first.
	Interval time.Duration

	// Close, if it is not nil, is called when the check is not made any more.
	Close func()
}

// A Member is somebody who wants to know what comes of a check.
type Member[K comparable, R any] struct {
	round *round[K, R]

	// Who sends to turn may look at report, and call it, until it receives. This
	// is no mutex lest a bubble of testing/synctest wait for ever for a report
	// that takes its time.
	turn   chan struct{}
	report func(R) // nil: the Member has left
}

// A round is a check and its members, of whom it always has at least one until it
// ends.
type round[K comparable, R any] struct {
	schedule *Schedule[K, R]
	key      K
	check    Check[R]
	ctx      context.Context // of the calls of check.Run
	stop     context.CancelFunc
	timer    *time.Timer    // calls run
	running  sync.WaitGroup // timers that are set, and calls of run; grows only while there are members
	ended    chan struct{}  // closed when all is over

	members []*Member[K, R] // guarded by the Schedule's mu
	asking  []*Member[K, R] // for whom the check is made that is under way; of run
}

// Join has report called with the result of each check of that key that begins
// from now on, on the goroutine that makes it and one call at a time. Unless the
// check is repeated already, newCheck is called first, which must not call the
// Schedule, and the check is repeated from then on. Who joins must call Leave.
func (s *Schedule[K, R]) Join(key K, newCheck func() Check[R], report func(R)) *Member[K, R] {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, repeated := s.rounds[key]
	if !repeated {
		if s.rounds == nil {
			s.rounds = make(map[K]*round[K, R])
		}
		r = &round[K, R]{schedule: s, key: key, check: newCheck(), ended: make(chan struct{})}
		r.ctx, r.stop = context.WithCancel(context.Background())
		r.running.Add(1)
		r.timer = time.AfterFunc(r.check.Interval, r.run)
		s.rounds[key] = r
	}
	m := &Member[K, R]{round: r, turn: make(chan struct{}, 1), report: report}
	r.members = append(r.members, m)
	return m
}

// Leave returns when m's report is not being called any more, and never will be,
// which must not be waited for by report itself. When the last member leaves, a
// check that is under way is ended, and nothing of it is left when Leave returns.
// It may be called more than once.
func (m *Member[K, R]) Leave() {
	m.turn <- struct{}{}
	m.report = nil
	<-m.turn
	m.round.leave(m)
}

func (m *Member[K, R]) hear(result R) {
	m.turn <- struct{}{}
	defer func() { <-m.turn }()
	if m.report != nil {
		m.report(result)
	}
}

func (r *round[K, R]) leave(m *Member[K, R]) {
	s := r.schedule
	s.mu.Lock()
	i := slices.Index(r.members, m)
	if i >= 0 {
		r.members = slices.Delete(r.members, i, i+1)
	}
	isOver := len(r.members) == 0
	if isOver && i >= 0 {
		delete(s.rounds, r.key)
	}
	s.mu.Unlock()
	switch {
	case isOver && i >= 0:
		r.end()
	case isOver:
		<-r.ended
	}
}

// end is called once, when there are no members any more.
func (r *round[K, R]) end() {
	r.stop()
	if r.timer.Stop() {
		r.running.Done()
	}
	r.running.Wait()
	if r.check.Close != nil {
		r.check.Close()
	}
	close(r.ended)
}

// run makes the check once, for those who are members when it begins, and sets the
// timer that called it for the next time.
func (r *round[K, R]) run() {
	defer r.running.Done()
	r.schedule.mu.Lock()
	r.asking = append(r.asking, r.members...)
	r.schedule.mu.Unlock()
	if len(r.asking) == 0 {
		return
	}
	result := r.check.Run(r.ctx)
	for _, m := range r.asking {
		m.hear(result)
	}
	clear(r.asking)
	r.asking = r.asking[:0]

	r.schedule.mu.Lock()
	defer r.schedule.mu.Unlock()
	if len(r.members) > 0 {
		r.running.Add(1)
		r.timer.Reset(r.check.Interval)
	}
}
