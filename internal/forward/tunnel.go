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

// tunnelBuffer is the size of a buffer. It is small because an idle tunnel keeps
// two of them.
const tunnelBuffer = 8 << 10

// A tunnel copies bytes between a client and a target that have switched to
// another protocol. It is what [Options.Stream] is called with for a 101.
type tunnel struct {
	up, down direction // to the target, and to the client

	closeWriters sync.WaitGroup // the goroutines that send the first Close frames

	mu            sync.Mutex   // guards the fields below and each closingHandshake; not held while reading or writing
	canSendClose  bool         // the directions have frames, so that Close frames can be sent
	noCloseFrames *atomic.Bool // if not nil and true, none are sent all the same
	closeTimer    *time.Timer  // cuts the tunnel; nil: it is not closing
	answerTimer   *time.Timer  // calls answer; likewise
	isLate        bool         // who has not answered a Close frame, is not waited for
	err           error        // why both ends were closed; nil: they are open
}

// switchProtocols passes on a 101 to a client that asked for the protocols asked,
// and then what either side sends, until both have ended or one has failed.
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
		return errors.New("switching protocols: the request is not complete") // the client would go on with its body
	}
	header := make(http.Header, len(res.Header))
	copyEndToEnd(header, res.Header)
	y.result.Header = header
	client, buffered, err := y.rc.Hijack()
	if errors.Is(err, http.ErrNotSupported) {
		inner, _ := unwrapped(y.w)
		err = missingMethod(inner, "Hijack", "upgrades")
	}
	if err != nil {
		return fmt.Errorf("switching protocols: %w", err)
	}
	t := newTunnel(client, target, buffered.Reader)
	defer t.end(io.EOF)
	y.result.Status = res.StatusCode
	head := y.w.Header()
	y.nameTarget(header)
	addFields(head, header)
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

// newTunnel returns a tunnel between client and target. read has what the server
// has read from client behind the request.
func newTunnel(client net.Conn, target io.ReadWriteCloser, read *bufio.Reader) *tunnel {
	early, _ := read.Peek(read.Buffered())
	t := new(tunnel)
	t.up = direction{tunnel: t, opposite: &t.down, src: io.MultiReader(bytes.NewReader(early), client), dst: target}
	t.down = direction{tunnel: t, opposite: &t.up, src: target, dst: client}
	return t
}

// chosenProtocol returns the protocol that the target switches to, or several with
// commas if it switches to layers of them. Each must be one of asked. Some targets
// name a protocol twice; it is returned once.
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
	delete(h, "Content-Length") // RFC 9110, section 8.6
	h["Connection"] = []string{"Upgrade"}
	h["Upgrade"] = []string{protocol}
	w.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	h.Write(w)
	w.WriteString("\r\n")
	return w.Flush()
}

// A direction copies from one end of a tunnel, src, to the other.
type direction struct {
	tunnel   *tunnel
	opposite *direction // the other direction
	src      io.Reader
	dst      io.WriteCloser
	n        int64             // bytes that were passed on
	frames   *websocket.Frames // of what src sends; nil: it is no WebSocket
	closingHandshake
}

// copy passes on what src sends until it ends, and then half-closes dst. If
// something fails, it ends the tunnel. At last it closes done, unless that is nil.
func (d *direction) copy(done chan<- struct{}) {
	buffer := make([]byte, tunnelBuffer)
	var err error
	for err == nil {
		var n int
		n, err = d.src.Read(buffer)
		if failed := d.copyPiece(buffer[:n]); failed != nil {
			err = failed
		}
	}
	if err == io.EOF {
		err = d.closeDst()
	}
	if err != nil {
		d.tunnel.end(err)
	}
	if done != nil {
		close(done)
	}
}

func (d *direction) copyPiece(p []byte) error {
	if d.frames != nil {
		return d.copyFrames(p)
	}
	return d.write(p)
}

func (d *direction) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	n, err := d.dst.Write(p)
	d.n += int64(n)
	return err
}

// closeWrite half-closes c: nothing more will be written. It returns io.EOF, which
// ends the tunnel, if c cannot be half-closed.
func closeWrite(c io.Closer) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		if err := half.CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return io.EOF
}

// end closes both ends if err is not nil and they are open. It returns why they
// were closed, or nil if that was io.EOF or they are open.
func (t *tunnel) end(err error) error {
	t.mu.Lock()
	first := t.err == nil && err != nil
	if first {
		if t.err = err; t.closeTimer != nil {
			t.err = ErrCut // and not the error of the end that has closed first
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
