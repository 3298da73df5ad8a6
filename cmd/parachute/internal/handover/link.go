package handover

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A Link is one end of the connection between two processes. Send may be called from
// any goroutine, Receive from one at a time.
type Link struct {
	conn Conn

	sending sync.Mutex // held while a message is written

	unread []byte     // what was read of the next messages
	files  []*os.File // that came with it
}

// A Conn is a connection between two processes: a stream of a unix socket.
type Conn = *net.UnixConn

// NewLink returns the Link over a connection, which it owns.
func NewLink(conn Conn) *Link { return &Link{conn: conn} }

// connOf returns the connection that f is, which it closes.
func connOf(f *os.File) (Conn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	unix, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errNoUnixSocket
	}
	return unix, nil
}

// SetDeadline bounds what is sent and received from now on.
func (l *Link) SetDeadline(t time.Time) error { return l.conn.SetDeadline(t) }

// A Message is what was received.
type Message struct {
	Kind Kind            `json:"kind"`
	Body json.RawMessage `json:"body,omitempty"`
	File *os.File        `json:"-"` // of a Socket
}

// Decode decodes the body of m into v.
func (m *Message) Decode(v any) error {
	if err := json.Unmarshal(m.Body, v); err != nil {
		return fmt.Errorf("message %q: %w", m.Kind, err)
	}
	return nil
}

const (
	// prefixSize is the size of the length in front of a message.
	prefixSize = 4

	// maxMessage is how large a message may be. The largest have all services.
	maxMessage = 64 << 20
)

// Send sends a message. body may be nil.
func (l *Link) Send(kind Kind, body any) error { return l.send(kind, body, nil) }

// SendSocket sends a descriptor, which stays the caller's.
func (l *Link) SendSocket(name string, f *os.File) error {
	return l.send(KindSocket, Socket{Name: name}, f)
}

func (l *Link) send(kind Kind, body any, f *os.File) error {
	m := Message{Kind: kind}
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("message %q: %w", kind, err)
		}
		m.Body = data
	}
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("message %q: %w", kind, err)
	}
	data = append(binary.BigEndian.AppendUint32(make([]byte, 0, prefixSize+len(data)), uint32(len(data))), data...)
	l.sending.Lock()
	defer l.sending.Unlock()
	if f == nil {
		_, err := l.conn.Write(data)
		return err
	}
	return l.writeWith(data, f)
}

// writeWith writes data, and sends f with its first byte.
func (l *Link) writeWith(data []byte, f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var n int
	var writeErr error
	err = raw.Control(func(fd uintptr) {
		n, _, writeErr = l.conn.WriteMsgUnix(data, syscall.UnixRights(int(fd)), nil)
	})
	if err = errors.Join(err, writeErr); err != nil {
		return err
	}
	_, err = l.conn.Write(data[n:])
	return err
}

// Receive returns the next message, or io.EOF if the other process has ended. The caller
// must close the file of a Socket.
func (l *Link) Receive() (*Message, error) {
	prefix, err := l.next(prefixSize)
	if err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint32(prefix))
	if size > maxMessage {
		return nil, fmt.Errorf("a message of %d bytes", size)
	}
	data, err := l.next(size)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	m := new(Message)
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("a message that is none: %w", err)
	}
	if m.Kind == KindSocket {
		if len(l.files) == 0 {
			return nil, errors.New("a socket without a descriptor")
		}
		m.File, l.files = l.files[0], l.files[1:]
	}
	return m, nil
}

// next returns the next n bytes.
func (l *Link) next(n int) ([]byte, error) {
	for len(l.unread) < n {
		if err := l.fill(); err != nil {
			if len(l.unread) > 0 && errors.Is(err, io.EOF) {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	b := l.unread[:n:n]
	l.unread = l.unread[n:]
	return b, nil
}

// fill reads once.
func (l *Link) fill() error {
	buf, oob := make([]byte, 64<<10), make([]byte, syscall.CmsgSpace(4*16))
	n, oobn, _, _, err := l.conn.ReadMsgUnix(buf, oob)
	if oobn > 0 {
		files, rightsErr := filesOf(oob[:oobn])
		l.files = append(l.files, files...)
		err = errors.Join(err, rightsErr)
	}
	l.unread = append(l.unread, buf[:max(n, 0)]...)
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || err == nil && n == 0 {
		return io.EOF // reset, if it has not read all that was sent to it
	}
	return err
}

// filesOf returns the descriptors in a control message.
func filesOf(oob []byte) ([]*os.File, error) {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := syscall.ParseUnixRights(&m)
		if err != nil {
			return files, err
		}
		for _, fd := range fds {
			syscall.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "handed over"))
		}
	}
	return files, nil
}

// Close closes the Link. The other end then receives io.EOF.
func (l *Link) Close() error {
	for _, f := range l.files {
		f.Close()
	}
	return l.conn.Close()
}
