package targets

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute/internal/backend"
	"github.com/shahnk19/parachute/internal/descriptors"
	"github.com/shahnk19/parachute/internal/health"
)

// A Monitor follows the probes of the targets that one deploy brought. Restored targets
// serve before anything is known of them. Their requests wait until its Tracker has
// settled, but only for a moment. Where visitors stay with a target, it must be known of
// each whether it is well, lest they are sent to another.
type Monitor struct {
	*health.Tracker
	Generation atomic.Uint64 // of the deploy

	o       MonitorOptions
	began   time.Time
	waiting atomic.Bool // a deploy waits, so every probe is told
	silent  atomic.Bool // no probe is told, for the targets have been replaced
}

// MonitorOptions say what a Monitor follows, and who is told of it.
type MonitorOptions struct {
	Targets  int                   // how many
	Thorough bool                  // it must be known of each whether it is well
	Waits    bool                  // a deploy waits for the targets to become healthy
	Limit    time.Duration         // of the wait; 0 or less: there is none
	Tell     func(Notice)          // is called on the goroutine of a probe, and must not block
	Short    *descriptors.Reporter // is told of probes that could not be sent
}

// NewMonitor returns a Monitor of targets that are about to be made.
func NewMonitor(o MonitorOptions) *Monitor {
	o.Limit = max(o.Limit, 0)
	m := &Monitor{Tracker: health.NewTracker(o.Targets, o.Thorough), o: o, began: time.Now()}
	m.waiting.Store(o.Waits)
	return m
}

// Began returns when the Monitor was made, which is when the wait begins.
func (m *Monitor) Began() time.Time { return m.began }

// A Kind says what a Notice is about.
type Kind string

const (
	Probed    Kind = "probed"    // a probe ended, while a deploy waits
	Healthy   Kind = "healthy"   // the target became healthy
	Unhealthy Kind = "unhealthy" // it stopped being healthy, and no deploy waits
)

// A Notice is what a Monitor tells of a probe.
type Notice struct {
	Kind       Kind
	Generation uint64
	Target     string // its address
	Result     *backend.Result

	// While a deploy waits, Probes is how many of the target have ended, and Elapsed the
	// time since the wait began. Limit is that of the wait, in Probed; 0: there is none.
	Probes         int
	Elapsed, Limit time.Duration
}

// observe handles the end of a probe of t. probes is the number of t's probes that
// have ended; changed says whether t's health has changed.
func (m *Monitor) observe(t *Target, r *backend.Result, probes int, changed bool) {
	if r.Health().Void {
		m.o.Short.Report("a target could not be probed", errors.New(r.Error))
	}
	m.tell(t, r, probes, changed)
	m.Note(probes == 1, r.Passed)
}

// tell calls Tell for the end of a probe, if that is to be told. The parameters are observe's.
func (m *Monitor) tell(t *Target, r *backend.Result, probes int, changed bool) {
	waiting := m.waiting.Load()
	if m.silent.Load() || !waiting && !changed {
		return
	}
	n := Notice{Kind: Probed, Generation: m.Generation.Load(), Target: t.Address, Result: r}
	if waiting {
		n.Probes, n.Elapsed, n.Limit = probes, time.Since(m.began), m.o.Limit
		m.o.Tell(n)
	}
	switch n.Limit = 0; {
	case changed && r.Passed:
		n.Kind = Healthy
		m.o.Tell(n)
	case changed && !waiting:
		n.Kind = Unhealthy
		m.o.Tell(n)
	}
}

// AwaitHealthy waits until all targets are healthy at once, as [health.Tracker.Await] does.
// From then on no deploy waits.
func (m *Monitor) AwaitHealthy(ctx context.Context, all []*Target, limit time.Duration) error {
	defer m.waiting.Store(false)
	return m.Await(ctx, limit, func() bool { return AllHealthy(all) })
}
