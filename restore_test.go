package parachute_test

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// status returns what Commit would have been given for one target.
func status(service string, generation uint64, target string, hosts ...string) parachute.Status {
	return parachute.Status{Service: service, Generation: generation, State: parachute.StateServing,
		Deployment: parachute.Deployment{Service: service, Targets: []string{target}, Hosts: hosts}}
}

func TestRestoreBringsBackWhatCommitWasGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var kept []parachute.Status
		first := newHouse(t, parachute.Options{Commit: func(s []parachute.Status) error { kept = s; return nil }})
		for _, name := range []string{"a", "b"} {
			first.app(name, name+".test:80")
			is.NoErr(first.Deploy(t.Context(), parachute.Deployment{Service: name, Targets: []string{name + ".test:80"}, Hosts: []string{name + ".example.com"}}))
		}
		is.NoErr(first.Close())

		second := newHouse(t, parachute.Options{})
		second.app("a", "a.test:80")
		second.app("b", "b.test:80")
		is.NoErr(second.Restore(kept))
		is.Equal(second.get("a.example.com"), "200 a")
		is.Equal(second.get("b.example.com"), "200 b")
		services := second.Services()
		for i := range services {
			services[i].Live = nil
		}
		is.Equal(services, kept)
		is.NoErr(second.Deploy(t.Context(), parachute.Deployment{Service: "a", Targets: []string{"b.test:80"}, Hosts: []string{"a.example.com"}}))
		is.Equal(second.Services()[0].Generation, uint64(3)) // generations go on where they were
	})
}

func TestRequestsToARestoredServiceWaitForItsFirstProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("app", "app.test:80")
		h.net.Blackhole("silent.test:80")
		two := status("web", 1, "silent.test:80", "web.test")
		two.Deployment.Targets = append(two.Deployment.Targets, "app.test:80")
		is.NoErr(h.Restore([]parachute.Status{two, status("alone", 2, "silent.test:80", "alone.test")}))
		begin := time.Now()
		is.Equal(h.get("web.test"), "200 app") // the target that is healthy, though the other did not answer
		is.Equal(time.Since(begin), time.Duration(0))

		go h.get("alone.test")
		time.Sleep(999 * time.Millisecond)
		is.Equal(h.Services()[0].Live.Targets[0].Requests, int64(0)) // not sent yet
		time.Sleep(2 * time.Millisecond)
		is.Equal(h.Services()[0].Live.Targets[0].Requests, int64(1)) // after a second it is, whatever the probe does
	})
}

// Where none of them is healthy, that is known once the last one was probed, and
// waiting for longer would not help.
func TestRequestsToARestoredServiceWaitUntilEachTargetWasProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		web := status("web", 1, "one.test:80", "web.test")
		web.Deployment.Targets = append(web.Deployment.Targets, "two.test:80")
		for address, took := range map[string]time.Duration{"one.test:80": 0, "two.test:80": 400 * time.Millisecond} {
			h.net.Serve(t, address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/up" {
					time.Sleep(took) // the app's work
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			})).SetHealth(0)
		}
		is.NoErr(h.Restore([]parachute.Status{web}))
		begin := time.Now()
		is.Equal(h.get("web.test"), "200 ")
		is.Equal(time.Since(begin), 400*time.Millisecond)
	})
}

func TestDeploymentOfAnotherServiceIsNotRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("app", "app.test:80")
		web := status("web", 1, "app.test:80", "web.test")
		web.Deployment.Service = "other"
		is.True(errors.Is(h.Restore([]parachute.Status{web}), parachute.ErrInvalid))
		is.Equal(h.Services()[0].Error, "the deployment is of service other")
		is.Equal(h.get("web.test"), "503 503 Service Unavailable")
	})
}

// It has a dispute with one service about the host, and not the claim, which another has.
func TestServiceThatCannotBeRestoredLeavesAClaimToItsOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("web", "web.test:80")
		h.app("owner", "owner.test:80")
		web := status("web", 1, "web.test:80", "app.test", "www.test")
		web.Deployment.CanonicalHost = "app.test"
		owner := status("owner", 2, "owner.test:80", "app.test")
		late := status("late", 3, "web.test:80", "app.test", "late.test")
		late.Deployment.CanonicalHost = "late.test"
		web.Deployment.PathPrefixes = []string{"/web"}
		is.True(errors.Is(h.Restore([]parachute.Status{web, owner, late}), parachute.ErrConflict))
		is.Equal(h.get("app.test"), "200 owner")
		is.Equal(h.get("late.test"), "503 503 Service Unavailable")
	})
}

func TestServiceThatCannotBeRestoredDoesNotKeepTheOthersFromIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("good", "good.test:80")
		broken := status("broken", 7, "no port", "broken.example.com")
		twin := status("twin", 8, "good.test:80", "good.example.com", "twin.example.com")
		err := h.Restore([]parachute.Status{broken, status("good", 1, "good.test:80", "good.example.com"), twin})
		is.True(errors.Is(err, parachute.ErrInvalid))
		is.True(errors.Is(err, parachute.ErrConflict)) // joined: each is told
		is.Equal(h.get("good.example.com"), "200 good")
		is.Equal(h.get("broken.example.com"), "503 503 Service Unavailable") // it keeps its host
		is.Equal(h.get("twin.example.com"), "503 503 Service Unavailable")
		services := h.Services()
		is.Equal(len(services), 3)
		is.Equal(services[0].State, parachute.StateFailed)
		is.Equal(services[0].Deployment.Targets, []string{"no port"}) // what was asked is kept
		is.Equal(services[0].Error, `target "no port" has no port: want host:port, such as web-1:3000`)

		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "broken", Targets: []string{"good.test:80"}, Hosts: []string{"broken.example.com"}}))
		is.Equal(h.get("broken.example.com"), "200 good") // the next deploy replaces it
		is.NoErr(h.Remove(t.Context(), "twin"))
	})
}

func TestServiceThatHadFailedKeepsItsReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		lost := status("lost", 1, "", "lost.example.com")
		lost.State, lost.Error = parachute.StateFailed, "its saved state cannot be read"
		is.True(errors.Is(h.Restore([]parachute.Status{lost}), parachute.ErrInvalid))
		is.Equal(h.Services()[0].Error, "its saved state cannot be read")
	})
}

func TestRestoreComesOnceAndFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("app", "app.test:80")
		is.NoErr(h.deploy("web", "app.test:80"))
		err := h.Restore([]parachute.Status{status("other", 9, "app.test:80", "other.test")})
		is.True(errors.Is(err, parachute.ErrInvalid))
		is.Equal(len(h.Services()), 1)
	})
}

func TestCloseBesideRestoreLeavesNoGoroutine(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			p := parachute.New(parachute.Options{Dial: new(proxytest.Net).Dial})
			restored := make(chan error)
			go func() {
				restored <- p.Restore([]parachute.Status{status("web", 1, "web-1:3000"), status("api", 2, "web-2:3000", "api.test")})
			}()
			is.NoErr(p.Close())
			<-restored // one that came too late, or was in time and is closed; the bubble tells what is left
		})
	}
}

func BenchmarkRestore1000Services(b *testing.B) {
	var services []parachute.Status
	for i := range 1000 {
		name := fmt.Sprintf("s%d", i)
		services = append(services, status(name, uint64(i+1), "127.0.0.1:1", name+".example.com"))
	}
	for b.Loop() {
		p := parachute.New(parachute.Options{})
		if err := p.Restore(services); err != nil {
			b.Fatal(err)
		}
		p.Close()
	}
}
