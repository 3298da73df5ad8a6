package http1

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/shahnk19/parachute/internal/field"
)

// writeInterim writes the head of a 1xx. HTTP/1.0 has none (RFC 9110, section 15.2).
func (w *response) writeInterim(status int) {
	if w.exchange.head.minor == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if status == http.StatusContinue {
		w.waits, w.asked = false, true
	}
	w.out.buf = w.appendStatusLine(w.out.buf, status)
	for name, values := range w.header {
		if !isFraming(name) {
			w.appendField(name, values)
		}
	}
	w.out.appendLead("\r\n")
	w.transmit(nil, nil)
}

// askForBody sends a client the 100 that it waits for. It is called before the body
// is read.
func (w *response) askForBody() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.waits {
		return
	}
	w.waits, w.asked = false, true
	io.WriteString(w.conn.nc, "HTTP/1.1 100 Continue\r\n\r\n")
}

// stopWaiting has askForBody do nothing any more: the final head is on its way, and
// nothing may come between that and what follows.
func (w *response) stopWaiting() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waits = false
}

// writeHead puts the final head into the buffer. It looks at each field once: what those
// say that concern the server itself is known when all of them are there.
func (w *response) writeHead(status int) {
	w.status = status
	if w.expects {
		w.stopWaiting()
	}
	o := &w.out
	o.buf = w.appendStatusLine(o.buf, status)
	hasDate, coded := false, false
	var lengths, connection []string
	for name, values := range w.header {
		switch name {
		case "Content-Length":
			lengths = values
			continue
		case "Transfer-Encoding":
			coded = len(values) > 0
			continue
		case "Trailer":
			w.trailers = w.trailers || len(values) > 0
		case "Connection":
			connection = values
		case "Date":
			hasDate = true
		default:
			if isFraming(name) {
				continue
			}
			if strings.HasPrefix(name, http.TrailerPrefix) && len(name) > len(http.TrailerPrefix) {
				w.trailers = true
				continue
			}
		}
		w.appendField(name, values)
	}
	if !hasDate {
		o.buf = append(o.buf, "Date: "...)
		o.buf = append(o.buf, w.conn.server.clock.date(time.Now())...)
		o.buf = append(o.buf, "\r\n"...)
	}
	w.readFraming(lengths, coded)
	says := len(connection) > 0 && field.HasToken(connection, "close")
	// A client that was not asked for its body may send it now, or not.
	w.close = w.close || says || !w.asked || w.exchange.body.isBroken() || w.conn.isLast()
	w.appendConnection(says)
	if w.length >= 0 {
		o.buf = append(o.buf, "Content-Length: "...)
		if text := lengths[0]; text[0] != '0' {
			o.buf = append(o.buf, text...)
		} else { // there may be more of that in front
			o.buf = strconv.AppendInt(o.buf, w.length, 10)
		}
		o.buf = append(o.buf, "\r\n"...)
	}
	o.lead = len(o.buf)
}

// isFraming reports whether a field says where the body ends, in whatever case its name
// is written. The server says that itself, and once.
func isFraming(name string) bool {
	const length, coding = "Content-Length", "Transfer-Encoding"
	switch len(name) {
	case len(length):
		return name == length || strings.EqualFold(name, length)
	case len(coding):
		return name == coding || strings.EqualFold(name, coding)
	}
	return false
}

// hasNoBody reports whether a response with that status never has a body.
func hasNoBody(status int) bool {
	return status < 200 || status == http.StatusNoContent || status == http.StatusNotModified
}

// readFraming finds out how the end of the body will be told (RFC 9112, section 6.3), where
// lengths are the values of Content-Length, and coded that there is a Transfer-Encoding.
func (w *response) readFraming(lengths []string, coded bool) {
	if len(lengths) > 0 {
		if n, ok := parseLength(lengths[0]); ok {
			w.length = n
		} else {
			w.conn.server.logf("http1: invalid Content-Length of %q", lengths[0])
		}
	}
	switch {
	case w.status < 200 || w.status == http.StatusNoContent:
		w.framing, w.length = bodyless, -1
	case w.status == http.StatusNotModified || w.isHead:
		w.framing = bodyless
	case w.length >= 0:
		w.framing = counted
	case coded:
		w.frameUnknown()
	}
}

// frameUnknown is called when the length of the body will not be known before it is
// sent.
func (w *response) frameUnknown() {
	if w.framing = chunked; w.exchange.head.minor == 0 {
		w.framing, w.close = untilEnd, true
	}
}

func (w *response) appendStatusLine(b []byte, status int) []byte {
	if w.exchange.head.minor == 0 {
		b = append(b, "HTTP/1.0 "...)
	} else {
		b = append(b, "HTTP/1.1 "...)
	}
	if status == http.StatusOK { // the usual one
		return append(b, "200 OK\r\n"...)
	}
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	if text := http.StatusText(status); text != "" {
		b = append(b, text...)
	} else {
		b = append(b, "status code "...)
		b = strconv.AppendInt(b, int64(status), 10)
	}
	return append(b, "\r\n"...)
}

// appendField appends the lines of a field. A name that is no token is left out, and
// a value cannot break out of its line.
func (w *response) appendField(name string, values []string) {
	if len(values) == 0 || !field.IsToken(name) {
		return
	}
	b := w.out.buf
	for _, value := range values {
		b = append(b, name...)
		b = append(b, ": "...)
		at := len(b)
		b = append(b, value...)
		if !field.IsValue(value) {
			cleanValue(b[at:])
		}
		b = append(b, "\r\n"...)
	}
	w.out.buf = b
}

// keepAliveLine tells a client of HTTP/1.0 that the connection stays open.
const keepAliveLine = "Connection: keep-alive\r\n"

// appendConnection appends what the handler's Connection does not say. Whether that says
// close is known.
func (w *response) appendConnection(saysClose bool) {
	h := &w.exchange.head
	switch {
	case w.close && h.minor > 0 && !saysClose:
		w.out.buf = append(w.out.buf, "Connection: close\r\n"...)
	case !w.close && h.minor == 0 && (w.framing == counted || w.framing == bodyless):
		w.out.buf = append(w.out.buf, keepAliveLine...)
	}
}

// appendLateClose appends what the head does not say yet if the handler has left more
// of the body than will be read.
func (w *response) appendLateClose(b []byte) []byte {
	if w.close || !w.returned || w.exchange.head.minor == 0 || !w.exchange.body.hasMore(maxDiscarded) {
		return b
	}
	w.close = true
	return append(b, "Connection: close\r\n"...)
}
