package fleet_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv/kvtest"
)

var (
	orders = flag.Int("fleet.orders", 20, "how many random orders of changes and faults a fleet is put through")
	large  = flag.Int("fleet.services", many, "how many services a large apply is of")
	seed   = flag.Uint64("fleet.seed", 1, "the first seed; 0: one by the time")
)

// An order is a fleet that is put through random changes and faults.
type order struct {
	*world
	rand   *rand.Rand
	isCalm atomic.Bool // all is well again
	isMany bool        // each change is an apply of many services

	mu       sync.Mutex // guards what follows
	apps     int
	log      []string
	stopped  map[string]bool // apps that a command has said may be stopped
	refused  map[string]bool // apps whose deploy was refused for good
	returned map[string]bool // apps whose deploy has come to its end
	failures []string
	answered int
	edits    int                  // by hand, of the record
	isUnsure bool                 // since then, what a proxy has that comes back may be anything
	isGone   bool                 // since then, there may be no service
	outside  map[string]time.Time // until then, a node may not know yet that it is no member
}

func (o *order) note(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.noteLocked(format, args...)
}

func (o *order) noteLocked(format string, args ...any) {
	o.log = append(o.log, fmt.Sprintf("%v ", time.Now().Format("04:05.000"))+fmt.Sprintf(format, args...))
}

func (o *order) fail(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failLocked(format, args...)
}

func (o *order) failLocked(format string, args ...any) {
	o.noteLocked("FAIL "+format, args...)
	o.failures = append(o.failures, fmt.Sprintf(format, args...))
}

// TestRandomOrdersOfChangesAndFaults drives fleets of three in fake time. At any time: a
// client that comes to a member which says that it is ready is answered by an app that no
// command has said may be stopped. In the end, when all is well again for a while: all
// members serve the same, and nothing that was refused.
func TestRandomOrdersOfChangesAndFaults(t *testing.T) { runOrders(t, *orders, false) }

// The same holds for applies of more services than a transaction takes, and no member ever
// serves a part of one.
func TestRandomOrdersOfLargeAppliesAndFaults(t *testing.T) { runOrders(t, max(*orders/20, 1), true) }

