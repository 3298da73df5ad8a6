package server

import (
	"cmp"
	"net/http"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// Limits are what clients meet, whichever way they come. There are none on
// bodies and answers: an upload or an event stream may take its time.
type Limits struct {
	// ReadHeader bounds how long the head of a request may take, and a TLS
	// handshake. If 0, 10 s: a head comes in one packet or a few, and who
	// needs longer for it is on a line too bad to be served, or holds
	// connections open on purpose. If negative, there is no limit.
	ReadHeader time.Duration

	// Idle is how long a connection is kept that has no request. If 0, 75 s,
	// which is longer than the minute after which common load balancers close
	// theirs: were ours the shorter, they would send a request on a
	// connection that we are just closing. If negative, there is no limit.
	Idle time.Duration

	// HeaderBytes is how large the head of a request may be. If 0, 64 KiB.
	HeaderBytes int

	// Streams is how many requests a client may have running on a connection
	// of HTTP/2 or HTTP/3. If 0, 100.
	Streams int
}

// normalize returns l with the defaults where nothing was asked for.
func (l Limits) normalize() Limits {
	l.ReadHeader = cmp.Or(l.ReadHeader, 10*time.Second)
	l.Idle = cmp.Or(l.Idle, 75*time.Second)
	l.HeaderBytes = cmp.Or(l.HeaderBytes, 64<<10)
	l.Streams = cmp.Or(l.Streams, 100)
	return l
}

// stallTimeout is how long a connection of HTTP/2 is kept that takes nothing of
// what is written to it.
const stallTimeout = time.Minute

// apply sets the limits of s, of which l is the normalized ones.
func (l Limits) apply(s *http.Server) {
	s.ReadHeaderTimeout = l.ReadHeader
	s.IdleTimeout = l.Idle
	s.MaxHeaderBytes = l.HeaderBytes
	s.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams: l.Streams,
		WriteByteTimeout:     stallTimeout,
	}
}

// What a client may send ahead of a target that does not take it, of one
// request and of all on a connection, as in HTTP/2.
const (
	streamWindow = 1 << 20
	connWindow   = 2 << 20
)

// keepAlive is the pause between signs of life to a client of HTTP/3, half of
// after what time QUIC gives up a peer that is silent. Without them it would
// give up every event stream in which nothing happens for a while.
const keepAlive = 15 * time.Second

// applyQUIC is apply for HTTP/3. The head of a request has no time limit there.
func (l Limits) applyQUIC(s *http3.Server) {
	s.IdleTimeout = max(l.Idle, 0)
	s.MaxHeaderBytes = l.HeaderBytes
	s.QUICConfig = &quic.Config{
		// A request in 0-RTT could be sent again by whoever saw it (RFC 8470).
		Allow0RTT: false,

		HandshakeIdleTimeout:       max(l.ReadHeader, 0),
		KeepAlivePeriod:            keepAlive,
		MaxIdleTimeout:             2 * keepAlive,
		MaxIncomingStreams:         int64(l.Streams),
		MaxStreamReceiveWindow:     streamWindow,
		MaxConnectionReceiveWindow: connWindow,
	}
}
