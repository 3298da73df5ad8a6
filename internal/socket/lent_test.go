package socket_test

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/socket"
)

// A lender counts its buffers.
type lender struct {
	p            []byte
	lent, unused int
}

func (l *lender) Lend() []byte {
	l.lent++
	return l.p
}

func (l *lender) TakeBack() { l.unused++ }

func TestReadThatWaitsHasNoBuffer(t *testing.T) {
	overEach(t, func(t *testing.T, accepted acceptFunc) {
		is := is.New(t)
		nc, client := accepted(t)
		conn := nc.(*socket.Conn)
		conn.SetReadPatience(time.Nanosecond) // is not for this
		l := &lender{p: make([]byte, 3)}
		_, err := client.Write([]byte("hello"))
		is.NoErr(err)
		is.NoErr(conn.Await()) // it may be on its way
		n, err := conn.ReadLent(l)
		is.NoErr(err)
		is.Equal(string(l.p[:n]), "hel")
		is.Equal(*l, lender{l.p, 1, 0}) // it did not wait
		n, err = conn.ReadLent(l)
		is.NoErr(err)
		is.Equal(string(l.p[:n]), "lo")

		_, err = conn.TryReadLent(l)
		is.True(socket.IsNothing(err))
		is.Equal(l.lent, l.unused+2)
		first := soon()
		is.NoErr(conn.SetReadDeadline(first))
		_, err = conn.ReadLent(l)
		is.True(errors.Is(err, os.ErrDeadlineExceeded))
		is.Equal(l.lent, l.unused+2)
		is.NoErr(conn.SetReadDeadline(time.Time{}))
		read := make(chan int, 1)
		go func() {
			n, _ := conn.ReadLent(l)
			read <- n
		}()
		passed(t, first) // which ends nothing any more
		_, err = client.Write([]byte("x"))
		is.NoErr(err)
		is.Equal(<-read, 1)
		is.Equal(l.lent, l.unused+3)

		is.NoErr(client.CloseWrite())
		_, err = conn.ReadLent(l)
		is.Equal(err, io.EOF)
		is.NoErr(conn.Close())
		_, err = conn.ReadLent(l)
		is.True(errors.Is(err, net.ErrClosed))
		is.Equal(l.lent, l.unused+3)
	})
}

func TestReadOfWhatIsNoSocketHasItsBufferAtOnce(t *testing.T) {
	is := is.New(t)
	server, client := net.Pipe()
	defer client.Close()
	conn := socket.NewConn(server, nil, nil)
	l := &lender{p: make([]byte, 3)}
	go client.Write([]byte("hi"))
	n, err := conn.ReadLent(l)
	is.NoErr(err)
	is.Equal(string(l.p[:n]), "hi")
	is.NoErr(client.Close())
	_, err = conn.ReadLent(l)
	is.Equal(err, io.EOF)
	is.Equal(*l, lender{l.p, 2, 1})
}

func TestAwaitLeavesWhatIsThere(t *testing.T) {
	overEach(t, func(t *testing.T, accepted acceptFunc) {
		is := is.New(t)
		nc, client := accepted(t)
		conn := nc.(*socket.Conn)
		for _, deadline := range []time.Time{soon(), soon()} {
			is.NoErr(conn.SetReadDeadline(deadline))
			is.True(errors.Is(conn.Await(), os.ErrDeadlineExceeded))
		}
		is.NoErr(conn.SetReadDeadline(time.Time{}))
		awaited := make(chan error, 1)
		go func() { awaited <- conn.Await() }()
		_, err := client.Write([]byte("x"))
		is.NoErr(err)
		is.NoErr(<-awaited)
		is.NoErr(conn.Await())
		p := make([]byte, 2)
		n, err := conn.Read(p)
		is.NoErr(err)
		is.Equal(string(p[:n]), "x")
		is.NoErr(conn.Close())
		is.True(errors.Is(conn.Await(), net.ErrClosed))
	})
}
