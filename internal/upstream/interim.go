package upstream

import (
	"net/http"
	"sync"
)

// An interimHead is the head of a 1xx.
type interimHead struct {
	status int
	header http.Header
}

// interims are the interim answers of an exchange on their way from the
// goroutine of a connection, which must not wait, to that of the exchange.
type interims struct {
	told chan struct{} // has room for one: something was put in

	mu    sync.Mutex // guards the fields below
	heads []interimHead
	room  int // for how many more bytes of heads there is room
}

func newInterims() *interims {
	return &interims{told: make(chan struct{}, 1), room: maxHead}
}

// put adds a head, unless all that were put in are too large together: then it
// returns errHeadTooLarge.
func (i *interims) put(head interimHead) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.room -= head.size(); i.room < 0 {
		return errHeadTooLarge
	}
	i.heads = append(i.heads, head)
	select {
	case i.told <- struct{}{}:
	default:
	}
	return nil
}

// take returns what was put in since it was called last.
func (i *interims) take() []interimHead {
	i.mu.Lock()
	defer i.mu.Unlock()
	heads := i.heads
	i.heads = nil
	return heads
}

// tooLarge reports whether put has returned errHeadTooLarge.
func (i *interims) tooLarge() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.room < 0
}

// size returns how long the head is as HTTP/1 has it.
func (h interimHead) size() int {
	size := len("HTTP/1.1 100 \r\n\r\n")
	for name, values := range h.header {
		for _, value := range values {
			size += len(name) + len(": ") + len(value) + len("\r\n")
		}
	}
	return size
}
