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
	"github.com/shahnk19/parachute/internal/location"
)

// An answer is a final answer that is being copied to the client.
type answer struct {
	*relay
	res           *http.Response
	inPlace       bool      // the Header of res is that of the ResponseWriter, which adopts headers
	bodyless      bool      // has no body, whatever the head says (RFC 9112, section 6.3)
	headOnly      bool      // neither body nor trailers follow the target's head
	hasLength     bool      // the target sent a Content-Length
	chunked       bool      // is sent to the client in chunks
	isEventStream bool      // the body is an event stream
	clientSending bool      // part of the request's body has not been read
	upgrades      []string  // of a 426: protocols, one of which the target requires
	trailerNames  []string  // fields that the Trailer header announces, sorted
	grpcCall      *grpcCall // the ResponseWriter; nil: this is no gRPC call
}

// chunkedValue is the value of a Transfer-Encoding header. With it net/http's server
// does not add a Content-Length to a short answer, to which the target gave none.
var chunkedValue = []string{"chunked"}

// passAnswer passes on a final answer other than 101.
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
	header, inPlace := y.headerFor(res)
	fields := copyEndToEnd(header, res.Header)
	res.Header = header
	if fields.hasLocation {
		location.Rewrite(res.Header, y.o.Origin, y.o.Prefix, y.o.RewritePaths)
	}
	y.nameTarget(res.Header)
	if y.o.Answer != nil {
		if err := y.o.Answer(res); err != nil {
			return err
		}
		_, fields.hasLength = res.Header["Content-Length"]
		fields.contentType = res.Header["Content-Type"]
	}
	y.result.Header = res.Header
	a := answer{relay: y, res: res, inPlace: inPlace, upgrades: required}
	a.bodyless = y.r.Method == http.MethodHead ||
		res.StatusCode == http.StatusNoContent || res.StatusCode == http.StatusNotModified
	a.headOnly = a.bodyless || res.Body == http.NoBody
	a.hasLength = fields.hasLength
	a.chunked = !a.headOnly && !a.hasLength && y.r.ProtoMajor == 1 && y.r.ProtoMinor > 0
	a.isEventStream = !a.headOnly && field.IsEventStreamType(fields.contentType)
	if a.isEventStream {
		if err := checkFlush(y.w); err != nil {
			if inPlace {
				clear(header) // the caller answers
			}
			return err
		}
	}
	if !a.bodyless && !a.hasLength && field.IsGRPC(res.Header) && y.isCall() {
		return a.passGRPC()
	}
	return a.pass()
}

// headerFor returns an empty header for the fields of res that are passed on. It is that of
// the ResponseWriter, so that none has to be made, where nothing else will be in that (see
// isPlain), and nobody will replace it.
func (y *relay) headerFor(res *http.Response) (header http.Header, inPlace bool) {
	status := res.StatusCode
	if _, adopts := y.w.(headerAdopter); adopts && y.body == nil && y.o.Answer == nil && len(res.Trailer) == 0 &&
		status != http.StatusUpgradeRequired && status != http.StatusNotModified && len(res.Header["Content-Length"]) > 0 {
		if header = y.w.Header(); len(header) == 0 {
			return header, true
		}
	}
	return make(http.Header, len(res.Header)), false
}

// passGRPC passes on the answer to a gRPC call. If the answer breaks off, the client
// still gets the part that has arrived.
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
		err = a.flush(time.Now()) // the client may send until it has the whole answer
	}
	if err != nil {
		if !a.bodyless && !a.hasLength && !a.chunked && a.r.ProtoMajor == 1 {
			a.resetConn()
		}
		return err
	}
	a.setTrailer()
	if !a.patient {
		a.extendWriteDeadline(time.Now()) // for what the server has buffered
	}
	a.answered = true
	return nil
}

// nameTarget puts the name of the target into the header of its answer, if that is to
// be told. An app may have sent it back already.
func (y *relay) nameTarget(h http.Header) {
	if y.o.TargetHeader != "" {
		h[y.o.TargetHeader] = y.o.Target
	}
}

// writeHead writes the head, which the server buffers until it is flushed or the
// buffer is full.
func (a *answer) writeHead() {
	if w, ok := a.w.(headerAdopter); ok && (a.inPlace || a.isPlain()) {
		w.AdoptHeader(a.res.Header)
	} else {
		a.fillHeader(a.w.Header())
	}
	a.result.Status = a.res.StatusCode
	a.w.WriteHeader(a.res.StatusCode)
}

