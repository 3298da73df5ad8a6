package http1

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/shahnk19/parachute/internal/descriptors"
	"github.com/shahnk19/parachute/internal/poller"
	"github.com/shahnk19/parachute/internal/socket"
)

// A Server serves HTTP/1.1 and HTTP/1.0. Its fields must not be changed once it
// serves.
//
// A limit of zero is the default. A negative time or MaxRequests is no limit.
//
// What a handler gets belongs to the server. The next request has the same memory:
// neither the request, its URL, its header and the slices in that, nor the
// ResponseWriter and its header may be used when the handler has returned. Strings
// may be kept. So may the body, which only returns errors from then on.
//
// Unlike the server of net/http, it writes what a handler has written before the body
// of the request was read: it is always full duplex. It guesses no Content-Type.
type Server struct {
	Handler http.Handler

	// TLSConfig, if not nil, has all connections speak TLS.
	TLSConfig *tls.Config

	// HTTP2, if not nil, is handed connections whose client speaks HTTP/2: a
	// [tls.Conn] that has negotiated it, or any other that begins with the preface of
	// HTTP/2. They are HTTP2's then.
	HTTP2 func(net.Conn)

	// ErrorLog, if not nil, gets panics of handlers, and why requests were refused.
	ErrorLog *log.Logger

	MaxHeadBytes   int // the head of a request; 0: 64 KiB
	MaxFields      int // the fields in it; 0: 128
	MaxTargetBytes int // the request target; 0: 8 KiB

	HeadTimeout time.Duration // from the first byte of a head to its end, and for a TLS handshake; 0: 10 s
	IdleTimeout time.Duration // how long a connection may be without a request, and up to half a second more; 0: 75 s
	ByteTimeout time.Duration // how long a client may send or take no byte, unless the handler has set a deadline; 0: 60 s
	MaxRequests int           // on one connection; 0: as many as the client likes

	ready  sync.Once
	limits limits
	pipes  *socket.Pipes
	clock  clock

	maxSpare int // workers that may wait

	stopped chan struct{} // closed when stopping is set
	retired atomic.Bool   // Retire was called

	mu        sync.Mutex                 // guards the fields below
	listeners map[*net.Listener]struct{} // some cannot be keys themselves
	conns     map[uint64]*conn           // by their id
	lastID    uint64
	poller    *poller.Poller // of connections that rest; nil: there is none
	noPoller  bool           // and will be none
	spare     []*worker      // that have no connection
	stopping  bool           // Shutdown or Close was called
	closed    bool           // Close was called
	empty     chan struct{}  // closed when there are no conns any more; nil: nobody waits for that
	sweep     *time.Timer    // looks for clients that have left; nil: it is not set
}

func (s *Server) init() {
	s.ready.Do(func() {
		s.limits = limits{
			bytes:  cmp.Or(s.MaxHeadBytes, 64<<10),
			fields: cmp.Or(s.MaxFields, 128),
			target: cmp.Or(s.MaxTargetBytes, 8<<10),
		}
		s.HeadTimeout = cmp.Or(s.HeadTimeout, 10*time.Second)
		s.IdleTimeout = cmp.Or(s.IdleTimeout, 75*time.Second)
		s.ByteTimeout = cmp.Or(s.ByteTimeout, 60*time.Second)
		s.pipes = socket.NewPipes(maxPipes, nil)
		s.listeners = make(map[*net.Listener]struct{})
		s.conns = make(map[uint64]*conn)
		s.stopped = make(chan struct{})
		s.maxSpare = maxSpare
		if limit := descriptors.Limit(); limit > 0 {
			s.maxSpare = min(maxSpare, limit/descriptorsPerSpare)
		}
	})
}

// maxPipes is how many splices may go on at once on connections that the server has
// made a [socket.Conn] of. Others bring their own pipes.
const maxPipes = 32

