package socket_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/socket"
)

// moveAll moves all of p to a socket, waits for room, and releases p.
func moveAll(p *socket.Pipe, to net.Conn) (n int, err error) {
	defer p.Release()
	raw, err := to.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, err
	}
	failed := raw.Write(func(fd uintptr) bool {
		for err = nil; p.Len() > 0 && err == nil; {
			var m int
			m, err = p.MoveTo(fd)
			n += m
		}
		return err != syscall.EAGAIN
	})
	return n, errors.Join(failed, err)
}

// More than fits into a pipe and into the buffers of the sockets.
func TestReadPipeMovesAllOfIt(t *testing.T) {
	overEach(t, func(t *testing.T, accepted acceptFunc) {
		const size = 12 << 20
		for _, network := range []string{"tcp", "unix"} {
			t.Run(network, func(t *testing.T) {
				is := is.New(t)
				content := random(size)
				conn, client := accepted(t)
				proxy, app := target(t, network)
				sent := attempt(func([]byte) (int, error) { return client.Write(content) }, 0)
				passed := make(chan error, 1)
				go func() {
					for left := size; left > 0; {
						p, err := conn.(*socket.Conn).ReadPipe(min(left, 512<<10))
						if err == nil && (p == nil || p.Len() > min(left, 512<<10)) {
							err = errors.New("there is no pipe, or too much in it")
						}
						if err == nil {
							var n int
							n, err = moveAll(p, proxy)
							left -= n
						}
						if err != nil {
							passed <- err
							return
						}
					}
					passed <- nil
				}()
				got := make([]byte, size)
				_, err := io.ReadFull(app, got)
				is.NoErr(err)
				is.NoErr(<-passed)
				is.NoErr(<-sent)
				is.True(bytes.Equal(got, content))
			})
		}
	})
}

func TestReadPipeLeavesWhatIsBehindTheLimit(t *testing.T) {
	overEach(t, func(t *testing.T, accepted acceptFunc) {
		is := is.New(t)
		conn, client := accepted(t)
		_, err := io.WriteString(client, "hello, world")
		is.NoErr(err)
		p, err := conn.(*socket.Conn).ReadPipe(5)
		is.NoErr(err)
		is.Equal(p.Len(), 5)
		p.Release()
		is.NoErr(client.CloseWrite())
		rest, err := io.ReadAll(conn)
		is.NoErr(err)
		is.Equal(string(rest), ", world")
		p, err = conn.(*socket.Conn).ReadPipe(5)
		is.Equal(err, io.EOF)
		is.True(p == nil)
	})
}

// A byte of urgent data is none of the stream, and what is behind it cannot be spliced.
func TestReadPipeLeavesToAReadWhatCannotBeSpliced(t *testing.T) {
	overEach(t, func(t *testing.T, accepted acceptFunc) {
		is := is.New(t)
		conn, client := accepted(t)
		raw, err := client.SyscallConn()
		is.NoErr(err)
		var failed error
		is.NoErr(raw.Write(func(fd uintptr) bool {
			failed = syscall.Sendto(int(fd), []byte("!"), syscall.MSG_OOB, nil)
			return failed != syscall.EAGAIN
		}))
		is.NoErr(failed)
		_, err = io.WriteString(client, "hello, world")
		is.NoErr(err)
		is.NoErr(conn.SetReadDeadline(time.Now().Add(time.Minute)))
		p, err := conn.(*socket.Conn).ReadPipe(100)
		is.NoErr(err)
		is.True(p == nil)
		got := make([]byte, 5)
		_, err = io.ReadFull(conn, got)
		is.NoErr(err)
		is.Equal(string(got), "hello")
		p, err = conn.(*socket.Conn).ReadPipe(100)
		is.NoErr(err)
		is.Equal(p.Len(), len(", world"))
		p.Release()
	})
}

func TestErrorsOfReadPipeAreThoseOfRead(t *testing.T) {
	overEach(t, func(t *testing.T, accepted acceptFunc) {
		for name, tt := range map[string]struct {
			begin func(conn *socket.Conn, client *net.TCPConn)
			want  error
		}{
			"late":       {func(conn *socket.Conn, _ *net.TCPConn) { conn.SetReadDeadline(past) }, os.ErrDeadlineExceeded},
			"in a while": {func(conn *socket.Conn, _ *net.TCPConn) { conn.SetReadDeadline(soon()) }, os.ErrDeadlineExceeded},
			"impatient":  {func(conn *socket.Conn, _ *net.TCPConn) { conn.SetReadPatience(time.Millisecond) }, os.ErrDeadlineExceeded},
			"reset":      {func(_ *socket.Conn, client *net.TCPConn) { reset(client) }, syscall.ECONNRESET},
			"closed":     {func(conn *socket.Conn, _ *net.TCPConn) { conn.Close() }, net.ErrClosed},
		} {
			t.Run(name, func(t *testing.T) {
				is := is.New(t)
				conn, client := accepted(t)
				tt.begin(conn.(*socket.Conn), client)
				p, err := conn.(*socket.Conn).ReadPipe(100)
				is.True(p == nil)
				is.True(errors.Is(err, tt.want)) // error
				var op *net.OpError
				is.True(errors.As(err, &op))
				is.Equal(op.Op, "read")
			})
		}
	})
}

// Whoever reads then reads as ever.
func TestReadPipeIsNotPossibleWhereThereIsNoSocketOrNoPipe(t *testing.T) {
	is := is.New(t)
	proxy, app := target(t, "tcp")
	none := socket.NewPipes(0, nil)
	defer none.Close()
	memory, end := net.Pipe()
	defer memory.Close()
	defer end.Close()
	_, err := io.WriteString(app, "hello")
	is.NoErr(err)
	for _, conn := range []*socket.Conn{
		socket.NewConn(proxy, nil, nil),
		socket.NewConn(proxy, none, nil),
		socket.NewConn(memory, none, nil),
	} {
		p, err := conn.ReadPipe(5)
		is.NoErr(err)
		is.True(p == nil)
	}
	got := make([]byte, 5)
	_, err = io.ReadFull(proxy, got)
	is.NoErr(err)
	is.Equal(string(got), "hello") // nothing was lost
}
