package forward_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
)

// A flusher is a wrapper that can flush, as was usual before Unwrap.
type flusher struct {
	plain
	flush http.Flusher
}

func (f flusher) Flush() { f.flush.Flush() }

// A counter is one that can be unwrapped.
type counter struct{ http.ResponseWriter }

func (c counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func TestEventsReachTheClientThroughWhatWrapsTheServersWriter(t *testing.T) {
	wrap := map[string]struct {
		wrap func(http.ResponseWriter) http.ResponseWriter
		err  string // "": it can be done
	}{
		"Flush without Unwrap": {func(w http.ResponseWriter) http.ResponseWriter { return flusher{plain{w}, w.(http.Flusher)} }, ""},
		"Unwrap":               {func(w http.ResponseWriter) http.ResponseWriter { return counter{w} }, ""},
		"Flush below Unwrap":   {func(w http.ResponseWriter) http.ResponseWriter { return counter{flusher{plain{w}, w.(http.Flusher)}} }, ""},
		"neither": {func(w http.ResponseWriter) http.ResponseWriter { return plain{w} },
			"the program's ResponseWriter forward_test.plain has no Flush, which event streams take: give it a method Unwrap() http.ResponseWriter that returns the one it wraps"},
		"neither below Unwrap": {func(w http.ResponseWriter) http.ResponseWriter { return counter{plain{w}} },
			"the program's ResponseWriter forward_test.plain has no Flush, which event streams take"},
	}
	for name, tt := range wrap {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				n := new(proxytest.Net)
				const event = "data: 1\n\n"
				n.Script(t, targetAddr, func(conn net.Conn, _ int) {
					proxytest.ReadHead(conn)
					io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"+event)
					io.Copy(io.Discard, conn) // more may come at any time
				})
				p := newProxy(newPool(t, n).Exchange)
				serve(t, n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.ServeHTTP(tt.wrap(w), r) }))
				client := dial(t, n)
				io.WriteString(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
				got, _ := hear(client, time.Second)
				if tt.err == "" {
					is.True(strings.Contains(got, event))
					client.Close()
					return
				}
				is.True(strings.HasPrefix(got, "HTTP/1.1 502 ")) // and not nothing, for as long as the stream lasts
				o := <-p.outcomes
				is.True(errors.Is(o.err, http.ErrNotSupported))
				is.True(strings.HasPrefix(o.err.Error(), tt.err))
				is.Equal(o.Status, 0)
			})
		})
	}
}
