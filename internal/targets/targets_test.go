package targets_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/backend"
	"github.com/shahnk19/parachute/internal/descriptors"
	"github.com/shahnk19/parachute/internal/endpoint"
	"github.com/shahnk19/parachute/internal/health"
	"github.com/shahnk19/parachute/internal/healthcheck"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/targets"
)

// A bed has targets on a network, and what their Monitor tells of them.
type bed struct {
	t       *testing.T
	network proxytest.Net
	shared  backend.Shared
	monitor *targets.Monitor
	log     bytes.Buffer

	mu   sync.Mutex // guards told
	told []targets.Notice
}

// newBed returns a bed for so many targets, which a deploy waits for if waits is set.
func newBed(t *testing.T, n int, waits bool) *bed {
	b := &bed{t: t}
	b.shared.Dial = b.network.Dial
	b.monitor = targets.NewMonitor(targets.MonitorOptions{
		Targets: n, Waits: waits, Limit: time.Minute,
		Tell:  b.tell,
		Short: descriptors.NewReporter(slog.New(slog.NewTextHandler(&b.log, nil))),
	})
	b.monitor.Generation.Store(7)
	return b
}

// serve has a server at an address answer with 200.
func (b *bed) serve(address string) *proxytest.Backend {
	return b.network.Serve(b.t, address, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
}

// target returns one at an address, which is probed each second, and lost or healthy after
// one probe. It is closed when the test ends.
func (b *bed) target(address string) *targets.Target {
	b.t.Helper()
	at, err := endpoint.ParseAll([]string{address})
	if err != nil {
		b.t.Fatal(err)
	}
	check, err := healthcheck.Settings{}.Normalize()
	if err != nil {
		b.t.Fatal(err)
	}
	made := targets.New(b.shared.New(at[0], backend.Settings{Check: check}), address, "token", 1, 1, b.monitor)
	b.t.Cleanup(made.Close)
	return made
}

func (b *bed) tell(n targets.Notice) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.told = append(b.told, n)
}

// summary returns what was told since it was called last, a line each.
func (b *bed) summary() (all []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range b.told {
		all = append(all, fmt.Sprintf("%d: %s %s %d %d %v %v", n.Generation, n.Kind, n.Target, n.Result.Status, n.Probes, n.Elapsed, n.Limit))
	}
	b.told = nil
	return all
}

func TestEveryProbeIsToldWhileADeployWaitsAndOnlyChangesAfterwards(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, true)
		server := b.serve("web:80")
		server.SetHealth(500)
		web := []*targets.Target{b.target("web:80")}
		time.AfterFunc(75*time.Millisecond, func() { server.SetHealth(200) })
		targets.StartProbes(web)
		is.NoErr(b.monitor.AwaitHealthy(t.Context(), web, time.Minute))
		is.True(targets.AllHealthy(web))
		is.Equal(time.Since(b.monitor.Began()), 150*time.Millisecond)
		is.Equal(b.summary(), []string{
			"7: probed web:80 500 1 0s 1m0s",
			"7: probed web:80 500 2 50ms 1m0s",
			"7: probed web:80 200 3 150ms 1m0s",
			"7: healthy web:80 200 3 150ms 0s",
		})

		b.monitor.Generation.Store(9)
		time.Sleep(10 * time.Second)
		is.Equal(len(b.summary()), 0)
		server.SetHealth(503)
		time.Sleep(10 * time.Second)
		is.True(!targets.AllHealthy(web))
		is.True(!web[0].IsHealthy())
		is.Equal(b.summary(), []string{"9: unhealthy web:80 503 0 0s 0s"})
	})
}

func TestFailureOfATargetIsNoNewsWhileADeployWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, true)
		web := []*targets.Target{b.target("web:80")}
		targets.StartProbes(web)
		is.Equal(b.monitor.AwaitHealthy(t.Context(), web, 40*time.Millisecond), health.ErrTimeout)
		is.Equal(b.summary(), []string{"7: probed web:80 0 1 0s 1m0s"})
	})
}

func TestSilencedTargetsTellNothingUntilTheyServeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, false)
		server := b.serve("web:80")
		web := []*targets.Target{b.target("web:80")}
		targets.StartProbes(web)
		synctest.Wait()
		is.Equal(b.summary(), []string{"7: healthy web:80 200 0 0s 0s"}) // no deploy waits
		targets.Silence(web, true)
		server.SetHealth(500)
		time.Sleep(10 * time.Second)
		is.Equal(len(b.summary()), 0)
		is.True(!targets.AllHealthy(web)) // it is known all the same
		targets.Silence(web, false)
		server.SetHealth(200)
		time.Sleep(10 * time.Second)
		is.Equal(b.summary(), []string{"7: healthy web:80 200 0 0s 0s"})
	})
}

func TestProbeThatCouldNotBeSentIsReportedToTheOperator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, true)
		b.shared.Dial = func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: syscall.EMFILE}
		}
		targets.StartProbes([]*targets.Target{b.target("web:80")})
		synctest.Wait()
		is.True(strings.Contains(b.log.String(), "a target could not be probed"))
		is.Equal(b.summary(), []string{"7: probed web:80 0 1 0s 1m0s"})
		<-b.monitor.Settled() // those who wait for a probe of each know what there is to know
	})
}

