package e2e_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

var switches = flag.Int("switches", 4, "of how many deploys is measured how far apart the proxies of a fleet switch")

// How long leases last. On a busy machine one that is renewed may end, too.
const (
	lasting = "1m"  // where none is to end
	ending  = "15s" // where the end of one is waited for
)

// startFleet starts an etcd and n proxies that share it, and have such leases.
func startFleet(t *testing.T, n int, lease string) (*proxytest.Etcd, []*proxy) {
	t.Helper()
	ca, store := newAuthority(t, authorityConfig{}), startEtcd(t)
	var proxies []*proxy
	for i := range n {
		proxies = append(proxies, startProxy(t, ca, "--etcd", store.URL, "--etcd-lease", lease, "--no-access-log", "--fleet-name", fmt.Sprintf("proxy-%d", i)))
	}
	awaitFleet(t, proxies[0], n)
	return store, proxies
}

// awaitFleet waits until n proxies are members, with nothing left to do.
func awaitFleet(t *testing.T, p *proxy, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d proxies in the fleet", n), func() bool {
		printed, code := p.command(t, "fleet", "--json")
		var members []struct{ Behind int }
		if code != 0 || json.Unmarshal([]byte(printed), &members) != nil || len(members) != n {
			return false
		}
		for _, m := range members {
			if m.Behind > 0 {
				return false
			}
		}
		return true
	})
}

// A crowd asks proxies all the time, and counts what goes wrong.
type crowd struct {
	asked, failed atomic.Int64
	last          atomic.Pointer[string] // what went wrong
	asking        sync.WaitGroup
	stop          context.CancelFunc
}

// newCrowd has two clients come to each of the proxies until leave is called. A client does
// not come to a proxy that is not spared any more.
func newCrowd(t *testing.T, proxies ...*proxy) *crowd { return newCrowdOf(t, 0, proxies...) }

// newCrowdOf is newCrowd of clients that wait so long after each answer.
func newCrowdOf(t *testing.T, pause time.Duration, proxies ...*proxy) *crowd {
	ctx, stop := context.WithCancel(context.Background())
	c := &crowd{stop: stop}
	t.Cleanup(c.leave)
	for _, p := range proxies {
		for range 2 {
			c.asking.Go(func() { c.ask(ctx, t, p.http, pause) })
		}
	}
	return c
}

func (c *crowd) ask(ctx context.Context, t *testing.T, address string, pause time.Duration) {
	visitor := client(t, address, nil)
	for ; ctx.Err() == nil; time.Sleep(pause) {
		answer, err := get(visitor, "http://any.example.com/")
		c.asked.Add(1)
		if err != nil || !strings.HasPrefix(answer, "200 ") {
			c.failed.Add(1)
			c.last.Store(new(fmt.Sprint(answer, " ", err)))
		}
	}
}

func (c *crowd) leave() {
	c.stop()
	c.asking.Wait()
}

func TestDeploysThroughAnyProxyOfAFleetCostNobodyARequest(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	_, proxies := startFleet(t, 3, lasting)
	proxies[0].deploy(t, "web", newApp(t, "app-0"))
	crowd := newCrowd(t, proxies...)
	for i := range 6 {
		name := fmt.Sprintf("app-%d", i+1)
		printed := proxies[i%3].deploy(t, "web", newApp(t, name))
		is.True(strings.Contains(printed, fmt.Sprintf("proxy-%d", (i+1)%3))) // it says that the others have drained
		for _, p := range proxies {
			answer, err := get(client(t, p.http, nil), "http://any.example.com/")
			is.NoErr(err)
			is.True(strings.HasPrefix(answer, "200 "+name+" ")) // when the command has returned
		}
	}
	crowd.leave()
	if failed := crowd.failed.Load(); failed > 0 {
		t.Errorf("%d of %d requests failed, such as %s", failed, crowd.asked.Load(), *crowd.last.Load())
	}
	t.Logf("%d requests", crowd.asked.Load())
}

// When the proxies switch is what they say themselves; they have one clock here. How far apart
// that is depends on what else the machine does, so it is logged, and is no claim.
func TestProxiesOfAFleetSwitchTogether(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	_, proxies := startFleet(t, 3, lasting)
	apps := []*app{newApp(t, "app-0"), newApp(t, "app-1")}
	proxies[0].deploy(t, "web", apps[0])
	crowd := newCrowdOf(t, 20*time.Millisecond, proxies...)
	var apart []time.Duration
	for i := range *switches {
		proxies[i%3].deploy(t, "web", apps[(i+1)%2])
		var at []time.Time
		for _, p := range proxies {
			at = append(at, p.switched(t, "web", apps[(i+1)%2]))
		}
		slices.SortFunc(at, time.Time.Compare)
		apart = append(apart, at[2].Sub(at[0]))
	}
	crowd.leave()
	is.Equal(crowd.failed.Load(), int64(0))
	slices.Sort(apart)
	n := len(apart)
	t.Logf("%d deploys, %d requests; from the first switch to the last: half of them at most %v, nine of ten %v, all %v",
		n, crowd.asked.Load(), apart[(n-1)/2], apart[(n-1)*9/10], apart[n-1])
}

