package kvtest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/shahnk19/parachute/cmd/parachute/internal/kv"
)

// timeout is how long a call waits for a store that it cannot reach.
const timeout = 2 * time.Second

// A Client is a kv.Store as one machine has it, with the faults of its network.
type Client struct {
	memory *Memory

	asking sync.Mutex // held while fault is called

	mu     sync.Mutex // guards what follows
	cut    bool
	mended chan struct{} // closed, and replaced, when cut ends
	thawed chan struct{} // closed when the machine is no more frozen; nil: it is not
	fault  func(Call) Fault
}

// A Call is what a Client is asked: a method of kv.Store, in lower case. For "watch" it is
// one answer of a watch, which can be late, and is not lost.
type Call string

// A Fault is what happens to a Call on its way.
type Fault struct {
	Before     time.Duration // how long it takes to the store
	After      time.Duration // how long the answer takes
	LoseCall   bool          // it does not get there
	LoseAnswer bool          // it is done, and the answer does not get back
	Late       time.Duration // with LoseAnswer of a commit: it is done this long after the Client gave up
}

// Client returns a new one, without faults.
func (m *Memory) Client() *Client {
	return &Client{memory: m, mended: make(chan struct{})}
}

// Cut parts the Client from the store, until Mend.
func (c *Client) Cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = true
}

// Mend ends a Cut.
func (c *Client) Mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = false
	close(c.mended)
	c.mended = make(chan struct{})
}

// Freeze stops the Client as a machine that is suspended, until Thaw. What it was about to
// send, it sends then, and what has come to it meanwhile it gets then, though no call would
// have waited for that long.
func (c *Client) Freeze() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.thawed == nil {
		c.thawed = make(chan struct{})
	}
}

// Thaw ends a Freeze.
func (c *Client) Thaw() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.thawed != nil {
		close(c.thawed)
		c.thawed = nil
	}
}

// awaitThaw returns when the Client is not frozen.
func (c *Client) awaitThaw() {
	c.mu.Lock()
	thawed := c.thawed
	c.mu.Unlock()
	if thawed != nil {
		<-thawed
	}
}

// Fail has each call ask which Fault it has, one call after the other. fault must not call the
// Client. nil ends the faults.
func (c *Client) Fail(fault func(Call) Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = fault
}

// state returns whether the Client is parted from the store, and what is closed when
// that may have ended.
func (c *Client) state() (cut bool, mended <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	if c.memory.down {
		return true, c.memory.started
	}
	return c.cut, c.mended
}

// call has do done at the store, with the faults of the network.
func (c *Client) call(ctx context.Context, call Call, do func()) error {
	c.awaitThaw()
	defer c.awaitThaw()
	fault := c.faultOf(call)
	limited, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := pause(limited, fault.Before); err != nil {
		return c.lost(ctx, limited)
	}
	c.awaitThaw()
	if cut, _ := c.state(); cut || fault.LoseCall {
		return c.lost(ctx, limited)
	}
	if fault.LoseAnswer && fault.Late > 0 && call == "commit" {
		time.AfterFunc(timeout+fault.Late, do)
		return c.lost(ctx, limited)
	}
	do()
	if err := pause(limited, fault.After); err != nil || fault.LoseAnswer {
		return c.lost(ctx, limited)
	}
	if cut, _ := c.state(); cut {
		return c.lost(ctx, limited)
	}
	return nil
}

func (c *Client) faultOf(call Call) Fault {
	c.mu.Lock()
	fault := c.fault
	c.mu.Unlock()
	if fault == nil {
		return Fault{}
	}
	c.asking.Lock()
	defer c.asking.Unlock()
	return fault(call)
}

// lost waits until the Client gives up a call, and returns why. Nobody knows whether it
// was done.
func (c *Client) lost(ctx, limited context.Context) error {
	<-limited.Done()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return kv.ErrUnreachable
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// Read is that of kv.Store.
func (c *Client) Read(ctx context.Context, prefix string) (pairs []kv.Pair, revision int64, err error) {
	err = c.call(ctx, "read", func() { pairs, revision = c.memory.read(prefix) })
	if err != nil {
		return nil, 0, err
	}
	return pairs, revision, nil
}

// Commit is that of kv.Store.
func (c *Client) Commit(ctx context.Context, conditions []kv.Condition, writes []kv.Write) (int64, bool, error) {
	var answer struct {
		sync.Mutex // a call that is done late shares it with nobody who looks
		revision   int64
		ok         bool
		err        error
	}
	err := c.call(ctx, "commit", func() {
		answer.Lock()
		defer answer.Unlock()
		answer.revision, answer.ok, answer.err = c.memory.commit(conditions, writes)
	})
	if err != nil {
		return 0, false, fmt.Errorf("%w: %w", kv.ErrUnknown, err)
	}
	answer.Lock()
	defer answer.Unlock()
	return answer.revision, answer.ok, answer.err
}

// Watch is that of kv.Store.
func (c *Client) Watch(ctx context.Context, prefix string, after int64, each func(int64, []kv.Change) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		cut, mended := c.state()
		if cut {
			if err := await(ctx, mended); err != nil {
				return err
			}
			continue
		}
		e, w, err := c.memory.after(prefix, after)
		if err != nil {
			return err
		}
		if w != nil {
			select {
			case <-ctx.Done():
				c.memory.leave(w)
				return ctx.Err()
			case seen := <-w.woken:
				after = max(after, seen)
			}
			continue
		}
		// The answers of a watch are on their way one behind the other.
		late := e.at.Add(c.faultOf("watch").Before)
		if err := pause(ctx, time.Until(late)); err != nil {
			return err
		}
		c.awaitThaw()
		if cut, _ := c.state(); cut {
			continue
		}
		if err := each(e.revision, e.below(prefix)); err != nil {
			return err
		}
		after = e.revision
	}
}

// below returns what e changes of what is below prefix.
func (e event) below(prefix string) (changes []kv.Change) {
	for _, change := range e.changes {
		if strings.HasPrefix(change.Key, prefix) {
			change.Value = bytes.Clone(change.Value)
			changes = append(changes, change)
		}
	}
	return changes
}

func await(ctx context.Context, what <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-what:
		return nil
	}
}

// Grant is that of kv.Store.
func (c *Client) Grant(ctx context.Context, ttl time.Duration) (id kv.Lease, err error) {
	err = c.call(ctx, "grant", func() { id = c.memory.grant(ttl) })
	if err != nil {
		return 0, err
	}
	return id, nil
}

// Renew is that of kv.Store.
func (c *Client) Renew(ctx context.Context, lease kv.Lease) (ttl time.Duration, err error) {
	var refused error
	err = c.call(ctx, "renew", func() { ttl, refused = c.memory.renew(lease) })
	if err == nil {
		err = refused
	}
	if err != nil {
		return 0, err
	}
	return ttl, nil
}

// Revoke is that of kv.Store.
func (c *Client) Revoke(ctx context.Context, lease kv.Lease) (err error) {
	var refused error
	if err = c.call(ctx, "revoke", func() { refused = c.memory.revoke(lease) }); err != nil {
		return err
	}
	return refused
}
