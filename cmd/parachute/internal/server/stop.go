package server

import (
	"context"
	"errors"
	"net"
	"time"
)

// serve serves until ctx ends or a listener fails, then stops everything and
// waits for it.
func (s *server) serve(ctx context.Context, commands net.Listener) error {
	serve := []func() error{func() error { return s.commands.Serve(commands) }}
	if s.monitoring != nil {
		serve = append(serve, func() error { return s.monitoring.Serve(s.monitoringListener) })
	}
	for _, f := range s.frontends {
		serve = append(serve, f.serve)
	}
	running := len(serve)
	ended := make(chan error, running)
	for _, f := range serve {
		go runFrontend(f, ended)
	}

	var err error
	select {
	case <-ctx.Done():
		s.logger.Info("stopping", "shutdown_timeout", max(s.shutdownTimeout, 0).String())
	case err = <-ended:
		running--
		s.logger.Error("stopping", "error", err)
	}
	s.stop()
	for range running {
		<-ended
	}
	s.logger.Info("stopped")
	return err
}

// runFrontend serves a listener until that fails or its server is shut down.
func runFrontend(serve func() error, ended chan<- error) { ended <- serve() }

// closeTimeout bounds what is left to be said when everything has ended: handlers
// that were cut off answer 504 and write a line to the log, and the control
// plane tells how changes ended.
const closeTimeout = 2 * time.Second

// stop ends everything: first it says so on the metrics port, then requests
// end, and last whatever tells of it.
func (s *server) stop() {
	s.stopping.Store(true)
	s.control.Refuse()
	ctx, cancel := context.WithTimeout(context.Background(), max(s.shutdownTimeout, 0))
	defer cancel()
	if err := s.drain(ctx); err != nil {
		s.logger.Warn("requests were cut off", "error", err)
	}
	s.close("proxy", s.proxy.Close())

	last, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	s.awaitHandlers(last)
	for _, f := range s.frontends {
		if f.server.Shutdown(last) != nil {
			s.close(f.protocol, f.server.Close())
		}
	}
	if s.monitoring != nil && s.monitoring.Shutdown(last) != nil {
		s.close("metrics", s.monitoring.Close())
	}
	if s.commands.Shutdown(last) != nil {
		s.close("control", s.commands.Close())
	}
}

// drain lets no more requests come and returns when those that run have ended,
// or with ctx's error when that ends. The servers wait for connections, the
// proxy for what they do not see or would wait for in vain: hijacked
// connections and event streams.
func (s *server) drain(ctx context.Context) error {
	drained := make(chan error, 1+len(s.frontends))
	go shutdown(ctx, s.proxy.Shutdown, drained)
	for _, f := range s.frontends {
		go shutdown(ctx, f.server.Shutdown, drained)
	}
	var errs []error
	for range cap(drained) {
		errs = append(errs, <-drained)
	}
	return errors.Join(errs...)
}

func shutdown(ctx context.Context, do func(context.Context) error, done chan<- error) {
	done <- do(ctx)
}

// pollInterval is the pause between two looks at a number of handlers.
const pollInterval = 5 * time.Millisecond

// awaitHandlers returns when no handler runs any more, or ctx ends.
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

// close says that something could not be closed in good order. There is
// nothing else to be done about it: the process ends.
func (s *server) close(what string, err error) {
	if err != nil {
		s.logger.Warn("closing", "what", what, "error", err)
	}
}
