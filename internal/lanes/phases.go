package lanes

import "github.com/shahnk19/parachute/internal/underway"

// Changes has the phases that changes of services are in, each described by a C, and what
// such changes have left behind. The zero value is empty. The methods may be called from any
// goroutine.
type Changes[T Closer, C any] struct {
	Remainders[T]
	phases underway.Register[phase[T, C]]
}

type phase[T Closer, C any] struct {
	service string
	change  C
	lanes   Set[T]
}

// A Phase is a part of a change of a service that takes its time.
type Phase[C any] struct {
	Service           string
	Change            C
	Requests, Streams int64 // that are inside of the lanes that it waits for
}

// Begin records that a change of a service is in a phase, in which it waits for lanes, until
// end is called.
func (c *Changes[T, C]) Begin(service string, change C, lanes Set[T]) (end func()) {
	return c.phases.Begin(phase[T, C]{service, change, lanes})
}

// Phases returns the phases that have not ended, the oldest first.
func (c *Changes[T, C]) Phases() (all []Phase[C]) {
	for _, p := range c.phases.All() {
		requests, streams := p.lanes.Inside()
		all = append(all, Phase[C]{p.service, p.change, requests, streams})
	}
	return all
}

// Lanes returns all lanes that changes wait for, or are going to: they may belong to no
// version that still serves.
func (c *Changes[T, C]) Lanes() Set[T] {
	all := c.Remainders.Lanes()
	for _, p := range c.phases.All() {
		all = append(all, p.lanes...)
	}
	return all
}
