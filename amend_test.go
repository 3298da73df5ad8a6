package parachute_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

func TestAmendIsRefusedIfSomethingElseServesAtTheSwitch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("one", "one.test:80")
		h.app("two", "two.test:80")
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"one.test:80"}, KeepPrefix: true, Release: "v1", Force: true}))
		err := h.Amend(t.Context(), "web", func(d *parachute.Deployment) error {
			is.True(d.KeepPrefix)                 // it is what serves
			is.Equal(d.Release, "")               // but for what was of that deploy
			is.Equal(d.Force, false)              // likewise
			return h.deploy("web", "two.test:80") // which comes in between
		})
		is.True(errors.Is(err, parachute.ErrSuperseded))
		is.Equal(h.get("any.test"), "200 two")
		is.Equal(h.Services()[0].Deployment.KeepPrefix, false)
		is.True(errors.Is(h.Amend(t.Context(), "none", func(*parachute.Deployment) error { return nil }), parachute.ErrNotFound))
		is.NoErr(h.Amend(t.Context(), "web", func(d *parachute.Deployment) error { d.Targets = []string{"one.test:80"}; return nil }))
		is.Equal(h.get("any.test"), "200 one")
	})
}

func TestCheckChangesNothingAndTellsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var compared int
		h := newHouse(t, parachute.Options{Compare: func(before, after parachute.Deployment) parachute.Difference {
			compared++
			return parachute.Difference{Now: after.Hosts}
		}})
		h.app("one", "one.test:80")
		h.app("two", "two.test:80").SetHealth(503)
		is.NoErr(h.deploy("web", "one.test:80"))
		kinds := h.kinds()
		different, err := h.Check(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"one.test:80"}, Hosts: []string{"a.test"}})
		is.NoErr(err)
		is.Equal(different.Now, []string{"a.test"})
		_, err = h.Check(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"two.test:80"}, Timeouts: parachute.Timeouts{Deploy: time.Second}})
		is.True(errors.Is(err, parachute.ErrUnhealthy))
		_, err = h.Check(t.Context(), parachute.Deployment{Service: "other", Targets: []string{"one.test:80"}})
		is.True(errors.Is(err, parachute.ErrConflict)) // any host is web's
		is.Equal(h.kinds(), kinds)
		is.Equal(h.Services()[0].Generation, uint64(1))
		is.Equal(compared, 1)
	})
}

func TestTurnsComeOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("one", "one.test:80")
		sick := h.app("two", "two.test:80")
		sick.SetHealth(503)
		running := make(chan error, 1)
		go func() { running <- h.deploy("web", "two.test:80") }()
		synctest.Wait()
		var order []string
		ended := make(chan struct{}, 2)
		for _, name := range []string{"first", "second"} {
			go func() {
				leave, err := h.Turn(t.Context(), "web")
				if err == nil {
					order = append(order, name)
					leave()
				}
				ended <- struct{}{}
			}()
			synctest.Wait()
		}
		is.Equal(len(order), 0) // a deploy is under way
		leave, err := h.Turn(t.Context(), "other")
		is.NoErr(err) // of the other one there is none
		leave()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = h.Turn(ctx, "web")
		is.True(errors.Is(err, context.Canceled))
		sick.SetHealth(200)
		is.NoErr(<-running)
		<-ended
		<-ended
		is.Equal(order, []string{"first", "second"})
		go func() { running <- h.deploy("web", "one.test:80") }()
		sick.SetHealth(503)
		h.Close()
		<-running
		_, err = h.Turn(t.Context(), "web")
		is.True(errors.Is(err, parachute.ErrClosed))
	})
}
