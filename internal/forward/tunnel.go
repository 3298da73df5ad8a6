package forward

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/websocket"
)

// tunnelBuffer is small because a tunnel holds two of them while nobody sends.
const tunnelBuffer = 8 << 10

// A tunnel joins a client and a target that speak a protocol of their own. It
// is what [Options.Stream] is called with for a 101.
type tunnel struct {
	up, down direction // to the target, and to the client

	closeWriters sync.WaitGroup // the goroutines that farewells begin with

	mu            sync.Mutex   // guards the fields below, and those of the ways that say so; is not held while an end is waited for
	canSendClose  bool         // frames are passing, so that the ends may be told
	noCloseFrames *atomic.Bool // whether they must not be, all the same; nil: no
	closeTimer    *time.Timer  // ends what is leaving; nil: it is not
	err           error        // why both ends were closed; nil: they were not
}

// switchProtocols passes on a 101 to a client that asked for the protocols asked, and
// from then on what either side sends, until both have ended or one has failed.
func (y *relay) switchProtocols(res *http.Response, asked string) error {
	protocol, err := chosenProtocol(res.Header, asked)
	if err != nil {
		return err
	}
	target, ok := res.Body.(io.ReadWriteCloser)
	if !ok {
		return errors.New("switching protocols: the target cannot be written to")
	}
	if y.body != nil && !y.body.isComplete() {
		return errors.New("switching protocols: the request is not complete") // what follows is of its body
	}
	removeHopByHop(res.Header)
	y.result.Header = res.Header
	client, buffered, err := y.rc.Hijack()
	if err != nil {
		return fmt.Errorf("switching protocols: %w", err)
	}
	t := newTunnel(client, target, buffered.Reader)
	defer t.end(io.EOF)
	y.result.Status = res.StatusCode
	head := y.w.Header()
	addFields(head, res.Header)
	if err := writeSwitchingHead(buffered.Writer, head, protocol); err != nil {
		return t.end(err)
	}
	if strings.EqualFold(protocol, "websocket") {
		t.trackFrames(y.o.NoCloseFrames)
	}
	y.becomeStream(t)
	up := make(chan struct{})
	go t.up.copy(up)
	t.down.copy(nil)
	<-up
	y.result.BytesIn, y.result.BytesOut = t.up.n, t.down.n
	return t.finish()
}

// newTunnel returns a tunnel to a client of whom the server may have read more
// than the request.
func newTunnel(client net.Conn, target io.ReadWriteCloser, read *bufio.Reader) *tunnel {
	early, _ := read.Peek(read.Buffered())
	t := new(tunnel)
	t.up = direction{tunnel: t, opposite: &t.down, src: io.MultiReader(bytes.NewReader(early), client), dst: target}
	t.down = direction{tunnel: t, opposite: &t.up, src: target, dst: client}
	return t
}

// chosenProtocol returns the protocol that the target switches to, or several that are
// layered, each of which must be one of those that it was asked for. Some
// targets name it twice.
func chosenProtocol(h http.Header, asked string) (string, error) {
	var protocols []string
	valid := field.HasToken(h["Connection"], "upgrade")
	for _, list := range h["Upgrade"] {
		for protocol := range field.Elements(list) {
			valid = valid && field.HasToken([]string{asked}, protocol)
			if !field.HasToken(protocols, protocol) {
				protocols = append(protocols, protocol)
			}
		}
	}
	if !valid || len(protocols) == 0 {
		return "", fmt.Errorf("switching protocols: asked for %q, the target chose %q", asked, strings.Join(h["Upgrade"], ", "))
	}
	return strings.Join(protocols, ", "), nil
}

func writeSwitchingHead(w *bufio.Writer, h http.Header, protocol string) error {
	delete(h, "Content-Length") // which a 101 does not have (RFC 9110, section 8.6)
	h["Connection"] = []string{"Upgrade"}
	h["Upgrade"] = []string{protocol}
	w.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	h.Write(w)
	w.WriteString("\r\n")
	return w.Flush()
}

// A direction is one direction of a tunnel.
type direction struct {
	tunnel   *tunnel
	opposite *direction // the other one
	src      io.Reader
	dst      io.WriteCloser
	n        int64             // how much was passed on
	frames   *websocket.Frames // that src sends; nil: it sends something else
	closingHandshake
}

// copy passes on what src sends until it ends, which dst is told, or until
// something fails, which ends the tunnel. Then it closes done, unless that is
// nil.
func (w *direction) copy(done chan<- struct{}) {
	buffer := make([]byte, tunnelBuffer)
	var err error
	for err == nil {
		var n int
		n, err = w.src.Read(buffer)
		if failed := w.copyPiece(buffer[:n]); failed != nil {
			err = failed
		}
	}
	if err == io.EOF {
		err = w.closeDst()
	}
	if err != nil {
		w.tunnel.end(err)
	}
	if done != nil {
		close(done)
	}
}

// copyPiece passes on p.
func (w *direction) copyPiece(p []byte) error {
	if w.frames != nil {
		return w.copyFrames(p)
	}
	return w.write(p)
}

func (w *direction) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	n, err := w.dst.Write(p)
	w.n += int64(n)
	return err
}

// closeWrite tells c that nothing more will be written. Where that is not to
// be had without closing c, that is the end of all.
func closeWrite(c io.Closer) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		if err := half.CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return io.EOF
}

// end closes both ends, unless err is nil, and returns why they were closed:
// nil if that was the proper end.
func (t *tunnel) end(err error) error {
	t.mu.Lock()
	first := t.err == nil && err != nil
	if first {
		if t.err = err; t.closeTimer != nil {
			t.err = ErrCut // whichever end was the first to go
		}
	}
	why := t.err
	t.mu.Unlock()
	if first {
		t.up.dst.Close()
		t.down.dst.Close()
	}
	if why == io.EOF {
		return nil
	}
	return why
}
