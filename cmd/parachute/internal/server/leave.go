package server

import (
	"context"
	"fmt"
	"math"
	"net"
	"slices"
	"time"

	"github.com/shahnk19/parachute/cmd/parachute/internal/handover"
	"github.com/shahnk19/parachute/cmd/parachute/internal/tcp"
)

// sockets returns descriptors for all that s listens on, under the names by which a new
// process asks for them.
func (s *server) sockets() (*handover.Sockets, error) {
	all := new(handover.Sockets)
	err := all.Duplicate(handover.HTTP, s.listeners.http)
	for _, f := range s.listeners.further {
		if err == nil {
			err = all.Duplicate(handover.Further, f)
		}
	}
	if err == nil && s.listeners.https != nil {
		err = all.Duplicate(handover.HTTPS, s.listeners.https)
	}
	if err == nil && s.listeners.quic != nil {
		err = all.Duplicate(handover.HTTP3, s.listeners.quic.(*net.UDPConn))
	}
	if err == nil && s.listeners.metrics != nil {
		err = all.Duplicate(handover.Metrics, s.listeners.metrics)
	}
	if err == nil && s.listeners.page != nil {
		err = all.Duplicate(handover.Page, s.listeners.page)
	}
	if err == nil {
		err = all.Duplicate(handover.Control, s.commandSocket)
	}
	if err != nil {
		all.Close()
		return nil, err
	}
	return all, nil
}

// dialCommands connects to the control socket.
func (s *server) dialCommands(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", s.commandSocket.Addr().String())
}

// An entryPoint is a listener and the server of the connections that come in there.
type entryPoint struct {
	name          string // of the listener
	*tcp.Listener        // nil: it is a socket for UDP
	retire        func() // accepts no more connections, and has those end that there are
}

// isAmong reports whether the listener of d is at one of places.
func (d entryPoint) isAmong(places []handover.Place) bool {
	return d.Listener != nil && slices.Contains(places, handover.Place{Name: d.name, Address: d.Addr().String()})
}

// entryPoints returns all entry points but the control socket.
func (s *server) entryPoints() []entryPoint {
	var all []entryPoint
	for _, f := range s.frontends {
		name := f.protocol
		if f.listener != nil && f.listener != s.listeners.http && f.listener != s.listeners.https {
			name = handover.Further
		}
		all = append(all, entryPoint{name, f.listener, f.server.Retire})
	}
	end := func(o *operatorServer) func() {
		return func() {
			o.leave()
			s.followers.Go(func() { _ = o.finish(context.Background()) })
		}
	}
	if s.monitoring != nil {
		all = append(all, entryPoint{handover.Metrics, s.listeners.metrics, end(s.monitoring)})
	}
	if s.page != nil {
		all = append(all, entryPoint{handover.Page, s.listeners.page, end(s.page.server)})
	}
	return all
}

// stopAccepting leaves all that comes to the next process: new connections wait in the
// queues of the sockets, which stay open. At those of unused, where that process does not
// listen, s serves until the returned func is called: with true once the other serves, for
// clients to be refused there, or else with false.
func (s *server) stopAccepting(unused []handover.Place) (giveUp func(served bool)) {
	s.departing.Store(true)
	s.commandSocket.Leave(true)
	s.commands.leave()
	var open []entryPoint
	for _, d := range s.entryPoints() {
		if d.isAmong(unused) {
			open = append(open, d)
		} else {
			d.retire()
		}
	}
	return func(served bool) {
		for _, d := range open {
			if served {
				s.listeners.suspend(d.Listener)
			}
			d.retire()
		}
	}
}

// longestDrain is how long requests, and then streams, may last.
func (s *server) longestDrain() time.Duration {
	var streams time.Duration
	for _, service := range s.proxy.Services() {
		streams = max(streams, service.Deployment.Timeouts.Stream)
	}
	limit := max(s.shutdownTimeout, 0) + 2*closeTimeout
	return limit + min(streams, math.MaxInt64-limit)
}

// beginLeaving lets what s has end, and tells the new process about it. It returns at
// once; s.drained is closed when nothing is left.
func (s *server) beginLeaving(link *handover.Link) {
	s.followers.Go(func() { _ = s.commands.finish(context.Background()) })
	s.followers.Go(func() {
		s.proxy.FinishOrders()
		close(s.ordered)
		_ = link.Send(handover.KindOrdered, nil)
	})
	s.followers.Go(func() {
		s.finishDatagrams()
		_ = link.Send(handover.KindDatagrams, nil)
	})
	s.followers.Go(s.empty)
}

// finishDatagrams returns when s reads no packets of HTTP/3 any more. Two processes that
// read from one socket would take packets from each other.
func (s *server) finishDatagrams() {
	defer close(s.datagrams)
	for _, f := range s.frontends {
		if f.protocol == "http3" {
			ctx, cancel := s.end.context()
			defer cancel()
			if f.server.Shutdown(ctx) != nil {
				s.close(f.protocol, f.server.Close())
			}
			s.closeDatagrams()
		}
	}
}

