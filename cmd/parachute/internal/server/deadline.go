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
	timer *time.Timer // closes passed
}

// newDeadline returns one that passes after d.
func newDeadline(d time.Duration) *deadline {
	passed := make(chan struct{})
	return &deadline{passed: passed, when: time.Now().Add(d), timer: time.AfterFunc(d, func() { close(passed) })}
}

// at returns when it passes.
func (d *deadline) at() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.when
}

func (d *deadline) hasPassed() bool {
	select {
	case <-d.passed:
		return true
	default:
		return false
	}
}

// bringForward has it pass after left, unless it passes before that.
func (d *deadline) bringForward(left time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if when := time.Now().Add(left); when.Before(d.when) && d.timer.Stop() {
		d.when = when
		d.timer.Reset(left)
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
