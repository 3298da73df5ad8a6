package lanes_test

import (
	"context"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/gate"
	"github.com/shahnk19/parachute/internal/lanes"
)

// A relay has one lane at a time to the same target, in which requests that are cut leave.
type relay struct {
	t       *target
	streams time.Duration

	mu     sync.Mutex // guards what follows
	now    *lane
	before set
	inside map[*lane][]*gate.Passage
	cuts   int64
}

func newRelay(streams time.Duration) *relay {
	r := &relay{t: newTarget("a"), streams: streams, inside: make(map[*lane][]*gate.Passage)}
	r.replace()
	return r
}

// replace takes another lane, and returns those before that somebody may be inside of.
func (r *relay) replace() []lanes.Replaced[*target] {
	r.mu.Lock()
	defer r.mu.Unlock()
	previous := r.now
	var next *lane
	next = lanes.New(r.t, exchanges{func() int64 { return r.cut(next) }})
	r.now = next
	if previous == nil {
		return nil
	}
	r.before = append(r.before, previous)
	return []lanes.Replaced[*target]{{Lanes: r.before.Undrained(), Streams: r.streams}}
}

// cut has those inside l leave that can be cut.
func (r *relay) cut(l *lane) (cut int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.inside[l] {
		p.Leave()
		cut++
	}
	delete(r.inside, l)
	r.cuts += cut
	return cut
}

func (r *relay) all() set {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(set{r.now}, r.before...)
}

// enter has a request enter the present lane, which can be cut.
func (r *relay) enter(is *is.I) *gate.Passage {
	is.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	p := enter(is, r.now, 1)[0]
	r.inside[r.now] = append(r.inside[r.now], p)
	return p
}

// leave has a request leave by itself.
func (r *relay) leave(p *gate.Passage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l, inside := range r.inside {
		r.inside[l] = slices.DeleteFunc(inside, func(other *gate.Passage) bool { return other == p })
	}
	p.Leave()
}

// leaveBehind adds a lane that nothing takes the place of.
func (r *relay) leaveBehind(l *lane) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.before = append(r.before, l)
}

func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func TestEmptyReturnsWhenTheLastHasLeftThoughNewOnesCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		r := newRelay(0)
		first := r.enter(is)
		time.AfterFunc(time.Second, func() {
			second := r.enter(is) // by the lane that has taken the place of the first one
			time.AfterFunc(2*time.Second, func() { r.leave(second) })
			r.leave(first)
		})
		began := time.Now()
		is.NoErr(lanes.Empty(t.Context(), closed(), math.MaxInt64, r.replace, r.all))
		is.Equal(time.Since(began), 3*time.Second)
		is.Equal(r.cuts, int64(0))
	})
}

func TestEmptyDrainsWhatWasLeftBehindMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		r := newRelay(-1)
		first, stray := r.enter(is), newLane(newTarget("b"))
		time.AfterFunc(time.Second, func() {
			r.leaveBehind(stray)          // by another change
			inside := enter(is, stray, 2) // a request and a stream
			inside[0].BecomeStream(closing{inside[0]})
			time.AfterFunc(5*time.Second, inside[1].Leave)
			r.leave(first)
		})
		began := time.Now()
		is.NoErr(lanes.Empty(t.Context(), closed(), math.MaxInt64, r.replace, r.all))
		is.Equal(time.Since(began), 6*time.Second)
		is.True(stray.IsDrained())
	})
}

func TestEmptyWaitsForChangesThatAreUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		r, changed := newRelay(0), make(chan struct{})
		time.AfterFunc(7*time.Second, func() { close(changed) })
		began := time.Now()
		is.NoErr(lanes.Empty(t.Context(), changed, math.MaxInt64, r.replace, r.all))
		is.Equal(time.Since(began), 7*time.Second)
	})
}

func TestEmptyCutsRequestsAfterTheLimitOfAllRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		r := newRelay(0)
		first := r.enter(is)
		time.AfterFunc(6*time.Second, func() {
			r.enter(is) // and never leaves by itself
			r.leave(first)
		})
		began := time.Now()
		is.NoErr(lanes.Empty(t.Context(), closed(), 10*time.Second, r.replace, r.all))
		is.Equal(time.Since(began), 10*time.Second)
		is.Equal(r.cuts, int64(1))
	})
}

func TestEmptyClosesStreamsBeforeTheDeadlineHoweverLongTheyMayLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		r := newRelay(time.Hour)
		p := enter(is, r.now, 1)[0]
		p.BecomeStream(closing{p})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		began := time.Now()
		is.NoErr(lanes.Empty(ctx, closed(), math.MaxInt64, r.replace, r.all))
		is.True(time.Since(began) <= 19*time.Second) // there is a second left
	})
}

func TestEmptyClosesStreamsInTimeThoughRequestsGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		r := newRelay(time.Hour)
		began := time.Now()
		var closedAfter time.Duration
		inside := enter(is, r.now, 2)
		inside[0].BecomeStream(closeFunc(func() { closedAfter = time.Since(began); inside[0].Leave() }))
		time.AfterFunc(19*time.Second+500*time.Millisecond, inside[1].Leave)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		is.NoErr(lanes.Empty(ctx, closed(), math.MaxInt64, r.replace, r.all))
		is.Equal(closedAfter, 19*time.Second)
		is.Equal(time.Since(began), 19*time.Second+500*time.Millisecond) // the request had its time
	})
}

// A closeFunc is a stream that is closed by a func.
type closeFunc func()

func (f closeFunc) Close() error { f(); return nil }

func TestEmptyReturnsTheErrorOfAContextThatEndsBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		r := newRelay(0)
		r.enter(is)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		began := time.Now()
		is.Equal(lanes.Empty(ctx, closed(), math.MaxInt64, r.replace, r.all), context.DeadlineExceeded)
		is.Equal(time.Since(began), 20*time.Second)
	})
}
