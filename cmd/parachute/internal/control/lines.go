package control

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/shahnk19/parachute"
)

// A lineWriter is an answer in lines.
type lineWriter struct {
	w         http.ResponseWriter
	followers *followers
	f         *follower
	done      chan struct{} // closed when run has returned; then the others may be used again

	begun  bool // the answer has
	failed bool // the client does not read it any more
}

func newLineWriter(w http.ResponseWriter, followers *followers, f *follower) *lineWriter {
	return &lineWriter{w: w, followers: followers, f: f, done: make(chan struct{})}
}

// during makes the change, whose events are written meanwhile if so wanted.
func (l *lineWriter) during(change func() error, wanted bool) error {
	if wanted {
		go l.run()
	} else {
		close(l.done)
	}
	defer l.wait()
	defer l.followers.unfollow(l.f) // which ends run, also if the change panics
	return change()
}

func (l *lineWriter) wait() { <-l.done }

// run writes the events until the change has ended.
func (l *lineWriter) run() {
	defer close(l.done)
	for last := false; !last; {
		<-l.f.wake
		var events []parachute.Event
		events, last = l.followers.take(l.f)
		for _, e := range events {
			l.write(line{Event: eventOf(e)})
		}
	}
}

// write sends a line at once. A client that does not take it gets no more:
// whether it has gone is for its connection's context to say.
func (l *lineWriter) write(v line) {
	if l.failed {
		return
	}
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", contentLines)
	}
	rc := http.NewResponseController(l.w)
	_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	l.failed = json.NewEncoder(l.w).Encode(v) != nil || rc.Flush() != nil
}

// fail answers with an error.
func fail(w http.ResponseWriter, err error) {
	p, status := problemOf(err)
	answer(w, status, line{Error: p})
}

// answer answers with v in JSON.
func answer(w http.ResponseWriter, status int, v any) {
	// Not every writer has deadlines, and a client that is gone is not told
	// anything.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