// Serve accepts connections from l, and serves each on a goroutine of its own while it has
// a request. It always returns an error, [http.ErrServerClosed] after Retire, Shutdown or
// Close, and has closed l then.
func (s *Server) Serve(l net.Listener) error {
	s.init()
	defer l.Close()
	if !s.addListener(&l) {
		return http.ErrServerClosed
	}
	defer s.removeListener(&l)
	var pause time.Duration
	for {
		nc, err := l.Accept()
		if err == nil {
			pause = 0
			if c := s.track(nc); c != nil {
				c.mayRest = c.sock.IsSocket()
				c.isLively = c.mayRest
				s.start(c)
			}
			continue
		}
		if s.isStopping() || s.retired.Load() {
			return http.ErrServerClosed
		}
		if errno, ok := errors.AsType[syscall.Errno](err); !ok || !errno.Temporary() {
			return err
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		s.logf("http1: accept: %v; again in %v", err, pause)
		select {
		case <-time.After(pause):
		case <-s.stopped:
		}
	}
}

// ServeConn serves one connection until that is closed, or is somebody else's.
func (s *Server) ServeConn(nc net.Conn) {
	s.init()
	if c := s.track(nc); c != nil {
		c.serve()
	}
}

// Retire closes the listeners, and leaves all else to the clients: each connection is
// closed behind the response to the next request that it brings, or to the last of those
// that have arrived together. Until then it may be without a request for as long as
// always. So no client finds a connection closed on which it has just sent something.
// Shutdown closes what is left.
func (s *Server) Retire() {
	s.init()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired.Store(true)
	for l := range s.listeners {
		(*l).Close()
	}
}

// Shutdown closes the listeners and the connections that wait for a request. It
// returns when the others are closed too, behind the response to the request that
// they have, or when ctx ends, with its error. Hijacked connections are not its
// business.
func (s *Server) Shutdown(ctx context.Context) error {
	s.init()
	empty := s.stop(false)
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close closes the listeners and all connections but hijacked ones. It does not wait
// for handlers; a Shutdown after it does.
func (s *Server) Close() error {
	s.init()
	s.stop(true)
	return nil
}

// stop begins to shut down, and returns what is closed when all connections are.
func (s *Server) stop(cut bool) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopping {
		close(s.stopped)
	}
	s.stopping, s.closed = true, s.closed || cut
	for l := range s.listeners {
		(*l).Close()
	}
	for _, w := range s.spare {
		w.bell.Ring()
	}
	s.spare = nil
	if s.empty == nil {
		s.empty = make(chan struct{})
		if s.hasEndedLocked() {
			s.endLocked()
		}
	}
	for _, c := range s.conns {
		if cut {
			c.cut()
		} else {
			c.stop()
		}
	}
	return s.empty
}

// endLocked is called when the last connection is closed of a server that stops.
func (s *Server) endLocked() {
	if s.poller != nil {
		s.poller.Close() // wakeRested closes empty
	} else {
		close(s.empty)
	}
	s.pipes.Close()
	if s.sweep != nil {
		s.sweep.Stop()
		s.sweep = nil
	}
}

// Connections returns how many connections are open, and how many of them have a
// request. Hijacked ones are not counted.
func (s *Server) Connections() (open, busy int) {
	s.init()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		if c.isBusy() {
			busy++
		}
	}
	return len(s.conns), busy
}

func (s *Server) addListener(l *net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping || s.retired.Load() {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) removeListener(l *net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// track returns a conn that serves nc. It returns nil, and has closed nc, if the
// server is closed.
func (s *Server) track(nc net.Conn) *conn {
	c := newConn(s, nc)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.hasEndedLocked() {
		nc.Close()
		return nil
	}
	c.stopping = s.stopping
	s.lastID++
	c.id = s.lastID
	s.conns[c.id] = c
	s.sweepLaterLocked()
	return c
}

func (s *Server) untrack(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns[c.id] == nil {
		return
	}
	delete(s.conns, c.id)
	if s.hasEndedLocked() {
		s.endLocked()
	}
}

// hasEndedLocked reports whether the last connection is closed of a server that stops.
func (s *Server) hasEndedLocked() bool { return s.empty != nil && len(s.conns) == 0 }

func (s *Server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

func (s *Server) logf(format string, args ...any) {
	if s.ErrorLog != nil {
		s.ErrorLog.Printf(format, args...)
	}
}

// sweepInterval is how often the server looks for clients that have left. A request
// is looked after from the second time on.
const sweepInterval = 500 * time.Millisecond

// sweepLaterLocked has the server look for clients that have left, unless it is going
// to already.
func (s *Server) sweepLaterLocked() {
	if s.sweep == nil {
		s.sweep = time.AfterFunc(sweepInterval, s.runSweep)
	}
}

// runSweep looks for clients that have left.
func (s *Server) runSweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sweep = nil
	if len(s.conns) == 0 {
		return
	}
	for _, c := range s.conns {
		c.lookAfter()
	}
	s.sweepLaterLocked()
}
