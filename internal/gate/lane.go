package gate

import (
	"cmp"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Lane counts the exchanges on one way: those that have an end of their own,
// and the streams, which last until somebody closes them. Each kind has a Gate
// of its own. The zero value is open and empty. A Lane must not be copied.
type Lane struct {
	requests Gate
	streams  Gate

	mu         sync.Mutex // guards the fields below, and is held while streams is entered or closed
	open       map[*Passage]struct{}
	lateCloses *atomic.Int64 // not nil: streams are closed as they come, and counted here
}

// A Passage is one exchange on its way through a Lane.
type Passage struct {
	lane         *Lane
	stream       io.Closer // what ends it; nil: BecomeStream was not called
	amongStreams bool      // it counts among the streams
}

// Enter lets an exchange in, among the requests, unless the Lane is closed to
// them; then it reports false. Who is let in must call Leave, once.
func (l *Lane) Enter() (*Passage, bool) {
	if !l.requests.Enter() {
		return nil, false
	}
	return &Passage{lane: l}, true
}

// BecomeStream moves the exchange among the streams; Drain may end it by
// closing c. Where a Drain has ended the Lane's streams already, c is closed at
// once, for this one has come late. It must be called at most once, and before
// Leave.
func (p *Passage) BecomeStream(c io.Closer) {
	l := p.lane
	l.mu.Lock()
	p.stream = c
	ending := l.lateCloses
	// Where the streams have been waited for, it stays among the requests,
	// which have been cut.
	if p.amongStreams = l.streams.Enter(); p.amongStreams {
		if ending == nil {
			if l.open == nil {
				l.open = make(map[*Passage]struct{})
			}
			l.open[p] = struct{}{}
		}
		l.requests.Leave()
	}
	l.mu.Unlock()
	if ending != nil {
		ending.Add(1)
		c.Close()
	}
}

// IsStream reports whether BecomeStream was called.
func (p *Passage) IsStream() bool { return p.stream != nil }

// Leave says that the exchange has ended.
func (p *Passage) Leave() {
	if !p.amongStreams {
		p.lane.requests.Leave()
		return
	}
	p.lane.forget(p)
	p.lane.streams.Leave()
}

// Inside returns how many requests and how many streams are under way: for
// showing and for choosing, as they may have changed by the time they are read.
func (l *Lane) Inside() (requests, streams int64) {
	return l.requests.Inside(), l.streams.Inside()
}

// IsDrained reports whether nobody is inside, nor ever will be.
func (l *Lane) IsDrained() bool {
	// In this order: who becomes a stream is one before it leaves the requests.
	return l.requests.IsDrained() && l.streams.Inside() == 0
}

// forget takes p from the open streams and reports whether it was one.
func (l *Lane) forget(p *Passage) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, open := l.open[p]
	delete(l.open, p)
	return open
}

// endNewStreams has streams that come from now on closed at once, counted in late,
// unless another Drain does that already. It returns those that are open.
func (l *Lane) endNewStreams(late *atomic.Int64) (open []*Passage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lateCloses == nil {
		l.lateCloses = late
	}
	for p := range l.open {
		open = append(open, p)
	}
	return open
}

// keepNewStreams undoes closeLate.
func (l *Lane) keepNewStreams(late *atomic.Int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lateCloses == late {
		l.lateCloses = nil
	}
}

// closeStreams lets no stream begin any more. The returned channel is closed
// when those that have begun have left.
func (l *Lane) closeStreams() (idle <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.streams.Close()
}

// Limits say how long a Drain waits.
type Limits struct {
	// Requests is how long they may take. At 0 or less they are not waited
	// for.
	Requests time.Duration

	// Streams is how long streams may last once the requests have left, or
	// their limit is up: if 0, they are closed then, spread over at most one
	// second of what is left of Requests; if positive, the closes are spread
	// over its last tenth; if negative, they are closed before the requests
	// are waited for, and those that come later as they come.
	Streams time.Duration
}

// leaveTimeout is how long those that were ended are waited for.
const leaveTimeout = time.Second

// Drain closes lanes to everybody new and waits until nobody is inside. Who is
// late is ended: requests when their limit is up, by a call of cut, which
// returns how many it ended; streams when theirs is, by closing them. Both have
// a second at most to leave. It returns how many of each it ended itself. Lanes
// may be drained by several at once; each goes by its own limits.
//
// Once done is closed, Drain returns and ends nobody: who is inside then goes on
// until another Drain.
func Drain(lanes []*Lane, limits Limits, cut func() int64, done <-chan struct{}) (requests, streams int64) {
	begin := time.Now()
	var requestsLeft []<-chan struct{}
	for _, l := range lanes {
		requestsLeft = append(requestsLeft, l.requests.Close())
	}
	var late atomic.Int64
	if limits.Streams < 0 {
		streams = endStreams(lanes, &late, 0, 0, nil, done)
	}
	if !waitAll(requestsLeft, max(limits.Requests, 0), done) && !isClosed(done) {
		requests = cut()
		waitAll(requestsLeft, leaveTimeout, done)
	}
	if isClosed(done) {
		for _, l := range lanes {
			l.keepNewStreams(&late)
		}
		return requests, streams + late.Load()
	}
	var streamsLeft []<-chan struct{}
	for _, l := range lanes {
		l.endNewStreams(&late) // first: what comes when none may begin has come late
		streamsLeft = append(streamsLeft, l.closeStreams())
	}
	switch {
	case limits.Streams == 0:
		left := max(limits.Requests-time.Since(begin), 0)
		streams += endStreams(lanes, &late, 0, min(time.Second, left), streamsLeft, done)
	case limits.Streams > 0:
		spread := limits.Streams / 10
		streams += endStreams(lanes, &late, limits.Streams-spread, spread, streamsLeft, done)
	}
	waitAll(streamsLeft, leaveTimeout, done)
	return requests, streams + late.Load()
}

// endStreams waits for the time of after, and closes the streams that are open
// one by one, at random moments of the span that follows, lest all their clients
// come back at once; those that come later are closed at once, and counted in
// late. It returns how many it closed: early, if all channels of left are
// closed, or done is.
func endStreams(lanes []*Lane, late *atomic.Int64, after, span time.Duration, left []<-chan struct{}, done <-chan struct{}) (closed int64) {
	type appointment struct {
		passage *Passage
		at      time.Duration
	}
	begin := time.Now()
	var due []appointment
	for _, l := range lanes {
		for _, p := range l.endNewStreams(late) {
			due = append(due, appointment{p, after + rand.N(max(span, 1))})
		}
	}
	slices.SortFunc(due, func(a, b appointment) int { return cmp.Compare(a.at, b.at) })
	for _, d := range due {
		wait := d.at - time.Since(begin)
		if wait > 0 && waitAll(left, wait, done) || isClosed(done) {
			return closed
		}
		if d.passage.lane.forget(d.passage) {
			d.passage.stream.Close()
			closed++
		}
	}
	return closed
}

// waitAll waits until all channels are closed, and reports false if the time
// of limit had passed or done was closed before.
func waitAll(channels []<-chan struct{}, limit time.Duration, done <-chan struct{}) bool {
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
