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
	res           *http.Response
	bodyless      bool      // no body follows, whatever the head says (RFC 9112, section 6.3)
	headOnly      bool      // nothing at all follows the target's head
	hasLength     bool      // the target said how long the body is
	chunked       bool      // the client gets it in chunks
	isEventStream bool      // it is a stream of events
	clientSending bool      // the client is still sending
	upgrades      []string  // protocols, one of which the target wants to be asked for
	trailerNames  []string  // trailer fields that the head names
	grpcCall      *grpcCall // what is written to; nil: the answer is not that of a gRPC call
}

// chunkedValue is the value of a Transfer-Encoding header. It keeps the server from
// counting a short answer, the length of which the target did not tell.
var chunkedValue = []string{"chunked"}

// passAnswer passes res on.
func (y *relay) passAnswer(res *http.Response) error {
	if res.StatusCode < 200 || res.StatusCode > 999 {
		return errStatus
	}
	if y.body != nil && !y.body.duplex {
		y.body.awaitIdle()
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
	a := answer{relay: y, res: res, upgrades: required}
	a.bodyless = y.r.Method == http.MethodHead ||
		res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusNotModified
	a.headOnly = a.bodyless || res.Body == http.NoBody
	_, a.hasLength = res.Header["Content-Length"]
	a.chunked = !a.headOnly && !a.hasLength && y.r.ProtoMajor == 1 && y.r.ProtoMinor > 0
	a.isEventStream = !a.headOnly && field.IsEventStream(res.Header)
	if !a.bodyless && !a.hasLength && field.IsGRPC(res.Header) && y.isCall() {
		return a.passGRPC()
	}
	return a.pass()
}

// passGRPC passes on the answer of a gRPC call. Whatever ends it early, the client
// has to get what came before.
func (a *answer) passGRPC() error {
	c := a.newGRPCCall()
	a.grpcCall = c
	err := a.pass()
	cut, open := c.end()
	if err == nil {
		return nil
	}
	if open {
		c.rc.SetWriteDeadline(time.Now().Add(lingerTimeout))
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
	a.clientSending = a.body != nil && a.body.markAnswered()
	a.writeHead()
	var err error
	if a.isEventStream {
		err = a.passEvents()
	} else {
		err = a.passBody()
	}
	if err == nil && a.clientSending && a.r.ProtoMajor == 1 {
		err = a.flush(time.Now()) // the client may go on sending until it has all of it
	}
	if err != nil {
		if !a.bodyless && !a.hasLength && !a.chunked && a.r.ProtoMajor == 1 {
			a.resetConn()
		}
		return err
	}
	a.setTrailer()
	a.extendWriteDeadline(time.Now()) // for what the server still holds back
	a.answered = true
	return nil
}

// writeHead writes the head, which the server keeps until there is more or it is
// flushed.
func (a *answer) writeHead() {
	h := a.w.Header()
	addFields(h, a.res.Header)
	if len(h["Content-Type"]) == 0 {
		h["Content-Type"] = nil // the server would guess one
	}
	if a.chunked {
		h["Transfer-Encoding"] = chunkedValue
	}
	if !a.hasLength && a.r.ProtoMajor > 1 {
		h["Content-Length"] = nil // and count what is all there when the request is done
	}
	if !a.headOnly || a.r.Method == http.MethodHead {
		a.trailerNames = trailerNames(a.res.Trailer)
	}
	if len(a.trailerNames) > 0 && a.r.ProtoAtLeast(1, 1) {
		h["Trailer"] = []string{strings.Join(a.trailerNames, ", ")}
	}
	if a.clientSending {
		markClose(a.w, a.r)
	}
	if len(a.upgrades) > 0 {
		requireUpgrade(h, a.upgrades, a.r)
	}
	if a.res.StatusCode == http.StatusNotModified && a.r.ProtoMajor == 1 {
		keep304Fields(h)
	}
	a.result.Status = a.res.StatusCode
	a.w.WriteHeader(a.res.StatusCode)
}

// passEvents passes on events until somebody closes the stream.
func (a *answer) passEvents() error {
	if err := a.flush(a.result.FirstByte); err != nil {
		return err
	}
	a.isStream, a.writeDeadline = true, time.Time{}
	a.rc.SetWriteDeadline(a.writeDeadline)
	s := &eventStream{rc: a.rc, resBody: a.res.Body}
	a.becomeStream(s)
	err := a.passBody()
	if cut := s.end(); cut {
		return ErrCut
	}
	return err
}

// passBody passes on the body. Nothing that has come waits for what comes later:
// before the target is waited for, the client gets it. An answer that is all at
// hand leaves in one piece, when the request is done. Where nothing follows its
// head, that piece is its end as well, which gRPC's trailers-only answers have to be.
func (a *answer) passBody() error {
	if a.headOnly {
		return nil
	}
	if !a.hasLength && !a.r.ProtoAtLeast(1, 1) {
		if err := a.flush(a.result.FirstByte); err != nil { // else the server counts a short answer
			return err
		}
	}
	if to, ok := a.res.Body.(io.WriterTo); ok && !a.isEventStream { // which would be timed
		n, err := to.WriteTo(a.w)
		a.result.BytesOut = n
		a.writeDeadline = time.Time{} // it had deadlines of its own
		if err = a.checkLength(err); err != nil && a.grpcCall == nil {
			// What there was still goes on, if the client takes it.
			a.rc.SetWriteDeadline(time.Now().Add(lingerTimeout))
			a.rc.Flush()
		}
		return err
	}
	buffer := buffers.Get().(*[bufferSize]byte)
	defer buffers.Put(buffer)
	return a.checkLength(a.copyBody(buffer[:]))
}

const bufferSize = 32 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// copyBody passes the body on piece by piece.
func (a *answer) copyBody(buffer []byte) error {
	waiting, tells := a.resBody.(interface{ BeforeWait(f func() error) })
	if tells {
		waiting.BeforeWait(a.beforeWaitFunc)
	}
	for now := a.result.FirstByte; ; now = time.Now() {
		if !tells && !(a.hasLength && a.result.BytesOut == a.res.ContentLength) {
			if err := a.beforeWait(now); err != nil {
				return err
			}
		}
		n, err := a.res.Body.Read(buffer)
		if n > 0 {
			if a.waited {
				now, a.waited = time.Now(), false
			}
			a.extendWriteDeadline(now)
			n, err := a.w.Write(buffer[:n])
			a.result.BytesOut += int64(n)
			if err != nil {
				return err
			}
		}
		switch {
		case a.flushErr != nil:
			return a.flushErr
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
	if y.flushErr = y.flush(now); y.flushErr == nil {
		y.clearWriteDeadline()
	}
	return y.flushErr
}

// checkLength returns err or, if a body of known length ended without one, whether
// that was its end.
func (a *answer) checkLength(err error) error {
	if err == nil && a.hasLength && a.res.ContentLength >= 0 && a.result.BytesOut != a.res.ContentLength {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (y *relay) flush(now time.Time) error {
	y.extendWriteDeadline(now)
	if err := y.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// extendWriteDeadline gives the client time to take what is written next, at the time now.
func (y *relay) extendWriteDeadline(now time.Time) {
	if y.isStream {
		return
	}
	if y.writeDeadline.Sub(now) < clientTimeout-deadlineSlack {
		y.writeDeadline = now.Add(clientTimeout)
		y.rc.SetWriteDeadline(y.writeDeadline)
	}
}

// clearWriteDeadline is the opposite of allow: for now, nothing is written. HTTP/1 does not
// mind a deadline then, but HTTP/2 ends the stream.
func (y *relay) clearWriteDeadline() {
	if y.r.ProtoMajor > 1 && !y.writeDeadline.IsZero() {
		y.writeDeadline = time.Time{}
		y.rc.SetWriteDeadline(y.writeDeadline)
	}
}

// setTrailer passes on the trailer section, which the server writes when the
// request is done.
func (a *answer) setTrailer() {
	if a.headOnly || len(a.res.Trailer) == 0 || !a.r.ProtoAtLeast(1, 1) {
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
	_, ok := slices.BinarySearch(a.trailerNames, name)
	return ok
}

// resetConn ends an HTTP/1.0 answer whose end is the connection's in a way that
// does not look like that end.
func (a *answer) resetConn() {
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
	rc      http.ResponseController
	resBody io.Closer

	mu     sync.Mutex // guards over, cut, and rc from being used too late
	ended  bool       // nothing is transferred any more
	closed bool       // because the stream was closed
}

// Close ends the transfer, whether that waits for the target or the client.
func (s *eventStream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended, s.closed = true, true
		s.rc.SetWriteDeadline(time.Now())
		s.resBody.Close()
	}
	return nil
}

// end makes a later Close do nothing, and reports whether there was one.
func (s *eventStream) end() (cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	return s.closed
}
