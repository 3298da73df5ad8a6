package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/handover"
)

// An arrival is a process that takes the place of another one, as seen from the new one.
type arrival struct {
	link     *handover.Link
	offer    handover.Offer
	services []parachute.Status // what the other one serves
	sockets  *handover.Sockets
	until    time.Time // when the other one has ended at the latest

	ordered   chan struct{} // closed when the other one orders no certificates any more
	datagrams chan struct{} // closed when it reads none any more
	gone      chan struct{} // closed when it has ended
	recalled  chan error    // gets why it serves again, if it has not waited for this one

	mu       sync.Mutex // guards the fields below
	last     uint64     // number of the last Drain or AskChanges
	drains   map[uint64]chan handover.Drained
	asked    map[uint64]chan changes
	progress handover.Progress
	changed  chan struct{} // closed when progress has changed
}

// meetPredecessor asks the process whose place this one takes for its sockets, and for all
// else that is needed. It returns nil if there is none.
func (c *Config) meetPredecessor(ctx context.Context) (*arrival, error) {
	if c.Predecessor == nil {
		return nil, nil
	}
	conn, err := c.Predecessor(ctx)
	if conn == nil || err != nil {
		return nil, err
	}
	a, err := c.arrive(conn)
	if err != nil {
		return nil, err
	}
	c.Sockets, c.Kept = a.sockets, a.offer.Kept
	return a, nil
}

// takePlace has s, which has restored the services, take the place of the other process.
func (c *Config) takePlace(ctx context.Context, p *parts, a *arrival, s *server) error {
	if err := a.check(ctx, s.proxy, c.ReadyTimeout*5/6); err != nil { // before the other one gives up
		return err
	}
	if err := a.begin(handover.Ready{Unused: p.sockets.Places()}); err != nil {
		return err
	}
	if err := p.takeOverState(); err != nil {
		return err
	}
	p.commands.Leave(slices.Contains(c.Kept, handover.Control))
	p.sockets.Close() // what is not listened at any more
	p.logger.Info("taking over", "from", a.offer.PID, "version", a.offer.Version)
	return nil
}

// takeOverState makes this process the one that changes the state. Of another one that has
// just died, the system may not have let go of everything yet.
func (p *parts) takeOverState() error {
	for until := time.Now().Add(closeTimeout); ; time.Sleep(pollInterval) {
		if err := p.store.TakeOver(); err == nil || time.Now().After(until) {
			return err
		}
	}
}

// takeUpAgain returns the server that takes up again what s had handed over to a process
// which has ended. What s has left is its to end.
func (c *Config) takeUpAgain(p *parts, s *server) *server {
	if err := p.takeOverState(); err != nil {
		p.logger.Error("the state cannot be saved", "error", err)
	}
	p.commands.Leave(slices.Contains(c.Kept, handover.Control))
	p.predecessor = parachute.Predecessor{Follow: s.proxy.Follow, Drain: s.proxy.Drain}
	p.handedOn, p.hold, p.datagrams, p.adopted = s.finished, s.ordered, s.datagrams, s.membership.lease()
	if err := p.listeners.resume(); err != nil {
		p.logger.Error("not every port is served again", "error", err)
	}
	p.notifier.Serve("the proxy serves again, since the process that had taken its place has ended")
	next := newServer(*c, *p)
	next.before = s
	if err := next.proxy.Restore(s.proxy.Services()); err != nil {
		p.logger.Error("not every service could be restored", "error", err)
	}
	return next
}

// arrive asks the process at the other end of conn for all that is needed to take its
// place.
func (c *Config) arrive(conn handover.Conn) (*arrival, error) {
	a := &arrival{
		link:      handover.NewLink(conn),
		sockets:   new(handover.Sockets),
		ordered:   make(chan struct{}),
		datagrams: make(chan struct{}),
		gone:      make(chan struct{}),
		recalled:  make(chan error, 1),
		drains:    make(map[uint64]chan handover.Drained),
		asked:     make(map[uint64]chan changes),
		progress:  handover.Progress{Requests: 1}, // until it is told
		changed:   make(chan struct{}),
	}
	dir, err := filepath.Abs(c.DataDir)
	if err == nil {
		err = a.ask(handover.Ask{Protocol: handover.Protocol, Version: c.Version, PID: os.Getpid(), DataDir: dir}, c.ReadyTimeout)
	}
	if err != nil {
		a.sockets.Close()
		return nil, errors.Join(err, a.link.Close())
	}
	return a, nil
}