func runOrders(t *testing.T, orders int, isMany bool) {
	first := *seed
	if first == 0 {
		first = uint64(time.Now().UnixNano() % 1_000_000)
	}
	answered := 0
	for n := range orders {
		number := first + uint64(n)
		synctest.Test(t, func(t *testing.T) {
			o := &order{
				world: newWorld(t), rand: rand.New(rand.NewPCG(number, 1)), isMany: isMany,
				stopped: make(map[string]bool), refused: make(map[string]bool), returned: make(map[string]bool),
				outside: make(map[string]time.Time),
			}
			for i, name := range []string{"a", "b", "c"} {
				n := o.add(name)
				n.ahead = time.Duration(i-1) * time.Hour
				n.start()
				o.await(name + " is ready")
			}
			defer func() {
				answered += o.answered
				if len(o.failures) > 0 || t.Failed() {
					t.Errorf("seed %d: %s\n%s", number, strings.Join(o.failures, "\n"), strings.Join(o.log, "\n"))
				}
			}()
			o.run()
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d orders from seed %d, %d requests", orders, first, answered)
}

func (o *order) run() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	o.deployNew("a")
	var visiting, changing sync.WaitGroup
	for name := range o.nodes {
		visiting.Go(func() { o.visit(ctx, name) })
	}
	for range 12 {
		time.Sleep(time.Duration(o.rand.IntN(4000)) * time.Millisecond)
		o.step(&changing)
	}
	o.heal()
	hanging := time.AfterFunc(10*time.Minute, func() { panic("a change does not end:\n" + strings.Join(o.log, "\n")) })
	changing.Wait()
	hanging.Stop()
	o.await("all is well")
	o.isCalm.Store(true)
	o.resume()
	time.Sleep(time.Minute)
	o.check()
	o.deployLast()
	cancel()
	visiting.Wait()
}

// deployLast deploys when all is well: nothing that has happened is in the way.
func (o *order) deployLast() {
	o.deployNew("b")
	o.resume() // what nobody could read may have been paused at some
	o.mu.Lock()
	last := fmt.Sprintf("app-%d", o.apps)
	o.mu.Unlock()
	for name := range o.nodes {
		if answer := o.askFor(time.Second, name); answer != last {
			o.fail("%s is deployed last, and %s answers %q", last, name, answer)
		}
	}
}

// step makes one change, or begins or ends a fault.
func (o *order) step(changing *sync.WaitGroup) {
	names := slices.Sorted(maps.Keys(o.nodes))
	name := names[o.rand.IntN(len(names))]
	n := o.nodes[name]
	what := o.rand.IntN(100)
	if !n.isUp() {
		o.note("%s starts", name)
		n.start()
		return
	}
	switch {
	case what < 40:
		changing.Go(func() { o.deployNew(name) })
	case what < 46:
		o.note("%s is parted", name)
		n.client.Cut()
	case what < 54:
		o.note("%s is no more parted", name)
		n.client.Mend()
	case what < 59:
		o.note("%s is killed", name)
		n.kill()
	case what < 62:
		o.note("%s leaves", name)
		n.leave()
	case what < 65:
		o.note("the store forgets")
		o.memory.Compact()
	case what < 68:
		down := time.Duration(o.rand.IntN(20)) * time.Second
		o.note("the store is down for %v", down)
		o.memory.Stop()
		time.Sleep(down)
		o.memory.Start()
	case what < 71:
		room, d := o.rand.IntN(3), time.Duration(o.rand.IntN(10))*time.Second
		o.note("the store has room for %d for %v", room, d)
		o.memory.Fill(room)
		time.Sleep(d)
		o.memory.Empty()
	case what < 76:
		if !n.isFrozen() {
			d := time.Duration(o.rand.IntN(25)) * time.Second
			o.note("%s is frozen for %v", name, d)
			changing.Go(func() { n.freeze(d) })
		}
	case what < 84 && !o.isMany:
		o.edit(name)
	case what < 93:
		o.note("%s has faults", name)
		n.client.Fail(o.faults(uint64(o.rand.Int64())))
	case !o.isMany:
		changing.Go(func() { o.pause(name) })
	}
}

// faults returns what goes wrong on the way of a call, by chance.
func (o *order) faults(seed uint64) func(kvtest.Call) kvtest.Fault {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, 2))
	return func(kvtest.Call) kvtest.Fault {
		mu.Lock()
		defer mu.Unlock()
		f := kvtest.Fault{Before: time.Duration(r.IntN(50)) * time.Millisecond, After: time.Duration(r.IntN(50)) * time.Millisecond}
		switch r.IntN(8) {
		case 0:
			f.LoseCall = true
		case 1:
			f.LoseAnswer = true
		case 2:
			f.LoseAnswer, f.Late = true, time.Duration(r.IntN(20000))*time.Millisecond
		case 3:
			f.Before = time.Duration(r.IntN(3000)) * time.Millisecond
		}
		return f
	}
}

// deployNew deploys an app that nobody has deployed yet, and stops those from before if it
// may.
func (o *order) deployNew(node string) {
	o.mu.Lock()
	o.apps++
	name := fmt.Sprintf("app-%d", o.apps)
	before, edits := maps.Clone(o.returned), o.edits
	o.mu.Unlock()
	o.app(name)
	d := web(name)
	d.Timeouts.Deploy = 15 * time.Second
	n := o.nodes[node]
	o.note("%s deploys %s", node, name)
	var err error
	if o.isMany {
		err = n.apply(manyOf(*large, name)...)
	} else {
		err = n.deploy(d)
	}
	o.note("%s has deployed %s: %v", node, name, err)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.returned[name] = true
	switch {
	case err == nil: // it has replaced what was there when it began
		maps.Copy(o.stopped, before)
		if o.edits == edits {
			o.isUnsure, o.isGone = false, false
		}
	case !is(err, parachute.ErrUndecided, parachute.ErrTakenBack, parachute.ErrClosed):
		o.refused[name] = true
	}
}

