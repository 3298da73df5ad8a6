package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/shahnk19/parachute"
)

// Logs give access to the kept lines of the log. The zero value has no lines.
type Logs struct {
	// ContentType is the media type of the lines.
	ContentType string

	// Has reports whether there is a line about that service.
	Has func(service string) bool

	// Tail calls write with whole lines: the last n about a service, or about all
	// if service is empty; n is as in LogQuery.Lines. With follow, it goes on with
	// later lines until ctx ends and those from before are written. It returns
	// the error of write.
	Tail func(ctx context.Context, service string, n int, follow bool, write func(lines []byte) error) error
}

// A LogQuery selects lines of the log.
type LogQuery struct {
	Service string // that they are about; "": all lines
	Lines   int    // how many of the last; 0: as many as are kept; negative: none
	Follow  bool   // whether those that come are wanted too
}

// path returns the path and query of the request for q.
func (q LogQuery) path() string {
	values := make(url.Values)
	if q.Service != "" {
		values.Set("service", q.Service)
	}
	if q.Lines != 0 {
		values.Set("lines", strconv.Itoa(max(q.Lines, 0)))
	}
	if q.Follow {
		values.Set("follow", "true")
	}
	if len(values) == 0 {
		return "/v1/logs"
	}
	return "/v1/logs?" + values.Encode()
}

// logQueryOf parses the query of a URL.
func logQueryOf(query string) (q LogQuery, err error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return q, invalid(err, "the query cannot be read: %v", err)
	}
	for name, all := range values {
		value := all[len(all)-1]
		switch name {
		case "service":
			q.Service = value
		case "lines":
			n, err := strconv.ParseUint(value, 10, 31)
			if err != nil {
				return q, invalid(err, "lines=%q is no number: want one such as 100, or 0 for none", value)
			}
			if q.Lines = int(n); n == 0 {
				q.Lines = -1
			}
		case "follow":
			if q.Follow, err = strconv.ParseBool(value); err != nil {
				return q, invalid(err, "follow=%q is neither true nor false", value)
			}
		default:
			return q, invalid(nil, "unknown parameter %q: want one of service, lines, follow", name)
		}
	}
	return q, nil
}

// logs answers with lines of the log.
func (c *handlers) logs(w http.ResponseWriter, r *http.Request) {
	q, err := logQueryOf(r.URL.RawQuery)
	if err == nil && !c.hasServiceOrLines(q.Service) {
		err = fmt.Errorf("%s: %w", q.Service, &textError{"no such service, and no line about it", parachute.ErrNotFound})
	}
	if err != nil {
		writeError(w, fmt.Errorf("parachute: logs: %w", err))
		return
	}
	out := &logWriter{w: w, rc: http.NewResponseController(w), follow: q.Follow}
	ctx := r.Context()
	if q.Follow {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		_ = out.rc.SetWriteDeadline(time.Time{})
		done, err := c.server.logFollowers.add(func() { out.limitWrites(); cancel() })
		if err != nil {
			writeError(w, fmt.Errorf("parachute: logs: %w", err))
			return
		}
		defer done()
	}
	out.begin(cmp.Or(c.server.Logs.ContentType, contentLines))
	c.server.writeLog(ctx, q, out)
	if q.Follow && c.server.successor.Load() != nil {
		w.Header().Set(http.TrailerPrefix+goesOnField, "true")
	}
}

// goesOnField is a trailer which says that the log goes on in another process, which has
// taken the place of this one.
const goesOnField = "Parachute-Log-Goes-On"

// hasServiceOrLines reports whether a service has lines, or might have.
func (c *handlers) hasServiceOrLines(service string) bool {
	if service == "" || c.server.Logs.Has != nil && c.server.Logs.Has(service) {
		return true
	}
	_, err := c.proxy.Service(service)
	return err == nil
}

// writeLog writes the lines that were asked for, until there are no more, nobody
// reads them, or ctx ends.
func (s *Server) writeLog(ctx context.Context, q LogQuery, out *logWriter) {
	if s.Logs.Tail != nil {
		_ = s.Logs.Tail(ctx, q.Service, q.Lines, q.Follow, out.write) // who does not read is not told why
	} else if q.Follow {
		<-ctx.Done()
	}
}

// A logWriter writes an answer with lines of the log. A client that follows may
// read as slowly as it likes until limitWrites is called; others have writeTimeout.
type logWriter struct {
	w      http.ResponseWriter
	rc     *http.ResponseController
	follow bool
}

// begin sends the header at once, before the first line.
func (l *logWriter) begin(contentType string) {
	l.w.Header().Set("Content-Type", contentType)
	_ = l.write(nil)
}

func (l *logWriter) write(lines []byte) error {
	if !l.follow {
		_ = l.rc.SetWriteDeadline(time.Now().Add(writeTimeout))
	}
	if _, err := l.w.Write(lines); err != nil {
		return err
	}
	return l.rc.Flush()
}

// finalWriteTimeout bounds how long the last lines may take when the proxy ends.
const finalWriteTimeout = 500 * time.Millisecond

func (l *logWriter) limitWrites() { _ = l.rc.SetWriteDeadline(time.Now().Add(finalWriteTimeout)) }

// maxLogFollowers is how many clients may follow the log at a time.
const maxLogFollowers = 16

// errBusy says that too many clients follow the log.
var errBusy = errors.New("busy")

// logFollowers are the answers that follow the log. They do not end by themselves, so
// there may only be so many, and they are told to when the server is shut down.
// The zero value has none.
type logFollowers struct {
	mu     sync.Mutex        // guards what follows
	stops  map[uint64]func() // how each is told to end
	next   uint64            // key in ends
	closed bool              // there must be no more
}

// add adds an answer, which end tells to end soon, without waiting for it. The
// caller must call done when it has.
func (t *logFollowers) add(end func()) (done func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return nil, parachute.ErrClosed
	case len(t.stops) == maxLogFollowers:
		return nil, &textError{fmt.Sprintf("%d follow it already, which is the most: end one of them, or ask without follow", maxLogFollowers), errBusy}
	case t.stops == nil:
		t.stops = make(map[uint64]func())
	}
	key := t.next
	t.next++
	t.stops[key] = end
	return func() { t.remove(key) }, nil
}

func (t *logFollowers) remove(key uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.stops, key)
}

// closeAll tells all that are there to end, and lets no more come.
func (t *logFollowers) closeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, end := range t.stops {
		end()
	}
}
