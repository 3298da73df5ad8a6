package server

import (
	"time"

	"github.com/shahnk19/parachute/cmd/parachute/internal/handover"
)

// An inbox receives what comes over a link. Its owner takes it from messages, and closes it.
type inbox struct {
	link     *handover.Link
	messages chan received // is closed along with the inbox, or behind an error
	closing  chan struct{}
	ended    chan struct{} // is closed when nothing is received any more
}

type received struct {
	message *handover.Message
	err     error
}

func openInbox(link *handover.Link) *inbox {
	b := &inbox{link: link, messages: make(chan received), closing: make(chan struct{}), ended: make(chan struct{})}
	go b.run()
	return b
}

// run receives until there is an error, or close is called.
func (b *inbox) run() {
	defer close(b.ended)
	defer close(b.messages)
	for {
		m, err := b.link.Receive()
		select {
		case b.messages <- received{m, err}:
		case <-b.closing:
			return
		}
		if err != nil {
			return
		}
	}
}

// close closes the link, and returns when nothing is received from it any more. It does
// nothing if it was called before.
func (b *inbox) close() error {
	select {
	case <-b.closing:
		return nil
	default:
		close(b.closing)
	}
	_ = b.link.SetDeadline(time.Now()) // wakes run, which may be in the middle of what Close takes away
	<-b.ended
	return b.link.Close()
}
