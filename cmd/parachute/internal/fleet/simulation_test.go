package fleet_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/fleet"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv/kvtest"
)

var simulate = flag.Bool("fleet.simulate", false, "simulate fleets of up to a thousand proxies, and log the table of docs/fleet.md")

// A snapshot is what a proxy serves. It never changes, so that all who serve the same share
// one.
type snapshot struct {
	all   []parachute.Status
	place map[string]int // in all, by service
}

// with returns what is served after d.
func (s *snapshot) with(d parachute.Delta) *snapshot {
	next := &snapshot{all: slices.Clone(s.all), place: maps.Clone(s.place)}
	for _, c := range d.Changed {
		c.Live = &parachute.Live{Targets: []parachute.TargetStatus{{Health: parachute.HealthHealthy}}}
		if i, is := next.place[c.Service]; is {
			next.all[i] = c
			continue
		}
		next.place[c.Service] = len(next.all)
		next.all = append(next.all, c)
	}
	return next
}

// A light is a Proxy without requests: what it serves are data, and nothing has to drain. No
// service is removed.
type light struct {
	sim    *simulation
	commit func(parachute.Delta) error

	mu       sync.Mutex // guards what follows
	serves   *snapshot
	switched time.Time // last
}

func (l *light) Probe(context.Context, parachute.Deployment) error { return nil }

func (l *light) Counted(string) (c parachute.Counted) { return c }

func (l *light) CountedElsewhere(string, parachute.Counted) {}

func (l *light) now() *snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.serves
}

func (l *light) Services() []parachute.Status { return l.now().all }

// Mirror does as that of a parachute.Proxy.
func (l *light) Mirror(services []string, next func(service string, current *parachute.Status) *parachute.Status) (drain func(), err error) {
	var d parachute.Delta
	now := l.now()
	for _, name := range services {
		var current *parachute.Status
		if i, is := now.place[name]; is {
			current = &now.all[i]
		}
		if s := next(name, current); s != nil {
			d.Changed = append(d.Changed, *s)
		}
	}
	if len(d.Changed) > 0 {
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
	l.serves, l.switched = l.sim.after(l.serves, d), time.Now()
}

// A step is from a snapshot to the next one.
type step struct {
	from       *snapshot
	service    string
	generation uint64
}

// Traffic is what the members and the store say to each other: requests with their answers,
// and what those who watch are told. Bytes are those of keys and values.
type traffic struct{ requests, messages, bytes int }

// A simulation is a fleet of such proxies.
type simulation struct {
	memory  *kvtest.Memory
	latency atomic.Int64    // a time.Duration: there and back at least, and half as much again on the average
	proxies []*light        // but for those that join to be measured
	members []*fleet.Member // likewise
	named   int             // how many members there were
	running sync.WaitGroup

	mu      sync.Mutex // guards what follows
	steps   map[step]*snapshot
	traffic traffic
}

// after returns what is served after d where from was.
func (s *simulation) after(from *snapshot, d parachute.Delta) *snapshot {
	if len(d.Changed) != 1 {
		return from.with(d)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	this := step{from, d.Changed[0].Service, d.Changed[0].Generation}
	if s.steps[this] == nil {
		s.steps[this] = from.with(d)
	}
	return s.steps[this]
}

// count adds to the traffic.
func (s *simulation) count(t traffic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.traffic.requests += t.requests
	s.traffic.messages += t.messages
	s.traffic.bytes += t.bytes
}

// counted returns the traffic since the last call.
func (s *simulation) counted() (t traffic) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, s.traffic = s.traffic, traffic{}
	return t
}

// A metered store counts what one member says, and is told.
type metered struct {
	kv.Store
	count func(traffic)
}

// Read is that of kv.Store.
func (m metered) Read(ctx context.Context, prefix string) ([]kv.Pair, int64, error) {
	pairs, revision, err := m.Store.Read(ctx, prefix)
	t := traffic{requests: 1, bytes: len(prefix)}
	for _, p := range pairs {
		t.bytes += len(p.Key) + len(p.Value)
	}
	m.count(t)
	return pairs, revision, err
}

// Commit is that of kv.Store.
func (m metered) Commit(ctx context.Context, conditions []kv.Condition, writes []kv.Write) (int64, bool, error) {
	t := traffic{requests: 1}
	for _, c := range conditions {
		t.bytes += len(c.Key)
	}
	for _, w := range writes {
		t.bytes += len(w.Key) + len(w.Value)
	}
	m.count(t)
	return m.Store.Commit(ctx, conditions, writes)
}

// Watch is that of kv.Store.
func (m metered) Watch(ctx context.Context, prefix string, after int64, each func(int64, []kv.Change) error) error {
	return m.Store.Watch(ctx, prefix, after, func(revision int64, changes []kv.Change) error {
		t := traffic{messages: 1}
		for _, c := range changes {
			t.bytes += len(c.Key) + len(c.Value)
		}
		m.count(t)
		return each(revision, changes)
	})
}

// join has one more proxy join the fleet, which serves that already. When ctx ends, it is gone.
func (s *simulation) join(ctx context.Context, served *snapshot) (*light, *fleet.Member) {
	client := s.memory.Client()
	client.Fail(func(kvtest.Call) kvtest.Fault {
		return kvtest.Fault{Before: s.oneWay(), After: s.oneWay()}
	})
	l := &light{sim: s, serves: served}
	s.named++
	m := fleet.New(metered{client, s.count}, fleet.Config{
		Name:   fmt.Sprintf("proxy-%d", s.named),
		Logger: slog.New(slog.DiscardHandler),
		Save:   func(parachute.Delta) error { return nil },
	})
	l.commit = m.Commit
	s.running.Go(func() { m.Run(ctx, l) })
	return l, m
}

// oneWay returns how long a message takes.
func (s *simulation) oneWay() time.Duration {
	latency := time.Duration(s.latency.Load())
	return latency/2 + rand.N(latency/2)
}

// deploy has the first member deploy a service, and returns when it was committed.
func (s *simulation) deploy(t *testing.T, status parachute.Status) (committed time.Time) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	key := "services/" + status.Service
	pairs, revision, err := s.memory.Client().Read(ctx, key)
	if err != nil || len(pairs) == 0 {
		t.Fatal(pairs, err)
	}
	seen := make(chan time.Time, 1)
	go s.memory.Client().Watch(ctx, key, revision, func(int64, []kv.Change) error {
		seen <- time.Now()
		return context.Canceled // once
	})
	m, l := s.members[0], s.proxies[0]
	err = m.Agree(t.Context(), status.Deployment, status.Generation)
	if err == nil {
		d := parachute.Delta{Changed: []parachute.Status{status}}
		if err = l.commit(d); err == nil {
			l.publish(d)
		}
	}
	if err := m.Settle(t.Context(), []string{status.Service}, err, func(_, _ string) {}); err != nil {
		t.Fatal(err)
	}
	return <-seen
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
	proxies, services              int
	latency                        time.Duration
	deploy, switching, apart, join time.Duration
	cost, joining                  traffic
}

