package upstream_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

const switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"

var asking = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"x"}}

// A target may have decided before it has the body. What comes of the client is
// not yet what the two have agreed on.
func TestTunnelBeginsWhenTheBodyIsSent(t *testing.T) {
	for name, tt := range map[string]struct {
		length int64
		framed string // how the body arrives
		early  bool   // the target switches before it has it
	}{
		"in one write with the head":  {5, "hello", false},
		"chunked":                     {-1, "1\r\nh\r\n1\r\ne\r\n1\r\nl\r\n1\r\nl\r\n1\r\no\r\n0\r\n\r\n", false},
		"chunked, and switched early": {-1, "1\r\nh\r\n1\r\ne\r\n1\r\nl\r\n1\r\nl\r\n1\r\no\r\n0\r\n\r\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				arrived := make(chan string, 2)
				g := newTarget(t, upstream.Options{ResponseTimeout: time.Minute}, func(conn net.Conn, _ int) {
					proxytest.ReadHead(conn)
					if tt.early {
						io.WriteString(conn, switched+"first")
					}
					body := make([]byte, len(tt.framed))
					io.ReadFull(conn, body)
					arrived <- string(body)
					if !tt.early {
						io.WriteString(conn, switched+"first")
					}
					all, _ := io.ReadAll(conn)
					arrived <- string(all)
				})
				resp, err := g.Exchange(request("POST", &slowly{text: "hello"}, tt.length), "/", field.ViewOf(asking), nil)
				is.NoErr(err)
				is.Equal(resp.StatusCode, 101)
				is.Equal(<-arrived, tt.framed) // before the tunnel
				time.Sleep(time.Hour)          // nobody is timed
				tunnel := resp.Body.(tunnel)
				first := make([]byte, 5)
				_, err = io.ReadFull(tunnel, first)
				is.NoErr(err)
				is.Equal(string(first), "first")
				_, err = io.WriteString(tunnel, "bye")
				is.NoErr(err)
				is.NoErr(tunnel.CloseWrite())
				is.Equal(<-arrived, "bye") // in the tunnel
				tunnel.Close()
				is.Equal(g.conns(), 0) // connections left
			})
		})
	}
}

// slowly is a body of which a byte comes each second.
type slowly struct{ text string }

func (s *slowly) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	if s.text == "" {
		return 0, io.EOF
	}
	p[0], s.text = s.text[0], s.text[1:]
	return 1, nil
}

func TestWaitForTheBodyBeforeATunnelEndsAtOnce(t *testing.T) {
	for way, want := range map[string]upstream.Reason{"client": upstream.Gone, "pool": upstream.Cut} {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newTarget(t, upstream.Options{}, once(switched))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				body, never := io.Pipe()
				done := make(chan error)
				go func() {
					_, err := g.Exchange(requestWith(ctx, "POST", body, -1), "/", field.ViewOf(asking), nil)
					done <- err
				}()
				time.Sleep(time.Second)
				start := time.Now()
				if way == "pool" {
					go g.Close()
				} else {
					cancel()
				}
				why, _ := reason(<-done)
				is.Equal(why, want)
				is.Equal(time.Since(start), 0*time.Second)
				never.Close() // as a server does whose request is over
			})
		})
	}
}

func TestTunnelThatIsGivenBeforeTheBodyIsAskedForIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{}, once(switched))
		header := field.ViewOf(http.Header{"Connection": {"Upgrade"}, "Upgrade": {"x"}, "Expect": {"100-continue"}})
		_, err := g.Exchange(request("POST", strings.NewReader("hello"), 5), "/", header, nil)
		why, _ := reason(err)
		is.Equal(why, upstream.Malformed)
	})
}

// An answer that is no 101 is an answer like any other.
func TestRefusedUpgradeWithABodyKeepsItsConnection(t *testing.T) {
	for _, length := range []int64{5, -1} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			g := newTarget(t, upstream.Options{}, func(conn net.Conn, _ int) {
				for {
					if _, err := proxytest.ReadHead(conn); err != nil {
						return
					}
					if readTo(conn, "hello"); length < 0 {
						readTo(conn, "0\r\n\r\n")
					}
					io.WriteString(conn, ok)
				}
			})
			for range 2 {
				text, err := readAll(g.Exchange(request("POST", strings.NewReader("hello"), length), "/", field.ViewOf(asking), nil))
				is.NoErr(err)
				is.Equal(text, "ok")
			}
			is.Equal(g.dials(), 1) // the connection is used again
		})
	}
}
