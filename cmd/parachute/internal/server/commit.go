package server

import (
	"sync"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// A committer saves what a Proxy commits, as long as this process is the one that does.
type committer struct {
	save func(parachute.Delta) error

	mu         sync.Mutex    // held while save runs; guards the fields below
	frozen     chan struct{} // closed when the wait has ended; nil: nobody has to wait
	handedOver bool          // another process saves
}

// commit is the Options.CommitDelta of a Proxy. While the committer is frozen, it waits.
func (c *committer) commit(d parachute.Delta) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.frozen != nil {
		frozen := c.frozen
		c.mu.Unlock()
		<-frozen
		c.mu.Lock()
	}
	if c.handedOver {
		return control.ErrHandedOver
	}
	return c.save(d)
}

// freeze returns when nothing is being saved any more, and lets nothing be saved until
// release: what the new process reads is what the old one serves.
func (c *committer) freeze() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frozen = make(chan struct{})
}

// release ends what freeze began. If the process was handed over, what has waited is
// refused with control.ErrHandedOver, and so is all that comes later.
func (c *committer) release(handedOver bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handedOver = handedOver
	close(c.frozen)
	c.frozen = nil
}
