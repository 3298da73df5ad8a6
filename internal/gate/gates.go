package gate

import (
	"cmp"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Gates count the exchanges with one target: requests, which end by themselves, and
// streams, which last until somebody closes them. Each kind has a Gate. The zero
// value is open and empty. Gates must not be copied.
type Gates struct {
	requests Gate
	streams  Gate

	mu         sync.Mutex // guards the fields below; held while streams is entered or closed
	open       map[*Passage]struct{}
	lateCloses *atomic.Int64 // if not nil, new streams are closed at once, and counted here
}

// A Passage is one exchange that is inside Gates. It must not be used after Leave.
type Passage struct {
	gates        *Gates
	stream       io.Closer // ends it; nil: BecomeStream was not called
	amongStreams bool      // it is counted among the streams
}

// Enter counts an exchange among the requests. It reports false if the Gates are
// closed to new requests. Otherwise the caller must call Leave once.
func (g *Gates) Enter() (*Passage, bool) {
	if !g.requests.Enter() {
		return nil, false
	}
	p := passages.Get().(*Passage)
	p.gates = g
	return p, true
}

// passages has those that nobody refers to any more. A Passage that became a stream may
// still be known to a Drain.
var passages = sync.Pool{New: func() any { return new(Passage) }}

// BecomeStream counts the exchange among the streams instead of the requests. Drain
// may end it by closing c. If a Drain has already closed the streams of the Gates, c
// is closed at once. BecomeStream must be called at most once, and before Leave.
func (p *Passage) BecomeStream(c io.Closer) {
	g := p.gates
	g.mu.Lock()
	p.stream = c
	ending := g.lateCloses
	// If the Gates are closed to streams too, this stays a request; Drain has cut
	// those already.
	if p.amongStreams = g.streams.Enter(); p.amongStreams {
		if ending == nil {
			if g.open == nil {
				g.open = make(map[*Passage]struct{})
			}
			g.open[p] = struct{}{}
		}
		g.requests.Leave()
	}
	g.mu.Unlock()
	if ending != nil {
		ending.Add(1)
		c.Close()
	}
}

// IsStream reports whether BecomeStream was called.
func (p *Passage) IsStream() bool { return p.stream != nil }

// Leave says that the exchange has ended.
func (p *Passage) Leave() {
	g := p.gates
	if p.amongStreams {
		g.forget(p)
		g.streams.Leave()
		return
	}
	if p.stream == nil {
		p.gates = nil
		passages.Put(p)
	}
	g.requests.Leave()
}

// Inside returns how many requests and how many streams are inside, which may have
// changed by the time the results are read.
func (g *Gates) Inside() (requests, streams int64) {
	return g.requests.Inside(), g.streams.Inside()
}

// IsDrained reports whether g is closed to requests and no exchange is inside any more.
func (g *Gates) IsDrained() bool {
	// In this order: BecomeStream enters streams before it leaves requests.
	return g.requests.IsDrained() && g.streams.Inside() == 0
}

// forget removes p from the open streams, and reports whether it was one of them.
func (g *Gates) forget(p *Passage) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, open := g.open[p]
	delete(g.open, p)
	return open
}

// endNewStreams makes BecomeStream close new streams at once and count them in late,
// unless another Drain does so already. It returns the streams that are open.
func (g *Gates) endNewStreams(late *atomic.Int64) (open []*Passage) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lateCloses == nil {
		g.lateCloses = late
	}
	for p := range g.open {
		open = append(open, p)
	}
	return open
}

// keepNewStreams undoes endNewStreams.
func (g *Gates) keepNewStreams(late *atomic.Int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lateCloses == late {
		g.lateCloses = nil
	}
}

// closeStreams closes the Gate of the streams. The returned channel is closed when all
// streams have left.
func (g *Gates) closeStreams() (idle <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.streams.Close()
}