// empty lets the requests and streams end, and returns when none is left, or all have
// been cut off.
func (s *server) empty() {
	defer close(s.drained)
	ctx, cancel := s.end.context()
	defer cancel()
	began, limit := time.Now(), max(s.shutdownTimeout, 0)
	running, cancelRunning := context.WithTimeout(ctx, limit)
	defer cancelRunning()
	_ = s.end.bound(func(ctx context.Context) error { // an error only says that s.end has passed
		return s.proxy.HandOver(ctx, limit-time.Since(began))
	})
	s.awaitHandlers(running)
	if s.handlers.Load() > 0 { // those that were held all the time, and streams that came of them
		_ = s.end.bound(s.proxy.Shutdown)
		s.awaitHandlers(ctx)
	}
}

// remaining returns what s still has.
func (s *server) remaining() handover.Progress {
	p := handover.Progress{Requests: s.handlers.Load(), Commands: s.control.Relays()}
	select {
	case <-s.drained:
		if s.end.hasPassed() {
			return handover.Progress{} // what is left has been cut off
		}
	default:
		p.Requests = max(p.Requests, 1)
	}
	return p
}

// progressInterval is how often the new process is told what the old one still has.
const progressInterval = 50 * time.Millisecond

// depart serves what s has until nothing is left, and follows the new process meanwhile.
// It reports true, and may have left something to be served, if the new process has ended
// in the time in which s is to take up again then. After that time, or when the new process
// ends of its own will, s lets go of its sockets. So it does when ctx ends, and what is left
// has the shutdown timeout then.
func (s *server) depart(ctx context.Context, d *departure) (again bool) {
	s.membership.handOver()
	guard := time.NewTimer(s.upgrader.guard)
	defer guard.Stop()
	look := time.NewTicker(progressInterval)
	defer look.Stop()
	messages, ending, isGuarding := d.inbox.messages, ctx.Done(), true
	told := handover.Progress{Requests: -1}
	for _, m := range d.early {
		isGuarding = s.follow(d, m) && isGuarding
	}
	for {
		select {
		case got, open := <-messages:
			if !open {
				got.err = net.ErrClosed // the handover has failed
			}
			switch {
			case got.err != nil && isGuarding:
				_ = d.inbox.close()
				s.logger.Error("the process that has taken over has ended: taking up again", "pid", d.pid, "error", got.err)
				return true
			case got.err != nil:
				messages = nil
			case !s.follow(d, got.message):
				isGuarding = false
			}
		case <-guard.C:
			isGuarding = false
		case <-ending:
			isGuarding, ending = false, nil
			s.hurry()
		case <-look.C:
		}
		if !isGuarding {
			s.letGo()
		}
		p := s.remaining()
		if p != told && messages != nil {
			_ = d.link.Send(handover.KindProgress, p)
			told = p
		}
		if p == (handover.Progress{}) && !isGuarding {
			return false
		}
	}
}

// letGo closes the sockets that s listens at. Who listens there now need not be the last
// one: the next process can only bind the ports when nobody has them any more, and clients
// must not wait in a queue from which nobody accepts.
func (s *server) letGo() {
	s.listeners.close()
	s.commandSocket.Close()
}

// hurry has what s has left end within the shutdown timeout.
func (s *server) hurry() { s.end.bringForward(max(s.shutdownTimeout, 0)) }

// awaitFinished returns nil when nothing is left of s, which is waited for with wait.
func (s *server) awaitFinished(ctx context.Context, wait bool) error {
	select {
	case <-s.finished:
		return nil
	default:
	}
	if !wait {
		return fmt.Errorf("the last upgrade is not over: %s are left of before it, which may take %v more: try again then, or wait for it with --wait",
			describeProgress(s.remaining()), max(time.Until(s.end.at()), 0).Round(time.Second))
	}
	select {
	case <-s.finished:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// finish closes what s has left: connections without a request, mostly.
func (s *server) finish() {
	s.membership.giveUp()
	select {
	case <-s.drained:
	case <-s.end.passed:
	}
	last, cancel := s.end.contextOf(closeTimeout)
	defer cancel()
	shut := make(chan error, len(s.frontends))
	for _, f := range s.frontends {
		go shutdown(last, f.server.Shutdown, shut)
	}
	for range s.frontends {
		<-shut
	}
	s.control.End()
	s.close("proxy", s.proxy.Close())
	s.membership.finish()
	s.awaitHandlers(last)
	for _, f := range s.frontends {
		s.close(f.protocol, f.server.Close())
	}
	if s.monitoring != nil {
		s.close("metrics", s.monitoring.http.Close())
	}
	if s.page != nil {
		s.close("page", s.page.server.http.Close())
	}
	s.close("control", s.commands.http.Close())
	s.mu.Lock()
	for id, done := range s.drains {
		close(done)
		delete(s.drains, id)
	}
	s.mu.Unlock()
	s.followers.Wait()
	close(s.finished)
}
