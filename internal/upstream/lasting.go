package upstream

import (
	"context"
	"time"
)

// lookStep is how often a Pool looks for exchanges that last. When it has seen one
// twice, it begins to watch the context of its request. That costs several objects and
// locks, and most exchanges are over too soon for it to be worth that.
const lookStep = 10 * time.Millisecond

// scheduleLookLocked schedules the next look, unless one is scheduled already.
func (p *Pool) scheduleLookLocked() {
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

// lookForLasting is one look.
func (p *Pool) lookForLasting() {
	defer p.running.Done()
	for _, x := range p.lasting() {
		x.watchContext()
	}
}

// lasting returns the exchanges that are seen for the second time, each counted in
// p.running for the watch that is about to begin.
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
			p.scheduleLookLocked()
			continue
		}
		p.running.Add(1)
		lasting = append(lasting, x)
	}
	return lasting
}

// watchContext makes x end with the context of its request, unless x has ended already.
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
