package upstream

import (
	"errors"
	"io"
	"net/http"
	"time"
)

// A downstream is what a WriteTo writes to: the way to the client.
type downstream struct {
	f       *fate
	w       io.Writer
	limit   time.Duration // how long bytes may wait for the client; not positive: for ever
	until   time.Time     // the write deadline of w; zero: none
	web     bool          // w is an http.ResponseWriter: it can be flushed, and has a deadline
	flushed bool          // the head was flushed
	held    int32         // how many bytes w may hold back; not counted beyond serverBuffer + 1
	lost    error         // of the flush in beforeWait
}

// serverBuffer is what the ResponseWriters of net/http hold back before they
// write, which is when a deadline begins to matter.
const serverBuffer = 2 << 10

// open lets cut end what is written to the client. It reports false if the
// exchange is cut already.
func (k *downstream) open() bool {
	w, web := k.w.(http.ResponseWriter)
	k.web = web
	k.f.mu.Lock()
	isOpen := k.f.reason == 0
	if web && isOpen {
		k.f.client = *http.NewResponseController(w)
		k.f.writing = true
	}
	k.f.mu.Unlock()
	return isOpen
}

func (k *downstream) close() {
	k.disarm()
	k.f.mu.Lock()
	k.f.writing = false
	k.f.mu.Unlock()
}

func (k *downstream) write(p []byte) (n int, err error) {
	if k.held = int32(min(int(k.held)+len(p), serverBuffer+1)); k.held > serverBuffer {
		k.arm()
	}
	n, err = k.w.Write(p)
	if n < len(p) && err == nil {
		err = io.ErrShortWrite
	}
	return n, err
}

// copy reads from src and writes to the client by turns; n is how much there
// is, if that is known. It is the waiter of src.
func (k *downstream) copy(src io.Reader, n int64) (written int64, err error) {
	piece := borrowPiece(n, answerPieces)
	defer func() { piece.giveBack() }()
	for {
		buf := piece.bytes()
		n, readErr := src.Read(buf)
		if n > 0 {
			m, err := k.write(buf[:n])
			written += int64(m)
			if err != nil {
				return written, k.f.writeError(err)
			}
		}
		if k.lost != nil {
			return written, k.f.writeError(k.lost)
		}
		if readErr == io.EOF {
			return written, k.f.writeError(k.finish())
		}
		if readErr != nil {
			return written, readErr
		}
		piece.fit(n)
	}
}

// beforeWait sends what is held back.
func (k *downstream) beforeWait() error {
	if k.lost = k.flush(); k.lost == nil {
		k.disarm()
	}
	return k.lost
}

// flush sends what is held back, the head above all.
func (k *downstream) flush() error {
	if !k.web || k.flushed && k.held == 0 {
		return nil
	}
	k.arm()
	k.held, k.flushed = 0, true
	if err := k.f.client.Flush(); !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// finish sends the rest of what a client may be slow to take: the server would
// do so anyway, but wait for ever.
func (k *downstream) finish() error {
	if k.held > serverBuffer {
		return k.flush()
	}
	return nil
}

// arm sets the write deadline, unless it is set: something is about to be written.
func (k *downstream) arm() {
	if k.until.IsZero() && k.web && k.limit > 0 {
		k.until = time.Now().Add(k.limit)
		k.setDeadline(k.until)
	}
}

// disarm clears it: for now nothing is written.
func (k *downstream) disarm() {
	if !k.until.IsZero() {
		k.until = time.Time{}
		k.setDeadline(k.until)
	}
}

// setDeadline sets the write deadline, unless a cut has set one.
func (k *downstream) setDeadline(t time.Time) {
	k.f.mu.Lock()
	defer k.f.mu.Unlock()
	if k.f.reason == 0 {
		k.f.client.SetWriteDeadline(t)
	}
}
