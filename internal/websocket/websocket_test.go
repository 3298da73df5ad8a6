package websocket_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/websocket"
)

func TestAdvanceEndsAtEachFrame(t *testing.T) {
	is := is.New(t)
	var f websocket.Frames
	stream := []byte("\x81\x05hello\x01\x03hel\x89\x00\x80\x02lo\x88\x02\x03\xe8left over")
	var taken []int
	var states []websocket.State
	for len(stream) > 0 {
		n := f.Advance(stream)
		stream = stream[n:]
		taken = append(taken, n)
		states = append(states, f.State())
	}
	is.Equal(taken, []int{7, 5, 2, 4, 4, 9})
	is.Equal(states, []websocket.State{websocket.Between, websocket.Between, websocket.Between, websocket.Between, websocket.Closed, websocket.Closed})
}

func TestTheStateOfAStream(t *testing.T) {
	const key = "abcd"
	for _, tt := range []struct {
		name   string
		masked bool
		stream string
		want   websocket.State
	}{
		{"nothing", false, "", websocket.Between},
		{"one byte", false, "\x81", websocket.Within},
		{"a head", false, "\x81\x01", websocket.Within},
		{"a frame", false, "\x81\x01a", websocket.Between},
		{"an empty one", false, "\x82\x00", websocket.Between},
		{"reserved bits", false, "\xf1\x01a", websocket.Between},
		{"half a length", false, "\x82\x7e\x00", websocket.Within},
		{"a length of two bytes", false, "\x82\x7e\x00\x01a", websocket.Between},
		{"half a long length", false, "\x82\x7f\x00\x00\x00\x00\x00\x00\x00", websocket.Within},
		{"a length of eight", false, "\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x02ab", websocket.Between},
		{"an empty frame with one", false, "\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x00", websocket.Between},
		{"the longest", true, "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" + key, websocket.Within},
		{"a longer one", true, "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00" + key, websocket.Invalid},
		{"without its mask", true, "\x81\x80", websocket.Within},
		{"masked", true, "\x81\x80" + key, websocket.Between},
		{"masked, with a payload", true, "\x81\x81" + key + "a", websocket.Between},
		{"a client that does not mask", true, "\x81\x01a", websocket.Invalid},
		{"a server that does", false, "\x81\x81" + key + "a", websocket.Invalid},
		{"a fragment", false, "\x01\x01a", websocket.Between},
		{"two", false, "\x01\x01a\x00\x01a", websocket.Between},
		{"the last", false, "\x01\x01a\x80\x01a\x81\x00", websocket.Between},
		{"a fragment of nothing", false, "\x00\x01a", websocket.Invalid},
		{"after the last", false, "\x01\x01a\x80\x01a\x80\x01a", websocket.Invalid},
		{"a message within one", false, "\x01\x01a\x82\x01a", websocket.Invalid},
		{"a ping within one", false, "\x01\x01a\x89\x01a\x8a\x00", websocket.Between},
		{"a ping in fragments", false, "\x09\x01a", websocket.Invalid},
		{"a long ping", false, "\x89\x7e\x00\x7e", websocket.Invalid},
		{"the longest ping", false, "\x89\x7d", websocket.Within},
		{"a close", false, "\x88\x00", websocket.Closed},
		{"a close within a message", false, "\x01\x00\x88\x02\x03\xe8", websocket.Closed},
		{"part of one", false, "\x88\x02\x03", websocket.Within},
		{"more behind one", false, "\x88\x00\x81", websocket.Closed},
		{"an unknown opcode", false, "\x83\x00", websocket.Invalid},
		{"an unknown opcode of control", false, "\x8b\x00", websocket.Invalid},
		{"words", true, "hello", websocket.Invalid},
		{"an answer of HTTP", false, "HTTP/1.1 200 OK", websocket.Invalid},
		{"a frame behind it", false, "HTTP\x81\x00", websocket.Invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			whole := websocket.Frames{Masked: tt.masked}
			for p := []byte(tt.stream); len(p) > 0; {
				p = p[whole.Advance(p):]
			}
			is.Equal(whole.State(), tt.want)
			bytewise := websocket.Frames{Masked: tt.masked}
			for i := range tt.stream {
				is.Equal(bytewise.Advance([]byte(tt.stream[i:i+1])), 1)
			}
			is.Equal(bytewise.State(), tt.want)
		})
	}
}

