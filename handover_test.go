package parachute_test

import (
	"context"
	"errors"
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"golang.org/x/crypto/acme/autocert"

	"github.com/shahnk19/parachute"
)

// replace returns a Proxy that takes the place of h's, which still gets h's requests.
func (h *house) replace() *parachute.Proxy {
	h.t.Helper()
	next := parachute.New(parachute.Options{
		Dial:        h.net.Dial,
		Predecessor: parachute.Predecessor{Follow: h.Follow, Drain: h.Drain},
	})
	h.t.Cleanup(func() { next.Close() })
	if err := next.Restore(h.Services()); err != nil {
		h.t.Fatal(err)
	}
	handedOver := make(chan error, 1)
	go func() { handedOver <- h.HandOver(h.t.Context(), math.MaxInt64) }()
	h.t.Cleanup(func() { <-handedOver })
	synctest.Wait()
	return next
}

func TestChangesWaitForTheRequestsOfThePredecessor(t *testing.T) {
	changes := map[string]func(ctx context.Context, next *parachute.Proxy) error{
		"a deploy": func(ctx context.Context, next *parachute.Proxy) error {
			return next.Deploy(ctx, parachute.Deployment{Service: "web", Targets: []string{"next.test:80"}})
		},
		"a pause": func(ctx context.Context, next *parachute.Proxy) error {
			return next.Pause(ctx, "web", parachute.Pause{})
		},
		"a stop":   func(ctx context.Context, next *parachute.Proxy) error { return next.Stop(ctx, "web", parachute.Stop{}) },
		"a remove": func(ctx context.Context, next *parachute.Proxy) error { return next.Remove(ctx, "web") },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				h.slow("web", "web.test:80", 5*time.Second)
				h.app("next", "next.test:80")
				is.NoErr(h.deploy("web", "web.test:80"))
				running := h.ask("any.test")
				next := h.replace()
				began := time.Now()
				is.NoErr(change(t.Context(), next))
				is.Equal(time.Since(began), 5*time.Second)
				is.Equal(<-running, "200 web")
			})
		})
	}
}

func TestDeployCutsTheRequestsOfThePredecessorAfterItsOwnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("web", "web.test:80", time.Minute)
		h.app("next", "next.test:80")
		is.NoErr(h.deploy("web", "web.test:80"))
		running := h.ask("any.test")
		var drained parachute.Event
		next := parachute.New(parachute.Options{
			Dial:        h.net.Dial,
			Predecessor: parachute.Predecessor{Follow: h.Follow, Drain: h.Drain},
			Notify: func(e parachute.Event) {
				if e.Kind == parachute.EventDrained {
					drained = e
				}
			},
		})
		defer next.Close()
		is.NoErr(next.Restore(h.Services()))
		began := time.Now()
		is.NoErr(next.Deploy(t.Context(), parachute.Deployment{
			Service: "web", Targets: []string{"next.test:80"}, Timeouts: parachute.Timeouts{Drain: 3 * time.Second},
		}))
		is.Equal(time.Since(began), 3*time.Second)
		is.True(strings.HasPrefix(<-running, "504 "))
		is.Equal(drained.Requests, int64(1)) // the change tells that it was cut off
	})
}

// A connection that the old process has may bring a request after the change.
func TestPredecessorSendsNothingToWhatWasReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		old := h.app("web", "web.test:80")
		h.app("next", "next.test:80")
		is.NoErr(h.deploy("web", "web.test:80"))
		next := h.replace()
		is.NoErr(next.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"next.test:80"}}))
		is.Equal(h.get("any.test"), "200 next")
		is.Equal(old.Requests(), 0)

		is.NoErr(next.Pause(t.Context(), "web", parachute.Pause{}))
		held := h.ask("any.test")
		synctest.Wait()
		is.Equal(h.Services()[0].Live.Held, int64(1))
		is.NoErr(next.Resume(t.Context(), "web"))
		is.Equal(<-held, "200 next")

		is.NoErr(next.Remove(t.Context(), "web"))
		is.True(strings.HasPrefix(h.get("any.test"), "404 "))
	})
}

func TestHeldRequestsOfThePredecessorFollowResume(t *testing.T) {
	for name, redeploy := range map[string]bool{"to the same targets": false, "to those that were deployed meanwhile": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				h := newHouse(t, parachute.Options{})
				h.app("web", "web.test:80")
				h.app("next", "next.test:80")
				is.NoErr(h.deploy("web", "web.test:80"))
				is.NoErr(h.Pause(t.Context(), "web", parachute.Pause{Max: -1}))
				held := h.ask("any.test")
				next := h.replace()
				want := "200 web"
				if redeploy {
					is.NoErr(next.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"next.test:80"}}))
					want = "200 next"
				}
				time.Sleep(time.Minute)
				is.Equal(h.Services()[0].Live.Held, int64(1)) // the hand-over does not end the wait
				is.NoErr(next.Resume(t.Context(), "web"))
				is.Equal(<-held, want)
			})
		})
	}
}