func (r result) String() string {
	round := func(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
	return fmt.Sprintf("| %d | %d | %v | %v | %v | %v | %d | %d | %.0f kB | %v | %.1f MB |", r.proxies, r.services, r.latency,
		round(r.deploy), round(r.switching), round(r.apart), r.cost.requests, r.cost.messages, float64(r.cost.bytes)/1e3, round(r.join), float64(r.joining.bytes)/1e6)
}

// await returns when the members are ready.
func (s *simulation) await(members ...*fleet.Member) {
	for _, m := range members {
		for m.Ready() != nil {
			time.Sleep(time.Millisecond) // of the bubble
		}
	}
}

// simulated calls each with what a deploy costs, and how long one more proxy takes to join,
// at each of these latencies.
func simulated(t *testing.T, proxies, services int, latencies []time.Duration, each func(r result)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		s := &simulation{memory: kvtest.NewMemory(), steps: make(map[step]*snapshot)}
		s.latency.Store(int64(latencies[0]))
		defer s.memory.Close()
		defer s.running.Wait()
		defer stop()
		var all []parachute.Status
		for i := range services {
			all = append(all, serving(fmt.Sprintf("service-%d", i), uint64(i+1), "10.0.0.1:3000"))
		}
		nothing := &snapshot{place: make(map[string]int)}
		served := nothing.with(parachute.Delta{Changed: all})
		for i := range proxies {
			l, m := s.join(ctx, served)
			s.proxies, s.members = append(s.proxies, l), append(s.members, m)
			if i == 0 {
				s.await(m) // it begins the fleet
			}
		}
		s.await(s.members...)
		for i, latency := range latencies {
			s.latency.Store(int64(latency))
			time.Sleep(5 * time.Second) // until all have reported
			r := result{proxies: proxies, services: services, latency: latency}
			s.measureDeploy(t, &r, serving(all[i].Service, uint64(services+i+1), "10.0.0.2:3000"))
			s.measureJoin(ctx, &r, nothing)
			each(r)
		}
	})
}

func (s *simulation) measureDeploy(t *testing.T, r *result, status parachute.Status) {
	s.counted()
	begun := time.Now()
	committed := s.deploy(t, status)
	r.deploy, r.cost = time.Since(begun), s.counted()
	var switches []time.Time
	for _, l := range s.proxies {
		l.mu.Lock()
		switches = append(switches, l.switched)
		l.mu.Unlock()
	}
	slices.SortFunc(switches, time.Time.Compare)
	last := switches[len(switches)-1]
	r.switching, r.apart = last.Sub(committed), last.Sub(switches[0])
}

// measureJoin has a proxy join that serves nothing yet, and leave again.
func (s *simulation) measureJoin(ctx context.Context, r *result, nothing *snapshot) {
	ctx, leave := context.WithCancel(ctx)
	defer leave()
	time.Sleep(time.Second) // what the deploy has left to do is done
	s.counted()
	begun := time.Now()
	_, m := s.join(ctx, nothing)
	s.await(m)
	r.join, r.joining = time.Since(begun), s.counted()
}

// The time between the first switch of a deploy and the last one is how long the fleet
// serves two versions.
func TestProxiesSwitchWithinAHundredMilliseconds(t *testing.T) {
	proxies, services := []int{10}, 100
	if *simulate {
		defer debug.SetMemoryLimit(debug.SetMemoryLimit(6 << 30)) // of which a thousand need most
		proxies, services = []int{10, 100, 1000}, 10_000
	}
	latencies := []time.Duration{time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond}
	for _, n := range proxies {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			simulated(t, n, services, latencies, func(r result) {
				if r.apart > 100*time.Millisecond {
					t.Errorf("the last of %d proxies switches %v after the first", r.proxies, r.apart)
				}
				t.Log(r)
			})
		})
	}
}
