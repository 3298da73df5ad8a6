package server

import (
	"context"
	"sync"
	"time"
)

// A deadline is a time that may be brought forward.
type deadline struct {
	passed chan struct{} // closed when it has passed

	mu    sync.Mutex // guards what follows
	when  time.Time
	timer *time.Timer   // closes passed
	moved chan struct{} // closed when another time is set, and replaced then
}

// newDeadline returns one that passes after d.
func newDeadline(d time.Duration) *deadline {
	passed := make(chan struct{})
	return &deadline{passed: passed, when: time.Now().Add(d), timer: time.AfterFunc(d, func() { close(passed) }), moved: make(chan struct{})}
}

// at returns when it passes.
func (d *deadline) at() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.when
}

func (d *deadline) hasPassed() bool { return isDone(d.passed) }

// bringForward has it pass after left, unless it passes before that.
func (d *deadline) bringForward(left time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if when := time.Now().Add(left); when.Before(d.when) && d.timer.Stop() {
		d.when = when
		d.timer.Reset(left)
		close(d.moved)
		d.moved = make(chan struct{})
	}
}

// bound calls do with a context that has d for its deadline, and returns its error. If do
// fails because d was brought forward, it calls do again, with the deadline of then.
func (d *deadline) bound(do func(context.Context) error) error {
	for {
		d.mu.Lock()
		when, moved := d.when, d.moved
		d.mu.Unlock()
		ctx, cancel := context.WithDeadline(context.Background(), when)
		go cancelWhen(moved, ctx.Done(), cancel)
		err := do(ctx)
		cancel()
		if err == nil || !isDone(moved) {
			return err
		}
	}
}

// cancelWhen calls cancel when moved is closed, unless done is closed before that.
func cancelWhen(moved, done <-chan struct{}, cancel func()) {
	select {
	case <-moved:
		cancel()
	case <-done:
	}
}

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// context returns one that ends when the deadline passes. The caller must call cancel.
func (d *deadline) context() (ctx context.Context, cancel context.CancelFunc) { return d.contextOf(0) }

// contextOf is context, but for one that lasts for at least a time from now.
func (d *deadline) contextOf(least time.Duration) (ctx context.Context, cancel context.CancelFunc) {
	ctx, cancel = context.WithCancel(context.Background())
	go d.end(ctx, cancel, time.After(least))
	return ctx, cancel
}

// end calls cancel when the deadline has passed, and least has come.
func (d *deadline) end(ctx context.Context, cancel context.CancelFunc, least <-chan time.Time) {
	select {
	case <-d.passed:
	case <-ctx.Done():
		return
	}
	select {
	case <-least:
	case <-ctx.Done():
	}
	cancel()
}