// switched returns since when the service has that target.
func (p *proxy) switched(t *testing.T, service string, target *app) time.Time {
	t.Helper()
	printed, code := p.command(t, "status", service, "--json")
	var all []parachute.Status
	if err := json.Unmarshal([]byte(printed), &all); code != 0 || err != nil || len(all) != 1 {
		t.Fatalf("status ended with %d (%v):\n%s", code, err, printed)
	}
	if serves := all[0].Deployment.Targets[0]; serves != target.address {
		t.Fatalf("it still serves %s, and not %s", serves, target.address)
	}
	return all[0].Live.Since
}

func TestVersionThatFailsAtAnotherProxyIsTakenBackOnAll(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	_, proxies := startFleet(t, 3, lasting)
	proxies[0].deploy(t, "web", newApp(t, "app-0"))
	failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/up" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(failing.Close)
	crowd := newCrowdOf(t, 10*time.Millisecond, proxies[1]) // none of them comes to the one that judges
	printed, code := proxies[0].command(t, "deploy", "web", "--target", failing.Listener.Addr().String(), "--bake", "5m")
	crowd.leave()
	is.Equal(code, 1)
	is.True(strings.Contains(printed, "requests failed"))
	is.True(crowd.failed.Load() > 0)
	for _, p := range proxies {
		answer, err := get(client(t, p.http, nil), "http://any.example.com/")
		is.NoErr(err)
		is.True(strings.HasPrefix(answer, "200 app-0 "))
	}
}

func TestFleetOutlivesAProxyAndItsEtcd(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	store, proxies := startFleet(t, 3, ending)
	first, others, lost := proxies[0], proxies[:2], proxies[2]
	first.deploy(t, "web", newApp(t, "app-0"))
	crowd := newCrowd(t, others...)

	lost.kill()
	printed, code := first.command(t, "deploy", "web", "--target", newApp(t, "app-1").address)
	is.Equal(code, 3) // whether the one that was killed serves on, nobody knows
	is.True(strings.Contains(printed, "proxy-2"))
	is.True(strings.Contains(printed, "do not stop the old targets"))
	second := newApp(t, "app-2")
	first.deploy(t, "web", second) // without it
	lost.start(t)
	answer, err := get(client(t, lost.http, nil), "http://any.example.com/")
	is.NoErr(err)
	is.True(strings.HasPrefix(answer, "200 app-2 ")) // its first; it has missed two deploys
	awaitFleet(t, first, 3)

	store.Kill()
	eventually(t, "a refusal", func() bool {
		printed, code = first.command(t, "deploy", "web", "--target", second.address, "--deploy-timeout", "3s")
		return code == 1 && strings.Contains(printed, "the store cannot be reached")
	})
	store.Start(t)
	awaitFleet(t, first, 3)
	third := newApp(t, "app-3")
	eventually(t, "a deploy through the one that was lost", func() bool {
		_, code := lost.command(t, "deploy", "web", "--target", third.address)
		return code == 0
	})
	crowd.leave()
	if failed := crowd.failed.Load(); failed > 0 {
		t.Errorf("%d of %d requests failed, such as %s", failed, crowd.asked.Load(), *crowd.last.Load())
	}
}

func TestFrozenProxyOfAFleetBecomesWhatTheOthersAre(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	_, proxies := startFleet(t, 3, ending)
	first, frozen := proxies[0], proxies[2]
	first.deploy(t, "web", newApp(t, "app-0"))
	crowd := newCrowdOf(t, 20*time.Millisecond, proxies[:2]...)
	process := frozen.cmd.Process
	is.NoErr(process.Signal(syscall.SIGSTOP))
	t.Cleanup(func() { process.Signal(syscall.SIGCONT) })
	printed, code := first.command(t, "deploy", "web", "--target", newApp(t, "app-1").address)
	if code != 0 { // its lease had not ended before
		is.Equal(code, 3) // it may still serve the old one
		is.True(strings.Contains(printed, "proxy-2"))
	}
	first.deploy(t, "web", newApp(t, "app-2"))
	is.NoErr(process.Signal(syscall.SIGCONT))
	visitor := client(t, frozen.http, nil)
	eventually(t, "the newest version at the one that was frozen", func() bool {
		answer, err := get(visitor, "http://any.example.com/")
		is.NoErr(err)
		return strings.HasPrefix(answer, "200 app-2 ")
	})
	awaitFleet(t, first, 3)
	frozen.deploy(t, "web", newApp(t, "app-3"))
	for _, p := range proxies {
		answer, err := get(client(t, p.http, nil), "http://any.example.com/")
		is.NoErr(err)
		is.True(strings.HasPrefix(answer, "200 app-3 "))
	}
	crowd.leave()
	is.Equal(crowd.failed.Load(), int64(0))
}

