package upstream_test

import (
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

func TestH2CHasNoUpgradeAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		asked := false
		g := newH2CTarget(t, upstream.Options{}, func(http.ResponseWriter, *http.Request) { asked = true })
		body := &countedBody{Reader: strings.NewReader("x")}
		_, err := g.Exchange(request("POST", body, 1), "/", field.ViewOf(http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}), nil)
		why, repeatable := reason(err)
		is.Equal(why, upstream.Target)
		is.True(repeatable)                                              // another target may be able to
		is.Equal(body.closed, 0)                                         // so the body is left for that
		is.True(strings.Contains(err.Error(), "websocket is asked for")) // it tells what the matter is
		is.True(!asked)                                                  // the target
	})
}

// The time that a call may take is its client's to say: grpc-timeout.
func TestResponseTimeoutIsNotForGRPCOverHTTP2(t *testing.T) {
	limit := upstream.Options{ResponseTimeout: time.Second}
	call := func(protocol int) *http.Request {
		r := post("x")
		r.ProtoMajor, r.Header = protocol, http.Header{"Content-Type": {"application/grpc+proto"}}
		return r
	}
	t.Run("h2c", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			g := newH2CTarget(t, limit, func(_ http.ResponseWriter, r *http.Request) {
				io.ReadAll(r.Body)
				select {
				case <-time.After(time.Hour):
				case <-r.Context().Done():
				}
			})
			resp, err := g.send(call(2))
			is.NoErr(err)
			is.NoErr(resp.Body.Close())
			for _, other := range []*http.Request{post("x"), call(1)} { // nobody calls over HTTP/1
				_, err = g.send(other)
				why, _ := reason(err)
				is.Equal(why, upstream.Timeout)
			}
		})
	})
	t.Run("HTTP/1", func(t *testing.T) { // which has no such calls, whatever a client says
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			g := newTarget(t, limit, func(c net.Conn, _ int) {
				proxytest.ReadHead(c)
				time.Sleep(time.Hour)
			})
			_, err := readAll(g.send(call(2)))
			why, _ := reason(err)
			is.Equal(why, upstream.Timeout)
		})
	})
}
