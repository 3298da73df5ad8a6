package http1

import (
	"io"
	"strconv"
)

// An output holds back what is written to the client, so that a head leaves together
// with a small body, and a chunk with what is around it.
//
// Its buffer has a lead, then a gap, then data. The lead is the head, or the end of
// the chunk before. What belongs in front of the data can only be known once there is
// all of it: it is put into the gap, and the lead moved up to it.
type output struct {
	dst  io.Writer
	buf  []byte
	lead int // bytes of the lead
	gap  int // bytes of the gap behind it; 0: there is no data
	err  error
}

// reset has o hold nothing back, and begin anew.
func (o *output) reset() {
	o.buf = o.buf[:0]
	if cap(o.buf) == 0 || cap(o.buf) > 4*bufferSize {
		o.buf = make([]byte, 0, bufferSize+maxGap)
	}
	o.lead, o.gap, o.err = 0, 0, nil
}

// maxGap is how much what belongs in front of the data takes at most.
const maxGap = len(keepAliveLine + "Content-Length: 9223372036854775807\r\n\r\n")

// appendLead appends to the lead. There must be no data.
func (o *output) appendLead(s string) {
	o.buf = append(o.buf, s...)
	o.lead = len(o.buf)
}

// openGap begins the data.
func (o *output) openGap() {
	if o.gap == 0 {
		o.gap = maxGap
		o.buf = append(o.buf, gapBytes[:]...)
	}
}

var gapBytes [maxGap]byte

// data returns the data that is held back.
func (o *output) data() []byte { return o.buf[o.lead+o.gap:] }

// isEmpty reports whether nothing is held back.
func (o *output) isEmpty() bool { return len(o.buf) == 0 }

// hasRoom reports whether n more bytes of data may be held back.
func (o *output) hasRoom(n int) bool {
	return len(o.buf)+maxGap+n <= bufferSize
}

// send writes what is held back, with front between the lead and the data, and then
// rest. It holds nothing back afterwards.
func (o *output) send(front, rest []byte) error {
	o.openGap()
	begin := o.gap - len(front)
	copy(o.buf[begin:], o.buf[:o.lead])
	copy(o.buf[begin+o.lead:], front)
	wire := o.buf[begin:]
	o.buf, o.lead, o.gap = o.buf[:0], 0, 0
	if o.err == nil && len(wire) > 0 {
		_, o.err = o.dst.Write(wire)
	}
	if o.err == nil && len(rest) > 0 {
		_, o.err = o.dst.Write(rest)
	}
	return o.err
}

// A framing says how the end of the body is told.
type framing uint8

const (
	undecided framing = iota // depends on how much there is
	counted                  // by a Content-Length, which is in the head
	chunked                  // by a last chunk
	untilEnd                 // by the end of the connection
	bodyless                 // there is no body
)

// appendChunkSize appends the line in front of a chunk of n bytes.
func appendChunkSize(b []byte, n int) []byte {
	b = strconv.AppendUint(b, uint64(n), 16)
	return append(b, "\r\n"...)
}
