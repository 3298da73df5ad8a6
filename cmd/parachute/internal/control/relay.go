package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/shahnk19/parachute"
)

// A dialer connects to the process that has taken the place of this one.
type dialer func(ctx context.Context) (net.Conn, error)

// HandOver has changes made by the process that dial connects to, from now on: those
// that come later, and those that end because the Proxy is being handed over. Whoever
// has asked for one gets the answer of that process.
func (s *Server) HandOver(dial func(ctx context.Context) (net.Conn, error)) {
	d := dialer(dial)
	s.successor.Store(&d)
}

// Relays returns how many changes the other process is making for clients of this one.
func (s *Server) Relays() int64 { return s.relays.Load() }

// isHandedOver reports whether a change has ended with err because another process is to
// make it.
func (s *Server) isHandedOver(err error) bool {
	return s.successor.Load() != nil && (errors.Is(err, ErrHandedOver) || errors.Is(err, parachute.ErrClosed))
}

// A keptBody is the body of a request, with what another process needs to be asked the same.
type keptBody struct {
	io.ReadCloser
	arrival int64        // how many requests for changes there were, with this one
	read    bytes.Buffer // what was read of it
}

func (b *keptBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.read.Write(p[:n])
	return n, err
}

// relay has the other process do what r asks for, such as "deploy web", and passes its
// answer on: behind the lines that there are, if there are some.
func (c *handlers) relay(w http.ResponseWriter, r *http.Request, doing string, lines *lineWriter) {
	c.server.relays.Add(1)
	defer c.server.relays.Add(-1)
	err := c.relayTo(*c.server.successor.Load(), w, r, lines)
	if err == nil {
		return
	}
	err = fmt.Errorf("parachute: %s: %w", doing, &textError{"the proxy was replaced, and the new process does not answer: " + err.Error(), ErrHandedOver})
	if lines == nil || !lines.started {
		writeError(w, err)
		return
	}
	p, _ := newWireError(err)
	lines.write(message{Error: p})
}

func (c *handlers) relayTo(dial dialer, w http.ResponseWriter, r *http.Request, lines *lineWriter) error {
	conn, err := dial(r.Context())
	if err != nil {
		return err
	}
	defer conn.Close()
	// As the client does it, by which the other process cancels what it can.
	stop := context.AfterFunc(r.Context(), func() {
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	})
	defer stop()
	kept := r.Body.(*keptBody)
	asked, err := http.NewRequest(r.Method, "http://parachute"+r.URL.RequestURI(), bytes.NewReader(kept.read.Bytes()))
	if err != nil {
		return err
	}
	asked.Header.Set(arrivalHeader, strconv.FormatInt(kept.arrival, 10))
	for _, name := range []string{"Accept", "Content-Type"} {
		asked.Header[name] = r.Header[name]
	}
	answer, err := (&proxyConn{UnixConn: conn.(*net.UnixConn)}).exchange(asked)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if lines == nil || !lines.started {
		w.Header().Set("Content-Type", answer.Header.Get("Content-Type"))
		w.WriteHeader(answer.StatusCode)
		copyLines(w, answer.Body)
		return nil
	}
	if answer.StatusCode == http.StatusOK {
		copyLines(w, answer.Body)
		return nil
	}
	var last message
	if err := json.NewDecoder(answer.Body).Decode(&last); err != nil || last.Error == nil {
		return fmt.Errorf("it answered %s", answer.Status)
	}
	lines.write(last)
	return nil
}

// copyLines copies an answer piece by piece.
func copyLines(w http.ResponseWriter, body io.Reader) {
	rc := http.NewResponseController(w)
	piece := make([]byte, 32<<10)
	for {
		n, err := body.Read(piece)
		if n > 0 {
			_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, err := w.Write(piece[:n]); err != nil || rc.Flush() != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
