package forward_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/upstream"
)

// Whatever has come, the client gets before there is more: the target of this
// test waits for that after its head and after each byte.
func TestAnswerGoesOutAsItComes(t *testing.T) {
	targets := map[string]func(*httptest.Server) (forward.Exchange, func()){
		"plain": func(s *httptest.Server) (forward.Exchange, func()) {
			s.Start()
			p := upstream.New(upstream.Options{Network: "tcp", Address: s.Listener.Addr().String()})
			return p.Exchange, p.Close
		},
		"TLS": func(s *httptest.Server) (forward.Exchange, func()) {
			s.StartTLS()
			config := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
			p := upstream.New(upstream.Options{Network: "tcp", Address: s.Listener.Addr().String(), TLS: config})
			return p.Exchange, p.Close
		},
		"h2c": func(s *httptest.Server) (forward.Exchange, func()) {
			s.Config.Protocols = new(http.Protocols)
			s.Config.Protocols.SetUnencryptedHTTP2(true)
			s.Start()
			p := upstream.NewH2C(upstream.Options{Network: "tcp", Address: s.Listener.Addr().String()})
			return p.Exchange, p.Close
		},
	}
	answers := map[string][]string{
		"counted":         {"Content-Length", "3"},
		"counted, large":  {"Content-Length", "1000000"},
		"not counted":     nil,
		"not buffered":    {"Content-Length", "3", "X-Accel-Buffering", "no"},
		"events":          {"Content-Type", "text/event-stream"},
		"events, counted": {"Content-Type", "text/event-stream", "Content-Length", "3"},
	}
	for how, start := range fronts() {
		for where, open := range targets {
			for what, fields := range answers {
				t.Run(strings.Join([]string{how, where, what}, "/"), func(t *testing.T) {
					t.Parallel()
					is := is.New(t)
					seen := make(chan struct{})
					target := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						for i := 0; i < len(fields); i += 2 {
							w.Header().Set(fields[i], fields[i+1])
						}
						rc := http.NewResponseController(w)
						for _, piece := range []string{"", "a", "b", "c"} {
							io.WriteString(w, piece)
							rc.Flush()
							select {
							case <-seen:
							case <-r.Context().Done():
								return
							}
						}
					}))
					exchange, end := open(target)
					defer target.Close()
					defer end()
					client, url := start(t, newProxy(exchange))

					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
					is.NoErr(err)
					res, err := client.Do(req)
					is.NoErr(err) // the head has come
					defer res.Body.Close()
					for _, piece := range []string{"a", "b", "c"} {
						seen <- struct{}{}
						got := make([]byte, 1)
						_, err := io.ReadFull(res.Body, got)
						is.NoErr(err)
						is.Equal(string(got), piece)
					}
					close(seen)
				})
			}
		}
	}
}
