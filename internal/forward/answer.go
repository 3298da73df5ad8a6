package forward

import (
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shahnk19/parachute/internal/field"
)

// An answer is a final answer on its way to the client.
type answer struct {
	*relay
	res       *http.Response
	empty     bool     // no body follows, whatever the head says (RFC 9112, section 6.3)
	over      bool     // nothing at all follows the target's head
	counted   bool     // the target said how long the body is
	chunked   bool     // the client gets it in chunks
	events    bool     // it is a stream of events
	early     bool     // the client is still sending
	required  []string // protocols, one of which the target wants to be asked for
	announced []string // trailer fields that the head names
	rpc       *call    // what is written to; nil: the answer is not that of a gRPC call
}

// chunks is the value of a Transfer-Encoding header. It keeps the server from
// counting a short answer, the length of which the target did not tell.
var chunks = []string{"chunked"}

// answer passes res on.
func (y *relay) answer(res *http.Response) error {
	if res.StatusCode < 200 || res.StatusCode > 999 {
		return errStatus
	}
	if y.body != nil && !y.body.duplex {
		y.body.wait()
	}
	var required []string
	if res.StatusCode == http.StatusUpgradeRequired && canUpgrade(y.r) {
		required = res.Header["Upgrade"]
	}
	removeHopByHop(res.Header)
	if y.o.Answer != nil {
		if err := y.o.Answer(res); err != nil {
			return err
		}
	}
	y.result.Header = res.Header
	a := answer{relay: y, res: res, required: required}
	a.empty = y.r.Method == http.MethodHead ||
		res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusNotModified
	a.over = a.empty || res.Body == http.NoBody
	_, a.counted = res.Header["Content-Length"]
	a.chunked = !a.over && !a.counted && y.r.ProtoMajor == 1 && y.r.ProtoMinor > 0
	a.events = !a.over && field.IsEventStream(res.Header)
	if !a.empty && !a.counted && field.IsGRPC(res.Header) && y.isCall() {
		return a.call()
	}
	return a.pass()
}

// call passes on the answer of a gRPC call. Whatever ends it early, the client
// has to get what came before.
func (a *answer) call() error {
	c := a.newCall()
	a.rpc = c
	err := a.pass()
	cut, open := c.end()
	if err == nil {
		return nil
	}
	if open {
		c.rc.SetWriteDeadline(time.Now().Add(lingerLimit))
		open = c.rc.Flush() == nil
		c.rc.SetWriteDeadline(time.Time{})
	}
	a.result.Open = open
	if cut {
		return ErrCut
	}
	return err
}

func (a *answer) pass() error {
	a.early = a.body != nil && a.body.answered()
	a.head()
	var err error
	if a.events {
		err = a.stream()
	} else {
		err = a.content()
	}
	if err == nil && a.early && a.r.ProtoMajor == 1 {
		err = a.flush(time.Now()) // the client may go on sending until it has all of it
	}
	if err != nil {
		if !a.empty && !a.counted && !a.chunked && a.r.ProtoMajor == 1 {
			a.reset()
		}
		return err
	}
	a.trailer()
	a.allow(time.Now()) // for what the server still holds back
	a.complete = true
	return nil
}

// head writes the head, which the server keeps until there is more or it is
// flushed.
func (a *answer) head() {
	h := a.w.Header()
	share(h, a.res.Header)
	if len(h["Content-Type"]) == 0 {
		h["Content-Type"] = nil // the server would guess one
	}
	if a.chunked {
		h["Transfer-Encoding"] = chunks
	}
	if !a.counted && a.r.ProtoMajor > 1 {
		h["Content-Length"] = nil // and count what is all there when the request is done
	}
	if !a.over || a.r.Method == http.MethodHead {
		a.announced = announced(a.res.Trailer)
	}
	if len(a.announced) > 0 && a.r.ProtoAtLeast(1, 1) {
		h["Trailer"] = []string{strings.Join(a.announced, ", ")}
	}
	if a.early {
		markClose(a.w, a.r)
	}
	if len(a.required) > 0 {
		require(h, a.required, a.r)
	}
	if a.res.StatusCode == http.StatusNotModified && a.r.ProtoMajor == 1 {
		describe(h)
	}
	a.result.Status = a.res.StatusCode
	a.w.WriteHeader(a.res.StatusCode)
}

// stream passes on events until somebody closes the stream.
func (a *answer) stream() error {
	if err := a.flush(a.result.FirstByte); err != nil {
		return err
	}
	a.lasting, a.expires = true, time.Time{}
	a.rc.SetWriteDeadline(a.expires)
	s := &eventStream{rc: a.rc, body: a.res.Body}
	a.becomeStream(s)
	err := a.content()
	if cut := s.end(); cut {
		return ErrCut
	}
	return err
}

