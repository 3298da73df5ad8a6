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

	"github.com/shahnk19/parachute/internal/field"
)

// tunnelBuffer is small because a tunnel holds two of them while nobody sends.
const tunnelBuffer = 8 << 10

// A tunnel joins a client and a target that speak a protocol of their own. It
// is what [Options.Stream] is called with for a 101.
type tunnel struct {
	target io.ReadWriteCloser

	mu     sync.Mutex // guards client and err
	client net.Conn   // nil: not there yet
	err    error      // why both ends were closed; nil: they were not
}

// tunnel passes on a 101 to a client that asked for the protocols asked, and
// from then on what either side sends, until both have ended or one has failed.
func (y *relay) tunnel(res *http.Response, asked string) error {
	protocol, err := chosen(res.Header, asked)
	if err != nil {
		return err
	}
	target, ok := res.Body.(io.ReadWriteCloser)
	if !ok {
		return errors.New("switching protocols: the target cannot be written to")
	}
	removeHopByHop(res.Header)
	y.result.Header = res.Header
	t := &tunnel{target: target}
	defer t.end(io.EOF)
	client, buffered, err := y.rc.Hijack()
	if err != nil {
		return fmt.Errorf("switching protocols: %w", err)
	}
	t.join(client)
	y.result.Status = res.StatusCode
	head := y.w.Header()
	share(head, res.Header)
	if err := writeSwitching(buffered.Writer, head, protocol); err != nil {
		return t.end(err)
	}
	y.becomeStream(t)
	early, _ := buffered.Reader.Peek(buffered.Reader.Buffered())
	up := make(chan int64)
	go t.up(early, up)
	y.result.BytesOut = t.copy(client, target)
	y.result.BytesIn = <-up
	return t.end(nil)
}

// chosen returns the protocol that the target switches to, which must be one of
// those that it was asked for.
func chosen(h http.Header, asked string) (string, error) {
	protocol := strings.Join(h["Upgrade"], ", ")
	if !field.HasToken([]string{asked}, protocol) || !field.HasToken(h["Connection"], "upgrade") {
		return "", fmt.Errorf("switching protocols: asked for %q, the target chose %q", asked, protocol)
	}
	return protocol, nil
}

func writeSwitching(w *bufio.Writer, h http.Header, protocol string) error {
	delete(h, "Content-Length") // which a 101 does not have (RFC 9110, section 8.6)
	h["Connection"] = []string{"Upgrade"}
	h["Upgrade"] = []string{protocol}
	w.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	h.Write(w)
	w.WriteString("\r\n")
	return w.Flush()
}

// up carries to the target what the server had read of the client already, and
// then what comes.
func (t *tunnel) up(early []byte, sum chan<- int64) {
	sum <- t.copy(t.target, io.MultiReader(bytes.NewReader(early), t.client))
}

// copy carries what src sends until it ends, which dst is told, or until
// something fails, which ends the tunnel.
func (t *tunnel) copy(dst io.WriteCloser, src io.Reader) int64 {
	// Without the wrappers, each connection would use a larger buffer of its own.
	n, err := io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, make([]byte, tunnelBuffer))
	if err == nil {
		err = closeWrite(dst)
	}
	if err != nil {
		t.end(err)
	}
	return n
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

// join gives t the client, which is closed if t was.
func (t *tunnel) join(client net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.client = client
	if t.err != nil {
		client.Close()
	}
}

// end closes both ends, unless err is nil, and returns why they were closed:
// nil if that was the proper end.
func (t *tunnel) end(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil && err != nil {
		t.err = err
		t.target.Close()
		if t.client != nil {
			t.client.Close()
		}
	}
	if t.err == io.EOF {
		return nil
	}
	return t.err
}

// Close cuts the tunnel.
func (t *tunnel) Close() error {
	t.end(ErrCut)
	return nil
}