func TestFleetOutlivesWhatIsEditedByHandInItsEtcd(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	store, proxies := startFleet(t, 2, lasting)
	proxies[0].deploy(t, "web", newApp(t, "app-0"))
	crowd := newCrowdOf(t, 20*time.Millisecond, proxies...)
	below := "/parachute/default/"
	before := stored(t, store)[below+"members/proxy-1"]
	for i, key := range []string{"members/proxy-1", "turns/proxy-1", "reports/proxy-0", "services/web"} {
		putByHand(t, store, below+key, "by hand")
		if i == 0 {
			eventually(t, "the member again", func() bool {
				now := stored(t, store)[below+key]
				return now != before && now != "by hand" && now != ""
			})
		}
		name := fmt.Sprintf("app-%d", i+1)
		next := newApp(t, name)
		eventually(t, "a deploy", func() bool { // it may meet the edit
			_, code := proxies[1].command(t, "deploy", "web", "--target", next.address)
			return code == 0
		})
		for _, p := range proxies {
			answer, err := get(client(t, p.http, nil), "http://any.example.com/")
			is.NoErr(err)
			is.True(strings.HasPrefix(answer, "200 "+name+" "))
		}
	}
	awaitFleet(t, proxies[0], 2)
	crowd.leave()
	is.Equal(crowd.failed.Load(), int64(0))
}

func TestUpgradeOfAProxyOfAFleetKeepsItsMembership(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	store, proxies := startFleet(t, 2, lasting)
	proxies[0].deploy(t, "web", newApp(t, "app-0"))
	crowd := newCrowd(t, proxies...)
	since := func() string { return stored(t, store)["/parachute/default/members/proxy-1"] }
	before := since()
	printed, code := proxies[1].command(t, "upgrade", "--json")
	var next struct{ PID int }
	if err := json.Unmarshal([]byte(printed), &next); code != 0 || err != nil {
		t.Fatal(printed)
	}
	t.Cleanup(func() { syscall.Kill(next.PID, syscall.SIGTERM) })
	eventually(t, "the new process in its place", func() bool { return since() != before })
	for i := range 3 {
		name := fmt.Sprintf("app-%d", i+1)
		proxies[i%2].deploy(t, "web", newApp(t, name))
		for _, p := range proxies {
			answer, err := get(client(t, p.http, nil), "http://any.example.com/")
			is.NoErr(err)
			is.True(strings.HasPrefix(answer, "200 "+name+" "))
		}
	}
	crowd.leave()
	is.Equal(crowd.failed.Load(), int64(0))
}

func TestApplyOfTwoHundredServicesIsMadeByAllProxiesOfAFleet(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	store, proxies := startFleet(t, 3, lasting)
	for i, name := range []string{"app-0", "app-1"} {
		app := newApp(t, name)
		var services []parachute.Deployment
		for n := range 200 {
			service := fmt.Sprintf("service-%d", n)
			services = append(services, parachute.Deployment{Service: service, Hosts: []string{service + ".example.com"}, Targets: []string{app.address}})
		}
		document, err := json.Marshal(map[string]any{"version": 1, "services": services})
		is.NoErr(err)
		file := filepath.Join(t.TempDir(), "services.json")
		is.NoErr(os.WriteFile(file, document, 0o600))
		printed, code := proxies[i].command(t, "apply", file)
		if code != 0 {
			t.Fatalf("apply ended with %d:\n%s", code, printed)
		}
		for _, p := range proxies {
			for _, n := range []int{0, 99, 199} {
				answer, err := get(client(t, p.http, nil), fmt.Sprintf("http://service-%d.example.com/", n))
				is.NoErr(err)
				is.True(strings.HasPrefix(answer, "200 "+name+" "))
			}
		}
	}
	eventually(t, "nothing left aside", func() bool {
		for key := range stored(t, store) {
			if strings.HasPrefix(key, "/parachute/default/services-next") || strings.HasPrefix(key, "/parachute/default/proposals/") {
				return false
			}
		}
		return true
	})
}
