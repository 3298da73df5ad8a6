package admission_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/admission"
)

var (
	client    = netip.MustParseAddr("192.0.2.1")
	errBroken = errors.New("connection refused")
)

// An endpoint is asked for names, and counts how often.
type endpoint struct {
	delay  time.Duration
	answer error
	asked  atomic.Int64
}

func (e *endpoint) ask(ctx context.Context, name string) error {
	e.asked.Add(1)
	select {
	case <-time.After(e.delay):
		return e.answer
	case <-ctx.Done():
		return ctx.Err()
	}
}

// open returns a Control that is closed when the test ends.
func open(t *testing.T, o admission.Options) *admission.Control {
	c := admission.New(o)
	t.Cleanup(c.Close)
	return c
}

func TestAnswersAreRememberedForTheirTime(t *testing.T) {
	custom := admission.Options{KeepAllowed: time.Hour, KeepRefused: 2 * time.Hour, KeepFailed: 3 * time.Hour}
	tests := []struct {
		name   string
		o      admission.Options
		answer error
		keep   time.Duration
	}{
		{"allowed", admission.Options{}, nil, 5 * time.Minute},
		{"refused", admission.Options{}, fmt.Errorf("%w: no such customer", admission.ErrRefused), time.Minute},
		{"failed", admission.Options{}, errBroken, 10 * time.Second},
		{"allowed for as long as said", custom, nil, time.Hour},
		{"refused for as long as said", custom, admission.ErrRefused, 2 * time.Hour},
		{"failed for as long as said", custom, errBroken, 3 * time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				e := &endpoint{answer: tt.answer}
				tt.o.Ask = e.ask
				c := open(t, tt.o)
				is.Equal(c.Admit(t.Context(), "a.example.com", client), tt.answer)
				time.Sleep(tt.keep - 1)
				is.Equal(c.Admit(t.Context(), "a.example.com", client), tt.answer)
				is.Equal(e.asked.Load(), int64(1)) // it is remembered until then
				time.Sleep(time.Nanosecond)
				is.Equal(c.Admit(t.Context(), "a.example.com", client), tt.answer)
				is.Equal(e.asked.Load(), int64(2)) // and no longer
			})
		})
	}
}

func TestAnswersThatAreNotToBeKeptAreAskedForEachTime(t *testing.T) {
	for _, answer := range []error{nil, admission.ErrRefused, errBroken} {
		t.Run(fmt.Sprint(answer), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				e := &endpoint{answer: answer}
				c := open(t, admission.Options{Ask: e.ask, KeepAllowed: -1, KeepRefused: -1, KeepFailed: -1})
				is.Equal(c.Admit(t.Context(), "a.example.com", client), answer)
				is.Equal(c.Admit(t.Context(), "a.example.com", client), answer)
				is.Equal(e.asked.Load(), int64(2))
			})
		})
	}
}

func TestNameIsAskedAboutOnceForAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		e := &endpoint{delay: time.Second, answer: admission.ErrRefused}
		c := open(t, admission.Options{Ask: e.ask, KeepRefused: -1})
		begin := time.Now()
		var answers [50]error
		var waiting sync.WaitGroup
		for i := range answers {
			waiting.Go(func() { answers[i] = c.Admit(t.Context(), "a.example.com", client) })
		}
		waiting.Wait()
		is.Equal(time.Since(begin), time.Second)
		is.Equal(e.asked.Load(), int64(1))
		for _, err := range answers {
			is.Equal(err, admission.ErrRefused)
		}
	})
}

func TestNamesAreAskedAboutSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		e := &endpoint{delay: time.Second}
		c := open(t, admission.Options{Ask: e.ask})
		begin := time.Now()
		var waiting sync.WaitGroup
		for i := range 5 {
			waiting.Go(func() { c.Admit(t.Context(), fmt.Sprint(i), client) })
		}
		waiting.Wait()
		is.Equal(time.Since(begin), time.Second)
		is.Equal(e.asked.Load(), int64(5))
	})
}

func TestQuestionGoesOnWhenTheOneWhoCameFirstLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		e := &endpoint{delay: time.Second}
		c := open(t, admission.Options{Ask: e.ask})
		begin := time.Now()
		second := make(chan error, 1)
		time.AfterFunc(50*time.Millisecond, func() { second <- c.Admit(context.Background(), "a.example.com", client) })

		gone := errors.New("the client has gone")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, gone)
		defer cancel()
		is.Equal(c.Admit(ctx, "a.example.com", client), gone)
		is.Equal(time.Since(begin), 100*time.Millisecond) // the first waits no longer than its context
		is.NoErr(<-second)
		is.Equal(time.Since(begin), time.Second)
		is.NoErr(c.Admit(t.Context(), "a.example.com", client))
		is.Equal(e.asked.Load(), int64(1)) // one question for the three of them
	})
}

func TestWhoHasGivenUpAsksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		e := &endpoint{}
		c := open(t, admission.Options{Ask: e.ask, NewNames: 1})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		is.Equal(c.Admit(ctx, "a.example.com", client), context.Canceled)
		is.Equal(e.asked.Load(), int64(0))
		is.NoErr(c.Admit(t.Context(), "b.example.com", client)) // nor is it counted
	})
}

func TestQuestionsHaveTheirTime(t *testing.T) {
	tests := []struct {
		name           string
		timeout, delay time.Duration
		want           error
		after          time.Duration
	}{
		{"2 s", 0, time.Hour, context.DeadlineExceeded, 2 * time.Second},
		{"as said", time.Minute, time.Hour, context.DeadlineExceeded, time.Minute},
		{"none", -1, time.Hour, nil, time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				e := &endpoint{delay: tt.delay}
				c := open(t, admission.Options{Ask: e.ask, Timeout: tt.timeout})
				begin := time.Now()
				is.Equal(c.Admit(t.Context(), "a.example.com", client), tt.want)
				is.Equal(time.Since(begin), tt.after)
			})
		})
	}
}

func TestOldestAnswerIsForgottenForTheOneAboveTheMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		e := &endpoint{}
		c := open(t, admission.Options{Ask: e.ask, NewNames: -1, NewNamesPerClient: -1})
		ask := func(name string) int64 {
			before := e.asked.Load()
			is.NoErr(c.Admit(t.Context(), name, client))
			return e.asked.Load() - before
		}
		ask("renewed")
		time.Sleep(5 * time.Minute)
		ask("oldest")
		ask("renewed")
		for i := range 9_998 {
			ask(fmt.Sprint(i))
		}
		is.Equal(ask("oldest"), int64(0))
		ask("one more")
		is.Equal(ask("renewed"), int64(0))
		is.Equal(ask("oldest"), int64(1))
	})
}

func TestQuestionsAtATimeAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		e := &endpoint{delay: time.Hour}
		c := open(t, admission.Options{Ask: e.ask, Timeout: -1, NewNames: -1, NewNamesPerClient: -1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var waiting sync.WaitGroup
		for i := range 1000 {
			waiting.Go(func() { c.Admit(ctx, fmt.Sprint(i), client) })
		}
		waiting.Wait() // nobody does any more, but the questions go on
		is.True(errors.Is(c.Admit(t.Context(), "one more", client), admission.ErrLimit))
		is.NoErr(c.Admit(t.Context(), "0", client)) // that one is being asked
		is.NoErr(c.Admit(t.Context(), "one more", client))
		is.Equal(e.asked.Load(), int64(1001))
	})
}

func TestCloseEndsQuestionsAndWaitsForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var returned atomic.Bool
		c := admission.New(admission.Options{
			Timeout: -1,
			Ask: func(ctx context.Context, name string) error {
				<-ctx.Done()
				time.Sleep(time.Second) // it has to clean up
				returned.Store(true)
				return ctx.Err()
			},
		})
		waiter := make(chan error, 1)
		go func() { waiter <- c.Admit(context.Background(), "a.example.com", client) }()
		synctest.Wait()
		begin := time.Now()
		c.Close()
		is.Equal(time.Since(begin), time.Second)
		is.True(returned.Load())
		is.Equal(<-waiter, context.Canceled)

		err := c.Admit(t.Context(), "b.example.com", client)
		is.True(err != nil)                              // nothing is admitted any more
		is.True(!errors.Is(err, admission.ErrRefused))   // but it is no answer
		is.True(c.Admit(t.Context(), "", client) != nil) // and Ask, which would block, is not called
		c.Close()
	})
}

func TestRecallAsksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		e := &endpoint{delay: time.Second, answer: admission.ErrRefused}
		c := open(t, admission.Options{Ask: e.ask})
		_, ok := c.Recall("a.example.com")
		is.True(!ok)
		is.Equal(e.asked.Load(), int64(0))
		answer := make(chan error, 1)
		go func() { answer <- c.Admit(context.Background(), "a.example.com", client) }()
		synctest.Wait()
		_, ok = c.Recall("a.example.com")
		is.True(!ok) // it is being asked
		is.Equal(<-answer, admission.ErrRefused)
		err, ok := c.Recall("a.example.com")
		is.True(ok)
		is.Equal(err, admission.ErrRefused)
		time.Sleep(time.Minute)
		_, ok = c.Recall("a.example.com")
		is.True(!ok) // it is forgotten
		is.Equal(e.asked.Load(), int64(1))
	})
}
