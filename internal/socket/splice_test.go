package socket_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// target returns the proxy's end of a connection to a target, and the target's.
func target(t *testing.T, network string) (proxy, app net.Conn) {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(proxytest.ShortDir(t), "app.sock")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if proxy, err = net.Dial(network, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proxy.Close() })
	if app, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { app.Close() })
	return proxy, app
}

// readFrom is what net/http does with a body.
func readFrom(conn net.Conn, src io.Reader, n int64) (int64, error) {
	return conn.(io.ReaderFrom).ReadFrom(&io.LimitedReader{R: src, N: n})
}

// random returns what cannot arrive by accident.
func random(size int) []byte {
	p := make([]byte, size)
	rand.Read(p)
	return p
}

// More than fits into a pipe and into the buffers of the sockets.
func TestReadFromMovesAllOfIt(t *testing.T) {
	overEach(t, func(t *testing.T, accepted acceptFunc) {
		const size = 12 << 20
		for _, network := range []string{"tcp", "unix", "memory"} {
			t.Run(network, func(t *testing.T) {
				is := is.New(t)
				content := random(size)
				conn, client := accepted(t)
				var src io.Reader = bytes.NewReader(content)
				if network != "memory" {
					proxy, app := target(t, network)
					sent := attempt(func([]byte) (int, error) { return app.Write(content) }, 0)
					defer func() { is.NoErr(<-sent) }()
					src = proxy
				}
				passed := make(chan error, 1)
				go func() {
					for left := int64(size); left > 0; {
						n, err := readFrom(conn, src, min(left, 1<<20))
						if left -= n; err != nil {
							passed <- err
							return
						}
					}
					passed <- nil
				}()
				got := make([]byte, size)
				_, err := io.ReadFull(client, got)
				is.NoErr(err)
				is.NoErr(<-passed)
				is.True(bytes.Equal(got, content))
			})
		}
	})
}

func TestReadFromLeavesWhatIsBehindTheLimit(t *testing.T) {
	overEach(t, func(t *testing.T, accepted acceptFunc) {
		is := is.New(t)
		conn, client := accepted(t)
		proxy, app := target(t, "tcp")
		_, err := io.WriteString(app, "hello, world")
		is.NoErr(err)
		n, err := readFrom(conn, proxy, 5)
		is.NoErr(err)
		is.Equal(n, int64(5))
		is.NoErr(conn.Close())
		is.NoErr(app.Close())
		got, err := io.ReadAll(client)
		is.NoErr(err)
		is.Equal(string(got), "hello")
		got, err = io.ReadAll(proxy)
		is.NoErr(err)
		is.Equal(string(got), ", world")
	})
}

func TestReadFromEndsWithItsSource(t *testing.T) {
	overEach(t, func(t *testing.T, accepted acceptFunc) {
		is := is.New(t)
		conn, client := accepted(t)
		proxy, app := target(t, "tcp")
		_, err := io.WriteString(app, "hello")
		is.NoErr(err)
		is.NoErr(app.Close())
		n, err := readFrom(conn, proxy, 100)
		is.NoErr(err)
		is.Equal(n, int64(5))
		p := make([]byte, 5)
		_, err = io.ReadFull(client, p)
		is.NoErr(err)
		is.Equal(string(p), "hello")
	})
}

