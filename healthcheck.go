package parachute

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute/internal/upstream"
)

// A prober sends the health checks of one target, the way that its traffic
// goes, but each on a connection of its own.
type prober struct {
	endpoint endpoint
	upstream upstream.Options
	url      string
	path     string
	host     string
	header   http.Header
	first    int // of the statuses that pass
	last     int
	timeout  time.Duration
}

// newProber returns the prober of the target at an endpoint, whose traffic goes
// as by u.
func newProber(at endpoint, u upstream.Options, d Deployment, agent string) *prober {
	u.DialTimeout, u.ResponseTimeout = -1, 0 // the probe's own time-out is for all of it
	authority := u.Address
	if port := d.HealthCheck.Port; port != 0 {
		name, _, _ := net.SplitHostPort(u.Address)
		u.Address = net.JoinHostPort(name, strconv.Itoa(port))
		authority = u.Address
	}
	scheme := "http"
	switch {
	case u.Network == "unix":
		authority = "localhost"
	case u.TLS != nil:
		scheme = "https"
	}
	header := http.Header{"User-Agent": {agent}, "Connection": {"close"}}
	if policyOf(d).isSecure() {
		// An app that insists on TLS would redirect the probe otherwise.
		header["X-Forwarded-Proto"] = []string{"https"}
	}
	for _, h := range d.HealthCheck.Headers {
		name, value, _ := strings.Cut(h, ":")
		header.Add(name, strings.TrimSpace(value))
	}
	first, last, _ := d.HealthCheck.passing()
	return &prober{
		endpoint: at,
		first:    first,
		last:     last,
		upstream: u,
		url:      scheme + "://" + authority + d.HealthCheck.Path,
		path:     d.HealthCheck.Path,
		host:     cmp.Or(d.HealthCheck.Host, authority),
		header:   header,
		timeout:  d.HealthCheck.Timeout,
	}
}

// probe asks the target once.
func (p *prober) probe(ctx context.Context) Probe {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	saw := Probe{Time: time.Now(), URL: p.url, Host: p.host}
	p.ask(ctx, &saw)
	saw.Took = time.Since(saw.Time)
	return saw
}

func (p *prober) ask(ctx context.Context, saw *Probe) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		saw.Error = err.Error()
		return
	}
	r.Host = p.host
	conns := p.endpoint.open(p.upstream)
	defer conns.Close()
	resp, err := conns.Exchange(r, p.path, p.header, func(int, http.Header) {})
	if err != nil {
		saw.Error = p.reason(ctx, err)
		return
	}
	defer resp.Body.Close()
	saw.Status = resp.StatusCode
	saw.Location = resp.Header.Get("Location")
	saw.Passed = p.first <= resp.StatusCode && resp.StatusCode <= p.last
	// What comes after is read too, within reason, so that the target does
	// not log a connection that broke.
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	saw.Body = strings.ToValidUTF8(string(body[:min(len(body), 200)]), "\uFFFD")
}

// reason tells why there was no answer.
func (p *prober) reason(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		return fmt.Sprintf("none within %v", p.timeout)
	}
	if e := (*upstream.Error)(nil); errors.As(err, &e) {
		err = e.Err // its reason goes without saying
	}
	return err.Error()
}

// agentName returns the User-Agent of probes: parachute and the version that
// this program was built with.
func agentName() string {
	const path = "github.com/shahnk19/parachute"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "parachute"
	}
	for _, m := range append(slices.Clone(info.Deps), &info.Main) {
		if m.Path == path && m.Version != "" && m.Version != "(devel)" {
			return "parachute/" + m.Version
		}
	}
	return "parachute/devel"
}

// probe probes until ctx ends: at once, then after 50, 100, 200 ms and so on
// up to the interval until the target is healthy, and from then on at the
// interval.
func (t *target) probe(ctx context.Context) {
	defer close(t.stopped)
	eager := 50 * time.Millisecond
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		saw := t.prober.probe(ctx)
		if ctx.Err() != nil {
			return // it tells nothing of the target
		}
		t.watch.saw(t, saw, t.learn(saw))
		if t.healthy.Load() {
			eager = t.check.Interval
		}
		pause.Reset(min(eager, t.check.Interval))
		eager = min(2*eager, t.check.Interval)
	}
}

// news is what a probe tells that was not known.
type news struct {
	first   bool // it is the target's first
	changed bool // the target's health is another now
}

// learn keeps a probe.
func (t *target) learn(saw Probe) (n news) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == nil || t.last.Passed != saw.Passed {
		t.streak = 0
	}
	t.last = &saw
	t.probes++
	t.streak++
	n.first = t.probes == 1
	now, needed := HealthUnhealthy, t.check.Fall
	if saw.Passed {
		now, needed = HealthHealthy, t.check.Rise
		t.recoveredLocked()
	}
	if now == t.health || t.streak < needed {
		return n
	}
	t.health, t.since = now, time.Now()
	t.healthy.Store(saw.Passed)
	n.changed = true
	return n
}

// A watch follows the probes of the targets that one deploy brought.
type watch struct {
	notify  func(kind EventKind, t *target, saw *Probe)
	waiting atomic.Bool   // a deploy waits, so every probe is an event
	changed chan struct{} // has room for one: some target's health has changed

	// Restored targets serve before anything is known of them; for a moment
	// it pays to wait.
	settled  chan struct{} // closed when waiting does not pay any more
	settling sync.Once
	unprobed atomic.Int64 // targets of which no probe has ended
}

func newWatch(targets int, waiting bool, notify func(EventKind, *target, *Probe)) *watch {
	w := &watch{notify: notify, changed: make(chan struct{}, 1), settled: make(chan struct{})}
	w.waiting.Store(waiting)
	w.unprobed.Store(int64(targets))
	return w
}

func (w *watch) settle() { w.settling.Do(func() { close(w.settled) }) }

// saw is told of each probe of t, by the goroutine that sent it.
func (w *watch) saw(t *target, saw Probe, n news) {
	waiting := w.waiting.Load()
	if waiting {
		w.notify(EventProbed, t, &saw)
	}
	switch {
	case n.changed && saw.Passed:
		w.notify(EventHealthy, t, &saw)
	case n.changed && !waiting:
		w.notify(EventUnhealthy, t, &saw)
	}
	if n.first && w.unprobed.Add(-1) == 0 || saw.Passed {
		w.settle()
	}
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// awaitHealthy returns nil as soon as all targets are healthy at once, an
// *UnhealthyError when limit has passed, or the cause of ctx's end. A negative
// limit is none.
func (w *watch) awaitHealthy(ctx context.Context, targets []*target, limit time.Duration) error {
	defer w.waiting.Store(false)
	var timeout <-chan time.Time
	if limit >= 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		timeout = timer.C
	}
	for !allHealthy(targets) {
		select {
		case <-w.changed:
		case <-timeout:
			if err := unhealthy(targets, limit); len(err.Targets) > 0 {
				return err
			}
			return nil // the last one made it just now
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func allHealthy(targets []*target) bool {
	return !slices.ContainsFunc(targets, func(t *target) bool { return !t.healthy.Load() })
}

// unhealthy tells what was seen of the targets that are not healthy.
func unhealthy(targets []*target, waited time.Duration) *UnhealthyError {
	err := &UnhealthyError{Waited: waited}
	for _, t := range targets {
		if u, ok := t.unhealthy(); ok {
			err.Targets = append(err.Targets, u)
		}
	}
	return err
}

func (t *target) unhealthy() (UnhealthyTarget, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return UnhealthyTarget{Address: t.address, Probes: t.probes, Last: t.last}, t.health != HealthHealthy
}