func TestResumeEndsTheDrainOfThePredecessorToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("web", "web.test:80", 20*time.Second)
		is.NoErr(h.deploy("web", "web.test:80"))
		running := h.ask("any.test")
		next := h.replace()
		paused := make(chan error, 1)
		go func() { paused <- next.Pause(t.Context(), "web", parachute.Pause{Drain: 10 * time.Second}) }()
		time.Sleep(5 * time.Second)
		began := time.Now()
		is.NoErr(next.Resume(t.Context(), "web"))
		is.NoErr(<-paused)
		is.Equal(time.Since(began), time.Duration(0))
		is.Equal(<-running, "200 web") // and was not cut off
	})
}

func TestRolloutsAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("web", "web.test:80")
		h.slow("second", "second.test:80", 5*time.Second)
		h.app("third", "third.test:80")
		is.NoErr(h.deploy("web", "web.test:80"))
		next := h.replace()
		is.NoErr(next.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"second.test:80"}, Split: parachute.Split{Percent: 100}}))
		running := h.ask("any.test")
		time.Sleep(time.Second)

		// A deploy leaves the rollout alone, and what runs there.
		began := time.Now()
		is.NoErr(next.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{"third.test:80"}}))
		is.Equal(time.Since(began), time.Duration(0))
		is.NoErr(next.EndRollout(t.Context(), "web"))
		is.Equal(time.Since(began), 4*time.Second)
		is.Equal(<-running, "200 second")
		is.Equal(h.get("any.test"), "200 third")
	})
}

func TestRolloutThatReplacesAnotherIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		for _, name := range []string{"web", "second", "third"} {
			h.app(name, name+".test:80")
		}
		is.NoErr(h.deploy("web", "web.test:80"))
		next := h.replace()
		everybody := parachute.Split{Percent: 100}
		is.NoErr(next.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"second.test:80"}, Split: everybody}))
		is.Equal(h.get("any.test"), "200 second")
		is.NoErr(next.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"third.test:80"}, Split: everybody}))
		is.Equal(h.get("any.test"), "200 third")
	})
}

func TestServiceThatCannotBeFollowedFailsAsItDoesElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("web", "web.test:80")
		is.NoErr(h.deploy("web", "web.test:80"))
		h.replace()
		h.Follow("web", &parachute.Status{Service: "web", Generation: 2, State: parachute.StateServing,
			Deployment: parachute.Deployment{Service: "web", Targets: []string{"handler:not-here"}}})
		is.Equal(h.Services()[0].State, parachute.StateFailed)
		is.True(strings.HasPrefix(h.get("any.test"), "503"))
	})
}

func TestBakeIsFollowedToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBakery(t)
		next := b.replace()
		b.is.True(errors.Is(<-b.deployed, parachute.ErrUndecided))
		b.is.NoErr(next.Pause(t.Context(), "web", parachute.Pause{}))
		b.is.NoErr(next.Resume(t.Context(), "web"))
		b.is.True(b.net.Conns("old.test:80") > 0) // it may be returned to
		time.Sleep(2 * time.Minute)
		b.is.True(next.Services()[0].Bake == nil)
		b.is.Equal(b.net.Conns("old.test:80"), 0) // neither of both proxies has it any more
		b.is.Equal(b.get("any.test"), "200 new")
	})
}

func TestHandOverRefusesChangesAndCommitsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		commits := 0
		h := newHouse(t, parachute.Options{Commit: func([]parachute.Status) error { commits++; return nil }})
		h.app("web", "web.test:80")
		sick := h.app("sick", "sick.test:80")
		sick.SetHealth(http.StatusServiceUnavailable)
		is.NoErr(h.deploy("web", "web.test:80"))
		waiting := make(chan error, 1)
		go func() { waiting <- h.deploy("web", "sick.test:80") }()
		time.Sleep(time.Second)
		next := h.replace()
		is.True(strings.Contains((<-waiting).Error(), "closed"))
		is.True(h.deploy("web", "web.test:80") != nil)
		before := commits
		is.NoErr(next.Pause(t.Context(), "web", parachute.Pause{}))
		is.Equal(h.Services()[0].State, parachute.StatePaused)
		is.Equal(commits, before)
	})
}

func TestHandOverCutsRequestsAfterItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("web", "web.test:80", time.Minute)
		is.NoErr(h.deploy("web", "web.test:80"))
		running := h.ask("any.test")
		synctest.Wait()
		began := time.Now()
		is.NoErr(h.HandOver(t.Context(), 10*time.Second))
		is.Equal(time.Since(began), 10*time.Second)
		is.True(strings.HasPrefix(<-running, "504 "))
	})
}

func TestFollowOfAClosedProxyDoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("web", "web.test:80")
		is.NoErr(h.deploy("web", "web.test:80"))
		next := h.replace()
		is.NoErr(h.Close())
		is.NoErr(next.Pause(t.Context(), "web", parachute.Pause{}))
		is.NoErr(next.Remove(t.Context(), "web"))
	})
}

func TestHandshakeGetsTheCertificateThatIsOrderedWhenOrdersAreFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k, s := newKeep(t, parachute.Options{}), &shop{allowed: []string{"good.test", "late.test"}}
		k.open(s)
		k.ca.Slow(100 * time.Millisecond)
		answer := make(chan string, 1)
		go func() { answer <- k.getTLS("good.test", "good.test", "/") }()
		time.Sleep(200 * time.Millisecond) // it is being ordered
		k.FinishOrders()
		is.Equal(<-answer, "200 web")
		is.Equal(k.getTLS("late.test", "late.test", "/"), unrecognized) // the next Proxy orders that
		is.Equal(k.ca.Orders("late.test"), 0)
	})
}

func TestNextProxyOrdersNothingBeforeTheOldOneHasFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		k := newKeep(t, parachute.Options{})
		k.app("web", "web.test:80")
		hold := make(chan struct{})
		next := parachute.New(parachute.Options{
			Dial: k.net.Dial,
			ACME: parachute.ACME{Directory: "https://ca.test:443/directory", RootCAs: k.ca.Pool(), Hold: hold},
		})
		defer next.Close()
		k.net.Serve(t, "next.test:80", next)
		k.ca.Challenges = []string{"http-01"}
		k.ca.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return k.net.Dial(ctx, network, "next.test:80")
		}
		is.NoErr(next.Deploy(t.Context(), parachute.Deployment{
			Service: "web", Targets: []string{"web.test:80"}, Hosts: []string{"new.test"}, TLS: automatic,
		}))
		time.Sleep(time.Hour)
		is.Equal(k.ca.Orders("new.test"), 0)
		close(hold)
		time.Sleep(time.Minute)
		is.Equal(k.ca.Orders("new.test"), 1)
		is.True(next.Certificates()[0].Issuer != "")
	})
}

// The old process orders to the end, but its sockets are the new one's.
func TestNextProxyAnswersTheChallengesOfTheOldOne(t *testing.T) {
	for _, challenge := range []string{"http-01", "tls-alpn-01"} {
		t.Run(challenge, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				cache := autocert.DirCache(t.TempDir())
				k := newKeep(t, parachute.Options{ACME: parachute.ACME{Cache: cache}})
				k.ca.Challenges = []string{challenge}
				k.ca.Slow(100 * time.Millisecond)
				k.ca.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
					return k.net.Dial(ctx, network, "next.test"+address[strings.LastIndexByte(address, ':'):])
				}
				is.NoErr(k.secure("web", automatic, "new.test"))
				hold := make(chan struct{})
				next := parachute.New(parachute.Options{
					Dial:        k.net.Dial,
					ACME:        parachute.ACME{Directory: "https://ca.test:443/directory", RootCAs: k.ca.Pool(), Cache: cache, Hold: hold},
					Predecessor: parachute.Predecessor{Follow: k.Follow, Drain: k.Drain},
				})
				defer next.Close()
				is.NoErr(next.Restore(k.Services()))
				k.net.Serve(t, "next.test:80", next).SetHealth(0)
				k.net.ServeTLS(t, "next.test:443", next.TLSConfig(), next).SetHealth(0)
				synctest.Wait()
				is.Equal(k.Certificates()[0].Issuer, "") // it is being ordered
				k.FinishOrders()
				is.True(k.Certificates()[0].Issuer != "")
				close(hold)
				time.Sleep(time.Second)
				is.True(next.Certificates()[0].Issuer != "")
				is.Equal(k.ca.Orders("new.test"), 1)
			})
		})
	}
}

// The version that is returned to has requests in the process before, too.
func TestTakeBackCutsNothingInThePredecessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.slow("web", "web.test:80", 20*time.Second)
		bad := h.app("bad", "bad.test:80")
		is.NoErr(h.deploy("web", "web.test:80"))
		running := h.ask("any.test")
		next := h.replace()
		deployed := make(chan error, 1)
		go func() {
			deployed <- next.Deploy(context.Background(), parachute.Deployment{Service: "web", Targets: []string{"bad.test:80"}})
		}()
		time.Sleep(time.Second)
		changes := h.Services()[0].Live.Changes // whoever asks h does not see what next waits for
		is.Equal(len(changes), 1)
		is.Equal(changes[0].Kind, parachute.EventDraining)
		is.Equal(changes[0].Requests, int64(1))
		bad.Stop()
		is.Equal(<-running, "200 web")
		is.True(errors.Is(<-deployed, parachute.ErrTakenBack))
		is.Equal(len(h.Services()[0].Live.Changes), 0)
	})
}