func (a *arrival) ask(ask handover.Ask, patience time.Duration) error {
	_ = a.link.SetDeadline(time.Now().Add(patience))
	if err := a.link.Send(handover.KindAsk, ask); err != nil {
		return fmt.Errorf("ask the running proxy: %w", err)
	}
	for {
		m, err := a.link.Receive()
		if err != nil {
			return fmt.Errorf("the running proxy does not answer: %w", err)
		}
		switch m.Kind {
		case handover.KindOffer:
			if err := m.Decode(&a.offer); err != nil {
				return err
			}
			if err := json.Unmarshal(a.offer.Services, &a.services); err != nil {
				return fmt.Errorf("what the running proxy serves cannot be read: %w", err)
			}
		case handover.KindSocket:
			var socket handover.Socket
			if err := m.Decode(&socket); err != nil {
				m.File.Close()
				return err
			}
			a.sockets.Add(socket.Name, m.File)
		case handover.KindOffered:
			return nil
		case handover.KindFailed:
			var failed handover.Failed
			_ = m.Decode(&failed)
			return fmt.Errorf("the running proxy: %s", failed.Error)
		}
	}
}

// allTimeout is how long it waits for every target, once each service has a healthy one.
const allTimeout = 2 * time.Second

// check returns nil when proxy is as well as the other process: each service serves that
// serves there, and has a healthy target if it has one there, and each host has its
// certificate. It returns an error if that is not so within patience, or as soon as there is
// no hope for it.
func (a *arrival) check(ctx context.Context, proxy *parachute.Proxy, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	look := time.NewTicker(pollInterval)
	defer look.Stop()
	for {
		services := byName(proxy.Services())
		everyOne := time.Since(began) < allTimeout
		var missing error
		for _, was := range a.services {
			is, ok := services[was.Service]
			switch {
			case was.State == parachute.StateFailed:
			case !ok:
				return fmt.Errorf("the saved state lacks %s, which is served now", was.Service)
			case is.State == parachute.StateFailed:
				return fmt.Errorf("%s would fail: %s", was.Service, is.Error)
			case missing == nil:
				missing = checkHealth(was, is, everyOne)
			}
		}
		if missing == nil {
			missing = a.checkCertificates(proxy)
		}
		if missing == nil {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return missing
		}
	}
}

func byName(services []parachute.Status) map[string]parachute.Status {
	all := make(map[string]parachute.Status, len(services))
	for _, s := range services {
		all[s.Service] = s
	}
	return all
}

// checkHealth returns an error if the service is not as healthy as it was: if none of the
// targets that were is or, with everyOne, if not all of them are.
func checkHealth(was, is parachute.Status, everyOne bool) error {
	healthy := make(map[string]bool)
	for _, t := range is.Live.Targets {
		healthy[t.Address] = healthy[t.Address] || t.Health == parachute.HealthHealthy
	}
	var well, ill int
	var err error
	for _, t := range was.Live.Targets {
		switch {
		case t.Health != parachute.HealthHealthy:
		case healthy[t.Address]:
			well++
		default:
			ill++
			err = fmt.Errorf("%s would be unhealthy: %s %s", was.Service, t.Address, whyUnhealthy(is, t.Address))
		}
	}
	if ill == 0 || well > 0 && !everyOne {
		return nil
	}
	return err
}

// whyUnhealthy returns what the last probe of a target saw.
func whyUnhealthy(s parachute.Status, address string) string {
	for _, t := range s.Live.Targets {
		if t.Address == address && t.Probe != nil {
			return t.Probe.String()
		}
	}
	return "has not answered a probe yet"
}

func (a *arrival) checkCertificates(proxy *parachute.Proxy) error {
	has := hostsWithCertificate(proxy)
	for _, host := range a.offer.Certificates {
		if !has[host] {
			return fmt.Errorf("there would be no certificate for %s", host)
		}
	}
	return nil
}

// hostsWithCertificate returns the hosts that have one, those on demand aside: these have
// one again when somebody comes to them.
func hostsWithCertificate(proxy *parachute.Proxy) map[string]bool {
	has := make(map[string]bool)
	for _, c := range proxy.Certificates() {
		if c.Issuer != "" && c.Source != parachute.TLSOnDemand {
			has[c.Host] = true
		}
	}
	return has
}

// fail tells the other process why there is no handover.
func (a *arrival) fail(err error) {
	_ = a.link.Send(handover.KindFailed, handover.Failed{Error: err.Error()})
}

