package lanes_test

import (
	"context"
	"math"
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
	now     *lane
	before  set
	streams time.Duration
	inside  map[*lane][]*gate.Passage
	cuts    int64
}

func newRelay(streams time.Duration) *relay {
	r := &relay{t: newTarget("a"), streams: streams, inside: make(map[*lane][]*gate.Passage)}
	r.replace()
	return r
}

// replace takes another lane, and returns those before that somebody may be inside of.
func (r *relay) replace() []lanes.Replaced[*target] {
	var next *lane
	next = lanes.New(r.t, exchanges{func() (cut int64) {
		for _, p := range r.inside[next] {
			p.Leave()
			cut++
		}
		r.inside[next] = nil
		r.cuts += cut
		return cut
	}})
	previous := r.now
	r.now = next
	if previous == nil {
		return nil
	}
	r.before = append(r.before, previous)
	return []lanes.Replaced[*target]{{Lanes: r.before.Undrained(), Streams: r.streams}}
}

func (r *relay) all() set { return append(set{r.now}, r.before...) }

// enter has a request enter the present lane.
func (r *relay) enter(is *is.I) *gate.Passage {
	is.Helper()
	p := enter(is, r.now, 1)[0]
	r.inside[r.now] = append(r.inside[r.now], p)
	return p
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
			time.AfterFunc(2*time.Second, second.Leave)
			first.Leave()
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
			r.before = append(r.before, stray) // by another change
			inside := enter(is, stray, 2)      // a request and a stream
			inside[0].BecomeStream(closing{inside[0]})
			time.AfterFunc(5*time.Second, inside[1].Leave)
			first.Leave()
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
			r.inside[r.before[0]] = nil
			first.Leave()
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
