// Package accesslog writes what a program logs and a line for every request it
// served, in the order in which they came, through one buffer. Who has a line
// to write never waits for the output and never hears of its errors.
package accesslog

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/shahnk19/parachute"
)

// Format is how lines are written.
type Format string

const (
	JSON Format = "json" // as slog.JSONHandler does
	Text Format = "text" // as slog.TextHandler does
)

// A Log is the one writer of an output. Its methods may be called from many
// goroutines at once.
//
// A line reaches the output within 100 ms. What an output does not take is
// offered again after as long; when 4 MiB wait for it, further lines are
// dropped, and a line says how many once there is room.
//
// The last 500 lines of requests and the last 500 of the program are kept in
// memory for Tail, whatever becomes of the output; of each no more than 1 MiB.
type Log struct {
	format Format
	buffer *buffer
	lines  sync.Pool // of *line
}

// New returns a Log that writes to out, from one goroutine. The caller must
// Close it. A format other than Text is JSON.
func New(out io.Writer, f Format) *Log {
	l := &Log{format: f}
	l.lines.New = func() any { return &line{text: f == Text} }
	l.buffer = newBuffer(out, l.appendDropped)
	return l
}

// ContentType returns the media type of the lines.
func (l *Log) ContentType() string {
	if l.format == Text {
		return "text/plain; charset=utf-8"
	}
	return "application/x-ndjson"
}

// Handler returns a handler for the program's own lines of that level and
// above. A string attribute "service" says which one a line is about.
func (l *Log) Handler(level slog.Leveler) slog.Handler {
	o := &slog.HandlerOptions{Level: level}
	out := &serviceWriter{buffer: l.buffer}
	if l.format == Text {
		return &handler{Handler: slog.NewTextHandler(out, o), out: out}
	}
	return &handler{Handler: slog.NewJSONHandler(out, o), out: out}
}

// Close writes what is in the buffer, returns the error of doing so, and leaves
// no goroutine behind. Lines that come later are written at once. An output that
// has not taken all of it within 2 s is given up, with the goroutine that waits
// for it: the error is a [*LostError], and lines that come later are dropped.
// Close may be called again.
func (l *Log) Close() error { return l.buffer.close() }

// Observe writes the line of a request that has ended. It is made for Observe
// in parachute.Options and keeps nothing of what it is handed.
//
// The fields are those of kamal-proxy: duration is in nanoseconds, client_addr
// and client_port are the peer's, and remote_addr is what X-Forwarded-For said,
// true or not, or else the peer's address. After them come the headers that the
// service wants to be logged, as req_ and resp_ with their names in lower case
// and '_' for whatever is neither letter nor digit, and error, retries and
// unbuffered, where there are any. A value of more than 2,048 bytes is cut to that, the
// last three of them dots.
func (l *Log) Observe(r *http.Request, o parachute.Outcome) {
	s := l.lines.Get().(*line)
	s.begin(time.Now(), "INFO", "Request")
	s.request(r, &o)
	s.end()
	l.buffer.add(fromRequest, o.Service, s.b)
	if cap(s.b) <= maxPooled {
		l.lines.Put(s)
	}
}

// maxPooled is the size up to which a line is kept for the next request.
const maxPooled = 16 << 10

func (s *line) request(r *http.Request, o *parachute.Outcome) {
	host, _ := splitHostPort(r.Host)
	peer, peerPort := splitHostPort(r.RemoteAddr)
	remote := firstValue(r.Header, "X-Forwarded-For")
	if remote == "" {
		remote = peer
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	s.str("host", host)
	s.int("port", localPort(r))
	s.str("path", r.URL.Path)
	s.str("request_id", o.RequestID)
	s.int("status", int64(o.Status))
	s.str("service", o.Service)
	s.str("target", o.Target)
	s.int("duration", o.Duration.Nanoseconds())
	s.str("method", r.Method)
	s.int("req_content_length", r.ContentLength)
	s.str("req_content_type", firstValue(r.Header, "Content-Type"))
	s.int("resp_content_length", o.BytesOut)
	s.str("resp_content_type", firstValue(o.Header, "Content-Type"))
	s.str("client_addr", peer)
	s.str("client_port", peerPort)
	s.str("remote_addr", remote)
	s.str("user_agent", firstValue(r.Header, "User-Agent"))
	s.str("proto", r.Proto)
	s.str("scheme", scheme)
	s.str("query", r.URL.RawQuery)
	if d := o.Deployment; d != nil {
		s.headers("req_", d.Report.RequestHeaders, r.Header)
		s.headers("resp_", d.Report.ResponseHeaders, o.Header)
	}
	if o.Err != nil {
		s.str("error", o.Err.Error())
	} else if o.Reason != "" {
		s.str("error", o.Reason)
	}
	if o.Retries > 0 {
		s.int("retries", int64(o.Retries))
	}
	if o.Unbuffered != nil {
		s.str("unbuffered", o.Unbuffered.Error())
	}
}

// appendDropped appends the line that stands for those that found no room.
func (l *Log) appendDropped(dst []byte, lines int) []byte {
	return l.appendCount(dst, "Log lines dropped: the output does not keep up", lines)
}

// appendCount appends a warning that tells a number of lines.
func (l *Log) appendCount(dst []byte, msg string, lines int) []byte {
	s := &line{b: dst, text: l.format == Text}
	s.append(time.Now(), "WARN", msg)
	s.int("lines", int64(lines))
	s.end()
	return s.b
}

// firstValue returns the first value of a header whose name is in canonical form.
func firstValue(h http.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// localPort returns the port where a server accepted r, or 0.
func localPort(r *http.Request) int64 {
	switch a := r.Context().Value(http.LocalAddrContextKey).(type) {
	case *net.TCPAddr:
		return int64(a.Port)
	case *net.UDPAddr:
		return int64(a.Port)
	}
	return 0
}

// splitHostPort is like net.SplitHostPort, but a port need not be there, and
// nothing is an error, which would allocate.
func splitHostPort(s string) (host, port string) {
	if rest, ok := strings.CutPrefix(s, "["); ok {
		host, port, _ = strings.Cut(rest, "]")
		return host, strings.TrimPrefix(port, ":")
	}
	host, port, _ = strings.Cut(s, ":")
	if strings.Contains(port, ":") {
		return s, ""
	}
	return host, port
}
