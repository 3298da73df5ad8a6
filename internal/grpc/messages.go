package grpc

import "encoding/binary"

// prefixSize is how much stands before each message: whether it is compressed,
// and in four bytes how long it is.
const prefixSize = 5

// Messages follows one direction of a call, of which it is given every byte.
// The zero value stands before the first message.
type Messages struct {
	begun  int
	prefix [prefixSize]byte // of the message that has begun
	read   int              // bytes of prefix that are there
	left   int64            // bytes of the message that follow the prefix
}

// Pass goes on over the bytes of p.
func (m *Messages) Pass(p []byte) {
	for len(p) > 0 {
		if m.left > 0 {
			n := min(m.left, int64(len(p)))
			m.left -= n
			p = p[n:]
			continue
		}
		if m.read == 0 || m.read == prefixSize {
			m.begun++
			m.read = 0
		}
		n := copy(m.prefix[m.read:], p)
		m.read += n
		p = p[n:]
		if m.read == prefixSize {
			m.left = int64(binary.BigEndian.Uint32(m.prefix[1:]))
		}
	}
}

// Begun returns how many messages have begun.
func (m *Messages) Begun() int { return m.begun }

// AreWhole reports whether every message that has begun is complete.
func (m *Messages) AreWhole() bool {
	return m.left == 0 && (m.read == 0 || m.read == prefixSize)
}
