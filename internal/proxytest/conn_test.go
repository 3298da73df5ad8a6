package proxytest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
)

// A halfCloser is what both *net.TCPConn and the connections of a Net are.
type halfCloser interface {
	net.Conn
	CloseRead() error
	CloseWrite() error
}

type (
	listenFunc func(address string) (net.Listener, error)
	dialFunc   func(ctx context.Context, network, address string) (net.Conn, error)
)

// onBoth runs test on a Net and on the system's loopback: what holds for the
// one has to hold for the other.
func onBoth(t *testing.T, test func(t *testing.T, listen listenFunc, dial dialFunc)) {
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			n := new(proxytest.Net)
			test(t, n.Listen, n.Dial)
		})
	})
	t.Run("system", func(t *testing.T) {
		listen := func(address string) (net.Listener, error) { return net.Listen("tcp", address) }
		test(t, listen, new(net.Dialer).DialContext)
	})
}

// pairOnBoth is onBoth for a test of one connection.
func pairOnBoth(t *testing.T, test func(is *is.I, client, server halfCloser)) {
	onBoth(t, func(t *testing.T, listen listenFunc, dial dialFunc) {
		client, server := pair(t, listen, dial)
		test(is.New(t), client, server)
	})
}

func pair(t *testing.T, listen listenFunc, dial dialFunc) (client, server halfCloser) {
	t.Helper()
	is := is.New(t)
	l, err := listen("127.0.0.1:0")
	is.NoErr(err)
	defer l.Close()
	c, err := dial(t.Context(), "tcp", l.Addr().String())
	is.NoErr(err)
	s, err := l.Accept()
	is.NoErr(err)
	t.Cleanup(func() {
		c.Close()
		s.Close()
	})
	return c.(halfCloser), s.(halfCloser)
}

// leaveUnread makes c hold something received that was not read.
func leaveUnread(is *is.I, from, c net.Conn) {
	is.Helper()
	_, err := from.Write([]byte("12"))
	is.NoErr(err)
	_, err = io.ReadFull(c, make([]byte, 1))
	is.NoErr(err)
}

func TestHalfClosedConnectionCarriesTheOtherWay(t *testing.T) {
	pairOnBoth(t, func(is *is.I, client, server halfCloser) {
		_, err := client.Write([]byte("question"))
		is.NoErr(err)
		is.NoErr(client.CloseWrite())
		got, err := io.ReadAll(server)
		is.NoErr(err)
		is.Equal(string(got), "question")
		_, err = client.Write([]byte("more"))
		is.True(errors.Is(err, syscall.EPIPE)) // nothing more goes this way
		_, err = server.Write([]byte("answer"))
		is.NoErr(err)
		is.NoErr(server.Close())
		got, err = io.ReadAll(client)
		is.NoErr(err)
		is.Equal(string(got), "answer")
	})
}

func TestCloseWithUnreadDataResetsTheReader(t *testing.T) {
	pairOnBoth(t, func(is *is.I, client, server halfCloser) {
		leaveUnread(is, client, server)
		_, err := server.Write([]byte("413"))
		is.NoErr(err)
		is.NoErr(server.Close())
		got, err := io.ReadAll(client)
		is.Equal(string(got), "413") // what was sent before arrives
		is.True(errors.Is(err, syscall.ECONNRESET))
		var op *net.OpError
		is.True(errors.As(err, &op))
		is.Equal(op.Op, "read")
		is.Equal(op.Source, client.LocalAddr())
	})
}

func TestCloseWithUnreadDataResetsTheBlockedWriter(t *testing.T) {
	pairOnBoth(t, func(is *is.I, client, server halfCloser) {
		wrote := make(chan error)
		go func() {
			_, err := client.Write(make([]byte, 16<<20))
			wrote <- err
		}()
		_, err := io.ReadFull(server, make([]byte, 1))
		is.NoErr(err)
		is.NoErr(server.Close())
		is.True(errors.Is(<-wrote, syscall.ECONNRESET))
	})
}

func TestClosingAListenerResetsWhatItDidNotAccept(t *testing.T) {
	onBoth(t, func(t *testing.T, listen listenFunc, dial dialFunc) {
		is := is.New(t)
		l, err := listen("127.0.0.1:0")
		is.NoErr(err)
		c, err := dial(t.Context(), "tcp", l.Addr().String())
		is.NoErr(err)
		defer c.Close()
		is.NoErr(l.Close())
		_, err = c.Read(make([]byte, 1))
		is.True(errors.Is(err, syscall.ECONNRESET))
	})
}

