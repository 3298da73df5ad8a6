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

// past is a deadline that ends everything at once, as net/http sets it.
var past = time.Unix(1, 0)

// An acceptFunc returns a connection as a server has it, and its client's end.
type acceptFunc func(t *testing.T) (conn net.Conn, client *net.TCPConn)

// overEach runs f with connections that are accepted in each of the ways that there are.
func overEach(t *testing.T, f func(t *testing.T, accepted acceptFunc)) {
	for name, accept := range waysToAccept {
		t.Run(name, func(t *testing.T) {
			f(t, func(t *testing.T) (net.Conn, *net.TCPConn) { return acceptBy(t, accept) })
		})
	}
}

// waysToAccept have the names of who accepts. A system may add others.
var waysToAccept = map[string]func(l *net.TCPListener) (net.Conn, error){
	"net": func(l *net.TCPListener) (net.Conn, error) { return l.AcceptTCP() },
}

// accepted is an acceptFunc.
func accepted(t *testing.T) (conn net.Conn, client *net.TCPConn) {
	t.Helper()
	return acceptBy(t, waysToAccept["net"])
}

func acceptBy(t *testing.T, accept func(l *net.TCPListener) (net.Conn, error)) (conn net.Conn, client *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close() })
	nc, err := accept(l.(*net.TCPListener))
	if err != nil {
		t.Fatal(err)
	}
	pipes := socket.NewPipes(64, nil)
	t.Cleanup(pipes.Close)
	conn = socket.NewConn(nc, pipes, nil)
	t.Cleanup(func() { conn.Close() })
	return conn, dialled.(*net.TCPConn)
}

func TestReadAndWrite(t *testing.T) {
	overEach(t, func(t *testing.T, accepted acceptFunc) {
		is := is.New(t)
		conn, client := accepted(t)
		_, err := client.Write([]byte("hello"))
		is.NoErr(err)
		p := make([]byte, 3)
		n, err := conn.Read(p)
		is.NoErr(err)
		is.Equal(string(p[:n]), "hel")
		n, err = conn.Read(nil)
		is.NoErr(err)
		is.Equal(n, 0) // and nothing is lost
		n, err = conn.Read(p)
		is.NoErr(err)
		is.Equal(string(p[:n]), "lo")
		n, err = conn.Write([]byte("world"))
		is.NoErr(err)
		is.Equal(n, 5)
		n, err = conn.Write(nil)
		is.NoErr(err)
		is.Equal(n, 0)
		is.NoErr(client.CloseWrite())
		_, err = conn.Read(p)
		is.Equal(err, io.EOF)
		is.NoErr(conn.Close())
		all, err := io.ReadAll(client)
		is.NoErr(err)
		is.Equal(string(all), "world")
	})
}

func TestCloseWriteLeavesTheOtherDirection(t *testing.T) {
	overEach(t, func(t *testing.T, accepted acceptFunc) {
		is := is.New(t)
		conn, client := accepted(t)
		is.NoErr(conn.(interface{ CloseWrite() error }).CloseWrite())
		_, err := client.Read(make([]byte, 1))
		is.Equal(err, io.EOF)
		_, err = client.Write([]byte("more"))
		is.NoErr(err)
		p := make([]byte, 4)
		_, err = io.ReadFull(conn, p)
		is.NoErr(err)
		is.Equal(string(p), "more")
	})
}

// An answer of HTTP/1.0 that broke off must not look complete.
func TestCloseResetsWhereNothingIsToLinger(t *testing.T) {
	overEach(t, func(t *testing.T, accepted acceptFunc) {
		is := is.New(t)
		conn, client := accepted(t)
		_, err := io.WriteString(conn, "hal")
		is.NoErr(err)
		is.NoErr(conn.(interface{ SetLinger(int) error }).SetLinger(0))
		is.NoErr(conn.Close())
		_, err = io.ReadAll(client)
		is.True(errors.Is(err, syscall.ECONNRESET))
	})
}

// What does not fit is written when there is room for it, whatever its size.
func TestWriteWritesAllOfIt(t *testing.T) {
	overEach(t, func(t *testing.T, accepted acceptFunc) {
		is := is.New(t)
		conn, client := accepted(t)
		is.NoErr(client.SetReadBuffer(32 << 10))
		pieces := make([][]byte, 0, 4)
		for i, size := range []int{1, 64 << 10, 8 << 20, 100} {
			pieces = append(pieces, bytes.Repeat([]byte{byte(i)}, size))
		}
		written := make(chan error, 1)
		go func() {
			defer conn.Close()
			for _, p := range pieces {
				if n, err := conn.Write(p); n < len(p) {
					written <- err
					return
				}
			}
			written <- nil
		}()
		got, err := io.ReadAll(client)
		is.NoErr(err)
		is.NoErr(<-written)
		is.True(bytes.Equal(got, bytes.Join(pieces, nil)))
	})
}

