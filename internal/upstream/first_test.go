package upstream_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

const unavailable = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbusy"

// TestTargetThatSpeaksFirstIsHeardEachTime has targets that say something to
// whoever connects, before they have read anything. What comes of it does not
// depend on who is faster.
func TestTargetThatSpeaksFirstIsHeardEachTime(t *testing.T) {
	ca := proxytest.NewCA()
	roots := ca.Pool()
	certificate := ca.Issue("app.test")
	for way, tries := range map[string]int{"tcp": 200, "unix": 200, "tls": 20} {
		for name, tt := range map[string]struct {
			says string
			stay bool // and listens then
			want upstream.Reason
		}{
			"answer":                  {says: unavailable},
			"answer, then waits":      {says: unavailable, stay: true},
			"banner":                  {says: "SSH-2.0-OpenSSH_9.2\r\n", want: upstream.Malformed},
			"banner, then waits":      {says: "220 mail.test ESMTP\r\n", stay: true, want: upstream.Malformed},
			"half a line, then waits": {says: "RFB", stay: true, want: upstream.Malformed},
			"nothing":                 {want: upstream.Broken},
		} {
			for kind, length := range map[string]int64{"small": 0, "streamed": -1} {
				t.Run(way+"/"+name+"/"+kind, func(t *testing.T) {
					t.Parallel()
					is := is.New(t)
					network, address := "tcp", "127.0.0.1:0"
					if way == "unix" {
						network, address = "unix", filepath.Join(proxytest.ShortDir(t), "s")
					}
					// The time is for who waits for what is there already.
					o := upstream.Options{ResponseTimeout: time.Minute}
					if way == "tls" {
						o.TLS = &tls.Config{RootCAs: roots, ServerName: "app.test"}
					}
					pool := newSocketTarget(t, network, address, o, func(conn net.Conn, _ int) {
						if way == "tls" {
							secured := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}})
							defer secured.Close()
							conn = secured
						}
						io.WriteString(conn, tt.says)
						if tt.stay {
							io.Copy(io.Discard, conn)
						}
					})
					for range tries {
						r := request("GET", nil, 0)
						if length != 0 {
							r = request("POST", strings.NewReader("hello"), length)
						}
						resp, err := pool.Exchange(r, "/", field.View{}, nil)
						why, _ := reason(err)
						is.Equal(why, tt.want)
						if tt.want != 0 {
							continue
						}
						is.Equal(resp.StatusCode, 503)
						body, err := readAll(resp, nil)
						is.NoErr(err)
						is.Equal(body, "busy")
					}
				})
			}
		}
	}
}

// TestConnectionOfATargetThatSpokeFirstIsNotUsedAgain has one that answers who
// connects, and then what it is asked.
func TestConnectionOfATargetThatSpokeFirstIsNotUsedAgain(t *testing.T) {
	for kind, r := range map[string]func() *http.Request{
		"small":    func() *http.Request { return request("GET", nil, 0) },
		"streamed": func() *http.Request { return request("POST", strings.NewReader("hello"), -1) },
	} {
		t.Run(kind, func(t *testing.T) {
			is := is.New(t)
			dial := func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, address)
				if err == nil {
					awaitReadable(t, conn)
				}
				return conn, err
			}
			pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{Dial: dial}, func(conn net.Conn, n int) {
				fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d", n)
				io.Copy(io.Discard, conn)
			})
			for n := range 3 {
				body, err := readAll(pool.Exchange(r(), "/", field.View{}, nil))
				is.NoErr(err)
				is.Equal(body, fmt.Sprint(n)) // which connection
			}
		})
	}
}