func TestWritesFailOnceTheOtherSideHasClosed(t *testing.T) {
	pairOnBoth(t, func(is *is.I, client, server halfCloser) {
		is.NoErr(server.Close())
		_, err := io.ReadAll(client)
		is.NoErr(err)
		for range 1000 { // the system's first writes may still succeed
			if _, err = client.Write([]byte("x")); err != nil {
				break
			}
		}
		is.True(errors.Is(err, syscall.EPIPE))
	})
}

func TestFirstWriteAfterTheOtherSideClosedFails(t *testing.T) {
	is := is.New(t)
	var n proxytest.Net
	client, server := pair(t, n.Listen, n.Dial)
	is.NoErr(server.Close())
	_, err := client.Write([]byte("x"))
	is.True(errors.Is(err, syscall.EPIPE))
	is.True(strings.HasSuffix(err.Error(), ": write: broken pipe"))
}

func TestClosedReadSideGivesWhatIsThereAndEnds(t *testing.T) {
	pairOnBoth(t, func(is *is.I, client, server halfCloser) {
		_, err := client.Write([]byte("12"))
		is.NoErr(err)
		_, err = io.ReadFull(server, make([]byte, 1))
		is.NoErr(err)
		is.NoErr(server.CloseRead())
		got, err := io.ReadAll(server)
		is.NoErr(err)
		is.Equal(string(got), "2")
		_, err = client.Write([]byte("more"))
		is.NoErr(err) // the writer is not told
	})
}

func TestCloseReadEndsABlockedRead(t *testing.T) {
	pairOnBoth(t, func(is *is.I, client, server halfCloser) {
		read := readInBackground(server)
		is.NoErr(server.CloseRead())
		is.Equal(<-read, io.EOF)
	})
}

func TestClosedConnectionRefusesEverything(t *testing.T) {
	pairOnBoth(t, func(is *is.I, client, server halfCloser) {
		_, err := server.Write([]byte("never read"))
		is.NoErr(err)
		is.NoErr(client.SetDeadline(time.Unix(1, 0)))
		is.NoErr(client.CloseWrite())
		is.NoErr(client.CloseRead())
		is.NoErr(client.Close()) // stronger than all of these
		is.NoErr(server.Close()) // and what the other side does changes nothing
		_, err = client.Read(make([]byte, 1))
		is.True(errors.Is(err, net.ErrClosed))
		_, err = client.Write([]byte("x"))
		is.True(errors.Is(err, net.ErrClosed))
		is.True(errors.Is(client.Close(), net.ErrClosed))
		is.True(errors.Is(client.CloseRead(), net.ErrClosed))
		is.True(errors.Is(client.CloseWrite(), net.ErrClosed))
		is.True(errors.Is(client.SetDeadline(time.Time{}), net.ErrClosed))
	})
}

func TestCloseEndsItsOwnBlockedCalls(t *testing.T) {
	pairOnBoth(t, func(is *is.I, client, server halfCloser) {
		read := readInBackground(client)
		wrote := make(chan error, 1)
		go func() {
			_, err := client.Write(make([]byte, 16<<20))
			wrote <- err
		}()
		_, err := io.ReadFull(server, make([]byte, 1))
		is.NoErr(err)
		is.NoErr(client.Close())
		is.True(errors.Is(<-read, net.ErrClosed))
		is.True(errors.Is(<-wrote, net.ErrClosed))
	})
}

func TestPastDeadlineRefusesEvenWhatCouldBeRead(t *testing.T) {
	pairOnBoth(t, func(is *is.I, client, server halfCloser) {
		leaveUnread(is, server, client)
		is.NoErr(client.SetDeadline(time.Unix(1, 0)))
		_, err := client.Read(make([]byte, 1))
		is.True(errors.Is(err, os.ErrDeadlineExceeded))
		var timeout net.Error
		is.True(errors.As(err, &timeout) && timeout.Timeout())
		_, err = client.Write([]byte("x"))
		is.True(errors.Is(err, os.ErrDeadlineExceeded))

		is.NoErr(client.SetDeadline(time.Time{}))
		b := make([]byte, 1)
		_, err = client.Read(b)
		is.NoErr(err) // taking the deadline away mends it
		is.Equal(string(b), "2")
		_, err = client.Write([]byte("x"))
		is.NoErr(err)
	})
}

