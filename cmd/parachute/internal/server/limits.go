package server

import (
	"cmp"
	"net/http"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/shahnk19/parachute/internal/http1"
)

// Limits are the limits for clients of all protocols. There is no time limit for
// bodies and answers: an upload or an event stream may take as long as it likes.
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

	// HeaderFields is how many fields the head of a request may have. If 0, 128.
	HeaderFields int

	// TargetBytes is how long the target of a request may be, its path and query. If
	// 0, 8 KiB.
	TargetBytes int

	// Requests is how many requests a connection of HTTP/1 may have, one after
	// another. If 0, as many as the client likes.
	Requests int

	// Streams is how many requests a client may have running on a connection
	// of HTTP/2 or HTTP/3. If 0, 100.
	Streams int

	// Unread is how many bytes of request bodies may be unread, of all clients
	// of HTTP/2 and HTTP/3 together. If there are more, the connection with the
	// most is closed. If 0, 512 MiB.
	Unread int64
}

// normalize returns l with defaults in the place of zero values.
func (l Limits) normalize() Limits {
	l.ReadHeader = cmp.Or(l.ReadHeader, 10*time.Second)
	l.Idle = cmp.Or(l.Idle, 75*time.Second)
	l.HeaderBytes = cmp.Or(l.HeaderBytes, 64<<10)
	l.HeaderFields = cmp.Or(l.HeaderFields, 128)
	l.TargetBytes = cmp.Or(l.TargetBytes, 8<<10)
	l.Streams = cmp.Or(l.Streams, 100)
	l.Unread = cmp.Or(l.Unread, 512<<20)
	return l
}

// stallTimeout is how long a connection is kept if its client takes nothing that is
// written to it.
const stallTimeout = time.Minute

// The flow-control windows: for one request, for a connection of HTTP/2, and the
// most for a connection of HTTP/3. A small window for requests slows down a fast
// client with a long round-trip time. A small window for connections makes all
// requests wait when some that are stuck have used it up. net/http accepts only
// values below 4 MiB for the latter, which 31 requests fill; over HTTP/3 there is
// room for all requests.
const (
	streamWindow  = 128 << 10
	connWindow    = 4<<20 - 1
	maxQUICWindow = 32 << 20
)

// quicWindow returns the flow-control window of a connection of HTTP/3. It is
// half as large again as those of all its requests, because quic-go extends a
// window only when a quarter of it has been read.
func (l Limits) quicWindow() int64 {
	return min(int64(l.Streams)*streamWindow*3/2, maxQUICWindow)
}

// newHTTP1 returns a server of HTTP/1 with these limits. l must be normalized.
func (l Limits) newHTTP1(handler http.Handler) *http1.Server {
	return &http1.Server{
		Handler:        handler,
		MaxHeadBytes:   l.HeaderBytes,
		MaxFields:      l.HeaderFields,
		MaxTargetBytes: l.TargetBytes,
		MaxRequests:    l.Requests,
		HeadTimeout:    l.ReadHeader,
		IdleTimeout:    l.Idle,
		ByteTimeout:    stallTimeout,
	}
}

// check returns next as a handler for HTTP/2 and HTTP/3, whose servers know no limits
// of their own for fields and for the target of a request.
func (l Limits) check(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case len(r.RequestURI) > l.TargetBytes:
			http.Error(w, "the request target is too long", http.StatusRequestURITooLong)
		case countFields(r.Header) > l.HeaderFields:
			http.Error(w, "there are too many fields", http.StatusRequestHeaderFieldsTooLarge)
		default:
			next(w, r)
		}
	}
}

func countFields(h http.Header) (n int) {
	for _, values := range h {
		n += len(values)
	}
	return n
}

// apply sets the limits of s. l must be normalized.
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

// keepAlive is the interval of keep-alive packets to a client of HTTP/3, half of
// the time after which QUIC gives up a silent peer. Without them, an idle event
// stream would be closed.
const keepAlive = 15 * time.Second

// applyQUIC is apply for HTTP/3. The head of a request has no time limit there.
func (l Limits) applyQUIC(s *http3.Server) {
	s.IdleTimeout = max(l.Idle, 0)
	s.MaxHeaderBytes = l.HeaderBytes
	s.QUICConfig = &quic.Config{
		// An attacker could replay a request in 0-RTT (RFC 8470).
		Allow0RTT: false,

		HandshakeIdleTimeout: max(l.ReadHeader, 0),
		KeepAlivePeriod:      keepAlive,
		MaxIdleTimeout:       2 * keepAlive,
		MaxIncomingStreams:   int64(l.Streams),

		// Initial and maximum windows are equal, because quic-go lets a window
		// grow only while everything is read.
		InitialStreamReceiveWindow:     streamWindow,
		MaxStreamReceiveWindow:         streamWindow,
		InitialConnectionReceiveWindow: uint64(l.quicWindow()),
		MaxConnectionReceiveWindow:     uint64(l.quicWindow()),
	}
}
