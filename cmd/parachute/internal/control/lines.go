package control

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/shahnk19/parachute"
)

// A lineWriter writes an answer in lines.
type lineWriter struct {
	w          http.ResponseWriter
	dispatcher *dispatcher
	sub        *subscription
	done       chan struct{} // closed when run has returned; then the others may be used again

	// isHandedOver reports whether a change has ended with an error because another
	// process is to make it, so that this is not its end.
	isHandedOver func(error) bool

	started bool // the header is written
	failed  bool // a write has failed
}

func newLineWriter(w http.ResponseWriter, followers *dispatcher, f *subscription) *lineWriter {
	return &lineWriter{w: w, dispatcher: followers, sub: f, done: make(chan struct{}), isHandedOver: func(error) bool { return false }}
}

// runTask makes the change, and if wanted, writes its events meanwhile.
func (l *lineWriter) runTask(change func() error, wanted bool) error {
	if wanted {
		go l.run()
	} else {
		close(l.done)
	}
	defer l.wait()
	defer l.dispatcher.unsubscribe(l.sub) // which ends run, also if the change panics
	return change()
}

func (l *lineWriter) wait() { <-l.done }

// run writes the events until the change has ended.
func (l *lineWriter) run() {
	defer close(l.done)
	for last := false; !last; {
		<-l.sub.wake
		var events []parachute.Event
		var question *Question
		events, question, last = l.dispatcher.next(l.sub)
		for _, e := range events {
			if e.Kind == parachute.EventFailed && l.isHandedOver(e.Err) {
				continue
			}
			l.write(message{Event: newWireEvent(e)})
		}
		if question != nil {
			l.write(message{Question: question})
		}
	}
}

// write writes and flushes a line. After an error it writes nothing more. It does
// not cancel the change, which the context of the request does.
func (l *lineWriter) write(v message) {
	if l.failed {
		return
	}
	if !l.started {
		l.started = true
		l.w.Header().Set("Content-Type", contentLines)
	}
	rc := http.NewResponseController(l.w)
	_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	l.failed = json.NewEncoder(l.w).Encode(v) != nil || rc.Flush() != nil
}

// writeError answers with err.
func writeError(w http.ResponseWriter, err error) {
	p, status := newWireError(err)
	writeJSON(w, status, message{Error: p})
}

// writeJSON answers with v in JSON.
func writeJSON(w http.ResponseWriter, status int, v any) {
	// Not every ResponseWriter has deadlines, and errors of writing to a client
	// that has hung up do not matter.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	w.Header().Set("Content-Type", "application/json")
	own, ok := v.(interface{ appendJSON([]byte) ([]byte, error) })
	if !ok {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v)
		return
	}
	text, err := own.appendJSON(nil)
	if err != nil {
		w.WriteHeader(status)
		return
	}
	text = append(text, '\n')
	w.Header().Set("Content-Length", strconv.Itoa(len(text))) // so that who reads it has room for it at once
	w.WriteHeader(status)
	_, _ = w.Write(text)
}
