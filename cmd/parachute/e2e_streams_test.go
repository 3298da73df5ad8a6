package main_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// Frames of a WebSocket (RFC 6455, section 5.2).
const (
	opText  = 0x1
	opClose = 0x8

	goingAway = "\x03\xe9" // payload of a Close frame with status 1001
)

// writeFrame writes a short frame. That of a client has a mask, which may be zeros.
func writeFrame(w io.Writer, op byte, payload []byte, masked bool) error {
	frame := []byte{0x80 | op, byte(len(payload))}
	if masked {
		frame[1] |= 0x80
		frame = append(frame, 0, 0, 0, 0)
	}
	_, err := w.Write(append(frame, payload...))
	return err
}

// readFrame reads a short frame.
func readFrame(r io.Reader) (op byte, payload []byte, err error) {
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, nil, err
	}
	mask := make([]byte, 4)
	if head[1]&0x80 != 0 {
		if _, err := io.ReadFull(r, mask); err != nil {
			return 0, nil, err
		}
	}
	payload = make([]byte, head[1]&0x7f)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, err
	}
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return head[0] & 0xf, payload, nil
}

// echo is the target's end of a WebSocket: it sends back all that comes, until it gets a
// Close frame.
func echo(w http.ResponseWriter) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	for {
		op, payload, err := readFrame(buffered)
		if err != nil || writeFrame(conn, op, payload, false) != nil || op == opClose {
			return
		}
	}
}

// count is an event stream that counts, until its client leaves.
func count(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for i := 0; r.Context().Err() == nil; i++ {
		fmt.Fprintf(w, "data: %d\n\n", i)
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A stream is one end of a WebSocket or of an event stream. next takes part in it once, and
// returns errEnded when it has ended as clients are told to expect.
type stream struct {
	conn net.Conn
	next func() error
}

// errEnded says that a stream has ended in good order.
var errEnded = errors.New("the stream has ended in good order")

// openStream asks for one.
func openStream(proxy, path, fields string) (net.Conn, *bufio.Reader, *http.Response, error) {
	conn, err := net.Dial("tcp", proxy)
	if err != nil {
		return nil, nil, nil, err
	}
	conn.SetDeadline(time.Now().Add(patience))
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", path, fields)
	in := bufio.NewReader(conn)
	var resp *http.Response
	if err == nil {
		resp, err = http.ReadResponse(in, nil)
	}
	if err != nil {
		conn.Close()
		return nil, nil, nil, fmt.Errorf("asking for %s: %w", path, err)
	}
	return conn, in, resp, nil
}

// talk opens a WebSocket, on which each message has to come back in its turn.
func talk(proxy string) (*stream, error) {
	conn, in, resp, err := openStream(proxy, "/socket", "Connection: Upgrade\r\nUpgrade: websocket\r\n")
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		conn.Close()
		return nil, fmt.Errorf("WebSocket: %s", resp.Status)
	}
	var n uint64
	return &stream{conn, func() error {
		conn.SetDeadline(time.Now().Add(patience))
		n++
		said := fmt.Sprint("message ", n)
		// The proxy may have closed it already, which is told by what it has sent before.
		sendErr := writeFrame(conn, opText, []byte(said), true)
		op, payload, err := readFrame(in)
		switch {
		case err != nil:
			return fmt.Errorf("WebSocket, message %d: %w", n, errors.Join(err, sendErr))
		case op == opText && string(payload) == said:
			return nil
		case op != opClose || string(payload) != goingAway:
			return fmt.Errorf("WebSocket, message %d: got %#x %q", n, op, payload)
		}
		writeFrame(conn, opClose, payload, true)
		return errEnded
	}}, nil
}

// listen opens an event stream, which has to count.
func listen(proxy string) (*stream, error) {
	conn, _, resp, err := openStream(proxy, "/events", "")
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		conn.Close()
		return nil, fmt.Errorf("event stream: %s", resp.Status)
	}
	lines, n := bufio.NewReader(resp.Body), 0
	return &stream{conn, func() error {
		conn.SetDeadline(time.Now().Add(patience))
		line, err := lines.ReadString('\n')
		if err == nil {
			_, err = lines.ReadString('\n')
		}
		switch want := fmt.Sprintf("data: %d\n", n); {
		case errors.Is(err, io.ErrUnexpectedEOF):
			return errEnded // an answer that breaks off: there is no other way
		case err != nil:
			return fmt.Errorf("event stream, event %d: %w", n, err)
		case line != want:
			return fmt.Errorf("event stream: got %q in place of %q", line, want)
		}
		n++
		return nil
	}}, nil
}

// audience are clients with streams, each of which opens another one when its own has
// ended in good order. What they get is messages and events.
type audience struct {
	crowd
	cancel  context.CancelFunc
	reopens atomic.Int64
}

// startAudience starts so many clients with WebSockets, and so many with event streams,
// which leave at the end of the test at the latest.
func startAudience(t *testing.T, proxy string, sockets, streams int) *audience {
	ctx, cancel := context.WithCancel(context.Background())
	a := &audience{cancel: cancel}
	t.Cleanup(func() { a.stop() })
	a.start(sockets+streams, func(client int, got *atomic.Int64) error {
		open := listen
		if client < sockets {
			open = talk
		}
		return a.attend(ctx, got, func() (*stream, error) { return open(proxy) })
	})
	return a
}

func (a *audience) attend(ctx context.Context, got *atomic.Int64, open func() (*stream, error)) error {
	for {
		s, err := open()
		if err != nil {
			return err
		}
		for ctx.Err() == nil && err == nil {
			if err = s.next(); err == nil {
				got.Add(1)
				time.Sleep(5 * time.Millisecond)
			}
		}
		s.conn.Close()
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, errEnded):
			return err
		}
		a.reopens.Add(1)
	}
}

// stop returns what failed.
func (a *audience) stop() error {
	a.cancel()
	a.done.Wait()
	return a.failed()
}

// takePart takes part in a stream n times.
func takePart(t *testing.T, s *stream, n int) {
	t.Helper()
	for range n {
		if err := s.next(); err != nil {
			t.Fatal(err)
		}
	}
}