func TestErrorsAreThoseOfTheStandardLibrary(t *testing.T) {
	overEach(t, func(t *testing.T, accepted acceptFunc) {
		for name, tt := range map[string]struct {
			begin func(conn net.Conn, client *net.TCPConn)
			want  error
			write bool
		}{
			"read late":         {func(conn net.Conn, _ *net.TCPConn) { conn.SetReadDeadline(past) }, os.ErrDeadlineExceeded, false},
			"write late":        {func(conn net.Conn, _ *net.TCPConn) { conn.SetWriteDeadline(past) }, os.ErrDeadlineExceeded, true},
			"both late, read":   {func(conn net.Conn, _ *net.TCPConn) { conn.SetDeadline(past) }, os.ErrDeadlineExceeded, false},
			"both late, write":  {func(conn net.Conn, _ *net.TCPConn) { conn.SetDeadline(past) }, os.ErrDeadlineExceeded, true},
			"read when reset":   {func(_ net.Conn, client *net.TCPConn) { reset(client) }, syscall.ECONNRESET, false},
			"read when closed":  {func(conn net.Conn, _ *net.TCPConn) { conn.Close() }, net.ErrClosed, false},
			"write when closed": {func(conn net.Conn, _ *net.TCPConn) { conn.Close() }, net.ErrClosed, true},
		} {
			t.Run(name, func(t *testing.T) {
				is := is.New(t)
				conn, client := accepted(t)
				tt.begin(conn, client)
				p := make([]byte, 2)
				op, do := "read", conn.Read
				if tt.write {
					op, do = "write", conn.Write
				}
				_, err := do(p)
				is.True(errors.Is(err, tt.want)) // error
				var e *net.OpError
				is.True(errors.As(err, &e))
				is.Equal(e.Op, op)
				is.Equal(e.Timeout(), tt.want == os.ErrDeadlineExceeded)
				is.Equal(err, e) // is wrapped once, for net/http looks no deeper
			})
		}
	})
}

func reset(client *net.TCPConn) {
	client.SetLinger(0)
	client.Close()
}

// attempt begins an operation of conn, and returns where its error will be.
func attempt(do func(p []byte) (int, error), size int) <-chan error {
	ended := make(chan error, 1)
	go func() {
		_, err := do(make([]byte, size))
		ended <- err
	}()
	return ended
}

// soon is a deadline that passes during a test, which passed waits for.
func soon() time.Time { return time.Now().Add(20 * time.Millisecond) }

// passed returns when a deadline has passed for every connection.
func passed(t *testing.T, deadline time.Time) {
	t.Helper()
	silent, _ := accepted(t)
	silent.SetReadDeadline(deadline.Add(time.Millisecond))
	if _, err := silent.Read(make([]byte, 2)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
}

func TestDeadlineEndsWhatGoesOn(t *testing.T) {
	overEach(t, func(t *testing.T, accepted acceptFunc) {
		for name, size := range map[string]int{"a single byte": 1, "more": 2} {
			t.Run("read of "+name, func(t *testing.T) {
				is := is.New(t)
				conn, client := accepted(t)
				for _, deadline := range []time.Time{past, soon(), past} {
					ended := attempt(conn.Read, size)
					is.NoErr(conn.SetReadDeadline(deadline))
					is.True(errors.Is(<-ended, os.ErrDeadlineExceeded))
					is.NoErr(conn.SetReadDeadline(time.Time{}))
				}
				ended := attempt(conn.Read, size)
				_, err := client.Write([]byte("x"))
				is.NoErr(err)
				is.NoErr(<-ended) // and does not outlive that
			})
		}
		t.Run("write", func(t *testing.T) {
			is := is.New(t)
			conn, _ := accepted(t)
			for _, deadline := range []time.Time{soon(), past, time.Now().Add(50 * time.Nanosecond)} {
				ended := attempt(conn.Write, 16<<20)
				is.NoErr(conn.SetWriteDeadline(deadline))
				is.True(errors.Is(<-ended, os.ErrDeadlineExceeded))
			}
		})
	})
}

// putOff sets a deadline that passes soon, begins an operation, and sets a later deadline. It
// returns when the first has passed. If that was so before it was put off, it begins anew.
func putOff(t *testing.T, accepted acceptFunc, later time.Time, set func(net.Conn, time.Time) error, begin func(net.Conn) <-chan error) (conn net.Conn, client *net.TCPConn, ended <-chan error) {
	t.Helper()
	is := is.New(t)
	for wait := 20 * time.Millisecond; ; wait *= 2 {
		conn, client = accepted(t)
		first := time.Now().Add(wait)
		is.NoErr(set(conn, first))
		ended = begin(conn)
		is.NoErr(set(conn, later))
		if time.Now().Before(first) {
			passed(t, first)
			return conn, client, ended
		}
	}
}

// A deadline is left to the socket when a later one is asked for.
func TestDeadlineThatWasPutOffEndsNothing(t *testing.T) {
	overEach(t, func(t *testing.T, accepted acceptFunc) {
		for name, later := range map[string]time.Time{"for ever": {}, "by an hour": time.Now().Add(time.Hour)} {
			t.Run("read "+name, func(t *testing.T) {
				is := is.New(t)
				read := func(conn net.Conn) <-chan error { return attempt(conn.Read, 2) }
				conn, client, ended := putOff(t, accepted, later, net.Conn.SetReadDeadline, read)
				_, err := client.Write([]byte("x"))
				is.NoErr(err)
				is.NoErr(<-ended) // the Read that was going on

				ended = read(conn)
				_, err = client.Write([]byte("y"))
				is.NoErr(err)
				is.NoErr(<-ended) // one that began when it had passed
			})
			t.Run("write "+name, func(t *testing.T) {
				is := is.New(t)
				write := func(conn net.Conn) <-chan error { return attempt(conn.Write, 16<<20) }
				_, client, ended := putOff(t, accepted, later, net.Conn.SetWriteDeadline, write)
				_, err := io.CopyN(io.Discard, client, 16<<20)
				is.NoErr(err)
				is.NoErr(<-ended)
			})
		}
	})
}

func TestDeadlineThatWasBroughtForwardEndsWhatGoesOn(t *testing.T) {
	overEach(t, func(t *testing.T, accepted acceptFunc) {
		is := is.New(t)
		conn, _ := accepted(t)
		is.NoErr(conn.SetReadDeadline(time.Now().Add(time.Hour)))
		ended := attempt(conn.Read, 2)
		is.NoErr(conn.SetReadDeadline(soon()))
		is.True(errors.Is(<-ended, os.ErrDeadlineExceeded))
	})
}
