package server

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
)

// accepted returns a connection as the server has it, and its client's end.
func accepted(t *testing.T) (conn net.Conn, client *net.TCPConn) {
	t.Helper()
	l, err := listen(netip.MustParseAddr("127.0.0.1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close() })
	if conn, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, dialled.(*net.TCPConn)
}

func TestAcceptedConnectionReadsAndWrites(t *testing.T) {
	is := is.New(t)
	conn, client := accepted(t)
	_, ok := conn.(*promptConn)
	is.True(ok)
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
	is.NoErr(client.CloseWrite())
	_, err = conn.Read(p)
	is.Equal(err, io.EOF)
	is.NoErr(conn.Close())
	all, err := io.ReadAll(client)
	is.NoErr(err)
	is.Equal(string(all), "world")
}

// What does not fit is written when there is room for it, whatever its size.
func TestAcceptedConnectionWritesAllOfIt(t *testing.T) {
	is := is.New(t)
	conn, client := accepted(t)
	is.NoErr(conn.(*promptConn).SetWriteBuffer(32 << 10))
	pieces := make([][]byte, 0, 5)
	for i, size := range []int{1, promptMost, promptMost + 1, 1 << 20, promptMost} {
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
}

func TestAcceptedConnectionFailsAsOneOfTheStandardLibrary(t *testing.T) {
	for name, tt := range map[string]struct {
		begin func(conn net.Conn, client *net.TCPConn)
		want  error
		write bool
	}{
		"read late":         {func(conn net.Conn, _ *net.TCPConn) { conn.SetReadDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded, false},
		"write late":        {func(conn net.Conn, _ *net.TCPConn) { conn.SetWriteDeadline(time.Unix(1, 0)) }, os.ErrDeadlineExceeded, true},
		"read when reset":   {func(_ net.Conn, client *net.TCPConn) { reset(client) }, syscall.ECONNRESET, false},
		"read when closed":  {func(conn net.Conn, _ *net.TCPConn) { conn.Close() }, net.ErrClosed, false},
		"write when closed": {func(conn net.Conn, _ *net.TCPConn) { conn.Close() }, net.ErrClosed, true},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			conn, client := accepted(t)
			tt.begin(conn, client)
			p := make([]byte, 1)
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
}

func reset(client *net.TCPConn) {
	client.SetLinger(0)
	client.Close()
}

// A deadline ends a Read that waits: net/http has no other way to take back
// the one that watches for the client to leave.
func TestDeadlineEndsAReadThatWaits(t *testing.T) {
	is := is.New(t)
	conn, client := accepted(t)
	ended := make(chan error)
	go func() {
		_, err := conn.Read(make([]byte, 1))
		ended <- err
	}()
	is.NoErr(conn.SetReadDeadline(time.Unix(1, 0)))
	is.True(errors.Is(<-ended, os.ErrDeadlineExceeded))
	is.NoErr(conn.SetReadDeadline(time.Time{}))
	_, err := client.Write([]byte("x"))
	is.NoErr(err)
	n, err := conn.Read(make([]byte, 1))
	is.NoErr(err)
	is.Equal(n, 1)
}

// net/http splices an answer to what has a ReadFrom, and the standard library
// a tunnel from what has a WriteTo.
func TestAcceptedConnectionIsSpliced(t *testing.T) {
	is := is.New(t)
	conn, client := accepted(t)
	_, isReaderFrom := conn.(io.ReaderFrom)
	_, isWriterTo := conn.(io.WriterTo)
	is.True(isReaderFrom && isWriterTo)
	n, err := io.Copy(conn, io.LimitReader(source(t, "hello, world"), 5))
	is.NoErr(err)
	is.Equal(n, int64(5))
	is.NoErr(conn.Close())
	got, err := io.ReadAll(client)
	is.NoErr(err)
	is.Equal(string(got), "hello")
}

// source returns a connection that has text to be read.
func source(t *testing.T, text string) net.Conn {
	conn, client := accepted(t)
	if _, err := io.WriteString(client, text); err != nil {
		t.Fatal(err)
	}
	return conn
}
