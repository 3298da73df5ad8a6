package fleet_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/fleet"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv/kvtest"
)

var simulate = flag.Bool("fleet.simulate", false, "simulate fleets of up to a thousand proxies, and log the table of docs/fleet.md")

// A light is a Proxy without requests: what it serves are data, and nothing has to drain.
type light struct {
	commit func(parachute.Delta) error

	mu       sync.Mutex // guards what follows
	services map[string]parachute.Status
	switched map[string]time.Time
}

func (l *light) Probe(context.Context, parachute.Deployment) error { return nil }

func (l *light) Services() []parachute.Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]parachute.Status, 0, len(l.services))
	for _, s := range l.services {
		all = append(all, s)
	}
	return all
}

// Mirror does as that of a parachute.Proxy.
func (l *light) Mirror(services []string, next func(service string, current *parachute.Status) *parachute.Status) (drain func(), err error) {
	var d parachute.Delta
	for _, name := range services {
		l.mu.Lock()
		var current *parachute.Status
		if s, ok := l.services[name]; ok {
			current = &s
		}
		l.mu.Unlock()
		switch s := next(name, current); {
		case s != nil:
			d.Changed = append(d.Changed, *s)
		case current != nil:
			d.Removed = append(d.Removed, name)
		}
	}
	if len(d.Changed)+len(d.Removed) > 0 {
		if err := l.commit(d); err != nil {
			return nil, err
		}
	}
	l.publish(d)
	return func() {}, nil
}

func (l *light) publish(d parachute.Delta) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range d.Changed {
		s.Live = &parachute.Live{Targets: []parachute.TargetStatus{{Health: parachute.HealthHealthy}}}
		l.services[s.Service], l.switched[s.Service] = s, time.Now()
	}
	for _, name := range d.Removed {
		delete(l.services, name)
	}
}

// A simulation is a fleet of such proxies.
type simulation struct {
	memory  *kvtest.Memory
	latency time.Duration // there and back at least, and half as much again on the average
	proxies []*light
	members []*fleet.Member
	running sync.WaitGroup
	stop    context.CancelFunc

	mu    sync.Mutex // guards calls
	calls map[kvtest.Call]int
}

// join has one more proxy join the fleet, which serves these services already.
func (s *simulation) join(ctx context.Context, served []parachute.Status) *fleet.Member {
	client := s.memory.Client()
	client.Fail(func(call kvtest.Call) kvtest.Fault {
		s.mu.Lock()
		s.calls[call]++
		s.mu.Unlock()
		return kvtest.Fault{Before: s.oneWay(), After: s.oneWay()}
	})
	l := &light{services: make(map[string]parachute.Status), switched: make(map[string]time.Time)}
	l.publish(parachute.Delta{Changed: served})
	m := fleet.New(client, fleet.Config{
		Name:   fmt.Sprintf("proxy-%d", len(s.members)+1),
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Save:   func(parachute.Delta) error { return nil },
	})
	l.commit = m.Commit
	s.proxies, s.members = append(s.proxies, l), append(s.members, m)
	s.running.Go(func() { m.Run(ctx, l) })
	return m
}

// oneWay returns how long a message takes.
func (s *simulation) oneWay() time.Duration { return s.latency/2 + rand.N(s.latency/2) }

// deploy has the first member deploy d, and returns how long that took.
func (s *simulation) deploy(t *testing.T, status parachute.Status) time.Duration {
	t.Helper()
	begun := time.Now()
	m, l := s.members[0], s.proxies[0]
	err := m.Agree(t.Context(), status.Deployment, status.Generation)
	if err == nil {
		d := parachute.Delta{Changed: []parachute.Status{status}}
		if err = l.commit(d); err == nil {
			l.publish(d)
		}
	}
	if err := m.Settle(t.Context(), status.Service, err, func(string) {}); err != nil {
		t.Fatal(err)
	}
	return time.Since(begun)
}

// serving returns a service that serves.
func serving(name string, generation uint64, target string) parachute.Status {
	return parachute.Status{
		Service: name, Generation: generation, State: parachute.StateServing,
		Deployment: parachute.Deployment{Service: name, Hosts: []string{name + ".example.com"}, Targets: []string{target}},
	}
}

// A result is a row of the table.
type result struct {
	proxies, services     int
	latency               time.Duration
	deploy, last, joining time.Duration
	requests, watched     int
}

func (r result) String() string {
	round := time.Millisecond
	return fmt.Sprintf("| %d | %d | %v | %v | %v | %d | %d | %v |", r.proxies, r.services, r.latency,
		r.deploy.Round(round), r.last.Round(round), r.requests, r.watched, r.joining.Round(round))
}

// simulated returns what a deploy costs, and how long one more proxy takes to join.
func simulated(t *testing.T, proxies, services int, latency time.Duration) (r result) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		s := &simulation{memory: kvtest.NewMemory(), latency: latency, calls: make(map[kvtest.Call]int), stop: stop}
		defer s.memory.Close()
		defer s.running.Wait()
		defer stop()
		var served []parachute.Status
		for i := range services {
			served = append(served, serving(fmt.Sprintf("service-%d", i), uint64(i+1), "10.0.0.1:3000"))
		}
		for i := range proxies {
			s.join(ctx, served)
			if i == 0 {
				time.Sleep(time.Minute)
			}
		}
		time.Sleep(time.Minute)
		for _, m := range s.members {
			if err := m.Ready(); err != nil {
				t.Fatal(err)
			}
		}
		s.mu.Lock()
		clear(s.calls)
		s.mu.Unlock()
		r = result{proxies: proxies, services: services, latency: latency}
		name := served[0].Service
		r.deploy = s.deploy(t, serving(name, uint64(services+1), "10.0.0.2:3000"))
		s.mu.Lock()
		r.requests, r.watched = s.calls["read"]+s.calls["commit"], s.calls["watch"]
		s.mu.Unlock()
		var switches []time.Time
		for _, l := range s.proxies {
			l.mu.Lock()
			switches = append(switches, l.switched[name])
			l.mu.Unlock()
		}
		slices.SortFunc(switches, time.Time.Compare)
		r.last = switches[len(switches)-1].Sub(switches[0])
		begun := time.Now()
		late := s.join(ctx, nil)
		for late.Ready() != nil {
			time.Sleep(time.Millisecond)
		}
		r.joining = time.Since(begun)
	})
	return r
}

// The time between the first switch of a deploy and the last one is how long the fleet
// serves two versions.
func TestProxiesSwitchWithinAHundredMilliseconds(t *testing.T) {
	sizes := [][2]int{{10, 100}}
	if *simulate {
		sizes = [][2]int{{10, 10_000}, {100, 1_000}, {1_000, 100}}
	}
	for _, size := range sizes {
		for _, latency := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond} {
			r := simulated(t, size[0], size[1], latency)
			if r.last > 100*time.Millisecond {
				t.Errorf("the last of %d proxies switches %v after the first", r.proxies, r.last)
			}
			t.Log(r)
		}
	}
}
