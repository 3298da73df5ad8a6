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

	// Unread is how many bytes of bodies may be unread, of all clients of
	// HTTP/2 and HTTP/3 together, before the connection with the most is ended.
	// If 0, 512 MiB.
	Unread int64
}

// normalize returns l with the defaults where nothing was asked for.
func (l Limits) normalize() Limits {
	l.ReadHeader = cmp.Or(l.ReadHeader, 10*time.Second)
	l.Idle = cmp.Or(l.Idle, 75*time.Second)
	l.HeaderBytes = cmp.Or(l.HeaderBytes, 64<<10)
	l.Streams = cmp.Or(l.Streams, 100)
	l.Unread = cmp.Or(l.Unread, 512<<20)
	return l
}

// stallTimeout is how long a connection of HTTP/2 is kept that takes nothing of
// what is written to it.
const stallTimeout = time.Minute

// What a client may send ahead of a target that does not take it: of one
// request, of all on a connection of HTTP/2, and on one of HTTP/3 at most. The
// window of a request is what a fast client on a long line is slowed down by;
// that of a connection is what all of its requests wait for, once those that are
// stuck have used it up. For it net/http knows of values below 4 MiB only, which
// 31 requests fill; over HTTP/3 there is room for all.
const (
	streamWindow  = 128 << 10
	connWindow    = 4<<20 - 1
	maxQUICWindow = 32 << 20
)

// quicWindow returns what a client of HTTP/3 may send ahead on a connection: by
// half more than all of its requests, for QUIC gives room anew only when a
// quarter of the window has been read.
func (l Limits) quicWindow() int64 {
	return min(int64(l.Streams)*streamWindow*3/2, maxQUICWindow)
}

// apply sets the limits of s, of which l is the normalized ones.
func (l Limits) apply(s *http.Server) {
	s.ReadHeaderTimeout = l.ReadHeader
	s.IdleTimeout = l.Idle
	s.MaxHeaderBytes = l.HeaderBytes
	s.HTTP2 = &http.HTTP2Config{
		MaxConcurrentStreams:          l.Streams,
		MaxReadFrameSize:              streamWindow, // a larger one would have no room
		MaxReceiveBufferPerStream:     streamWindow,
		MaxReceiveBufferPerConnection: connWindow,
		WriteByteTimeout:              stallTimeout,
	}
}

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

		HandshakeIdleTimeout: max(l.ReadHeader, 0),
		KeepAlivePeriod:      keepAlive,
		MaxIdleTimeout:       2 * keepAlive,
		MaxIncomingStreams:   int64(l.Streams),

		// They are the same from the start: one that grows does so only while
		// everything is read.
		InitialStreamReceiveWindow:     streamWindow,
		MaxStreamReceiveWindow:         streamWindow,
		InitialConnectionReceiveWindow: uint64(l.quicWindow()),
		MaxConnectionReceiveWindow:     uint64(l.quicWindow()),
	}
}
