package upstream_test

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

func TestBodyIsCompleteWhereAnErrorComesWithItsLastBytes(t *testing.T) {
	const size = 20_000 // more than is sent with the head
	for _, end := range []error{io.EOF, errors.New("the client has left")} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			g := newTarget(t, upstream.Options{}, func(conn net.Conn, _ int) {
				proxytest.ReadHead(conn)
				io.CopyN(io.Discard, conn, size)
				io.WriteString(conn, ok)
				io.Copy(io.Discard, conn)
			})
			body, err := readAll(g.send(request("POST", &allAtOnce{size, end}, size)))
			is.NoErr(err)
			is.Equal(body, "ok")
		})
	}
}

// The last bytes of a request may still be on their way when its answer is complete. A
// target that does not take them keeps the client waiting for a moment only, and costs
// itself the connection.
func TestLastBytesThatTheTargetDoesNotTakeAreNotWaitedForLong(t *testing.T) {
	const size = 64<<10 + 1000 // a connection holds 64 KiB
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newTarget(t, upstream.Options{}, func(conn net.Conn, _ int) {
			proxytest.ReadHead(conn)
			time.Sleep(time.Second) // in which all that there is room for is sent
			io.WriteString(conn, ok)
			time.Sleep(time.Hour)
		})
		start := time.Now()
		body, err := readAll(g.send(request("POST", io.LimitReader(zeroReader{}, size), size)))
		is.NoErr(err)
		is.Equal(body, "ok")
		is.Equal(time.Since(start), 1100*time.Millisecond)
		_, err = g.get()
		is.NoErr(err)
		is.Equal(g.dials(), 2) // for the first connection has half a request in it
	})
}

// An allAtOnce is a body whose last bytes come with an error.
type allAtOnce struct {
	left int
	end  error
}

func (b *allAtOnce) Read(p []byte) (int, error) {
	n := min(len(p), b.left)
	if b.left -= n; b.left == 0 {
		return n, b.end
	}
	return n, nil
}