// Whose fault it is that a body does not arrive decides what is reported, and
// whether the target is to be blamed.
func TestReadFromTellsWhoFailed(t *testing.T) {
	overEach(t, func(t *testing.T, accepted acceptFunc) {
		const size = 16 << 20 // more than anybody takes who does not read
		for name, tt := range map[string]struct {
			happens func(conn net.Conn, client *net.TCPConn, proxy, app net.Conn)
			op      string
			want    error
		}{
			"the target resets":          {func(_ net.Conn, _ *net.TCPConn, _, app net.Conn) { reset(app.(*net.TCPConn)) }, "read", syscall.ECONNRESET},
			"the target's deadline":      {func(_ net.Conn, _ *net.TCPConn, proxy, _ net.Conn) { proxy.SetReadDeadline(past) }, "read", os.ErrDeadlineExceeded},
			"the target's end is closed": {func(_ net.Conn, _ *net.TCPConn, proxy, _ net.Conn) { proxy.Close() }, "read", net.ErrClosed},
			"the client resets":          {func(_ net.Conn, client *net.TCPConn, _, app net.Conn) { reset(client); app.Write(make([]byte, 1<<20)) }, "write", syscall.EPIPE},
			"the client's deadline": {func(conn net.Conn, _ *net.TCPConn, _, app net.Conn) {
				conn.SetWriteDeadline(past)
				app.Write(make([]byte, 1))
			}, "write", os.ErrDeadlineExceeded},
			"the client takes no more": {func(conn net.Conn, _ *net.TCPConn, _, app net.Conn) {
				conn.SetWriteDeadline(soon())
				go app.Write(make([]byte, size))
			}, "write", os.ErrDeadlineExceeded},
			"the client's end is closed": {func(conn net.Conn, _ *net.TCPConn, _, app net.Conn) { conn.Close(); app.Write(make([]byte, 1)) }, "write", net.ErrClosed},
		} {
			t.Run(name, func(t *testing.T) {
				is := is.New(t)
				conn, client := accepted(t)
				proxy, app := target(t, "tcp")
				tt.happens(conn, client, proxy, app)
				_, err := readFrom(conn, proxy, size)
				var op *net.OpError
				is.True(errors.As(err, &op))
				is.Equal(op.Op, tt.op)
				is.True(errors.Is(err, tt.want) || errors.Is(err, syscall.ECONNRESET) && tt.want == syscall.EPIPE)
			})
		}
	})
}

// A target that pauses for longer than its deadline has lost nothing.
func TestReadFromGoesOnAfterADeadlineOfItsSource(t *testing.T) {
	overEach(t, func(t *testing.T, accepted acceptFunc) {
		is := is.New(t)
		conn, client := accepted(t)
		proxy, app := target(t, "tcp")
		_, err := io.WriteString(app, "hello, ")
		is.NoErr(err)
		n := int64(0)
		for tries := 0; n == 0 && tries < 100; tries++ { // it may be over before the read begins
			is.NoErr(proxy.SetReadDeadline(soon()))
			n, err = readFrom(conn, proxy, 12)
			is.True(errors.Is(err, os.ErrDeadlineExceeded))
		}
		is.Equal(n, int64(7))
		_, err = io.WriteString(app, "world")
		is.NoErr(err)
		is.NoErr(proxy.SetReadDeadline(past.AddDate(1000, 0, 0)))
		n, err = readFrom(conn, proxy, 5)
		is.NoErr(err)
		is.Equal(n, int64(5))
		is.NoErr(conn.Close())
		got, err := io.ReadAll(client)
		is.NoErr(err)
		is.Equal(string(got), "hello, world")
	})
}

// A pipe that was left with what nobody will take is not used again.
func TestReadFromOpensNothingThatStaysOpen(t *testing.T) {
	overEach(t, func(t *testing.T, accepted acceptFunc) {
		before := pipes(t)
		for range 20 {
			conn, client := accepted(t)
			proxy, app := target(t, "tcp")
			go app.Write(make([]byte, 16<<20))
			conn.SetWriteDeadline(soon())
			if _, err := readFrom(conn, proxy, 16<<20); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			client.Close()
		}
		if after := pipes(t); after > before {
			t.Errorf("%d ends of pipes are open, %d were before", after, before)
		}
	})
}

// pipes returns how many ends of pipes this process has open, where that can be
// told.
func pipes(t *testing.T) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("there is no /proc")
	}
	for _, e := range entries {
		if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.HasPrefix(to, "pipe:") {
			n++
		}
	}
	return n
}
