package lanes_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/gate"
	"github.com/shahnk19/parachute/internal/lanes"
)

// A closable target counts how often it is closed.
type closable struct {
	*target
	closes *int
}

func (c closable) Close() { *c.closes++ }

func newClosable(name string) closable { return closable{newTarget(name), new(int)} }

// leave adds a lane to c with one request inside, as what a change of the service has left.
func leave(is *is.I, r *lanes.Remainders[closable], service string, c closable) *gate.Passage {
	is.Helper()
	l := lanes.New(c, exchanges{func() int64 { return 0 }})
	p, ok := l.Enter()
	is.True(ok)
	r.Add(service, lanes.Set[closable]{l}, []closable{c})
	return p
}

func TestRemaindersOfAServiceAreDrainedAndThenClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var r lanes.Remainders[closable]
		a, b, other := newClosable("a"), newClosable("b"), newClosable("other")
		inA, inB := leave(is, &r, "web", a), leave(is, &r, "web", b)
		leave(is, &r, "api", other)
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			r.Drain("web", gate.Limits{Requests: time.Hour}, nil)
		}()
		synctest.Wait()
		is.Equal(len(r.Lanes()), 3) // those that are waited for, too
		begun := time.Now()
		is.Equal(r.Left(), []lanes.Left{{"web", begun, 1, 0}, {"web", begun, 1, 0}, {"api", begun, 1, 0}})
		inA.Leave()
		is.Equal(len(r.Left()), 2) // of a, nobody is inside
		synctest.Wait()
		is.Equal(*a.closes+*b.closes, 0) // b's is still inside
		inB.Leave()
		<-drained
		is.Equal(*a.closes, 1)
		is.Equal(*b.closes, 1)
		is.Equal(*other.closes, 0)
		is.Equal(len(r.Lanes()), 1)
		r.Close()
		is.Equal(*a.closes, 1) // not again
		is.Equal(*other.closes, 1)
	})
}

func TestRemaindersOfADrainThatIsGivenUpAreLeftToTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var r lanes.Remainders[closable]
		a := newClosable("a")
		inside := leave(is, &r, "web", a)
		done := make(chan struct{})
		close(done)
		r.Drain("web", gate.Limits{Requests: time.Hour}, done)
		is.Equal(*a.closes, 0)
		is.Equal(len(r.Lanes()), 1)
		inside.Leave()
		r.Drain("web", gate.Limits{Requests: time.Hour}, nil)
		is.Equal(*a.closes, 1)
		is.Equal(len(r.Lanes()), 0)
	})
}

func TestRemaindersAreClosedOnceThoughADrainWaitsForThem(t *testing.T) {
	for name, givenUp := range map[string]bool{"and comes to its end": false, "and is given up": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var r lanes.Remainders[closable]
				a := newClosable("a")
				inside := leave(is, &r, "web", a)
				done, drained := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(drained)
					r.Drain("web", gate.Limits{Requests: time.Hour}, done)
				}()
				synctest.Wait()
				r.Close()
				is.Equal(*a.closes, 1)
				if givenUp {
					close(done)
				} else {
					inside.Leave()
				}
				<-drained
				is.Equal(*a.closes, 1)
				is.Equal(len(r.Lanes()), 0)
				late := newClosable("late")
				leave(is, &r, "web", late)
				is.Equal(*late.closes, 1) // nobody would do it any more
				is.Equal(len(r.Lanes()), 0)
			})
		})
	}
}
