// Package websocket parses as much of the frames of a WebSocket connection (RFC 6455,
// section 5) as a proxy needs to close it: where a frame ends, so that another may be
// inserted. It also writes Close frames.
package websocket

import (
	"crypto/rand"
	"encoding/binary"
)

// A State is a position in a stream of frames.
type State int

const (
	Between State = iota // before the first frame or after one: a control frame may be inserted
	Within               // inside a frame
	Closed               // after a Close frame, which is the last one (section 5.5.1)
	Invalid              // in what is not a stream of frames
)

// Frames follows the frames that pass in one direction of a connection. It parses only
// their headers, and accepts all reserved bits and payloads, for extensions define
// them. A stream that is Closed or Invalid stays so.
type Frames struct {
	// Masked is whether the frames come from a client, which masks all of them; a
	// server masks none (section 5.1).
	Masked bool

	state      State
	fragmented bool     // the last data frame did not end its message
	closing    bool     // the current frame is a Close frame
	remaining  uint64   // bytes of the current frame that are still to come, after its header
	head       [10]byte // of an incomplete header
	headRead   int      // bytes in head
}

// State returns the position after the last byte that Advance has consumed.
func (f *Frames) State() State { return f.state }

// Advance consumes the bytes of p up to the end of the first frame that ends in p, or
// all if none does, and returns how many these are. It is 0 only if p is empty.
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

// readHead consumes the bytes of p that belong to a header which arrives in pieces, and
// returns how many these are.
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

// headSize returns the size of the header at the start of p, without the masking key.
// It returns 2 if p is shorter than that.
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

// beginFrame sets the state from the header of a frame.
func (f *Frames) beginFrame(head []byte) {
	f.state = Invalid
	if f.isFrame(head[0], head[1]) {
		f.remaining = payloadLength(head)
		if f.remaining < 1<<63 {
			f.state = Within
		}
		if f.Masked {
			f.remaining += 4 // the masking key
		}
	}
}

// isFrame reports whether a frame with these first two bytes is valid here, and sets
// fragmented and closing.
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
	// Control frames are short and not fragmented (section 5.5).
	return opcode >= opcodeClose && opcode <= opcodePong && final && second&lengthBits < length16
}

// payloadLength returns the length of the payload in a frame's header.
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

// GoingAway is the status code of an endpoint that goes away, such as a server that
// shuts down (section 7.4.1).
const GoingAway = 1001

// AppendClose appends to b a Close frame with the status code and no reason. A frame
// to a server must be masked.
func AppendClose(b []byte, status uint16, masked bool) []byte {
	b = append(b, finalBit|opcodeClose)
	if !masked {
		return binary.BigEndian.AppendUint16(append(b, 2), status)
	}
	var key [4]byte
	rand.Read(key[:]) // never fails
	b = append(append(b, maskBit|2), key[:]...)
	return append(b, byte(status>>8)^key[0], byte(status)^key[1])
}
