package issuer_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/issuer"
)

// await returns what the wait for a name has come to.
func await(t *testing.T, n *issuer.Name) <-chan error {
	t.Helper()
	waiting := make(chan error, 1)
	go func() {
		_, err := n.Await(t.Context())
		waiting <- err
	}()
	synctest.Wait()
	return waiting
}

func TestFinishWaitsForWhatIsBeingOrderedAndBeginsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, cache := newScene(t), new(memory)
		s.ca.Slow(time.Second) // for each of its answers
		i := s.openAnswering(cache, nil)
		waiting := await(t, i.Want("app.test"))
		finished := make(chan struct{})
		go func() {
			i.Finish()
			close(finished)
		}()
		synctest.Wait()
		late := i.Want("late.test")
		select {
		case <-finished:
			t.Fatal("it has not waited")
		default:
		}
		is.NoErr(<-waiting) // challenges are answered until then
		<-finished
		is.Equal(s.ca.Orders("app.test"), 1)

		_, err := late.Await(within(t, time.Minute))
		is.True(errors.Is(err, issuer.ErrClosed))
		is.Equal(s.ca.Orders("late.test"), 0)
		s.ca.Slow(0)
		other := s.open(cache, nil) // the next process
		_, err = other.Want("app.test").Await(within(t, time.Second))
		is.NoErr(err)
		is.Equal(s.ca.Orders("app.test"), 1) // it has what was ordered here
	})
}

func TestNothingIsRenewedBehindFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s := newScene(t)
		i := s.openAnswering(nil, nil)
		_, err := i.Want("app.test").Await(within(t, time.Second))
		is.NoErr(err)
		i.Finish()
		i.Finish() // again
		time.Sleep(365 * 24 * time.Hour)
		is.Equal(s.ca.Orders("app.test"), 1)
	})
}

func TestNothingIsOrderedWhileSomebodyElseMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		s, cache := newScene(t), new(memory)
		first := s.openAnswering(cache, nil)
		_, err := first.Want("app.test").Await(within(t, time.Second))
		is.NoErr(err)
		first.Close()

		hold := make(chan struct{})
		i := issuer.New(issuer.Options{Directory: s.url, Cache: cache, Transport: s.ca.Client(t, s.net).Transport, Hold: hold})
		defer i.Close()
		_, err = i.Want("app.test").Await(within(t, time.Second))
		is.NoErr(err) // what is there is served
		began := time.Now()
		waiting := await(t, i.Want("new.test"))
		time.Sleep(time.Hour)
		is.Equal(s.ca.Orders("new.test"), 0)
		s.ca.Challenges = []string{"http-01"}
		s.answer(i, "http-01")
		close(hold)
		is.NoErr(<-waiting)
		is.Equal(s.ca.Orders("new.test"), 1)
		is.True(time.Since(began) < time.Hour+time.Minute) // at once then
	})
}
