package upstream_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

// A counter is a target that counts the requests of each connection.
type counter struct {
	mu    sync.Mutex // guards the fields below
	each  map[int]int
	heads []string
}

// play answers each request with answer, which may depend on how many there were on
// the connection before.
func (c *counter) play(answer func(head string, before int) string) func(net.Conn, int) {
	return func(conn net.Conn, n int) {
		for {
			head, err := proxytest.ReadHead(conn)
			if err != nil {
				return
			}
			c.mu.Lock()
			if c.each == nil {
				c.each = make(map[int]int)
			}
			before := c.each[n]
			c.each[n]++
			c.heads = append(c.heads, head)
			c.mu.Unlock()
			text := answer(head, before)
			if text == "" {
				return
			}
			io.WriteString(conn, text)
		}
	}
}

func TestConnectionIsUsedForAsManyRequestsAsItMayBe(t *testing.T) {
	for most, want := range map[int][]int{0: {7}, 1: {1, 1, 1, 1, 1, 1, 1}, 3: {3, 3, 1}, 7: {7}} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			var c counter
			g := newTarget(t, upstream.Options{MaxRequests: most}, c.play(func(string, int) string { return ok }))
			for range 7 {
				body, err := g.get()
				is.NoErr(err)
				is.Equal(body, "ok")
			}
			var got []int
			for n := range len(c.each) {
				got = append(got, c.each[n])
			}
			is.Equal(got, want) // most
			for _, head := range c.heads {
				is.Equal(strings.Contains(head, "\r\nConnection: close\r\n"), most == 1)
			}
			if most == 1 {
				is.Equal(g.conns(), 0)
			}
		})
	}
}

// The target goes away with what it was asked, as a worker does that has served
// enough.
func TestRequestThatIsSentAgainCountsForBothConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var c counter
		g := newTarget(t, upstream.Options{MaxRequests: 3}, c.play(func(_ string, before int) string {
			if before == 2 && len(c.heads) == 3 {
				return "" // the third request of the first connection is lost
			}
			return ok
		}))
		for range 6 {
			body, err := g.get()
			is.NoErr(err)
			is.Equal(body, "ok")
		}
		is.Equal(c.each, map[int]int{0: 3, 1: 3, 2: 1})
	})
}

func TestLastRequestMayAskForAnUpgrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var c counter
		g := newTarget(t, upstream.Options{MaxRequests: 1}, c.play(func(string, int) string { return ok }))
		ask := func(h http.Header) {
			body, err := readAll(g.Exchange(request("GET", nil, 0), "/", field.ViewOf(h), nil))
			is.NoErr(err)
			is.Equal(body, "ok")
		}
		ask(asking)
		ask(http.Header{"Connection": {"TE"}, "Te": {"trailers"}})
		is.True(!strings.Contains(c.heads[0], "close")) // or it could not be upgraded
		is.True(strings.Contains(c.heads[1], "Connection: TE\r\n") && strings.Contains(c.heads[1], "Connection: close\r\n"))
		is.Equal(c.each, map[int]int{0: 1, 1: 1})
	})
}

func TestH2CConnectionIsUsedForAsManyRequestsAsItMayBe(t *testing.T) {
	for most, want := range map[int]int{0: 1, 1: 7, 3: 3, 7: 1} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			seen := make(map[string]int)
			g := newH2CTarget(t, upstream.Options{MaxRequests: most}, func(w http.ResponseWriter, r *http.Request) {
				seen[r.RemoteAddr]++
				io.WriteString(w, "ok")
			})
			for range 7 {
				body, err := readAll(g.send(request("GET", nil, 0)))
				is.NoErr(err)
				is.Equal(body, "ok")
			}
			is.Equal(len(seen), want) // most
			for _, n := range seen {
				is.True(most == 0 || n <= most)
			}
			synctest.Wait()
			is.Equal(g.net.Conns(g.address), map[bool]int{true: 0, false: 1}[most == 1 || most == 7]) // most
		})
	}
}