// content passes on the body. Nothing that has come waits for what comes later:
// before the target is waited for, the client gets it. An answer that is all at
// hand leaves in one piece, when the request is done. Where nothing follows its
// head, that piece is its end as well, which gRPC's trailers-only answers have to be.
func (a *answer) content() error {
	if a.over {
		return nil
	}
	if !a.counted && !a.r.ProtoAtLeast(1, 1) {
		if err := a.flush(a.result.FirstByte); err != nil { // else the server counts a short answer
			return err
		}
	}
	if to, ok := a.res.Body.(io.WriterTo); ok && !a.events { // which would be timed
		n, err := to.WriteTo(a.w)
		a.result.BytesOut = n
		a.expires = time.Time{} // it had deadlines of its own
		if err = a.whole(err); err != nil && a.rpc == nil {
			// What there was still goes on, if the client takes it.
			a.rc.SetWriteDeadline(time.Now().Add(lingerLimit))
			a.rc.Flush()
		}
		return err
	}
	buffer := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buffer)
	return a.whole(a.copy(buffer[:]))
}

const bufferSize = 32 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// copy passes the body on piece by piece.
func (a *answer) copy(buffer []byte) error {
	waiting, tells := a.answered.(interface{ BeforeWait(f func() error) })
	if tells {
		waiting.BeforeWait(a.waiting)
	}
	for now := a.result.FirstByte; ; now = time.Now() {
		if !tells && !(a.counted && a.result.BytesOut == a.res.ContentLength) {
			if err := a.beforeWait(now); err != nil {
				return err
			}
		}
		n, err := a.res.Body.Read(buffer)
		if n > 0 {
			if a.waited {
				now, a.waited = time.Now(), false
			}
			a.allow(now)
			n, err := a.w.Write(buffer[:n])
			a.result.BytesOut += int64(n)
			if err != nil {
				return err
			}
		}
		switch {
		case a.failed != nil:
			return a.failed
		case err == io.EOF:
			return nil
		case err != nil:
			a.flush(time.Now()) // what there was still goes on
			return err
		}
	}
}

// beforeWait sends what is held back, at the time now.
func (y *relay) beforeWait(now time.Time) error {
	y.waited = true
	if y.failed = y.flush(now); y.failed == nil {
		y.rest()
	}
	return y.failed
}

// whole returns err or, if a body of known length ended without one, whether
// that was its end.
func (a *answer) whole(err error) error {
	if err == nil && a.counted && a.res.ContentLength >= 0 && a.result.BytesOut != a.res.ContentLength {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (y *relay) flush(now time.Time) error {
	y.allow(now)
	if err := y.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// allow gives the client time to take what is written next, at the time now.
func (y *relay) allow(now time.Time) {
	if y.lasting {
		return
	}
	if y.expires.Sub(now) < idleLimit-deadlineStep {
		y.expires = now.Add(idleLimit)
		y.rc.SetWriteDeadline(y.expires)
	}
}

// rest is the opposite of allow: for now, nothing is written. HTTP/1 does not
// mind a deadline then, but HTTP/2 ends the stream.
func (y *relay) rest() {
	if y.r.ProtoMajor > 1 && !y.expires.IsZero() {
		y.expires = time.Time{}
		y.rc.SetWriteDeadline(y.expires)
	}
}

// trailer passes on the trailer section, which the server writes when the
// request is done.
func (a *answer) trailer() {
	if a.over || len(a.res.Trailer) == 0 || !a.r.ProtoAtLeast(1, 1) {
		return
	}
	h := a.w.Header()
	for name, values := range a.res.Trailer {
		switch {
		case !isTrailer(name):
		case a.isAnnounced(name):
			h[name] = values // also if there are none: what the head had is not a trailer
		default:
			h[http.TrailerPrefix+name] = values
		}
	}
}

// isAnnounced reports whether the head named a trailer field, of which there may
// be thousands.
func (a *answer) isAnnounced(name string) bool {
	_, ok := slices.BinarySearch(a.announced, name)
	return ok
}

// reset ends an HTTP/1.0 answer whose end is the connection's in a way that
// does not look like that end.
func (a *answer) reset() {
	conn, _, err := a.rc.Hijack()
	if err != nil {
		return
	}
	if tls, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = tls.NetConn() // tls.Conn.Close would tell the client that this is all
	}
	if tcp, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// An eventStream is what [Options.Stream] is called with for events.
type eventStream struct {
	rc   http.ResponseController
	body io.Closer

	mu   sync.Mutex // guards over, cut, and rc from being used too late
	over bool       // nothing is transferred any more
	cut  bool       // because the stream was closed
}

// Close ends the transfer, whether that waits for the target or the client.
func (s *eventStream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.over {
		s.over, s.cut = true, true
		s.rc.SetWriteDeadline(time.Now())
		s.body.Close()
	}
	return nil
}

// end makes a later Close do nothing, and reports whether there was one.
func (s *eventStream) end() (cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	return s.cut
}
