// Package admission decides which names may have a certificate on demand. It
// asks about each new name, remembers the answers, and limits the questions, so
// that a flood of names reaches neither the one who is asked nor a certificate
// authority.
package admission

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"sync"
	"time"
)

var (
	// ErrRefused is what Options.Ask says, bare or wrapped, of a name that may
	// have no certificate.
	ErrRefused = errors.New("the name is refused")

	// ErrLimit is what Admit says of a new name that is one too many. It may
	// be admitted a minute later.
	ErrLimit = errors.New("too many new names")

	errClosed = errors.New("no names are admitted any more")
)

const (
	// maxNames bounds the names that are remembered or asked about.
	maxNames = 10_000

	// maxQuestions bounds the questions at a time: where new names have no
	// limit, one who does not answer would be asked ever more.
	maxQuestions = 1000
)

// Options say whom to ask, how often, and for how long an answer holds.
type Options struct {
	// Ask asks whether name may have a certificate: nil allows it, and an
	// error that is ErrRefused refuses it. Any other error is a failure: it
	// could not be told. Ask may be called for many names at once, but is not
	// called twice at once for one. It has to return soon when ctx ends.
	// Required.
	Ask func(ctx context.Context, name string) error

	// Timeout bounds each question. If 0, 2 s; if negative, nothing does.
	Timeout time.Duration

	// KeepAllowed, KeepRefused and KeepFailed are for how long an answer is
	// remembered, from when it came. If 0, 5 min, 1 min and 10 s; if negative,
	// only those who wait for it have it.
	KeepAllowed, KeepRefused, KeepFailed time.Duration

	// NewNames is how many names that are not remembered are asked about in a
	// minute. A minute begins with the first of them. If 0, 60; if negative,
	// as many as come.
	NewNames int

	// NewNamesPerClient is how many of them may be one client's. The addresses
	// of an IPv6 network, 64 bits long, are one client; the zero Addr is not
	// known to be one, and has NewNames alone. If 0, 10; if negative, as many
	// as come.
	NewNamesPerClient int
}

func (o *Options) setDefaults() {
	o.Timeout = cmp.Or(o.Timeout, 2*time.Second)
	o.KeepAllowed = cmp.Or(o.KeepAllowed, 5*time.Minute)
	o.KeepRefused = cmp.Or(o.KeepRefused, time.Minute)
	o.KeepFailed = cmp.Or(o.KeepFailed, 10*time.Second)
	o.NewNames = limitOr(o.NewNames, 60)
	o.NewNamesPerClient = limitOr(o.NewNamesPerClient, 10)
}

// limitOr returns limit, or byDefault if it is 0, or the greatest if it is negative,
// which stands for none.
func limitOr(limit, byDefault int) int {
	if limit < 0 {
		return math.MaxInt
	}
	return cmp.Or(limit, byDefault)
}

// A Control admits names. Its methods may be called from any goroutine.
type Control struct {
	o Options

	// running counts the questions under way. It grows only with mu held and
	// closed false.
	running sync.WaitGroup

	mu       sync.Mutex // guards the fields below, and those of questions that say so
	closed   bool       // for good
	meter    meter
	names    map[string]*question
	answered list.List // of those that are remembered; the oldest first
}

// A question is asked about one name, and holds the answer once there is one.
type question struct {
	name string
	stop context.CancelFunc // ends it

	done chan struct{} // closed when err is set
	err  error         // the answer

	// Guarded by Control.mu.
	expires time.Time     // when the answer is forgotten
	place   *list.Element // in Control.answered; nil: it is being asked
}

// New returns a Control that asks as o says. Whoever calls it must call Close.
func New(o Options) *Control {
	o.setDefaults()
	return &Control{
		o:     o,
		meter: meter{limit: o.NewNames, perClient: o.NewNamesPerClient},
		names: make(map[string]*question),
	}
}

// Admit returns nil if name may have a certificate. If that is remembered, it
// returns at once; otherwise it asks, or waits for the answer if name is being
// asked about. A question goes on when ctx ends, so that whoever comes next has
// its answer.
//
// An error is what Ask said (ErrRefused is a no), ErrLimit if name is new and
// client, or all of them together, brought too many, or 1000 questions wait for
// an answer, or the cause of ctx's end. After Close there is always one.
//
// name must be in the one form that its other spellings are reduced to: two
// spellings are two names.
func (c *Control) Admit(ctx context.Context, name string, client netip.Addr) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	q, err := c.question(name, client)
	if err != nil {
		return err
	}
	select {
	case <-q.done:
		return q.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Recall returns the answer that is remembered for name, and false if there is
// none. It asks nobody.
func (c *Control) Recall(name string) (answer error, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := c.names[name]
	if q == nil || q.place == nil || !time.Now().Before(q.expires) {
		return nil, false
	}
	return q.err, true
}

// Close ends the questions under way, whose answer is then the error that Ask
// returns, and returns when no call of Ask is left. Nothing is admitted any
// more. It may be called more than once.
func (c *Control) Close() {
	c.mu.Lock()
	c.closed = true
	for _, q := range c.names {
		if q.place == nil {
			q.stop()
		}
	}
	c.mu.Unlock()
	c.running.Wait()
}

// question returns the one about name: one that has an answer which still
// holds, one that is being asked, or a new one.
func (c *Control) question(name string, client netip.Addr) (*question, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	now := time.Now()
	if q := c.names[name]; q != nil {
		if q.place == nil || now.Before(q.expires) {
			return q, nil
		}
		c.forgetLocked(q)
	}
	if len(c.names)-c.answered.Len() >= maxQuestions {
		return nil, fmt.Errorf("%w: %d wait for an answer", ErrLimit, maxQuestions)
	}
	if err := c.meter.count(client, now); err != nil {
		return nil, err
	}
	if len(c.names) >= maxNames {
		c.forgetLocked(c.answered.Front().Value.(*question))
	}
	return c.askLocked(name), nil
}

// askLocked begins a question that nobody's context ends: others than the one
// who came first may wait for it.
func (c *Control) askLocked(name string) *question {
	q := &question{name: name, done: make(chan struct{})}
	var ctx context.Context
	if c.o.Timeout > 0 {
		ctx, q.stop = context.WithTimeout(context.Background(), c.o.Timeout)
	} else {
		ctx, q.stop = context.WithCancel(context.Background())
	}
	c.names[name] = q
	c.running.Add(1)
	go c.ask(ctx, q)
	return q
}

func (c *Control) ask(ctx context.Context, q *question) {
	defer c.running.Done()
	defer q.stop()
	q.err = c.o.Ask(ctx, q.name)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rememberLocked(q)
	close(q.done)
}

func (c *Control) rememberLocked(q *question) {
	keep := c.o.KeepFailed
	switch {
	case q.err == nil:
		keep = c.o.KeepAllowed
	case errors.Is(q.err, ErrRefused):
		keep = c.o.KeepRefused
	}
	if keep < 0 {
		delete(c.names, q.name)
		return
	}
	q.expires = time.Now().Add(keep)
	q.place = c.answered.PushBack(q)
}

// forgetLocked forgets an answer.
func (c *Control) forgetLocked(q *question) {
	c.answered.Remove(q.place)
	delete(c.names, q.name)
}
