package upstream

import (
	"context"
	"time"
)

// lookStep is how often a Pool looks for exchanges that last. One that is
// seen twice has its request's context watched from then on. Most are over too
// soon for that to be worth what it costs: several objects and locks.
const lookStep = 10 * time.Millisecond

// lookLaterLocked has the next look taken, unless it is to be already.
func (p *Pool) lookLaterLocked() {
	if p.looking {
		return
	}
	p.looking = true
	p.running.Add(1)
	if p.look == nil {
		p.look = time.AfterFunc(lookStep, p.lookForLasting)
	} else {
		p.look.Reset(lookStep)
	}
}

// lookForLasting takes a look.
func (p *Pool) lookForLasting() {
	defer p.running.Done()
	for _, x := range p.lasting() {
		x.watchContext()
	}
}

// lasting returns the exchanges that are seen for the second time. Each has
// been counted as one that is watched.
func (p *Pool) lasting() []*exchange {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looking = false
	if p.closed {
		return nil
	}
	var lasting []*exchange
	// Those behind one that was seen twice are older, and were seen, too.
	for x := p.active; x != nil && x.seen < 2; x = x.next {
		if x.seen++; x.seen == 1 {
			p.lookLaterLocked()
			continue
		}
		p.running.Add(1)
		lasting = append(lasting, x)
	}
	return lasting
}

// watchContext has the end of the request's context end x, if that has not ended yet.
func (x *exchange) watchContext() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended || x.reason != 0 {
		x.pool.running.Done()
		return
	}
	if ctx, ok := x.ctx.(afterFuncer); ok { // package context would ask it for a channel first
		x.unwatch = ctx.AfterFunc(x.gone)
		return
	}
	x.unwatch = context.AfterFunc(x.ctx, x.gone)
}

// An afterFuncer is a context that does itself what context.AfterFunc does.
type afterFuncer interface {
	AfterFunc(f func()) (stop func() bool)
}

func (x *exchange) gone() {
	defer x.pool.running.Done()
	x.cut(Gone, context.Cause(x.ctx))
}

// stop ends the watching of a context, if there was any.
func (x *exchange) stop(unwatch func() bool) {
	if unwatch != nil && unwatch() {
		x.pool.running.Done()
	}
}
