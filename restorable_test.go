package parachute_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// A sequence makes changes at random, of which some fit and some do not.
type sequence struct {
	*rand.Rand
	log []string
}

// apps are the targets that changes choose among; the last is down.
var apps = []string{"a.test:80", "b.test:80", "c.test:80", "d.test:80", "h2c://down.test:80"}

// some returns up to most of all, none of them twice.
func some[T any](s *sequence, least, most int, all ...T) []T {
	all = slices.Clone(all)
	s.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if n := least + s.IntN(most-least+1); n > 0 {
		return all[:n]
	}
	return nil
}

func one[T any](s *sequence, of ...T) T { return of[s.IntN(len(of))] }

// deployment returns one that may be, or that contradicts itself or others.
func (s *sequence) deployment(service string) parachute.Deployment {
	targets := some(s, 1, 3, apps...)
	writers := 1 + s.IntN(len(targets))
	var readers []string // nil where there are none, as after JSON
	if writers < len(targets) {
		readers = targets[writers:]
	}
	if s.IntN(8) == 0 {
		readers = append(slices.Clone(readers), targets[0])
	}
	d := parachute.Deployment{
		Service:        service,
		Targets:        targets[:writers],
		ReadTargets:    readers,
		ReadWebSockets: s.IntN(2) == 0,
		Hosts:          some(s, 0, 2, "one.test", "two.test", "*.test", "three.test"),
		PathPrefixes:   some(s, 0, 1, "/api", "/shop"),
		KeepPrefix:     s.IntN(4) == 0,
		Force:          s.IntN(4) == 0,
		Timeouts: parachute.Timeouts{
			Deploy: one(s, 0, time.Second), Drain: one(s, 0, time.Second, -1), Stream: one(s, 0, time.Second, -1), Hold: one(s, 0, time.Second),
		},
	}
	d.HealthCheck.Path = one(s, "", "/healthz", "/")
	d.HealthCheck.Port = one(s, 0, 0, 0, 80)
	d.TargetTLS.Insecure = s.IntN(16) == 0
	d.CanonicalHost = one(s, "", "", "", "", "", "one.test")
	d.Buffer.Requests = s.IntN(4) == 0
	return d
}

// change makes one change of p.
func (s *sequence) change(ctx context.Context, p *parachute.Proxy) error {
	service := one(s, "web", "shop")
	split := parachute.Split{Percent: one(s, 0, 50, 100, 101), List: some(s, 0, 1, "staff")}
	var what any
	var err error
	switch s.IntN(11) {
	case 0, 1, 2, 3:
		d := s.deployment(service)
		what, err = d, p.Deploy(ctx, d)
	case 4, 5:
		d := s.deployment(service)
		r := parachute.Rollout{Targets: d.Targets, ReadTargets: d.ReadTargets, Timeouts: d.Timeouts, Split: split}
		what, err = r, p.Rollout(ctx, service, r)
	case 6:
		what, err = split, p.SetSplit(ctx, service, split)
	case 7:
		what, err = "end rollout", p.EndRollout(ctx, service)
	case 8:
		how := parachute.Pause{Max: one(s, 0, time.Minute, -1), Drain: one(s, 0, time.Second, -1)}
		what, err = how, p.Pause(ctx, service, how)
	case 9:
		how := parachute.Stop{Message: one(s, "", "moving"), Drain: one(s, 0, time.Second)}
		what, err = how, p.Stop(ctx, service, how)
	case 10:
		if s.IntN(4) > 0 {
			what, err = "resume", p.Resume(ctx, service)
		} else {
			what, err = "remove", p.Remove(ctx, service)
		}
	}
	s.log = append(s.log, fmt.Sprintf("%s %T %+v: %v", service, what, what, err))
	return err
}

// What a change has made of a service, and was kept, a restart brings back: all
// of it, and nothing else.
func TestWhateverWasChangedCanBeRestored(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			s := &sequence{Rand: rand.New(rand.NewPCG(seed, 0))}
			var kept []byte
			h := newHouse(t, parachute.Options{Commit: func(all []parachute.Status) (err error) {
				kept, err = json.Marshal(all)
				return err
			}})
			for _, address := range apps[:4] {
				h.app("app", address)
			}
			defer func() {
				if t.Failed() {
					t.Log("seed", seed, "\n"+strings.Join(s.log, "\n"))
				}
			}()
			for range 12 {
				if s.change(t.Context(), h.Proxy) != nil {
					continue
				}
				var all []parachute.Status
				is.NoErr(json.Unmarshal(kept, &all))
				again := parachute.New(parachute.Options{Dial: h.net.Dial})
				err := again.Restore(all)
				restored := asked(again)
				again.Close()
				is.NoErr(err)
				is.Equal(restored, asked(h.Proxy)) // what was
			}
		})
	}
}