// Limits say how long a Drain waits.
type Limits struct {
	// Requests is how long requests may take. If 0 or less, they are cut at once.
	Requests time.Duration

	// Streams is how long streams may last after the requests have left or were
	// cut. If positive, they are closed one by one over the last tenth of that
	// time. If 0, they are closed over the rest of Requests, but at most one
	// second. If negative, they are closed at once, before Drain waits for the
	// requests, and new streams as soon as they begin.
	Streams time.Duration
}

// Longest returns how long a drain with these limits may take. What is cut off has a second
// to leave.
func (l Limits) Longest() time.Duration {
	requests := max(l.Requests, 0)
	return max(requests+min(max(l.Streams, 0), math.MaxInt64-requests), time.Second)
}

// leaveTimeout is how long Drain waits for exchanges that it has cut or closed.
const leaveTimeout = time.Second

// Drain closes Gates to new exchanges, and waits until all have left. When the limit
// of the requests has passed, it calls cut, which cuts them and returns how many
// they were. When the limit of the streams has passed, it closes them. It waits at
// most a second for either to leave. It returns how many requests were cut, and how
// many streams it closed. Several Drains may run for the same Gates, each with its
// own limits.
//
// If done is closed, Drain returns early and ends no more exchanges; those inside go
// on until another Drain ends them.
func Drain(all []*Gates, limits Limits, cut func() int64, done <-chan struct{}) (requests, streams int64) {
	begin := time.Now()
	var requestsLeft []<-chan struct{}
	for _, g := range all {
		requestsLeft = append(requestsLeft, g.requests.Close())
	}
	var late atomic.Int64
	if limits.Streams < 0 {
		streams = endStreams(all, &late, 0, 0, nil, done)
	}
	if !waitAll(requestsLeft, max(limits.Requests, 0), done) && !isClosed(done) {
		requests = cut()
		waitAll(requestsLeft, leaveTimeout, done)
	}
	if isClosed(done) {
		for _, g := range all {
			g.keepNewStreams(&late)
		}
		return requests, streams + late.Load()
	}
	var streamsLeft []<-chan struct{}
	for _, g := range all {
		g.endNewStreams(&late) // before: a stream that cannot enter must be closed
		streamsLeft = append(streamsLeft, g.closeStreams())
	}
	if limits.Streams >= 0 {
		span := limits.Streams / 10
		after := limits.Streams - span
		if limits.Streams == 0 {
			span = min(time.Second, max(limits.Requests-time.Since(begin), 0))
		}
		streams += endStreams(all, &late, after, span, streamsLeft, done)
	}
	waitAll(streamsLeft, leaveTimeout, done)
	return requests, streams + late.Load()
}

// endStreams waits for after, and then closes the open streams one by one, at random
// times within span, so that their clients do not reconnect all at once. New streams
// are closed at once, and counted in late. It returns how many it closed. It returns
// early if done is closed, or if all channels of left are.
func endStreams(all []*Gates, late *atomic.Int64, after, span time.Duration, left []<-chan struct{}, done <-chan struct{}) (closed int64) {
	type appointment struct {
		passage *Passage
		at      time.Duration
	}
	begin := time.Now()
	var due []appointment
	for _, g := range all {
		for _, p := range g.endNewStreams(late) {
			due = append(due, appointment{p, after + rand.N(max(span, 1))})
		}
	}
	slices.SortFunc(due, func(a, b appointment) int { return cmp.Compare(a.at, b.at) })
	for _, d := range due {
		wait := d.at - time.Since(begin)
		if wait > 0 && waitAll(left, wait, done) || isClosed(done) {
			return closed
		}
		if d.passage.gates.forget(d.passage) {
			d.passage.stream.Close()
			closed++
		}
	}
	return closed
}

// waitAll waits until all channels are closed. It reports false if limit has passed
// or done was closed before.
func waitAll(channels []<-chan struct{}, limit time.Duration, done <-chan struct{}) bool {
	if !drainsWait {
		return true
	}
	if limit <= 0 {
		return !slices.ContainsFunc(channels, isOpen)
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for _, c := range channels {
		select {
		case <-c:
		case <-timer.C:
			return false
		case <-done:
			return false
		}
	}
	return true
}

func isOpen(c <-chan struct{}) bool { return !isClosed(c) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
