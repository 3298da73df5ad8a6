// Package websocket knows as much of the frames of a WebSocket connection (RFC
// 6455, section 5) as somebody in the middle has to who ends it: where one frame
// ends and the next may begin, and what a Close frame looks like.
package websocket

import (
	"crypto/rand"
	"encoding/binary"
)

// A State says where in a stream of frames its last byte stands.
type State int

const (
	Between State = iota // before the first frame, or at the end of one: a control frame may stand here
	Within               // a frame of which a part is still to come
	Closed               // behind a Close frame, which is the last (section 5.5.1)
	Invalid              // it is no such stream
)

// Frames keeps count of the frames that pass in one direction of a connection.
// Of a frame it reads the header alone. What extensions make of the payload, and
// of the reserved bits, does not matter to it. Once a stream is Closed or
// Invalid it stays so, whatever follows.
type Frames struct {
	// Masked says that they come from a client, who masks every frame, as a
	// server masks none (section 5.1).
	Masked bool

	state      State
	fragmented bool     // a message has begun that the last data frame did not end
	closing    bool     // the frame under way is a Close frame
	remaining  uint64   // what is to come of it, behind its head
	head       [10]byte // what there is of a head that is not complete
	headRead   int      // how much that is
}

// State says where the last byte stands that Advance was given.
func (f *Frames) State() State { return f.state }

// Advance takes the bytes of p up to the end of a frame, or all if no frame
// ends in p, and returns how many these are. It takes none only if p is empty.
func (f *Frames) Advance(p []byte) int {
	if len(p) == 0 || f.state == Closed || f.state == Invalid {
		return len(p)
	}
	n := 0
	switch {
	case f.state == Between && len(p) >= headSize(p):
		n = headSize(p)
		f.beginFrame(p)
	case f.state == Between || f.headRead > 0:
		n = f.readHead(p)
	}
	if f.state == Invalid || f.headRead > 0 {
		return len(p)
	}
	m := min(f.remaining, uint64(len(p)-n))
	if f.remaining -= m; f.remaining == 0 {
		f.state = Between
		if f.closing {
			f.state = Closed
		}
	}
	return n + int(m)
}

// readHead takes of p what belongs to a head that comes in pieces, and returns how
// much that is.
func (f *Frames) readHead(p []byte) int {
	before := f.headRead
	f.state = Within
	f.headRead += copy(f.head[before:], p)
	size := headSize(f.head[:f.headRead])
	if f.headRead < size {
		return len(p)
	}
	f.headRead = 0
	f.beginFrame(f.head[:])
	return size - before
}

// headSize returns how long the head is that p begins with, up to the length of
// the payload, as far as p tells.
func headSize(p []byte) int {
	if len(p) < 2 {
		return 2
	}
	switch p[1] & lengthBits {
	case length16:
		return 2 + 2
	case length64:
		return 2 + 8
	}
	return 2
}

// The bits of the first two bytes of a frame (section 5.2).
const (
	finalBit   = 1 << 7
	opcodeBits = 0xf
	maskBit    = 1 << 7
	lengthBits = 0x7f
	length16   = 126 // the length is in the two bytes that follow
	length64   = 127 // in eight
)

const (
	opcodeContinuation = 0
	opcodeText         = 1
	opcodeBinary       = 2
	opcodeClose        = 8
	opcodePong         = 10
)

// beginFrame begins a frame with its head, or finds that it is none.
func (f *Frames) beginFrame(head []byte) {
	f.state = Invalid
	if f.isFrame(head[0], head[1]) {
		f.remaining = payloadLength(head)
		if f.remaining < 1<<63 {
			f.state = Within
		}
		if f.Masked {
			f.remaining += 4 // the key
		}
	}
}

// isFrame reports whether a frame with these first two bytes may stand here, and
// notes what it is.
func (f *Frames) isFrame(first, second byte) bool {
	if masked := second&maskBit != 0; masked != f.Masked {
		return false
	}
	final, opcode := first&finalBit != 0, first&opcodeBits
	f.closing = opcode == opcodeClose
	switch {
	case opcode == opcodeContinuation && f.fragmented,
		(opcode == opcodeText || opcode == opcodeBinary) && !f.fragmented:
		f.fragmented = !final
		return true
	}
	// Control frames are short and whole (section 5.5).
	return opcode >= opcodeClose && opcode <= opcodePong && final && second&lengthBits < length16
}

// payloadLength returns how long the payload is, by a frame's head.
func payloadLength(head []byte) uint64 {
	switch length := head[1] & lengthBits; length {
	case length16:
		return uint64(binary.BigEndian.Uint16(head[2:]))
	case length64:
		return binary.BigEndian.Uint64(head[2:])
	default:
		return uint64(length)
	}
}

// GoingAway is the status of a server that goes down, among others (section
// 7.4.1).
const GoingAway = 1001

// AppendClose appends to b a Close frame with a status and no reason. It is
// masked if it is for a server.
func AppendClose(b []byte, status uint16, masked bool) []byte {
	b = append(b, finalBit|opcodeClose)
	if !masked {
		return binary.BigEndian.AppendUint16(append(b, 2), status)
	}
	var key [4]byte
	rand.Read(key[:]) // which never fails
	b = append(append(b, maskBit|2), key[:]...)
	return append(b, byte(status>>8)^key[0], byte(status)^key[1])
}
