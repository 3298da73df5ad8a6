package http1

import "io"

// bufferSize is the size of a buffer: most heads fit into it, and many bodies
// behind them.
const bufferSize = 8 << 10

// An input reads ahead from a connection. Its buffer is lent to it while a request
// is read and served.
type input struct {
	src  io.Reader
	buf  []byte
	r, w int // buf[r:w] was read from src and not consumed
}

// unread returns what was read and not consumed.
func (in *input) unread() []byte { return in.buf[in.r:in.w] }

func (in *input) discard(n int) { in.r += n }

// fill reads more, at least a byte unless it returns an error. If the buffer is
// full it grows to twice its size.
func (in *input) fill() error {
	if in.r > 0 {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	if in.w == len(in.buf) {
		larger := make([]byte, max(2*len(in.buf), bufferSize))
		copy(larger, in.buf)
		in.buf = larger
	}
	for range 100 {
		n, err := in.src.Read(in.buf[in.w:])
		in.w += n
		if n > 0 {
			return nil // an error will be there the next time
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// Read takes from the buffer, or else reads from the connection, into p itself
// unless that is small.
func (in *input) Read(p []byte) (int, error) {
	if in.r == in.w {
		if len(p) >= len(in.buf)/2 {
			return in.src.Read(p)
		}
		if err := in.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, in.unread())
	in.discard(n)
	return n, nil
}

// unreadByte puts a byte into the empty buffer.
func (in *input) unreadByte(b byte) {
	in.buf[0] = b
	in.r, in.w = 0, 1
}
