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
	"testing"
	"testing/synctest"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv/kvtest"
)

var (
	orders = flag.Int("fleet.orders", 20, "how many random orders of changes and faults a fleet is put through")
	seed   = flag.Uint64("fleet.seed", 1, "the first seed; 0: one by the time")
)

// An order is a fleet that is put through random changes and faults.
type order struct {
	*world
	rand *rand.Rand

	mu       sync.Mutex // guards what follows
	apps     int
	log      []string
	stopped  map[string]bool // apps that a command has said may be stopped
	refused  map[string]bool // apps whose deploy was refused for good
	returned map[string]bool // apps whose deploy has come to its end
	failures []string
	answered int
}

func (o *order) note(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.log = append(o.log, fmt.Sprintf("%v ", time.Now().Format("04:05.000"))+fmt.Sprintf(format, args...))
}

func (o *order) fail(format string, args ...any) {
	o.note("FAIL "+format, args...)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failures = append(o.failures, fmt.Sprintf(format, args...))
}

// TestRandomOrdersOfChangesAndFaults drives fleets of three in fake time. At any time: a
// client that comes to a member which says that it is ready is answered by an app that no
// command has said may be stopped. In the end, when all is well again for a while: all
// members serve the same, and nothing that was refused.
func TestRandomOrdersOfChangesAndFaults(t *testing.T) {
	first := *seed
	if first == 0 {
		first = uint64(time.Now().UnixNano() % 1_000_000)
	}
	answered := 0
	for n := range *orders {
		number := first + uint64(n)
		synctest.Test(t, func(t *testing.T) {
			o := &order{
				world: newWorld(t, "a", "b", "c"), rand: rand.New(rand.NewPCG(number, 1)),
				stopped: make(map[string]bool), refused: make(map[string]bool), returned: make(map[string]bool),
			}
			o.run()
			answered += o.answered
			if len(o.failures) > 0 {
				t.Errorf("seed %d: %s\n%s", number, strings.Join(o.failures, "\n"), strings.Join(o.log, "\n"))
			}
		})
		if t.Failed() {
			return
		}
	}
	t.Logf("%d orders from seed %d, %d requests", *orders, first, answered)
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
	hanging := time.AfterFunc(time.Hour, func() { panic("a change does not end:\n" + strings.Join(o.log, "\n")) })
	changing.Wait()
	hanging.Stop()
	o.await("all is well")
	o.resume()
	time.Sleep(time.Minute)
	cancel()
	visiting.Wait()
	o.check()
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
	case what < 45:
		changing.Go(func() { o.deployNew(name) })
	case what < 52:
		o.note("%s is parted", name)
		n.client.Cut()
	case what < 62:
		o.note("%s is no more parted", name)
		n.client.Mend()
	case what < 68:
		o.note("%s is killed", name)
		n.kill()
	case what < 72:
		o.note("%s leaves", name)
		n.leave()
	case what < 76:
		o.note("the store forgets")
		o.memory.Compact()
	case what < 80:
		down := time.Duration(o.rand.IntN(20)) * time.Second
		o.note("the store is down for %v", down)
		o.memory.Stop()
		time.Sleep(down)
		o.memory.Start()
	case what < 92:
		o.note("%s has faults", name)
		n.client.Fail(o.faults(uint64(o.rand.Int64())))
	default:
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
	before := maps.Clone(o.returned)
	o.mu.Unlock()
	o.app(name)
	d := web(name)
	d.Timeouts.Deploy = 15 * time.Second
	n := o.nodes[node]
	o.note("%s deploys %s", node, name)
	err := n.deploy(d)
	o.note("%s has deployed %s: %v", node, name, err)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.returned[name] = true
	switch {
	case err == nil: // it has replaced what was there when it began
		maps.Copy(o.stopped, before)
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
		time.Sleep(37 * time.Millisecond)
		if !n.isReady() {
			continue
		}
		o.mu.Lock()
		stopped := maps.Clone(o.stopped)
		o.mu.Unlock()
		_, asked := n.now()
		answer := o.ask(node, "any.test")
		switch {
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
	if proxy.Services()[0].State == parachute.StatePaused {
		if err := o.nodes["a"].change("web", func() error { return proxy.Resume(context.Background(), "web") }); err != nil {
			o.fail("a cannot resume: %v", err)
		}
	}
}

// check looks at what serves in the end.
func (o *order) check() {
	synctest.Wait()
	answers := make(map[string]bool)
	for name := range o.nodes {
		answers[o.ask(name, "any.test")] = true
	}
	if len(answers) != 1 {
		o.fail("the members serve different apps: %v", answers)
	}
	for answer := range answers {
		if o.refused[answer] {
			o.fail("%s serves, whose deploy was refused", answer)
		}
		if o.stopped[answer] {
			o.fail("%s serves, which may be stopped", answer)
		}
	}
}
