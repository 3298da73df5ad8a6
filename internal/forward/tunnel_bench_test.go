package forward_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/shahnk19/parachute/internal/forward"
)

// A sender is a connection that sends a stream of left bytes, which repeats
// itself, and takes everything.
type sender struct {
	net.Conn
	stream []byte
	at     int
	left   int64
}

func (s *sender) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, io.EOF
	}
	n := copy(p, s.stream[s.at:])
	s.at = (s.at + n) % len(s.stream)
	s.left -= int64(n)
	return n, nil
}

func (s *sender) Write(p []byte) (int, error) { return len(p), nil }
func (s *sender) CloseWrite() error           { return nil }
func (s *sender) Close() error                { return nil }

// tunnelReads is more than a tunnel reads at once.
const tunnelReads = 64 << 10

// BenchmarkTunnel sends 64 MiB of frames each way: it shows what passing them
// costs beside reading and writing.
func BenchmarkTunnel(b *testing.B) {
	for _, size := range []int{20, 1 << 10, 16 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			payload := string(make([]byte, size))
			many := max(1, tunnelReads/size) // so that a read is full
			up, down := bytes.Repeat([]byte(fromClient(0x82, payload)), many), bytes.Repeat([]byte(fromTarget(0x82, payload)), many)
			const each = 64 << 20
			b.SetBytes(2 * each)
			b.ReportAllocs()
			for b.Loop() {
				client, target := &sender{stream: up, left: each}, &sender{stream: down, left: each}
				r := &http.Request{Method: "GET", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}}
				res := response(101, "", "Connection", "Upgrade", "Upgrade", "websocket")
				res.Body = target
				result, err := forward.Forward(&hijacked{nowhere{make(http.Header)}, client}, r, answering(func() *http.Response { return res }), &forward.Options{})
				if err != nil || result.BytesIn < each || result.BytesOut < each {
					b.Fatal(result, err)
				}
			}
		})
	}
}