func TestDeadlineEndsCallsThatAreBlockedAlready(t *testing.T) {
	pairOnBoth(t, func(is *is.I, client, server halfCloser) {
		read := readInBackground(client)
		is.NoErr(client.SetReadDeadline(time.Unix(1, 0)))
		is.True(errors.Is(<-read, os.ErrDeadlineExceeded))

		wrote := make(chan error, 1)
		go func() {
			_, err := client.Write(make([]byte, 16<<20))
			wrote <- err
		}()
		_, err := io.ReadFull(server, make([]byte, 1))
		is.NoErr(err)
		is.NoErr(client.SetWriteDeadline(time.Unix(1, 0)))
		is.True(errors.Is(<-wrote, os.ErrDeadlineExceeded))
	})
}

func TestEmptyReadAndWriteDoNotWait(t *testing.T) {
	pairOnBoth(t, func(is *is.I, client, server halfCloser) {
		n, err := client.Read(nil)
		is.NoErr(err)
		is.Equal(n, 0)
		n, err = client.Write(nil)
		is.NoErr(err)
		is.Equal(n, 0)
	})
}

func TestMuchDataArrivesUnchanged(t *testing.T) {
	pairOnBoth(t, func(is *is.I, client, server halfCloser) {
		sent := make([]byte, 1<<20+7)
		for i := range sent {
			sent[i] = byte(i * i >> 8)
		}
		wrote := make(chan error, 1)
		go func() {
			_, err := client.Write(sent)
			wrote <- errors.Join(err, client.CloseWrite())
		}()
		got, err := io.ReadAll(server)
		is.NoErr(err)
		is.NoErr(<-wrote)
		is.True(bytes.Equal(got, sent))
	})
}

func TestConcurrentWritesAreNotMixed(t *testing.T) {
	pairOnBoth(t, func(is *is.I, client, server halfCloser) {
		const size = 300_000
		wrote := make(chan error)
		for _, letter := range []string{"a", "b"} {
			go func() {
				_, err := client.Write([]byte(strings.Repeat(letter, size)))
				wrote <- err
			}()
		}
		got := make([]byte, 2*size)
		_, err := io.ReadFull(server, got)
		is.NoErr(err)
		is.NoErr(<-wrote)
		is.NoErr(<-wrote)
		for _, half := range [][]byte{got[:size], got[size:]} {
			is.Equal(bytes.Count(half, half[:1]), size) // one writer's only
		}
	})
}

func TestDeadlineEndsAReadOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		client, _ := pair(t, n.Listen, n.Dial)
		start := time.Now()
		is.NoErr(client.SetReadDeadline(start.Add(time.Second)))
		is.NoErr(client.SetReadDeadline(start.Add(time.Minute)))
		_, err := client.Read(make([]byte, 1))
		is.True(errors.Is(err, os.ErrDeadlineExceeded))
		is.Equal(time.Since(start), time.Minute) // the later deadline replaced the earlier
	})
}

func TestDeadlineLeavesABlockedWriteHalfDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		client, server := pair(t, n.Listen, n.Dial)
		start := time.Now()
		is.NoErr(client.SetWriteDeadline(start.Add(time.Minute)))
		wrote, err := client.Write(make([]byte, 100<<10))
		is.Equal(wrote, 64<<10) // the buffer's worth
		is.True(errors.Is(err, os.ErrDeadlineExceeded))
		is.Equal(time.Since(start), time.Minute)
		got := make([]byte, 100<<10)
		read, err := io.ReadAtLeast(server, got, wrote)
		is.NoErr(err)
		is.Equal(read, wrote) // and that much arrives
	})
}

func TestWriterWaitsWhenTheBufferIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		client, server := pair(t, n.Listen, n.Dial)
		_, err := client.Write(make([]byte, 64<<10))
		is.NoErr(err) // 64 KiB need no reader
		_, err = server.Write(make([]byte, 64<<10))
		is.NoErr(err) // nor do they the other way

		wrote := make(chan error, 1)
		go func() {
			_, err := client.Write([]byte("x"))
			wrote <- err
		}()
		synctest.Wait()
		is.Equal(len(wrote), 0) // one byte more does
		_, err = io.ReadFull(server, make([]byte, 1))
		is.NoErr(err)
		is.NoErr(<-wrote)
	})
}

func TestWriterThatWaitsItsTurnCanBeEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		client, _ := pair(t, n.Listen, n.Dial)
		wrote := make(chan error)
		for range 2 {
			go func() {
				_, err := client.Write(make([]byte, 100<<10))
				wrote <- err
			}()
		}
		synctest.Wait()
		is.NoErr(client.Close())
		is.True(errors.Is(<-wrote, net.ErrClosed))
		is.True(errors.Is(<-wrote, net.ErrClosed))
	})
}

func readInBackground(c net.Conn) <-chan error {
	read := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 1))
		read <- err
	}()
	return read
}