func TestMonitorHasSettledOnceAProbeOfEachTargetHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 2, false)
		targets.StartProbes([]*targets.Target{b.target("web:80")}) // nobody is there
		time.Sleep(time.Minute)
		select {
		case <-b.monitor.Settled():
			t.Fatal("one target is counted for each of its probes")
		default:
		}
		targets.StartProbes([]*targets.Target{b.target("api:80")})
		<-b.monitor.Settled()
		is.Equal(len(b.summary()), 2) // each became unhealthy, once
	})
}

func TestLostTargetSaysWhatItsLastProbeHasSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, false)
		server := b.serve("web:80")
		web := b.target("web:80")
		began := time.Now()
		passes, lost := web.Ask(t.Context())
		is.True(passes)
		is.Equal(lost, "")
		targets.StartProbes([]*targets.Target{web})
		synctest.Wait()
		is.Equal(web.Lost(began), "")
		server.SetHealth(500)
		passes, lost = web.Ask(t.Context())
		is.True(!passes)
		is.Equal(lost, "")                  // a single answer does not prove that
		time.Sleep(4500 * time.Millisecond) // and no probe has just begun
		is.Equal(web.Lost(began), `web:80 is unhealthy: GET /up answered 500`)
		is.Equal(web.Lost(time.Now()), "") // it was seen before that
		server.Stop()
		passes, lost = web.Ask(t.Context())
		is.True(!passes)
		is.True(strings.HasPrefix(lost, "web:80 is unhealthy: GET /up got no answer: "))
	})
}

func TestTargetThatTakesNoConnectionsIsLostBeforeAProbeSeesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, false)
		b.serve("web:80")
		web := b.target("web:80")
		targets.StartProbes([]*targets.Target{web})
		synctest.Wait()
		for !web.Ejection().Refused() { // by requests
		}
		web.Ejection().Eject(false, func() bool { return true })
		is.Equal(web.Lost(time.Time{}), "web:80 takes no connections")
	})
}

func TestTargetThatWasNeverHealthyIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 1, false)
		web := b.target("web:80") // nobody is there
		targets.StartProbes([]*targets.Target{web})
		time.Sleep(time.Minute)
		is.Equal(web.Lost(time.Time{}), "")
		passes, lost := web.Ask(t.Context())
		is.True(!passes)
		is.Equal(lost, "")
	})
}

func TestTargetIsUnusedOnceAllAtItsPlaceAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		b := newBed(t, 3, false)
		old, api, next := b.target("web:80"), b.target("api:80"), b.target("web:80")
		all := []*targets.Target{old, api}
		targets.StartProbes([]*targets.Target{old, api, next})
		targets.CloseAll(all)
		is.Equal(targets.Addresses([]*targets.Target{old, api, next}), []string{"web:80", "api:80"}) // each once
		is.Equal(targets.Unused(all), []string{"api:80"})
		next.Close()
		is.Equal(targets.Unused(all), []string{"web:80", "api:80"})
		is.Equal(all, []*targets.Target{old, api}) // which is not changed
	})
}

func TestTrafficIsInheritedByTheSameAddressInTheSameRole(t *testing.T) {
	is := is.New(t)
	b := newBed(t, 0, false)
	before := targets.NewGroup([]*targets.Target{b.target("a:80"), b.target("b:80")}, []*targets.Target{b.target("a:80")}, "one")
	next := targets.NewGroup([]*targets.Target{b.target("b:80"), b.target("c:80")}, []*targets.Target{b.target("a:80")}, "two")
	next.Inherit(&before)
	had, has := before.Targets(), next.Targets()
	is.True(has[0].Traffic == had[1].Traffic)
	is.True(has[1].Traffic != nil && has[1].Traffic != had[0].Traffic)
	is.True(has[2].Traffic == had[2].Traffic)
	is.True(has[2].Traffic != had[0].Traffic)
	is.Equal(next.Release, "two")
}

func TestNewGatesAreOfTheSameTargetsWithTheSameCounts(t *testing.T) {
	is := is.New(t)
	b := newBed(t, 0, false)
	g := targets.NewGroup([]*targets.Target{b.target("a:80")}, []*targets.Target{b.target("b:80")}, "one")
	next := g.WithNewGates()
	is.Equal(next.Targets(), g.Targets())
	is.True(next.Tally == g.Tally)
	is.Equal(next.Release, "one")
	for i, l := range next.Lanes() {
		is.True(l != g.Lanes()[i])
	}
	g.Tally.Observe(0, time.Second, true)
	is.Equal(next.Recent(time.Minute).Errors, uint64(1))
	is.Equal(new(targets.Group).Recent(time.Minute).Requests, uint64(0)) // it counts nothing
}

func TestTargetsThatServeAgainCountAnew(t *testing.T) {
	is := is.New(t)
	b := newBed(t, 0, false)
	g := targets.NewGroup([]*targets.Target{b.target("a:80")}, []*targets.Target{b.target("b:80")}, "")
	was := g.Served()
	is.Equal(len(was), 2)
	g.CountAnew()
	for i, total := range g.Served() {
		is.True(total != was[i])
	}
	is.Equal(len(new(targets.Group).Served()), 0)
}
