package fleet_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/fleet"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kv/kvtest"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// A world has a store, proxies that share it, and apps, in fake time.
type world struct {
	t      *testing.T
	memory *kvtest.Memory
	net    *proxytest.Net
	client *http.Client
	nodes  map[string]*node
}

// A node is one machine with a proxy, which can be killed and started again.
type node struct {
	world  *world
	name   string
	named  string        // in the fleet
	lease  kv.Lease      // that it is to adopt
	slowly time.Duration // how long each call of the store takes
	ahead  time.Duration // how far its wall clock is
	dial   func(ctx context.Context, network, address string) (net.Conn, error)

	mu     sync.Mutex // guards what follows, where the node is not started by the test's own goroutine alone
	client *kvtest.Client
	member *fleet.Member
	proxy  *parachute.Proxy
	frozen *kvtest.Client          // the client that is; nil: none
	stop   context.CancelCauseFunc // nil: it does not run
	ended  chan struct{}
	disk   map[string]parachute.Status
	full   error    // what Save says
	steps  []int    // how many services each change that was saved was about
	mixed  []string // the targets that all services had after one of these, where they were several
	events []parachute.Event
	answer func(ctx context.Context) ([]byte, error) // to questions; nil: what is said is the name
}

// newWorld returns a world with nodes of these names, which are members when it returns.
func newWorld(t *testing.T, names ...string) *world {
	t.Helper()
	w := &world{t: t, memory: kvtest.NewMemory(), net: new(proxytest.Net), nodes: make(map[string]*node)}
	w.client = w.net.Client(t)
	for _, name := range names {
		w.add(name).start()
		w.await(name + " is ready")
	}
	t.Cleanup(w.memory.Close)
	return w
}

// add adds a node that is not started.
func (w *world) add(name string) *node {
	n := &node{world: w, name: name, named: name, disk: make(map[string]parachute.Status), dial: w.net.Dial}
	w.nodes[name] = n
	w.net.Serve(w.t, name+".test:80", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		proxy, _ := n.now()
		proxy.ServeHTTP(rw, r)
	})).SetHealth(0)
	w.t.Cleanup(func() { n.kill() })
	return n
}

// start starts a proxy with what is on the disk.
func (n *node) start() {
	client := n.world.memory.Client()
	if n.slowly > 0 {
		client.Fail(func(kvtest.Call) kvtest.Fault { return kvtest.Fault{Before: n.slowly} })
	}
	member := fleet.New(skewed{client, n.ahead}, fleet.Config{
		Name: n.named, Address: n.name + ".test:80", Version: "1.2.3",
		Logger: slog.New(slog.DiscardHandler), Save: n.save, Adopted: n.lease, Tell: n.tell,
	})
	proxy := parachute.New(parachute.Options{
		Dial: n.dial, Notify: n.note,
		Propose: member.Propose, Agree: member.Agree, CommitDelta: member.Commit,
	})
	ctx, stop := context.WithCancelCause(context.Background())
	ended := make(chan struct{})
	n.mu.Lock()
	var saved []parachute.Status
	for _, s := range n.disk {
		saved = append(saved, s)
	}
	n.mu.Unlock()
	if err := proxy.Restore(saved); err != nil {
		n.world.t.Error(err)
	}
	go func() {
		defer close(ended)
		member.Run(ctx, proxy)
	}()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.client, n.member, n.proxy, n.stop, n.ended = client, member, proxy, stop, ended
}

func (n *node) note(e parachute.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = append(n.events, e)
}

func (n *node) save(d parachute.Delta) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.full != nil {
		return n.full
	}
	n.steps = append(n.steps, len(d.Changed)+len(d.Removed))
	for _, name := range d.Removed {
		delete(n.disk, name)
	}
	for _, s := range d.Changed {
		if s.State != parachute.StateRemoved {
			n.disk[s.Service] = s
		}
	}
	targets := make(map[string]bool)
	for _, s := range n.disk {
		targets[s.Deployment.Targets[0]] = true
	}
	if len(targets) > 1 {
		n.mixed = append(n.mixed, fmt.Sprint(slices.Sorted(maps.Keys(targets))))
	}
	return nil
}

// tell answers with the name of the node, and what it was asked, or as answer does.
func (n *node) tell(ctx context.Context, what []byte) ([]byte, error) {
	n.mu.Lock()
	answer := n.answer
	n.mu.Unlock()
	if answer != nil {
		return answer(ctx)
	}
	return json.Marshal(n.name + " " + string(what))
}

// saved returns what is on the disk of a service.
func (n *node) saved(service string) parachute.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.disk[service]
}

// kill ends the node without a word to the store.
func (n *node) kill() {
	if n.isUp() {
		n.client.Cut()
		n.client.Thaw()
		n.leave()
	}
}