func TestACloseFrameIsMaskedForAServer(t *testing.T) {
	is := is.New(t)
	is.Equal(websocket.AppendClose([]byte("x"), websocket.GoingAway, false), []byte("x\x88\x02\x03\xe9"))
	keys := make(map[string]bool)
	for range 10 {
		b := websocket.AppendClose(nil, websocket.GoingAway, true)
		is.Equal(len(b), 8)
		is.Equal(string(b[:2]), "\x88\x82")
		is.Equal([]byte{b[6] ^ b[2], b[7] ^ b[3]}, []byte{0x03, 0xe9})
		keys[string(b[2:6])] = true
	}
	is.True(len(keys) > 1) // they cannot be foretold (RFC 6455, section 5.3)
}

// reference reads a whole stream. It returns where its frames end, and its
// state.
func reference(masked bool, p []byte) (ends []int, state websocket.State) {
	at, message := 0, false
	for at < len(p) {
		rest := p[at:]
		if len(rest) < 2 {
			return ends, websocket.Within
		}
		head, length := 2, uint64(rest[1]%128)
		switch length {
		case 126:
			if head = 4; len(rest) < head {
				return ends, websocket.Within
			}
			length = uint64(binary.BigEndian.Uint16(rest[2:]))
		case 127:
			if head = 10; len(rest) < head {
				return ends, websocket.Within
			}
			length = binary.BigEndian.Uint64(rest[2:])
		}
		final, opcode := rest[0] >= 0x80, rest[0]%16
		switch {
		case masked != (rest[1] >= 0x80), int64(length) < 0:
			return ends, websocket.Invalid
		case opcode == 0 && message, (opcode == 1 || opcode == 2) && !message:
			message = !final
		case opcode >= 8 && opcode <= 10 && final && rest[1]%128 <= 125:
		default:
			return ends, websocket.Invalid
		}
		if masked {
			head += 4
		}
		if len(rest) < head || length > uint64(len(rest)-head) {
			return ends, websocket.Within
		}
		at += head + int(length)
		ends = append(ends, at)
		if opcode == 8 {
			return ends, websocket.Closed
		}
	}
	return ends, websocket.Between
}

// FuzzFrames compares a stream that comes in pieces with what one sees in it
// who has all of it.
func FuzzFrames(f *testing.F) {
	for _, stream := range []string{
		"\x81\x05hello\x01\x03hel\x89\x00\x80\x02lo\x88\x02\x03\xe8left over",
		"\x81\x80abcd\x82\xfe\x00\x01abcdx\x89\x81abcdx",
		"\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x02ab\x81",
		"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xffabcd",
		"hello",
	} {
		for _, masked := range []bool{false, true} {
			f.Add(masked, []byte(stream), uint8(1))
			f.Add(masked, []byte(stream), uint8(100))
		}
	}
	f.Fuzz(func(t *testing.T, masked bool, stream []byte, piece uint8) {
		wantEnds, wantState := reference(masked, stream)
		frames := websocket.Frames{Masked: masked}
		var ends []int
		closed := false
		for at := 0; at < len(stream); {
			p := stream[at:min(at+int(piece)+1, len(stream))]
			n := frames.Advance(p)
			if n < 1 || n > len(p) {
				t.Fatalf("took %d bytes of %d", n, len(p))
			}
			at += n
			switch frames.State() {
			case websocket.Between:
				ends = append(ends, at)
			case websocket.Closed:
				if !closed {
					ends = append(ends, at)
				}
				closed = true
			}
		}
		if !slices.Equal(ends, wantEnds) || frames.State() != wantState {
			t.Fatalf("frames end at %v in state %v, want %v and %v", ends, frames.State(), wantEnds, wantState)
		}
	})
}

func BenchmarkFrames(b *testing.B) {
	for _, size := range []int{20, 8 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			frame := append(binary.BigEndian.AppendUint64([]byte{0x82, 127}, uint64(size)), make([]byte, size)...)
			var f websocket.Frames
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			for b.Loop() {
				for p := frame; len(p) > 0; {
					p = p[f.Advance(p[:min(len(p), 8<<10)]):]
				}
			}
		})
	}
}
