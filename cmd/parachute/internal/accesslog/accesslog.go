// Package accesslog writes the log of a program and a line for each request that
// it has served, in order, through one buffer. Those who log never wait for the
// output, and never get its errors.
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

// A Format is a format of log lines.
type Format string

const (
	JSON Format = "json" // that of slog.JSONHandler
	Text Format = "text" // that of slog.TextHandler
)

// A Log writes lines to an output. It is safe for use by several goroutines.
//
// A line reaches the output within 100 ms. If a write fails, it is tried again
// 100 ms later. When 4 MiB are waiting to be written, further lines are dropped;
// later, a line says how many.
//
// The last 500 lines of requests and the last 500 lines of the program, at most
// 1 MiB of each, are kept in memory for Tail, even if the output fails.
type Log struct {
	format Format
	buffer *buffer
	lines  sync.Pool // of *line
}

// New returns a Log that writes to out, from one goroutine. The caller must
// Close it. A format other than Text is JSON.
func New(out io.Writer, f Format) *Log {
	l := &Log{format: f}
	l.lines.New = func() any { return &line{text: f == Text, level: "INFO", msg: "Request"} }
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

// Handler returns a handler for lines of the program at that level and above.
// The string attribute "service" says which service a line is about.
func (l *Log) Handler(level slog.Leveler) slog.Handler {
	o := &slog.HandlerOptions{Level: level}
	out := &serviceWriter{buffer: l.buffer}
	if l.format == Text {
		return &handler{Handler: slog.NewTextHandler(out, o), out: out}
	}
	return &handler{Handler: slog.NewJSONHandler(out, o), out: out}
}

// Close flushes the buffer and stops the goroutine of the Log. It returns the
// error of the last write. Later lines are written at once. If the output does
// not take everything within 2 s, Close gives up and leaves the goroutine
// behind: it returns a [*LostError], and later lines are dropped. Close may be
// called again.
func (l *Log) Close() error { return l.buffer.close() }

// Observe logs a request that has ended. It is the Observe of parachute.Options,
// and does not keep its arguments.
//
// The fields are those of kamal-proxy. duration is in nanoseconds. client_addr
// and client_port are the address of the peer. remote_addr is the value of
// X-Forwarded-For, which may be forged, or else the address of the peer. After
// them come the headers that the service wants to be logged, as req_ and resp_
// followed by the name in lower case, with '_' for everything but letters and
// digits; then error, role (which is "rollout"), retries and unbuffered, if they apply. A
// value of more than 2,048 bytes is cut to that, with three dots at its end.
func (l *Log) Observe(r *http.Request, o parachute.Outcome) {
	s := l.lines.Get().(*line)
	s.begin(time.Now())
	s.request(r, &o)
	s.end()
	l.buffer.add(fromRequest, o.Service, s.b)
	if cap(s.b) <= maxPooled {
		l.lines.Put(s)
	}
}

// maxPooled is the largest capacity of a line that is put into the pool.
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
	s.str(`,"host":"`, host)
	s.int(`,"port":`, localPort(r))
	s.str(`,"path":"`, r.URL.Path)
	s.str(`,"request_id":"`, o.RequestID)
	s.int(`,"status":`, int64(o.Status))
	s.str(`,"service":"`, o.Service)
	s.str(`,"target":"`, o.Target)
	s.int(`,"duration":`, o.Duration.Nanoseconds())
	s.str(`,"method":"`, r.Method)
	s.int(`,"req_content_length":`, r.ContentLength)
	s.str(`,"req_content_type":"`, firstValue(r.Header, "Content-Type"))
	s.int(`,"resp_content_length":`, o.BytesOut)
	s.str(`,"resp_content_type":"`, firstValue(o.Header, "Content-Type"))
	s.str(`,"client_addr":"`, peer)
	s.str(`,"client_port":"`, peerPort)
	s.str(`,"remote_addr":"`, remote)
	s.str(`,"user_agent":"`, firstValue(r.Header, "User-Agent"))
	s.str(`,"proto":"`, r.Proto)
	s.str(`,"scheme":"`, scheme)
	s.str(`,"query":"`, r.URL.RawQuery)
	if d := o.Deployment; d != nil {
		for _, name := range d.Report.RequestHeaders {
			s.header("req_", name, r.Header)
		}
		for _, name := range d.Report.ResponseHeaders {
			s.header("resp_", name, o.Header)
		}
	}
	if o.Err != nil {
		s.str(`,"error":"`, o.Err.Error())
	} else if o.Reason != "" {
		s.str(`,"error":"`, o.Reason)
	}
	if o.Rollout {
		s.str(`,"role":"`, "rollout")
	}
	if o.Retries > 0 {
		s.int(`,"retries":`, int64(o.Retries))
	}
	if o.Waited > 0 {
		s.int(`,"waited":`, int64(o.Waited))
	}
	if o.Unbuffered != nil {
		s.str(`,"unbuffered":"`, o.Unbuffered.Error())
	}
}

// appendDropped appends the line that says how many lines were dropped.
func (l *Log) appendDropped(dst []byte, lines int) []byte {
	return l.appendCount(dst, "Log lines dropped: the output does not keep up", lines)
}

// appendCount appends a warning with a number of lines.
func (l *Log) appendCount(dst []byte, msg string, lines int) []byte {
	s := line{text: l.format == Text, level: "WARN", msg: msg}
	s.begin(time.Now())
	s.int(`,"lines":`, int64(lines))
	s.end()
	return append(dst, s.b...)
}

// firstValue returns the first value of a header whose name is in canonical form.
func firstValue(h http.Header, name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// localPort returns the port on which r was accepted, or 0.
func localPort(r *http.Request) int64 {
	switch a := r.Context().Value(http.LocalAddrContextKey).(type) {
	case *net.TCPAddr:
		return int64(a.Port)
	case *net.UDPAddr:
		return int64(a.Port)
	case interface{ Port() int }: // which is not asked for more
		return int64(a.Port())
	}
	return 0
}

// splitHostPort is like net.SplitHostPort, but the port may be missing. It
// returns no error, which would allocate.
func splitHostPort(s string) (host, port string) {
	if rest, ok := strings.CutPrefix(s, "["); ok {
		host, port, _ = strings.Cut(rest, "]")
		return host, strings.TrimPrefix(port, ":")
	}
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 || strings.IndexByte(s[:colon], ':') >= 0 {
		return s, ""
	}
	return s[:colon], s[colon+1:]
}