// pause pauses the service for a moment.
func (o *order) pause(node string) {
	n := o.nodes[node]
	proxy, _ := n.now()
	o.note("%s pauses", node)
	err := n.change("web", func() error { return proxy.Pause(context.Background(), "web", parachute.Pause{Max: -1}) })
	time.Sleep(100 * time.Millisecond)
	o.note("%s has paused: %v, and resumes", node, err)
	err = n.change("web", func() error { return proxy.Resume(context.Background(), "web") })
	o.note("%s has resumed: %v", node, err)
}

// visit has a client come to a node as long as that is ready.
func (o *order) visit(ctx context.Context, node string) {
	n := o.nodes[node]
	for ctx.Err() == nil {
		pause := 37 * time.Millisecond
		if o.isCalm.Load() {
			pause *= 20
		}
		time.Sleep(pause)
		if !n.isReady() {
			continue
		}
		o.mu.Lock()
		stopped, wasGone := maps.Clone(o.stopped), o.isGone
		if o.isUnsure || time.Now().Before(o.outside[node]) {
			clear(stopped)
		}
		o.mu.Unlock()
		_, asked := n.now()
		answer := o.ask(node, "service-0.test")
		o.mu.Lock()
		isGone := wasGone || o.isGone // what is held by a pause waits for either
		o.mu.Unlock()
		switch {
		case isGone && strings.HasPrefix(answer, "404"):
		case !strings.HasPrefix(answer, "app-"):
			if _, member := n.now(); n.isReady() && member == asked { // else it was ended meanwhile
				o.fail("%s answered %q", node, answer)
			}
		case stopped[answer]:
			o.fail("%s sent a request to %s, which may be stopped", node, answer)
		default:
			o.mu.Lock()
			o.answered++
			o.mu.Unlock()
		}
	}
}

// heal ends all faults.
func (o *order) heal() {
	o.note("all is well again")
	for _, n := range o.nodes {
		if !n.isUp() {
			n.start()
		}
		n.client.Fail(nil)
		n.client.Mend()
	}
}

// resume ends the pause that is left if it could not be ended.
func (o *order) resume() {
	proxy, _ := o.nodes["a"].now()
	o.mu.Lock()
	isUnsure := o.isUnsure
	o.mu.Unlock()
	if isUnsure { // it has to be deployed first
		return
	}
	if all := proxy.Services(); !o.isMany && len(all) > 0 && all[0].State == parachute.StatePaused {
		if err := o.nodes["a"].change("web", func() error { return proxy.Resume(context.Background(), "web") }); err != nil {
			o.fail("a cannot resume: %v", err)
		}
	}
}

// askFor asks a node, and gives up after d, as of a service that is paused.
func (o *order) askFor(d time.Duration, node string) string {
	answer := make(chan string, 1)
	go func() { answer <- o.ask(node, "service-0.test") }()
	select {
	case a := <-answer:
		return a
	case <-time.After(d):
		return "nothing"
	}
}

// check looks at what serves in the end.
func (o *order) check() {
	answers := make(map[string]bool)
	for name, n := range o.nodes {
		if o.isMany && len(n.mixed) > 0 {
			o.fail("%s has served parts of what was applied: %v", name, n.mixed)
		}
		answers[o.askFor(time.Second, name)] = true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.isUnsure {
		return
	}
	if len(answers) != 1 {
		o.failLocked("the members serve different apps: %v", answers)
	}
	for answer := range answers {
		if o.refused[answer] {
			o.failLocked("%s serves, whose deploy was refused", answer)
		}
		if o.stopped[answer] {
			o.failLocked("%s serves, which may be stopped", answer)
		}
	}
}
