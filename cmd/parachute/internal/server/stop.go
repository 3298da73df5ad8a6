package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/state"
	"github.com/shahnk19/parachute/cmd/parachute/internal/systemd"
)

// serve serves until ctx ends, a listener fails, or another process has taken the place
// of this one. Then it stops everything, and returns when that is done. If ctx ended, all
// but /readyz goes on for the delay before. It reports true if the other process has ended
// so soon that this one has to take up again; then finish does the rest.
func (s *server) serve(ctx context.Context) (again bool, err error) {
	serve := []func() error{s.commands.serve}
	if s.monitoring != nil {
		serve = append(serve, s.monitoring.serve)
	}
	if s.page != nil {
		serve = append(serve, func() error { return s.page.serve(s.proxy.Services) })
	}
	for _, f := range s.frontends {
		serve = append(serve, f.serve)
	}
	if s.arrival != nil {
		s.arrival.serving() // before anybody can ask for a change, of which it is told, too
	}
	s.membership.begin(s.proxy)
	if s.arrival == nil && s.before == nil { // else clients are served already
		s.membership.await(ctx)
	}
	running := len(serve)
	ended := make(chan error, running)
	for _, f := range serve {
		go runFrontend(f, ended)
	}

	if s.before == nil {
		s.logUntold(systemd.Ready(s.status))
	} else {
		s.logUntold(systemd.MainPID(os.Getpid(), s.status)) // again
	}
	running, left, err := s.await(ctx, ended, running)
	if left != nil {
		if s.depart(ctx, left) {
			return true, nil
		}
		s.finish()
		for range running {
			<-ended
		}
		s.close("link to the next process", left.inbox.close())
		return false, nil
	}
	if s.arrival != nil {
		s.arrival.stopping()
	}
	s.logUntold(systemd.Stopping(fmt.Sprintf("waiting for running requests, at most %v", max(s.shutdownTimeout, 0))))
	s.stop()
	for range running {
		<-ended
	}
	s.followers.Wait()
	if s.quicConn != nil {
		s.closeDatagrams()
	}
	s.logger.Info("stopped")
	return false, err
}

// await returns when ctx has ended and the delay has passed, when a listener has failed,
// with its error, or when another process has taken over. running is how many of those
// that send to ended have not.
func (s *server) await(ctx context.Context, ended <-chan error, running int) (left int, d *departure, err error) {
	var delay <-chan time.Time
	stop := ctx.Done()
	for {
		select {
		case <-stop:
			if d := s.giveUpHandover(); d != nil {
				return running, d, nil
			}
			s.announceStop(s.shutdownDelay)
			s.logger.Info("stopping", "shutdown_delay", s.shutdownDelay.String(), "shutdown_timeout", max(s.shutdownTimeout, 0).String())
			stop, delay = nil, time.After(s.shutdownDelay)
		case <-delay:
			return running, nil, nil
		case <-s.upgrader.signals:
			s.followers.Go(func() { s.upgrader.upgradeBySignal(ctx) })
		case d := <-s.upgrader.departed:
			return running, d, nil
		case err := <-s.recalled():
			if d := s.giveUpHandover(); d != nil {
				return running, d, nil
			}
			s.logger.Error("stopping", "error", err)
			return running, nil, err
		case err := <-ended:
			running--
			if s.departing.Load() {
				continue
			}
			if d := s.giveUpHandover(); d != nil {
				return running, d, nil
			}
			s.logger.Error("stopping", "error", err)
			return running, nil, err
		}
	}
}

// recalled gets why this process must not serve beside the one before it; nil: it never
// does.
func (s *server) recalled() <-chan error {
	if s.arrival == nil {
		return nil
	}
	return s.arrival.recalled
}

// giveUpHandover lets no handover take place any more, and returns nil; or it returns the
// one that has been decided already.
func (s *server) giveUpHandover() *departure {
	select {
	case <-s.ending:
		return nil
	default:
		close(s.ending)
	}
	select {
	case s.upgrader.turn <- struct{}{}:
		return nil
	case d := <-s.upgrader.departed:
		return d
	}
}

// logUntold logs that the service manager could not be told something.
func (s *server) logUntold(err error) {
	if err != nil {
		s.logger.Warn("the service manager could not be told", "error", err)
	}
}

// runFrontend calls serve and sends its error to ended.
func runFrontend(serve func() error, ended chan<- error) { ended <- serve() }

// closeTimeout bounds how long the last answers may take after the proxy is
// closed: handlers that were cut off answer 504 and write to the log, and the
// control plane answers how changes ended.
const closeTimeout = 2 * time.Second

