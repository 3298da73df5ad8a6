package forward

import (
	"io"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute/internal/websocket"
)

// When the proxy closes a WebSocket, it begins the closing handshake (RFC 6455,
// section 5.5.1) with both ends, so that the client knows why and reconnects. Each
// end gets a Close frame, at a boundary between frames: if a frame is being
// transferred, when that is complete. After the Close frame an end gets nothing
// more; what the other end still sends to it is dropped. When it has answered with
// a Close frame, its connection is half-closed. An end that has sent a Close frame
// before gets the answer of the other end instead of a frame of the proxy's, unless
// that does not come.

const (
	// closeTimeout is how long the closing handshakes may take. It is less than the
	// second for which a drain waits for streams that were closed.
	closeTimeout = 900 * time.Millisecond

	// answerTimeout is after how long the proxy answers an end that has sent a Close
	// frame, if the other has not.
	answerTimeout = 800 * time.Millisecond
)

// A closingHandshake is the state of the closing handshake in one direction. The
// tunnel's mu guards it. mu guards direction.frames as well, except that the
// goroutine of copy, which alone sets it, may compare it with nil without mu.
type closingHandshake struct {
	writing     bool // a piece from src is being written to dst
	closePassed bool // src's Close frame was passed on
	dstDone     bool // dst gets nothing more: a Close frame was or is being written, or it was half-closed
	closeSent   bool // the Close frame was written
	srcDone     bool // src has sent a Close frame, or has ended
	dstClosed   bool // dst was half-closed
}

// trackFrames makes the tunnel follow the frames of a WebSocket, so that Close can
// send Close frames. It does not if noCloseFrames, if not nil, is true by then.
func (t *tunnel) trackFrames(noCloseFrames *atomic.Bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.up.frames, t.down.frames = &websocket.Frames{Masked: true}, new(websocket.Frames)
	t.canSendClose, t.noCloseFrames = true, noCloseFrames
}

// Close ends the tunnel: at once, or, if it is a WebSocket that can be sent Close
// frames, after the closing handshakes, for which Close does not wait.
func (t *tunnel) Close() error {
	if !t.startClosing() {
		t.cut()
	}
	return nil
}

// startClosing begins the closing handshakes. It reports false if the tunnel has to
// be cut instead.
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
	t.answerTimer = time.AfterFunc(answerTimeout, t.answer)
	t.closeWriters.Go(t.up.sendClose)
	t.closeWriters.Go(t.down.sendClose)
	return true
}

// answer sends a Close frame to an end that has sent one, if the other end has not
// answered that.
func (t *tunnel) answer() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.canSendClose {
		return // finish waits for closeWriters
	}
	t.isLate = true
	t.closeWriters.Go(t.up.sendClose)
	t.closeWriters.Go(t.down.sendClose)
}

func (t *tunnel) cut() { t.end(ErrCut) }

// finish closes both ends, which have sent everything, and returns why the tunnel
// ended.
func (t *tunnel) finish() error {
	t.mu.Lock()
	t.canSendClose = false // no closing handshake begins any more
	timer, answer := t.closeTimer, t.answerTimer
	t.mu.Unlock()
	if timer != nil {
		answer.Stop()
		t.closeWriters.Wait() // until timer fires at most
		timer.Stop()
	}
	return t.end(io.EOF)
}

// copyFrames passes on the part of p that dst still gets.
func (d *direction) copyFrames(p []byte) error {
	for len(p) > 0 {
		n := d.admit(p)
		if n == 0 {
			d.tunnel.endAnswered()
			return nil
		}
		if err := d.write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
		if closing := d.endPiece(); closing {
			d.sendClose()
		}
	}
	return nil
}

// admit returns how many bytes of p may be written next: all, or, if the tunnel is
// closing, up to the end of a frame, or none if dst gets nothing more.
func (d *direction) admit(p []byte) int {
	t := d.tunnel
	t.mu.Lock()
	defer t.mu.Unlock()
	d.writing = t.closeTimer == nil || !d.dstDone
	if t.closeTimer != nil && d.writing {
		return d.frames.Advance(p)
	}
	for rest := p; len(rest) > 0; {
		rest = rest[d.frames.Advance(rest):]
	}
	if d.writing {
		return len(p)
	}
	d.srcDone = d.srcDone || d.frames.State() == websocket.Closed
	return 0
}

// endPiece notes that the bytes which admit returned were written. It reports
// whether the tunnel is closing.
func (d *direction) endPiece() (closing bool) {
	t := d.tunnel
	t.mu.Lock()
	defer t.mu.Unlock()
	d.writing = false
	switch d.frames.State() {
	case websocket.Closed:
		d.closePassed, d.dstDone, d.closeSent, d.srcDone = true, true, true, true
	case websocket.Invalid:
		d.frames = nil
		if t.canSendClose = false; t.closeTimer != nil {
			t.closeTimer.Reset(0)
		}
	}
	return t.closeTimer != nil
}

// sendClose writes a Close frame to dst if the tunnel is closing and such a frame
// may stand here. It must be called whenever that may have become true. An error of
// the write is ignored: the opposite direction, which reads from dst, gets it too.
func (d *direction) sendClose() {
	t := d.tunnel
	t.mu.Lock()
	may := t.closeTimer != nil && !d.dstDone && !d.writing && (t.isLate || !d.opposite.closePassed) &&
		d.frames != nil && d.frames.State() == websocket.Between
	d.dstDone = d.dstDone || may
	t.mu.Unlock()
	if may {
		d.dst.Write(websocket.AppendClose(nil, websocket.GoingAway, d == &t.up))
		t.mu.Lock()
		d.closeSent = true
		t.mu.Unlock()
	}
	t.endAnswered()
}

// closeDst half-closes dst, for src has ended. If dst was sent a Close frame,
// endAnswered does that when it has answered.
func (d *direction) closeDst() error {
	t := d.tunnel
	t.mu.Lock()
	d.srcDone = true
	t.mu.Unlock()
	d.sendClose()
	t.mu.Lock()
	wait := t.closeTimer != nil && d.dstDone
	if !wait {
		d.dstDone, d.dstClosed = true, true
	}
	t.mu.Unlock()
	if wait {
		return nil
	}
	return closeWrite(d.dst)
}

// endAnswered half-closes the ends that were sent a Close frame and have answered.
// They close their connections in turn, which ends the tunnel.
func (t *tunnel) endAnswered() {
	for _, d := range []*direction{&t.up, &t.down} {
		t.mu.Lock()
		now := t.closeTimer != nil && d.closeSent && d.opposite.srcDone && !d.dstClosed
		d.dstClosed = d.dstClosed || now
		t.mu.Unlock()
		if now && closeWrite(d.dst) != nil {
			d.dst.Close()
		}
	}
}
