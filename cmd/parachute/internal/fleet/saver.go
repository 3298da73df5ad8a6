package fleet

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/shahnk19/parachute"
)

// A saver keeps on this machine what was decided in the store. That it cannot is no reason
// to refuse anything: it is tried again, in the same order.
type saver struct {
	save   func(parachute.Delta) error
	logger *slog.Logger

	mu     sync.Mutex // held while save runs; guards what follows
	queued []parachute.Delta
}

// keep saves d, now or later.
func (s *saver) keep(d parachute.Delta) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queued = append(s.queued, d)
	s.flushLocked()
}

func (s *saver) flushLocked() {
	for len(s.queued) > 0 {
		err := s.save(s.queued[0])
		if errors.Is(err, parachute.ErrClosed) { // what is on this machine belongs to the next process
			s.queued = nil
			return
		}
		if err != nil {
			s.logger.Warn("what serves could not be kept on this machine, and is tried again; without the store, a restart would undo it", "error", err)
			return
		}
		s.queued = s.queued[1:]
	}
}

// run tries again until ctx ends.
func (s *saver) run(ctx context.Context) {
	again := time.NewTicker(5 * time.Second)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
			s.mu.Lock()
			s.flushLocked()
			s.mu.Unlock()
		}
	}
}
