package upstream

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// A client is the one that a WriteTo writes to.
type client struct {
	x       *exchange
	w       io.Writer
	web     bool          // w is an http.ResponseWriter: it can be flushed, and has a deadline
	limit   time.Duration // how long bytes may wait for it; not positive: for ever
	until   time.Time     // its write deadline; zero: none
	held    int           // how many bytes it may hold back
	flushed bool          // its head is through
}

// serverBuffer is what the ResponseWriters of net/http hold back before they
// write, which is when a deadline begins to matter.
const serverBuffer = 2 << 10

// open lets cut end what is written to the client. It reports false if the
// exchange is cut already.
func (k *client) open() bool {
	w, web := k.w.(http.ResponseWriter)
	k.web = web
	k.x.mu.Lock()
	defer k.x.mu.Unlock()
	if web && k.x.reason == 0 {
		k.x.client = *http.NewResponseController(w)
		k.x.writing = true
	}
	return k.x.reason == 0
}

func (k *client) close() {
	k.rest()
	k.x.mu.Lock()
	defer k.x.mu.Unlock()
	k.x.writing = false
}

func (k *client) write(p []byte) (n int, err error) {
	if k.held += len(p); k.held > serverBuffer {
		k.arm()
	}
	n, err = k.w.Write(p)
	if n < len(p) && err == nil {
		err = io.ErrShortWrite
	}
	return n, err
}

// flush sends what is held back, the head above all.
func (k *client) flush() error {
	if !k.web || k.flushed && k.held == 0 {
		return nil
	}
	k.arm()
	k.held, k.flushed = 0, true
	if err := k.x.client.Flush(); !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// finish sends the rest of what a client may be slow to take: the server would
// do so anyway, but wait for ever.
func (k *client) finish() error {
	if k.held > serverBuffer {
		return k.flush()
	}
	return nil
}

// arm gives the client time to take what is written next, unless it has some.
func (k *client) arm() {
	if k.until.IsZero() && k.web && k.limit > 0 {
		k.until = time.Now().Add(k.limit)
		k.setDeadline(k.until)
	}
}

// rest says that for now nothing is written.
func (k *client) rest() {
	if !k.until.IsZero() {
		k.until = time.Time{}
		k.setDeadline(k.until)
	}
}

// setDeadline leaves alone what cut has set.
func (k *client) setDeadline(t time.Time) {
	k.x.mu.Lock()
	defer k.x.mu.Unlock()
	if k.x.reason == 0 {
		k.x.client.SetWriteDeadline(t)
	}
}
