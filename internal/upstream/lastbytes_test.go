package upstream_test

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"

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