// stop stops everything: first /readyz fails, then requests end, and at last the
// metrics port and the control socket are closed.
func (s *server) stop() {
	s.announceStop(0)
	s.control.Refuse()
	s.membership.giveUp() // or else the drain waits for it
	ctx, cancel := context.WithTimeout(context.Background(), max(s.shutdownTimeout, 0))
	defer cancel()
	s.listeners.finish()
	handedOn := make(chan struct{})
	go s.handOn(handedOn)
	if err := s.shutdownFrontends(ctx); err != nil {
		s.logger.Warn("requests were cut off", "error", err)
	}
	s.control.End()
	s.close("proxy", s.proxy.Close())
	<-handedOn
	s.membership.finish()

	last, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	s.awaitHandlers(last)
	for _, f := range s.frontends {
		if f.server.Shutdown(last) != nil {
			s.close(f.protocol, f.server.Close())
		}
	}
	if s.monitoring != nil && s.monitoring.finish(last) != nil {
		s.close("metrics", s.monitoring.http.Close())
	}
	if s.page != nil && s.page.server.finish(last) != nil {
		s.close("page", s.page.server.http.Close())
	}
	if s.commands.finish(last) != nil {
		s.close("control", s.commands.http.Close())
	}
	if s.arrival != nil {
		s.awaitBefore(ctx)
	}
}

// awaitBefore waits for the process before this one, which ends what it has until ctx ends.
// Otherwise the next one, which knows nothing of it, would say of a target that it may be
// stopped while that has requests.
func (s *server) awaitBefore(ctx context.Context) {
	s.letGo() // the next one may serve already
	if s.arrival.awaitEnd(ctx) == nil {
		return
	}
	last, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := s.arrival.awaitEnd(last); err != nil {
		s.logger.Warn("the process before this one has not ended", "pid", s.arrival.offer.PID, "error", err)
	}
}

// announceStop has readiness fail, and says until when s may last if it begins to stop
// after a delay.
func (s *server) announceStop(delay time.Duration) {
	s.until.Store(time.Now().Add(delay + max(s.shutdownTimeout, 0)).UnixNano())
	if !s.stopping.Swap(true) {
		s.notifier.Stop("the proxy stops")
		s.close("data directory", s.store.Leave())
	}
}

// handOn leaves the data directory to the next process once nothing in it is changed any
// more. The ports for clients are free then.
func (s *server) handOn(done chan<- struct{}) {
	defer close(done)
	s.proxy.FinishOrders()
	if err := s.proxy.CommitHistory(); err != nil {
		s.logger.Warn("the figures of the history are lost since the last change of each service", "error", err)
	}
	s.close("data directory", s.store.Release())
}

// commit is the CommitDelta of the proxy.
func (s *server) commit(d parachute.Delta) error {
	err := s.store.Commit(d)
	if errors.Is(err, state.ErrReadOnly) { // it belongs to the next process
		return parachute.ErrClosed
	}
	return err
}

// progress returns what s waits for, or nil if it is not stopping.
func (s *server) progress() *control.Stopping {
	if !s.stopping.Load() {
		return nil
	}
	return &control.Stopping{Requests: s.handlers.Load(), Until: time.Unix(0, s.until.Load())}
}

// shutdownFrontends has the connections end, and returns when they have, or with ctx's
// error if that ends before. Their clients are told: by Connection: close behind the
// request that is being served, or by GOAWAY. The servers wait for their connections. The
// proxy waits for hijacked connections, which the servers do not know, and ends event
// streams, which would not end by themselves. The socket for UDP is closed when the last
// client of HTTP/3 is gone.
func (s *server) shutdownFrontends(ctx context.Context) error {
	drained := make(chan error, 1+len(s.frontends))
	go shutdown(ctx, s.proxy.Shutdown, drained)
	for _, f := range s.frontends {
		go shutdown(ctx, func(ctx context.Context) error { return s.shutdownFrontend(ctx, f) }, drained)
	}
	var errs []error
	for range cap(drained) {
		errs = append(errs, <-drained)
	}
	return errors.Join(errs...)
}

// shutdownFrontend shuts f down. It closes the socket for UDP as soon as nobody needs it.
func (s *server) shutdownFrontend(ctx context.Context, f frontend) error {
	err := f.server.Shutdown(ctx)
	if err == nil && f.protocol == "http3" {
		s.listeners.quic.Close()
		s.closeDatagrams()
	}
	return err
}

// closeDatagrams closes the socket that HTTP/3 is read from. It may be called again.
func (s *server) closeDatagrams() {
	if err := s.quicConn.Close(); !errors.Is(err, net.ErrClosed) {
		s.close("http3", err)
	}
}

func shutdown(ctx context.Context, do func(context.Context) error, done chan<- error) {
	done <- do(ctx)
}

// pollInterval is how often the number of running handlers is checked.
const pollInterval = 5 * time.Millisecond

// awaitHandlers waits until no handler runs or ctx ends.
func (s *server) awaitHandlers(ctx context.Context) {
	look := time.NewTicker(pollInterval)
	defer look.Stop()
	for s.handlers.Load() > 0 {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// close logs an error of closing something. Nothing else can be done, because
// the process ends.
func (s *server) close(what string, err error) {
	if err != nil {
		s.logger.Warn("closing", "what", what, "error", err)
	}
}