// begin tells the other process that this one is ready, and returns when it may serve.
func (a *arrival) begin(how handover.Ready) error {
	if err := a.link.Send(handover.KindReady, how); err != nil {
		return err
	}
	m, err := a.link.Receive()
	switch {
	case err != nil:
		return fmt.Errorf("the running proxy does not let this one go on: %w", err)
	case m.Kind == handover.KindFailed:
		var failed handover.Failed
		_ = m.Decode(&failed)
		return fmt.Errorf("the running proxy: %s", failed.Error)
	case m.Kind != handover.KindGo:
		return fmt.Errorf("the running proxy says %q in place of %q", m.Kind, handover.KindGo)
	}
	var permission handover.Go
	if err := m.Decode(&permission); err != nil {
		return err
	}
	a.until = permission.Until
	_ = a.link.SetDeadline(time.Time{})
	return nil
}

// serving tells the other process that this one serves, and listens to it from now on.
func (a *arrival) serving() {
	_ = a.link.Send(handover.KindServing, nil)
	go a.run()
}

// stopping tells the other process that this one ends because it was told to.
func (a *arrival) stopping() { _ = a.link.Send(handover.KindStopping, nil) }

// awaitEnd returns nil when the other process has ended, or ctx's error if that ends before.
func (a *arrival) awaitEnd(ctx context.Context) error {
	select {
	case <-a.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run receives until the other process has ended.
func (a *arrival) run() {
	defer close(a.gone)
	defer a.link.Close()
	defer closeOnce(a.ordered)
	defer closeOnce(a.datagrams)
	for {
		m, err := a.link.Receive()
		if err != nil {
			return
		}
		switch m.Kind {
		case handover.KindOrdered:
			closeOnce(a.ordered)
		case handover.KindDatagrams:
			closeOnce(a.datagrams)
		case handover.KindDrained:
			var drained handover.Drained
			if m.Decode(&drained) == nil {
				a.endDrain(drained)
			}
		case handover.KindChanges:
			var c handover.Changes
			if m.Decode(&c) == nil {
				a.endAsk(c)
			}
		case handover.KindFailed:
			var failed handover.Failed
			_ = m.Decode(&failed)
			a.recalled <- fmt.Errorf("the process before this one: %s", failed.Error) // it says nothing more
			return
		case handover.KindProgress:
			var p handover.Progress
			if m.Decode(&p) == nil {
				a.setProgress(p)
			}
		}
	}
}

// closeOnce closes c, which one goroutine does.
func closeOnce(c chan struct{}) {
	select {
	case <-c:
	default:
		close(c)
	}
}

func (a *arrival) setProgress(p handover.Progress) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.progress = p
	close(a.changed)
	a.changed = make(chan struct{})
}

// current returns what the other process has, and what is closed when that changes.
func (a *arrival) current() (handover.Progress, <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.progress, a.changed
}

// predecessor returns the Predecessor of the new process's Proxy.
func (a *arrival) predecessor() parachute.Predecessor {
	return parachute.Predecessor{Follow: a.follow, Drain: a.drain}
}

func (a *arrival) follow(service string, s *parachute.Status) {
	p := handover.Publish{Service: service}
	if s != nil {
		status, err := json.Marshal(s)
		if err != nil {
			return
		}
		p.Status = status
	}
	_ = a.link.Send(handover.KindPublish, p) // an error means that it has ended
}

func (a *arrival) drain(service string, limits parachute.Timeouts, done <-chan struct{}) (requests, streams int64) {
	a.mu.Lock()
	a.last++
	id, drained := a.last, make(chan handover.Drained, 1)
	a.drains[id] = drained
	a.mu.Unlock()
	defer a.forget(id)
	if a.link.Send(handover.KindDrain, handover.Drain{ID: id, Service: service, Requests: limits.Drain, Streams: limits.Stream}) != nil {
		return 0, 0
	}
	select {
	case d := <-drained:
		return d.Requests, d.Streams
	case <-a.gone:
	case <-done:
		_ = a.link.Send(handover.KindUndrain, handover.Undrain{ID: id})
	}
	return 0, 0
}

func (a *arrival) endDrain(d handover.Drained) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if drained := a.drains[d.ID]; drained != nil {
		drained <- d
		delete(a.drains, d.ID)
	}
}

func (a *arrival) forget(id uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.drains, id)
}

func closedChannel() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}