// freeze suspends the node for d, and returns when it goes on.
func (n *node) freeze(d time.Duration) {
	n.mu.Lock()
	client := n.client
	n.frozen = client
	n.mu.Unlock()
	client.Freeze()
	time.Sleep(d) // nobody else wakes it
	n.mu.Lock()
	n.frozen = nil
	n.mu.Unlock()
	client.Thaw()
}

// leave ends the node as a process that was told to.
func (n *node) leave() {
	n.mu.Lock()
	stop := n.stop
	n.stop = nil
	n.mu.Unlock()
	n.member.GiveUp()
	n.proxy.Close()
	stop(nil)
	<-n.ended
}

// handOver ends the node for another process to take its place, which is the next one that
// is started.
func (n *node) handOver() {
	n.lease = n.member.Lease()
	n.stop(fleet.ErrHandedOver)
	n.stop = nil
	n.proxy.Close()
	<-n.ended
}

// isUp reports whether the node runs.
func (n *node) isUp() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.stop != nil
}

// isReady reports whether the node runs, and says that it is ready.
func (n *node) isReady() bool {
	_, member := n.now()
	return n.isUp() && !n.isFrozen() && member.Ready() == nil
}

// isFrozen reports whether the node can say nothing.
func (n *node) isFrozen() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.frozen == n.client
}

// now returns what runs, or ran last.
func (n *node) now() (*parachute.Proxy, *fleet.Member) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proxy, n.member
}

// deploy deploys through the node, and returns when all have drained.
func (n *node) deploy(d parachute.Deployment) error {
	proxy, _ := n.now()
	return n.change(d.Service, func() error { return proxy.Deploy(context.Background(), d) })
}

// apply applies deployments through the node, and returns when all have drained.
func (n *node) apply(all ...parachute.Deployment) error {
	var services []string
	for _, d := range all {
		services = append(services, d.Service)
	}
	proxy, _ := n.now()
	return n.changeAll(services, func() error { return proxy.Apply(context.Background(), all) })
}

func (n *node) change(service string, do func() error) error {
	return n.changeAll([]string{service}, do)
}

// changeAll makes a change as the control plane does.
func (n *node) changeAll(services []string, do func() error) error {
	_, member := n.now()
	err := member.Begin(context.Background())
	if err == nil {
		err = do()
	}
	unsettled := member.Settle(context.Background(), services, err, func(_, _ string) {})
	if err == nil {
		err = unsettled
	}
	return err
}

// app serves an app that answers with its name.
func (w *world) app(name string) *proxytest.Backend {
	return w.net.Serve(w.t, name+".app:80", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		io.WriteString(rw, name)
	}))
}

// slow serves an app that answers with its name after d.
func (w *world) slow(name string, d time.Duration) {
	w.net.Serve(w.t, name+".app:80", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		time.Sleep(d) // the app's work
		io.WriteString(rw, name)
	}))
}

// allBut returns how a node dials that cannot reach an address.
func (w *world) allBut(refused string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == refused {
			return nil, errors.New("no route to host")
		}
		return w.net.Dial(ctx, network, address)
	}
}

// fill has the disk take nothing any more, with that error; nil ends it.
func (n *node) fill(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.full = err
}

// members returns the names of the members, as the store has them.
func (w *world) members() (names []string) {
	pairs, _, err := w.memory.Client().Read(w.t.Context(), "members/")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range pairs {
		names = append(names, strings.TrimPrefix(p.Key, "members/"))
	}
	return names
}

// web is a deployment of an app.
func web(app string) parachute.Deployment {
	return parachute.Deployment{Service: "web", Targets: []string{app + ".app:80"}}
}

// ask asks a node for a host, and returns its answer.
func (w *world) ask(node, host string) string {
	r, err := http.NewRequest("GET", "http://"+node+".test/", nil)
	if err != nil {
		return err.Error()
	}
	r.Host = host
	res, err := w.client.Do(r)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	if res.StatusCode != http.StatusOK {
		return res.Status
	}
	return string(body)
}

// all returns what each node answers, by name.
func (w *world) all() string {
	var answers []string
	for _, name := range w.names() {
		answers = append(answers, w.ask(name, "any.test"))
	}
	return strings.Join(answers, " ")
}

// names returns those of the nodes that run.
func (w *world) names() (names []string) {
	for name, n := range w.nodes {
		if n.isUp() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// await waits until all nodes are ready, for a minute.
func (w *world) await(what string) {
	w.t.Helper()
	for range 600 {
		synctest.Wait()
		if w.areReady() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, name := range w.names() {
		w.t.Log(name, w.nodes[name].member.Ready())
	}
	w.t.Fatal("in vain: ", what)
}

func (w *world) areReady() bool {
	for _, name := range w.names() {
		if w.nodes[name].member.Ready() != nil {
			return false
		}
	}
	return true
}

// is reports whether err is one of known.
func is(err error, known ...error) bool {
	return slices.ContainsFunc(known, func(k error) bool { return errors.Is(err, k) })
}
