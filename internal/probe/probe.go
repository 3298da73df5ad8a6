// Package probe repeats checks at intervals. Subscribers with the same key share one
// check. Between two checks there is a timer, but no goroutine.
package probe

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A Schedule repeats checks with results of type R, one check for each key. The zero
// Schedule is empty and ready to use. Its methods may be called from any goroutine.
type Schedule[K comparable, R any] struct {
	mu     sync.Mutex // guards rounds, and the subscribers of each round
	rounds map[K]*round[K, R]
}

// A Check is what a Schedule repeats.
type Check[R any] struct {
	// Run makes the check. It must return soon when ctx ends.
	Run func(ctx context.Context) R

	// Interval is the pause before the first check, and between the end of one
	// check and the beginning of the next.
	Interval time.Duration

	// Close, if not nil, is called after the last call of Run has returned.
	Close func()
}

// A Subscriber receives the results of a check.
type Subscriber[K comparable, R any] struct {
	round *round[K, R]

	// turn is a lock that guards report and its calls: a send locks, a receive
	// unlocks. It is no mutex, because in a bubble of testing/synctest time
	// stands still while a goroutine waits for a mutex.
	turn   chan struct{}
	report func(R) // nil: the Subscriber has left
}

// A round is a check and its subscribers. It ends when the last of them leaves.
type round[K comparable, R any] struct {
	schedule *Schedule[K, R]
	key      K
	check    Check[R]
	ctx      context.Context // of the calls of check.Run
	stop     context.CancelFunc
	timer    *time.Timer    // calls run
	running  sync.WaitGroup // timers that are set, and calls of run; grows only while there are subscribers
	ended    chan struct{}  // closed by end, when running is done and the check closed

	subscribers []*Subscriber[K, R] // guarded by the Schedule's mu
	asking      []*Subscriber[K, R] // those that get the result of the check under way; used by run alone
}

// Join calls report with the result of each check for key that begins after Join
// was called. The calls are made by the goroutine that makes the check, one at a
// time. If there is no check for key yet, Join calls newCheck, which must not call
// the Schedule, and begins to repeat the check that it returns. The caller must call
// Leave on the Subscriber.
func (s *Schedule[K, R]) Join(key K, newCheck func() Check[R], report func(R)) *Subscriber[K, R] {
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
	m := &Subscriber[K, R]{round: r, turn: make(chan struct{}, 1), report: report}
	r.subscribers = append(r.subscribers, m)
	return m
}

// Leave ends the calls of m's report, and waits for one that is under way; so report
// must not call it. If no other subscriber is left, Leave also ends the check and waits
// until it is closed. It may be called more than once.
func (m *Subscriber[K, R]) Leave() {
	m.turn <- struct{}{}
	m.report = nil
	<-m.turn
	m.round.leave(m)
}

func (m *Subscriber[K, R]) deliver(result R) {
	m.turn <- struct{}{}
	defer func() { <-m.turn }()
	if m.report != nil {
		m.report(result)
	}
}

func (r *round[K, R]) leave(m *Subscriber[K, R]) {
	s := r.schedule
	s.mu.Lock()
	i := slices.Index(r.subscribers, m)
	if i >= 0 {
		r.subscribers = slices.Delete(r.subscribers, i, i+1)
	}
	isOver := len(r.subscribers) == 0
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

// end ends the check and waits for that. It is called once, when no subscriber is left.
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

// run makes the check once, hands the result to those who were subscribers when it
// began, and resets the timer.
func (r *round[K, R]) run() {
	defer r.running.Done()
	r.schedule.mu.Lock()
	r.asking = append(r.asking, r.subscribers...)
	r.schedule.mu.Unlock()
	if len(r.asking) == 0 {
		return
	}
	result := r.check.Run(r.ctx)
	for _, m := range r.asking {
		m.deliver(result)
	}
	clear(r.asking)
	r.asking = r.asking[:0]

	r.schedule.mu.Lock()
	defer r.schedule.mu.Unlock()
	if len(r.subscribers) > 0 {
		r.running.Add(1)
		r.timer.Reset(r.check.Interval)
	}
}
