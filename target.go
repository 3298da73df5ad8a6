package parachute

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/upstream"
)

// A target is one address that requests are sent to, with the connections to
// it and what its probes have shown. Whoever calls start must call close.
type target struct {
	address  string
	pool     *upstream.Pool
	exchange forward.Exchange // of pool
	check    HealthCheck
	prober   *prober
	watch    *watch

	healthy atomic.Bool // as requests see it

	stop    context.CancelFunc
	stopped chan struct{} // closed when the probing has ended

	mu     sync.Mutex // guards what follows
	health Health
	streak int // probes in a row that contradict health
	probes int // how many have ended
	last   *Probe
}

func newTarget(address string, d Deployment, o Options, agent string, w *watch) *target {
	pool := upstream.New(upstream.Options{
		Network:         "tcp",
		Address:         address,
		Dial:            o.Dial,
		ResponseTimeout: d.Timeouts.Response,
	})
	return &target{
		address:  address,
		pool:     pool,
		exchange: pool.Exchange,
		check:    d.HealthCheck,
		prober:   newProber(address, d.HealthCheck, o.Dial, agent),
		watch:    w,
		health:   HealthUnknown,
	}
}

// start begins to probe the target.
func (t *target) start() {
	ctx, stop := context.WithCancel(context.Background())
	t.stop, t.stopped = stop, make(chan struct{})
	go t.probe(ctx)
}

// stopProbes ends the probing and waits for it: no event about the target
// comes after it returned.
func (t *target) stopProbes() {
	t.stop()
	<-t.stopped
}

// close ends the probing and cuts off every exchange. When it returns, nothing
// more is sent to the target and no goroutine of it is left.
func (t *target) close() {
	t.stopProbes()
	t.pool.Close()
}

func closeAll(targets []*target) {
	for _, t := range targets {
		t.close()
	}
}

// status returns what is known of the target, but for what is in flight.
func (t *target) status() TargetStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	return TargetStatus{Address: t.address, Health: t.health, Probe: t.last}
}

// checkAddress returns why address is none that a target can have.
func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	switch {
	case address == "":
		return faultf(ErrInvalid, "target is empty: want host:port, such as web-1:3000")
	case strings.Contains(address, "://"):
		return faultf(ErrInvalid, "target %q has a scheme: want host:port alone, such as web-1:3000", address)
	case strings.Contains(address, "/"):
		return faultf(ErrInvalid, "target %q has a path: want host:port alone, such as web-1:3000", address)
	case err != nil && strings.Count(address, ":") > 1:
		return faultf(ErrInvalid, "target %q: an IPv6 address stands in brackets, as in [::1]:3000", address)
	case err != nil || port == "":
		return faultf(ErrInvalid, "target %q has no port: want host:port, such as web-1:3000", address)
	case host == "" || strings.ContainsAny(host, " \t\r\n@?#\x00"):
		return faultf(ErrInvalid, "target %q has no host name: want host:port, such as web-1:3000", address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return faultf(ErrInvalid, "target %q: port %q is not between 1 and 65535", address, port)
	}
	return nil
}