// asked returns what has been asked of p, as JSON.
func asked(p *parachute.Proxy) string {
	services := p.Services()
	for i := range services {
		var targets []string
		for _, t := range services[i].Live.Targets {
			targets = append(targets, fmt.Sprint(t.Address, t.Reads, t.Rollout))
		}
		services[i].Error, services[i].Live = fmt.Sprint(services[i].Error, targets), nil
	}
	text, err := json.MarshalIndent(services, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func TestDeployIsRefusedWhereTheRolloutCouldNotBeRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		for _, name := range []string{"old", "new", "second"} {
			h.app(name, name+".test:80")
		}
		is.NoErr(h.deploy("web", "old.test:80"))
		is.NoErr(h.Rollout(t.Context(), "web", parachute.Rollout{Targets: []string{"second.test:80"}}))
		began := time.Now()
		grpc := parachute.Deployment{Service: "web", Targets: []string{"h2c://new.test:80"}, HealthCheck: parachute.HealthCheck{GRPC: true}, Force: true}
		err := h.Deploy(t.Context(), grpc)
		is.Equal(err.Error(), "parachute: deploy web: the rollout to second.test:80 goes on, but not with this deployment: "+
			"target second.test:80: a gRPC health check takes HTTP/2: name it h2c://web-1:3000, or https://web-1:3000 if it speaks TLS, or check it without gRPC; "+
			"end the rollout first, or deploy what it can be part of")
		is.Equal(time.Since(began), time.Duration(0)) // nobody waited for health
		is.Equal(h.get("any.test"), "200 old")
		is.NoErr(h.EndRollout(t.Context(), "web"))
		is.NoErr(h.Deploy(t.Context(), grpc))
	})
}

func TestServiceWhoseRolloutCannotBeRestoredServesWithoutIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("web", "web.test:80")
		s := status("web", 7, "web.test:80")
		s.Rollout = &parachute.Rollout{Targets: []string{"http://second.test"}, Split: parachute.Split{Percent: 100}}
		err := h.Restore([]parachute.Status{s})
		is.True(strings.HasPrefix(err.Error(), "parachute: restore web: the service serves without its rollout to http://second.test: "))
		is.Equal(h.get("any.test"), "200 web")
		is.Equal(h.Services()[0].State, parachute.StateServing)
		is.Equal(h.Services()[0].Rollout, nil)
		is.Equal(len(h.of(parachute.EventFailed)), 1)
	})
}

// A state file may have been edited, or be of somebody else.
func TestHaltedStateWithoutItsDetailsIsRestoredWithDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		h := newHouse(t, parachute.Options{})
		h.app("web", "web.test:80")
		paused, stopped := status("paused", 1, "web.test:80", "paused.test"), status("stopped", 2, "web.test:80", "stopped.test")
		paused.State, stopped.State = parachute.StatePaused, parachute.StateStopped
		paused.Stop = &parachute.Stop{Message: "not this"}
		is.NoErr(h.Restore([]parachute.Status{paused, stopped}))
		is.Equal(h.Services()[0].Pause, &parachute.Pause{Max: 30 * time.Second, Drain: 30 * time.Second})
		is.Equal(h.Services()[0].Stop, nil)
		began := time.Now()
		is.True(strings.HasPrefix(h.get("paused.test"), "504 "))
		is.Equal(time.Since(began), 30*time.Second)
		is.True(strings.HasPrefix(h.get("stopped.test"), "503 "))
	})
}

// It may be what keeps an app away from a database that is being moved.
func TestPauseOutlivesThatItsServiceCouldNotBeRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var kept []parachute.Status
		h := newHouse(t, parachute.Options{Commit: func(all []parachute.Status) error { kept = all; return nil }})
		h.app("web", "web.test:80")
		s := status("web", 7, "web.test:80")
		s.State, s.Pause = parachute.StatePaused, &parachute.Pause{Max: time.Minute}
		s.Deployment.Access.BasicAuthFile = "/nowhere/passwords"
		is.True(h.Restore([]parachute.Status{s}) != nil)
		is.Equal(h.Services()[0].State, parachute.StateFailed)
		is.NoErr(h.Deploy(t.Context(), parachute.Deployment{Service: "other", Targets: []string{"web.test:80"}, Hosts: []string{"other.test"}}))
		is.Equal(kept[1].Service, "web")
		kept[1].Deployment.Access.BasicAuthFile = "" // what was missing is there again

		again := newHouse(t, parachute.Options{})
		again.app("web", "web.test:80")
		is.NoErr(again.Restore(kept))
		is.Equal(again.Services()[1].State, parachute.StatePaused)

		is.NoErr(h.deploy("web", "web.test:80")) // or it is deployed anew
		is.Equal(h.Services()[1].State, parachute.StatePaused)
		is.Equal(h.Services()[1].Pause.Max, time.Minute)
	})
}
