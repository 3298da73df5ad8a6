package http1

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A requestContext is the context of requests. It ends with the request, or when the
// client leaves. Most requests are over before anybody wants to be told of the end:
// then nothing is made for that, and the next request has the same context.
//
// It has the AfterFunc that package context looks for, so that contexts which are
// derived from it need no goroutine.
type requestContext struct {
	err atomic.Pointer[error]

	mu     sync.Mutex // guards the fields below
	done   chan struct{}
	afters []afterFunc
	lastID uint64   // of those that there were
	local  net.Addr // of the connection
}

func (c *requestContext) Deadline() (deadline time.Time, ok bool) { return time.Time{}, false }

func (c *requestContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.err.Load() != nil {
			close(c.done)
		}
	}
	return c.done
}

func (c *requestContext) Err() error {
	if err := c.err.Load(); err != nil {
		return *err
	}
	return nil
}

func (c *requestContext) Value(key any) any {
	if key != http.LocalAddrContextKey {
		return nil
	}
	c.mu.Lock()
	local := c.local
	c.mu.Unlock()
	return local
}

// AfterFunc is [context.AfterFunc] for c. Unlike that it makes no channel.
func (c *requestContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	if c.err.Load() != nil {
		c.mu.Unlock()
		go f()
		return func() bool { return false }
	}
	c.lastID++
	id := c.lastID
	c.afters = append(c.afters, afterFunc{id, f})
	c.mu.Unlock()
	return func() bool { return c.stop(id) }
}

// An afterFunc is called when the context ends.
type afterFunc struct {
	id uint64 // no other has it, in this request or another
	f  func()
}

// stop has an afterFunc not be called any more, and reports whether it would have been.
func (c *requestContext) stop(id uint64) bool {
	c.mu.Lock()
	last := len(c.afters) - 1
	at := last
	for at >= 0 && c.afters[at].id != id {
		at--
	}
	if at >= 0 {
		c.afters[at] = c.afters[last]
		c.afters[last] = afterFunc{}
		c.afters = c.afters[:last]
	}
	c.mu.Unlock()
	return at >= 0
}

// canceled is what err points to.
var canceled = context.Canceled

// cancel ends c. Only the first call does anything.
func (c *requestContext) cancel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.err.CompareAndSwap(nil, &canceled) {
		return
	}
	if c.done != nil {
		close(c.done)
	}
	for _, after := range c.afters {
		go after.f()
	}
	c.afters = nil
}

// setLocal sets the address of the connection.
func (c *requestContext) setLocal(a net.Addr) {
	c.mu.Lock()
	c.local = a
	c.mu.Unlock()
}

// reset readies c for the next request, if nobody can still hold it to learn of the
// end of this one. Otherwise it ends c and reports false.
func (c *requestContext) reset() bool {
	c.mu.Lock()
	unused := c.done == nil && len(c.afters) == 0 && c.err.Load() == nil
	c.mu.Unlock()
	if !unused {
		c.cancel()
	}
	return unused
}
