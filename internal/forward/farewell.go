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

// farewellLimit is how long all of that may take. It is less than the second
// that closed streams have to leave.
const farewellLimit = 900 * time.Millisecond

// A farewell is how far one way has come in ending. It is guarded by the
// tunnel's mu, as is frames, which only the goroutine that carries sets: that
// may look whether it is nil.
type farewell struct {
	passing bool // something is being written to dst that src has sent
	closed  bool // src's Close frame was passed on
	told    bool // dst gets nothing more: it has a Close frame, or one is being written, or it was told the end
	sent    bool // that was written
	over    bool // src has sent a Close frame, or has ended
	shut    bool // dst was told the end
}

// count begins to count the frames that pass. Where mute is true when the tunnel
// is closed, nobody is told for all that.
func (t *tunnel) count(mute *atomic.Bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.up.frames, t.down.frames = &websocket.Frames{Masked: true}, new(websocket.Frames)
	t.tells, t.mute = true, mute
}

// Close ends the tunnel: at once, unless its ends are those of a WebSocket and
// can be told. It does not wait for that.
func (t *tunnel) Close() error {
	if !t.bid() {
		t.cut()
	}
	return nil
}

// bid has both ends told, and reports whether they will be, or it is too late for
// anything.
func (t *tunnel) bid() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil || t.late != nil {
		return true
	}
	if !t.tells || t.mute != nil && t.mute.Load() {
		return false
	}
	t.late = time.AfterFunc(farewellLimit, t.cut)
	t.telling.Go(t.up.tell)
	t.telling.Go(t.down.tell)
	return true
}

func (t *tunnel) cut() { t.end(ErrCut) }

// leave closes both ends, which have sent everything, and returns why.
func (t *tunnel) leave() error {
	t.mu.Lock()
	t.tells = false // so that no farewell begins any more
	late := t.late
	t.mu.Unlock()
	if late != nil {
		t.telling.Wait() // not longer than until late
		late.Stop()
	}
	return t.end(io.EOF)
}

// passFrames passes on of p what dst still gets.
func (w *way) passFrames(p []byte) error {
	for len(p) > 0 {
		n := w.take(p)
		if n == 0 {
			w.tunnel.settle()
			return nil
		}
		if err := w.write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
		if leaving := w.passed(); leaving {
			w.tell()
		}
	}
	return nil
}

// take returns how much of p is to be passed on at once: nothing once dst was
// told and, until then, no more than one frame if the tunnel is leaving.
func (w *way) take(p []byte) int {
	t := w.tunnel
	t.mu.Lock()
	defer t.mu.Unlock()
	w.passing = t.late == nil || !w.told
	if t.late != nil && w.passing {
		return w.frames.Advance(p)
	}
	for rest := p; len(rest) > 0; {
		rest = rest[w.frames.Advance(rest):]
	}
	if w.passing {
		return len(p)
	}
	w.over = w.over || w.frames.State() == websocket.Closed
	return 0
}

// passed says that what take returned was passed on. It reports whether the
// tunnel is leaving.
func (w *way) passed() (leaving bool) {
	t := w.tunnel
	t.mu.Lock()
	defer t.mu.Unlock()
	w.passing = false
	switch w.frames.State() {
	case websocket.Closed:
		w.closed, w.told, w.sent, w.over = true, true, true, true
	case websocket.Invalid:
		w.frames = nil
		if t.tells = false; t.late != nil {
			t.late.Reset(0)
		}
	}
	return t.late != nil
}

// tell tells dst if the tunnel is leaving and a Close frame may stand here. It
// must be called whenever that may have become so. If dst does not take the
// frame, the other way will notice, which reads from it.
func (w *way) tell() {
	t := w.tunnel
	t.mu.Lock()
	may := t.late != nil && !w.told && !w.passing && !w.back.closed &&
		w.frames != nil && w.frames.State() == websocket.Between
	w.told = w.told || may
	t.mu.Unlock()
	if may {
		w.dst.Write(websocket.AppendClose(nil, websocket.GoingAway, w == &t.up))
		t.mu.Lock()
		w.sent = true
		t.mu.Unlock()
	}
	t.settle()
}

// close tells dst that src has ended, unless it has a Close frame from us: then
// settle does so when it has answered.
func (w *way) close() error {
	t := w.tunnel
	t.mu.Lock()
	w.over = true
	t.mu.Unlock()
	w.tell()
	t.mu.Lock()
	waits := t.late != nil && w.told
	if !waits {
		w.told, w.shut = true, true
	}
	t.mu.Unlock()
	if waits {
		return nil
	}
	return closeWrite(w.dst)
}

// settle tells those ends the end of the connection that were told and have
// answered. They close it in turn, which is the end of the tunnel.
func (t *tunnel) settle() {
	for _, w := range []*way{&t.up, &t.down} {
		t.mu.Lock()
		now := t.late != nil && w.sent && w.back.over && !w.shut
		w.shut = w.shut || now
		t.mu.Unlock()
		if now && closeWrite(w.dst) != nil {
			w.dst.Close()
		}
	}
}