// fillHeader sets the fields of the head.
func (a *answer) fillHeader(h http.Header) {
	addFields(h, a.res.Header)
	if len(h["Content-Type"]) == 0 {
		h["Content-Type"] = nil // the server would guess one
	}
	if a.chunked {
		h["Transfer-Encoding"] = chunkedValue
	}
	if !a.hasLength && a.r.ProtoMajor > 1 {
		h["Content-Length"] = nil // the server would count a short answer
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
	if _, keeps := a.w.(headerAdopter); a.res.StatusCode == http.StatusNotModified && a.r.ProtoMajor == 1 && !keeps {
		keep304Fields(h)
	}
}

// A headerAdopter is a ResponseWriter that takes over a header as it is, and changes nothing
// in it. It guesses no Content-Type, and keeps the fields of a 304.
type headerAdopter interface{ AdoptHeader(h http.Header) }

// isPlain reports whether the head of the answer is the target's, without anything that
// is this side's.
func (a *answer) isPlain() bool {
	return a.hasLength && !a.clientSending && len(a.res.Trailer) == 0 && len(a.upgrades) == 0 &&
		a.res.StatusCode != http.StatusNotModified && len(a.w.Header()) == 0
}

// passEvents passes on an event stream until it ends or is closed.
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

// passBody passes on the body. It flushes before it waits for the target, so that the
// client gets what has arrived. An answer that has arrived as a whole is not
// flushed: the server writes it at once when the request is done. If the answer is
// only a head, the server ends the stream with it, as a Trailers-Only answer of
// gRPC requires.
func (a *answer) passBody() error {
	if a.headOnly {
		return nil
	}
	if !a.hasLength && !a.r.ProtoAtLeast(1, 1) {
		// Otherwise the server adds a Content-Length to a short answer.
		if err := a.flush(a.result.FirstByte); err != nil {
			return err
		}
	}
	if to, ok := a.res.Body.(io.WriterTo); ok && !a.isEventStream { // WriteTo sets deadlines
		n, err := to.WriteTo(a.w)
		a.result.BytesOut = n
		a.writeDeadline = time.Time{} // WriteTo has changed it
		if err = a.checkLength(err); err != nil && a.grpcCall == nil {
			// The client still gets the part that has arrived.
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

// copyBody passes the body on with one Read and one Write at a time.
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
			a.flush(time.Now()) // the client still gets the part that has arrived
			return err
		}
	}
}

// beforeWait flushes before the target is waited for. now is the current time.
func (y *relay) beforeWait(now time.Time) error {
	y.waited = true
	if y.flushErr = y.flush(now); y.flushErr == nil {
		y.clearWriteDeadline()
	}
	return y.flushErr
}

// checkLength returns err, or io.ErrUnexpectedEOF if err is nil and the body was not
// as long as its Content-Length.
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

// extendWriteDeadline gives the client time to take what is written next. now is
// the current time.
func (y *relay) extendWriteDeadline(now time.Time) {
	if y.isStream || y.patient {
		return
	}
	if y.writeDeadline.Sub(now) < clientTimeout-deadlineSlack {
		y.writeDeadline = now.Add(clientTimeout)
		y.rc.SetWriteDeadline(y.writeDeadline)
	}
}

// clearWriteDeadline removes the write deadline while nothing is written. Over HTTP/1
// it would do no harm, but HTTP/2 ends the stream when it passes.
func (y *relay) clearWriteDeadline() {
	if y.r.ProtoMajor > 1 && !y.writeDeadline.IsZero() {
		y.writeDeadline = time.Time{}
		y.rc.SetWriteDeadline(y.writeDeadline)
	}
}

// setTrailer sets the trailer fields, which the server writes when the request is done.
func (a *answer) setTrailer() {
	if a.headOnly || len(a.res.Trailer) == 0 || !a.r.ProtoAtLeast(1, 1) {
		return
	}
	h := a.w.Header()
	for name, values := range a.res.Trailer {
		switch {
		case !isTrailer(name):
		case a.isAnnounced(name):
			h[name] = slices.Clone(values) // even if empty: h may have a field of that name for the head
		default:
			h[http.TrailerPrefix+name] = slices.Clone(values)
		}
	}
}

// isAnnounced reports whether the Trailer header has announced a field. It does not
// search one by one, for there may be thousands.
func (a *answer) isAnnounced(name string) bool {
	_, ok := slices.BinarySearch(a.trailerNames, name)
	return ok
}

// resetConn resets the connection of an answer to HTTP/1.0 without a length that broke
// off. If the connection were closed, that would mark the end of the answer.
func (a *answer) resetConn() {
	conn, _, err := a.rc.Hijack()
	if err != nil {
		return
	}
	if tls, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = tls.NetConn() // tls.Conn.Close would send close_notify, a regular end
	}
	if tcp, ok := conn.(interface{ SetLinger(sec int) error }); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// An eventStream is what [Options.Stream] is called with for an event stream.
type eventStream struct {
	rc      http.ResponseController
	resBody io.Closer

	mu     sync.Mutex // guards the fields below, and the use of rc, which ends with end
	ended  bool       // the transfer is over
	closed bool       // by Close
}

// Close ends the transfer, whether it waits for the target or for the client.
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

// end makes later calls of Close do nothing, and reports whether one came before.
func (s *eventStream) end() (cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	return s.closed
}
