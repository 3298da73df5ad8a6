package gate

import (
	"cmp"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// A Lane counts the exchanges on one way: those that have an end of their own,
// and the streams, which last until somebody closes them. Each kind has a Gate
// of its own. The zero value is open and empty. A Lane must not be copied.
type Lane struct {
	requests Gate
	streams  Gate

	mu   sync.Mutex // guards open, and is held while streams is entered or closed
	open map[*Passage]struct{}
}

// A Passage is one exchange on its way through a Lane.
type Passage struct {
	lane   *Lane
	stream io.Closer // nil: it counts among the requests
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
// closing c. It reports false, and changes nothing, where no stream may begin
// any more. It must be called at most once, and before Leave.
func (p *Passage) BecomeStream(c io.Closer) bool {
	l := p.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.streams.Enter() {
		return false
	}
	p.stream = c
	if l.open == nil {
		l.open = make(map[*Passage]struct{})
	}
	l.open[p] = struct{}{}
	l.requests.Leave()
	return true
}

// IsStream reports whether BecomeStream has moved the exchange.
func (p *Passage) IsStream() bool { return p.stream != nil }

// Leave says that the exchange has ended.
func (p *Passage) Leave() {
	if !p.IsStream() {
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

// forget takes p from the open streams and reports whether it was one.
func (l *Lane) forget(p *Passage) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, open := l.open[p]
	delete(l.open, p)
	return open
}

// closeStreams lets no stream begin any more. It returns those that are open,
// and a channel that is closed when they have left.
func (l *Lane) closeStreams() (open []*Passage, idle <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.open {
		open = append(open, p)
	}
	return open, l.streams.Close()
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
	// are waited for.
	Streams time.Duration
}

// leaveLimit is how long those that were ended are waited for.
const leaveLimit = time.Second

// Drain closes lanes to everybody new and returns when those inside have left,
// or were ended when their limits were up, or done is closed. The requests that
// are late it ends by calling cut, the streams by closing them; both it gives a
// second at most to leave. It returns how many requests were late, and how many
// streams it closed.
func Drain(lanes []*Lane, limits Limits, cut func(), done <-chan struct{}) (requests, streams int64) {
	begin := time.Now()
	var idle []<-chan struct{}
	for _, l := range lanes {
		idle = append(idle, l.requests.Close())
	}
	if limits.Streams < 0 {
		streams = endStreams(lanes, 0, 0, done)
	}
	if !allClosed(idle, max(limits.Requests, 0), done) {
		for _, l := range lanes {
			requests += l.requests.Inside()
		}
		if !isClosed(done) {
			cut()
			allClosed(idle, leaveLimit, done)
		}
	}
	switch {
	case limits.Streams == 0:
		left := max(limits.Requests-time.Since(begin), 0)
		streams = endStreams(lanes, 0, min(time.Second, left), done)
	case limits.Streams > 0:
		spread := limits.Streams / 10
		streams = endStreams(lanes, limits.Streams-spread, spread, done)
	}
	return requests, streams
}

// endStreams lets no stream begin any more, waits for the time of after, and
// closes those that are open then one by one, at random moments of the span
// that follows, lest all their clients come back at once. It returns how many
// it closed, when all have left; early, if done is closed.
func endStreams(lanes []*Lane, after, span time.Duration, done <-chan struct{}) (closed int64) {
	type appointment struct {
		passage *Passage
		at      time.Duration
	}
	begin := time.Now()
	var due []appointment
	var idle []<-chan struct{}
	for _, l := range lanes {
		open, left := l.closeStreams()
		idle = append(idle, left)
		for _, p := range open {
			due = append(due, appointment{p, after + rand.N(max(span, 1))})
		}
	}
	slices.SortFunc(due, func(a, b appointment) int { return cmp.Compare(a.at, b.at) })
	for _, d := range due {
		if allClosed(idle, d.at-time.Since(begin), done) || isClosed(done) {
			return closed
		}
		if d.passage.lane.forget(d.passage) {
			d.passage.stream.Close()
			closed++
		}
	}
	allClosed(idle, leaveLimit, done)
	return closed
}

// allClosed waits until all channels are closed, and reports false if the time
// of limit had passed or done was closed before.
func allClosed(channels []<-chan struct{}, limit time.Duration, done <-chan struct{}) bool {
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

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
