// Package targets has what requests are sent to. A Target puts together the connections
// to a server, what its probes have shown, and what was counted of the requests.
package targets

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute/internal/advice"
	"github.com/shahnk19/parachute/internal/backend"
	"github.com/shahnk19/parachute/internal/balance"
	"github.com/shahnk19/parachute/internal/ejection"
	"github.com/shahnk19/parachute/internal/endpoint"
	"github.com/shahnk19/parachute/internal/health"
	"github.com/shahnk19/parachute/internal/histogram"
	"github.com/shahnk19/parachute/internal/lanes"
)

// A Target is one address that requests are sent to, with the connections to it and the
// results of its probes. Whoever calls StartProbes must call Close.
type Target struct {
	*backend.Backend
	Address string
	Label   []string                        // Address alone, as the value of a header
	Monitor *Monitor                        // follows the probes
	Traffic *histogram.Traffic              // of the requests sent to Address, across deploys
	Served  atomic.Pointer[histogram.Total] // counts the requests that this target got last, for the history

	Health   health.State[*backend.Result]
	outcomes balance.FailureRate // of the requests to it
	token    string              // stands for it in cookies
}

// New returns the target that b reaches, which was deployed as address. Token stands for
// it in cookies. Rise is how many probes in a row must pass to make it healthy, fall how
// many must fail to make it unhealthy; m follows them.
func New(b *backend.Backend, address, token string, rise, fall int, m *Monitor) *Target {
	t := &Target{Backend: b, Address: address, Label: []string{address}, Monitor: m, Traffic: new(histogram.Traffic), token: token}
	t.Health.Init(rise, fall)
	t.Served.Store(new(histogram.Total))
	return t
}

// StartProbes begins to probe the targets. No result of a probe that began before is taken
// for one of their own, so a deploy is never judged by a probe that is older than itself.
func StartProbes(all []*Target) {
	for _, t := range all {
		t.Start(t.Health.Pause, t.conclude)
	}
}

// conclude applies the result of a probe to t and tells its Monitor.
func (t *Target) conclude(r *backend.Result) {
	probes, changed := t.Health.Record(r.Health(), r)
	t.Monitor.observe(t, r, probes, changed)
}

// CloseAll cuts off what goes on with the targets, and ends their probes.
func CloseAll(all []*Target) {
	for _, t := range all {
		t.Close()
	}
}

// Silence says whether nothing is told of the probes of targets, since the targets have
// been replaced.
func Silence(all []*Target, silent bool) {
	for _, t := range all {
		t.Monitor.silent.Store(silent)
	}
}

// Addresses returns those of targets, each once.
func Addresses(all []*Target) (addresses []string) {
	for _, t := range all {
		addresses = append(addresses, t.Address)
	}
	return endpoint.Distinct(addresses)
}

// Unused returns the addresses of those targets whose place no target uses any more.
func Unused(all []*Target) []string {
	return Addresses(slices.DeleteFunc(slices.Clone(all), (*Target).IsPlaceUsed))
}

// AllHealthy reports whether all of the targets pass their probes.
func AllHealthy(all []*Target) bool {
	return !slices.ContainsFunc(all, func(t *Target) bool { return !t.Health.Passes() })
}

// newLane returns a lane to t that nobody is inside of.
func (t *Target) newLane() *lanes.Lane[*Target] { return lanes.New(t, t.NewExchanges()) }

// IsHealthy implements lanes.Target.
func (t *Target) IsHealthy() bool { return t.Health.IsHealthy() }

// Outcomes implements lanes.Target.
func (t *Target) Outcomes() *balance.FailureRate { return &t.outcomes }

// Ejection implements lanes.Target.
func (t *Target) Ejection() *ejection.State { return &t.Health.Ejection }

// Token implements lanes.Target.
func (t *Target) Token() string { return t.token }

// IsUnhealthy implements trial.Target.
func (t *Target) IsUnhealthy(since time.Time) bool { return t.Health.IsUnhealthy(since) }

// Lost implements trial.Target.
func (t *Target) Lost(since time.Time) string {
	if !t.Health.IsLost(since) {
		return ""
	}
	if last := t.Health.Snapshot().Last; last != nil && !last.Passed {
		return t.failure(last)
	}
	return t.Address + " takes no connections"
}

// Ask implements trial.Target.
func (t *Target) Ask(ctx context.Context) (passes bool, lost string) {
	r := t.Probe(ctx)
	if r.Health().Refused && t.Health.HasBeenHealthy() {
		lost = t.failure(r)
	}
	return r.Passed, lost
}

// failure returns what is wrong with t, since a probe did not pass.
func (t *Target) failure(r *backend.Result) string {
	seen := advice.Probe{URL: r.URL(), Host: r.Host(), Status: r.Status, GRPC: r.GRPC, Location: r.Location,
		Body: r.Body, Error: r.Error, Cause: string(r.Cause), Passed: r.Passed}
	return fmt.Sprintf("%s is unhealthy: %v", t.Address, &seen)
}
