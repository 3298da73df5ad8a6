package http1

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
)

// errHandlerLength says that a handler did not write as much as it had announced.
var errHandlerLength = errors.New("http1: the handler wrote less or more than the Content-Length")

// finish ends the response when the handler has returned.
func (w *response) finish() error {
	if w.status == 0 {
		w.writeHead(http.StatusOK)
	}
	switch {
	case w.overrun:
		return errHandlerLength
	case w.framing == counted && w.written < w.length:
		w.send(nil)
		return errHandlerLength
	}
	w.returned = true
	o := &w.out
	if w.framing == undecided {
		if w.trailers {
			w.frameUnknown()
		} else {
			return w.finishCounted()
		}
	}
	if w.framing == chunked {
		w.appendEnd()
	} else if o.isEmpty() {
		return o.err
	} else if !w.opened || len(o.buf) > 0 {
		return w.send(nil)
	}
	return o.err
}

// finishCounted sends a response that has not begun, whose length is known now.
func (w *response) finishCounted() error {
	var front [maxGap]byte
	b := w.appendLateClose(front[:0])
	if !w.close && w.exchange.head.minor == 0 {
		b = append(b, keepAliveLine...)
	}
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, int64(len(w.out.data())), 10)
	b = append(b, "\r\n\r\n"...)
	w.opened = true
	return w.transmit(b, nil)
}

// appendEnd sends the rest of a body in chunks, with the last chunk and the trailer
// section.
func (w *response) appendEnd() {
	o := &w.out
	o.openGap()
	var front [maxGap]byte
	b := front[:0]
	if !w.opened {
		b = append(w.appendLateClose(b), "Transfer-Encoding: chunked\r\n\r\n"...)
		w.opened = true
	}
	if n := len(o.data()); n > 0 {
		b = appendChunkSize(b, n)
		o.buf = append(o.buf, "\r\n"...)
	}
	o.buf = append(o.buf, "0\r\n"...)
	w.appendTrailer()
	o.buf = append(o.buf, "\r\n"...)
	w.transmit(b, nil)
}

// appendTrailer appends the trailer fields: those that the Trailer header announced,
// and those with the prefix.
func (w *response) appendTrailer() {
	for _, value := range w.header["Trailer"] {
		announced := make(http.Header)
		addNames(announced, value)
		for name := range announced {
			if !framesMessage(name) {
				w.appendField(name, w.header[name])
			}
		}
	}
	for name, values := range w.header {
		if rest, ok := strings.CutPrefix(name, http.TrailerPrefix); ok && !framesMessage(rest) {
			w.appendField(http.CanonicalHeaderKey(rest), values)
		}
	}
}
