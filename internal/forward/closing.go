package forward

import (
	"io"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute/internal/websocket"
)

// The ends of a WebSocket that we close are told, so that the client comes back
// knowing why: each gets a Close frame (RFC 6455, section 5.5.1) between two
// frames, which may be fragments of one message. From then on it gets nothing
// more, and what comes for it is dropped; when it has answered, it is told the
// end of the connection. An end that is in the middle of a frame gets the rest of
// that first. One that has sent a Close frame itself gets the other end's answer
// and none of ours.

// closeTimeout is how long all of that may take. It is less than the second
// that closed streams have to leave.
const closeTimeout = 900 * time.Millisecond

// A closingHandshake is how far one way has come in ending. It is guarded by the
// tunnel's mu, as is frames, which only the goroutine that carries sets: that
// may look whether it is nil.
type closingHandshake struct {
	writing     bool // something is being written to dst that src has sent
	closePassed bool // src's Close frame was passed on
	dstDone     bool // dst gets nothing more: it has a Close frame, or one is being written, or it was told the end
	closeSent   bool // that was written
	srcDone     bool // src has sent a Close frame, or has ended
	dstClosed   bool // dst was told the end
}

// trackFrames begins to count the frames that pass. Where mute is true when the tunnel
// is closed, nobody is told for all that.
func (t *tunnel) trackFrames(mute *atomic.Bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.up.frames, t.down.frames = &websocket.Frames{Masked: true}, new(websocket.Frames)
	t.canSendClose, t.noCloseFrames = true, mute
}

// Close ends the tunnel: at once, unless its ends are those of a WebSocket and
// can be told. It does not wait for that.
func (t *tunnel) Close() error {
	if !t.startClosing() {
		t.cut()
	}
	return nil
}

// startClosing has both ends told, and reports whether they will be, or it is too late for
// anything.
func (t *tunnel) startClosing() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil || t.closeTimer != nil {
		return true
	}
	if !t.canSendClose || t.noCloseFrames != nil && t.noCloseFrames.Load() {
		return false
	}
	t.closeTimer = time.AfterFunc(closeTimeout, t.cut)
	t.closeWriters.Go(t.up.sendClose)
	t.closeWriters.Go(t.down.sendClose)
	return true
}

func (t *tunnel) cut() { t.end(ErrCut) }

// finish closes both ends, which have sent everything, and returns why.
func (t *tunnel) finish() error {
	t.mu.Lock()
	t.canSendClose = false // so that no farewell begins any more
	late := t.closeTimer
	t.mu.Unlock()
	if late != nil {
		t.closeWriters.Wait() // not longer than until late
		late.Stop()
	}
	return t.end(io.EOF)
}

// copyFrames passes on of p what dst still gets.
func (w *direction) copyFrames(p []byte) error {
	for len(p) > 0 {
		n := w.admit(p)
		if n == 0 {
			w.tunnel.endAnswered()
			return nil
		}
		if err := w.write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
		if leaving := w.endPiece(); leaving {
			w.sendClose()
		}
	}
	return nil
}

// admit returns how much of p is to be passed on at once: nothing once dst was
// told and, until then, no more than one frame if the tunnel is leaving.
func (w *direction) admit(p []byte) int {
	t := w.tunnel
	t.mu.Lock()
	defer t.mu.Unlock()
	w.writing = t.closeTimer == nil || !w.dstDone
	if t.closeTimer != nil && w.writing {
		return w.frames.Advance(p)
	}
	for rest := p; len(rest) > 0; {
		rest = rest[w.frames.Advance(rest):]
	}
	if w.writing {
		return len(p)
	}
	w.srcDone = w.srcDone || w.frames.State() == websocket.Closed
	return 0
}

// endPiece says that what take returned was passed on. It reports whether the
// tunnel is leaving.
func (w *direction) endPiece() (leaving bool) {
	t := w.tunnel
	t.mu.Lock()
	defer t.mu.Unlock()
	w.writing = false
	switch w.frames.State() {
	case websocket.Closed:
		w.closePassed, w.dstDone, w.closeSent, w.srcDone = true, true, true, true
	case websocket.Invalid:
		w.frames = nil
		if t.canSendClose = false; t.closeTimer != nil {
			t.closeTimer.Reset(0)
		}
	}
	return t.closeTimer != nil
}

// sendClose tells dst if the tunnel is leaving and a Close frame may stand here. It
// must be called whenever that may have become so. If dst does not take the
// frame, the other way will notice, which reads from it.
func (w *direction) sendClose() {
	t := w.tunnel
	t.mu.Lock()
	may := t.closeTimer != nil && !w.dstDone && !w.writing && !w.opposite.closePassed &&
		w.frames != nil && w.frames.State() == websocket.Between
	w.dstDone = w.dstDone || may
	t.mu.Unlock()
	if may {
		w.dst.Write(websocket.AppendClose(nil, websocket.GoingAway, w == &t.up))
		t.mu.Lock()
		w.closeSent = true
		t.mu.Unlock()
	}
	t.endAnswered()
}

// closeDst tells dst that src has ended, unless it has a Close frame from us: then
// settle does so when it has answered.
func (w *direction) closeDst() error {
	t := w.tunnel
	t.mu.Lock()
	w.srcDone = true
	t.mu.Unlock()
	w.sendClose()
	t.mu.Lock()
	waits := t.closeTimer != nil && w.dstDone
	if !waits {
		w.dstDone, w.dstClosed = true, true
	}
	t.mu.Unlock()
	if waits {
		return nil
	}
	return closeWrite(w.dst)
}

// endAnswered tells those ends the end of the connection that were told and have
// answered. They close it in turn, which is the end of the tunnel.
func (t *tunnel) endAnswered() {
	for _, w := range []*direction{&t.up, &t.down} {
		t.mu.Lock()
		now := t.closeTimer != nil && w.closeSent && w.opposite.srcDone && !w.dstClosed
		w.dstClosed = w.dstClosed || now
		t.mu.Unlock()
		if now && closeWrite(w.dst) != nil {
			w.dst.Close()
		}
	}
}
