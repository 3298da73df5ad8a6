package http2

import "encoding/binary"

// The types of frames, and their flags, that matter here (RFC 9113, section 6).
const (
	frameData      = 0x0
	frameHeaders   = 0x1
	frameRSTStream = 0x3
	framePing      = 0x6
	frameGoAway    = 0x7

	flagEndStream = 0x1 // of DATA and HEADERS
	flagAck       = 0x1 // of PING
)

const (
	headerSize = 9 // of a frame
	pingSize   = 8

	// clientPreface is how many bytes a client sends before its first frame.
	clientPreface = len("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
)

// frames follows what passes in one direction of a connection, from frame to frame.
type frames struct {
	skip    int                         // what comes before the next frame
	begin   [headerSize + pingSize]byte // the header of a frame, and the beginning of what is in it
	n       int                         // bytes of the frame that have passed
	size    int                         // bytes that it has, once its header has passed
	started bool                        // a frame has passed
}

// next takes from p what belongs to the frame that is passing. It returns what is left,
// and whether that frame is complete.
func (f *frames) next(p []byte) (rest []byte, complete bool) {
	if f.skip > 0 {
		n := min(f.skip, len(p))
		f.skip -= n
		return p[n:], false
	}
	if f.n < headerSize {
		n := copy(f.begin[f.n:headerSize], p)
		f.n += n
		p = p[n:]
		if f.n < headerSize {
			return p, false
		}
		f.size = headerSize + (int(f.begin[0])<<16 | int(f.begin[1])<<8 | int(f.begin[2]))
	}
	n := min(f.size-f.n, len(p))
	if f.n < len(f.begin) {
		copy(f.begin[f.n:], p[:n])
	}
	f.n += n
	if f.n < f.size {
		return p[n:], false
	}
	f.n, f.started = 0, true
	return p[n:], true
}

// isBetween reports whether a frame has passed, and the next has not begun.
func (f *frames) isBetween() bool { return f.started && f.n == 0 }

// unfinished returns how much of p belongs to the frame that is passing.
func (f *frames) unfinished(p []byte) int {
	switch {
	case f.n == 0:
		return 0
	case f.n < headerSize:
		return min(headerSize-f.n, len(p))
	}
	return min(f.size-f.n, len(p))
}

// These are about the frame that is complete.

func (f *frames) kind() byte      { return f.begin[3] }
func (f *frames) has(b byte) bool { return f.begin[4]&b != 0 }
func (f *frames) stream() uint32  { return binary.BigEndian.Uint32(f.begin[5:]) &^ (1 << 31) }
func (f *frames) payload() []byte { return f.begin[headerSize:min(f.size, len(f.begin))] }

// goAway returns what is in a GOAWAY frame.
func (f *frames) goAway() (last uint32, code uint32, ok bool) {
	p := f.payload()
	if len(p) < 8 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint32(p) &^ (1 << 31), binary.BigEndian.Uint32(p[4:]), true
}

// pingOfGoodbye is what is in the PING behind the first GOAWAY. It has no meaning.
const pingOfGoodbye = "goodbye!"

// goodbye is what tells a client that a connection is about to end, and has it say when
// it knows: a GOAWAY that refuses nothing yet, and a PING (RFC 9113, section 6.8).
var goodbye = func() []byte {
	b := []byte{0, 0, 8, frameGoAway, 0, 0, 0, 0, 0}
	b = binary.BigEndian.AppendUint32(b, 1<<31-1)
	b = binary.BigEndian.AppendUint32(b, 0) // no error
	b = append(b, 0, 0, pingSize, framePing, 0, 0, 0, 0, 0)
	return append(b, pingOfGoodbye...)
}()
