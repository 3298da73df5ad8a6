package forward_test

import (
	"io"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
)

// goingAway is the Close frame that a client gets.
const goingAway = "\x88\x02\x03\xe9"

// The first byte of frames (RFC 6455, section 5.2).
const (
	textFrame      = 0x81
	fragment       = 0x01 // the first of a text
	middleFragment = 0x00
	compressed     = 0xc1 // a text, with RSV1
	closeFrame     = 0x88
	pingFrame      = 0x89
)

// fromTarget returns a frame as a server sends it.
func fromTarget(first byte, payload string) string {
	head := []byte{first, byte(len(payload))}
	switch {
	case len(payload) > 0xffff:
		head = []byte{first, 127, 0, 0, 0, 0, byte(len(payload) >> 24), byte(len(payload) >> 16), byte(len(payload) >> 8), byte(len(payload))}
	case len(payload) > 125:
		head = []byte{first, 126, byte(len(payload) >> 8), byte(len(payload))}
	}
	return string(head) + payload
}

// fromClient returns a frame as a client sends it: masked.
func fromClient(first byte, payload string) string {
	frame := []byte(fromTarget(first, payload))
	frame[1] |= 0x80
	head := len(frame) - len(payload)
	key := "\x12\x34\x56\x78"
	for i := range payload {
		frame[head+i] ^= key[i%4]
	}
	return string(frame[:head]) + key + string(frame[head:])
}

// isMaskedGoingAway reports whether frame is the Close frame that a target gets.
func isMaskedGoingAway(frame string) bool {
	return len(frame) == 8 && frame[:2] == "\x88\x82" && frame[6]^frame[2] == 0x03 && frame[7]^frame[3] == 0xe9
}

// hears reads as much from r as want has.
func hears(is *is.I, r io.Reader, want string) {
	is.Helper()
	b := make([]byte, len(want))
	_, err := io.ReadFull(r, b)
	is.NoErr(err)
	is.Equal(string(b), want)
}

// hearsGoingAway reads the Close frame that a target gets.
func hearsGoingAway(is *is.I, target io.Reader) {
	is.Helper()
	b := make([]byte, 8)
	_, err := io.ReadFull(target, b)
	is.NoErr(err)
	is.True(isMaskedGoingAway(string(b)))
}

// pass has both ends of u send frames that arrive, which the tunnel has noted when
// it returns.
func (u *tunnel) pass(is *is.I, fromClient, fromTarget string) {
	is.Helper()
	io.WriteString(u.client, fromClient)
	hears(is, u.target, fromClient)
	io.WriteString(u.target, fromTarget)
	hears(is, u.client, fromTarget)
	synctest.Wait()
}

// answers has an end answer a Close frame, and leave when it hears the end.
func answers(is *is.I, end halfCloser, frame string) {
	is.Helper()
	io.WriteString(end, frame)
	got, state := hear(end, time.Minute)
	is.Equal(got, "") // nothing follows a Close frame
	is.Equal(state, "closed")
	is.NoErr(end.Close())
}
