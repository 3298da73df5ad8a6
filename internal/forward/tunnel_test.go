package forward_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/proxytest"
)

const (
	upgrade   = get + "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)

// A tunnel is one that a test stands at both ends of.
type tunnel struct {
	client, target halfCloser
	stream         io.Closer
	p              *proxy
}

type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// tunnelled runs test with an open tunnel of a WebSocket.
func tunnelled(t *testing.T, test func(is *is.I, u *tunnel)) {
	t.Helper()
	tunnelledFor(t, "websocket", test)
}

// tunnelledFor runs test with an open tunnel of a protocol.
func tunnelledFor(t *testing.T, protocol string, test func(is *is.I, u *tunnel)) {
	t.Helper()
	upgrade, switching := strings.Replace(upgrade, "websocket", protocol, 1), strings.Replace(switching, "websocket", protocol, 1)
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		n := new(proxytest.Net)
		targets := make(chan net.Conn)
		done := make(chan bool)
		n.Script(t, targetAddr, func(conn net.Conn, _ int) {
			proxytest.ReadHead(conn)
			io.WriteString(conn, switching)
			targets <- conn
			<-done
		})
		defer close(done)
		p := newProxy(newPool(t, n).Exchange)
		streams := make(chan io.Closer, 1)
		p.stream = func(s io.Closer) { streams <- s }
		serve(t, n, p)
		client := dial(t, n)
		io.WriteString(client, upgrade)
		u := &tunnel{client: client.(halfCloser), target: (<-targets).(halfCloser), stream: <-streams, p: p}
		head, err := proxytest.ReadHead(client)
		is.NoErr(err)
		is.Equal(head, switching)
		test(is, u)
	})
}

func TestATunnelIsClosedOneWayAtATime(t *testing.T) {
	for _, tt := range []struct {
		name    string
		in, out int64
		ends    func(u *tunnel) (first, second halfCloser)
	}{
		{"client first", 7, 3, func(u *tunnel) (first, second halfCloser) { return u.client, u.target }},
		{"target first", 3, 7, func(u *tunnel) (first, second halfCloser) { return u.target, u.client }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tunnelled(t, func(is *is.I, u *tunnel) {
				first, second := tt.ends(u)
				io.WriteString(first, "request")
				is.NoErr(first.CloseWrite())
				b, err := io.ReadAll(second) // the end is passed on
				is.NoErr(err)
				is.Equal(string(b), "request")
				time.Sleep(time.Hour)
				is.Equal(len(u.p.outcomes), 0)
				io.WriteString(second, "yes") // and the other way is open
				is.NoErr(second.Close())
				b, err = io.ReadAll(first)
				is.NoErr(err)
				is.Equal(string(b), "yes")
				o := <-u.p.outcomes
				is.NoErr(o.err)
				is.Equal(o.Status, 101)
				is.Equal(o.BytesIn, tt.in)
				is.Equal(o.BytesOut, tt.out)
				is.NoErr(u.stream.Close()) // which does nothing any more
			})
		})
	}
}

func TestATunnelMayBeSilent(t *testing.T) {
	tunnelled(t, func(is *is.I, u *tunnel) {
		for range 3 {
			time.Sleep(24 * time.Hour)
			io.WriteString(u.client, "ping")
			is.Equal(nextPiece(is, u.target), "ping")
			time.Sleep(24 * time.Hour)
			io.WriteString(u.target, "pong")
			is.Equal(nextPiece(is, u.client), "pong")
		}
	})
}

func TestATunnelTakesMuchBothWaysAtOnce(t *testing.T) {
	tunnelled(t, func(is *is.I, u *tunnel) {
		data := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
		want := sha256.Sum256(data)
		sums := make(chan [32]byte, 2)
		for _, end := range []halfCloser{u.client, u.target} {
			go func() {
				end.Write(data)
				end.CloseWrite()
			}()
			go func() {
				b, _ := io.ReadAll(end)
				sums <- sha256.Sum256(b)
			}()
		}
		is.Equal(<-sums, want)
		is.Equal(<-sums, want)
		o := <-u.p.outcomes
		is.NoErr(o.err)
		is.Equal(o.BytesIn, int64(len(data)))
		is.Equal(o.BytesOut, int64(len(data)))
	})
}

func TestATunnelCanBeCut(t *testing.T) {
	tunnelled(t, func(is *is.I, u *tunnel) {
		io.WriteString(u.client, "hello")
		is.Equal(nextPiece(is, u.target), "hello")
		is.NoErr(u.stream.Close())
		_, state := hear(u.client, time.Second)
		is.True(state != "open")
		_, state = hear(u.target, time.Second)
		is.True(state != "open")
		o := <-u.p.outcomes
		is.True(o.err != nil)
		is.Equal(o.Status, 101)
		is.Equal(o.BytesIn, int64(5))
	})
}

func TestATunnelThatIsStuckCanBeCut(t *testing.T) {
	tunnelled(t, func(is *is.I, u *tunnel) {
		for _, end := range []halfCloser{u.client, u.target} {
			go end.Write(make([]byte, 1<<20)) // which nobody reads
		}
		time.Sleep(time.Hour)
		is.NoErr(u.stream.Close())
		synctest.Wait()
		is.Equal(len(u.p.outcomes), 1)
	})
}

func TestATunnelEndsWithEitherSide(t *testing.T) {
	for name, ends := range map[string]func(u *tunnel) (gone, left halfCloser){
		"client": func(u *tunnel) (gone, left halfCloser) { return u.client, u.target },
		"target": func(u *tunnel) (gone, left halfCloser) { return u.target, u.client },
	} {
		t.Run(name, func(t *testing.T) {
			tunnelled(t, func(is *is.I, u *tunnel) {
				gone, left := ends(u)
				io.WriteString(left, "unread")
				synctest.Wait()
				gone.Close() // with data unread: a reset
				_, state := hear(left, time.Minute)
				is.True(state != "open")
				is.True((<-u.p.outcomes).err != nil)
			})
		})
	}
}

func TestATunnelThatIsClosedAsItOpensHasItsHeadPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		n := new(proxytest.Net)
		n.Script(t, targetAddr, func(conn net.Conn, _ int) {
			proxytest.ReadHead(conn)
			io.WriteString(conn, switching)
			hear(conn, time.Minute)
		})
		p := newProxy(newPool(t, n).Exchange)
		p.stream = func(s io.Closer) { s.Close() }
		serve(t, n, p)
		client := dial(t, n)
		io.WriteString(client, upgrade)
		got, state := hear(client, time.Second)
		is.Equal(got, switching+goingAway) // as it is a WebSocket
		is.Equal(state, "closed")
		o := <-p.outcomes
		is.True(o.err != nil)
		is.Equal(o.Status, 101)
	})
}

func TestWithoutHijackThereIsNoTunnel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		n := new(proxytest.Net)
		n.Script(t, targetAddr, func(conn net.Conn, _ int) {
			proxytest.ReadHead(conn)
			io.WriteString(conn, switching)
			hear(conn, time.Minute)
		})
		p := newProxy(newPool(t, n).Exchange)
		serve(t, n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.ServeHTTP(plain{w}, r) }))
		client := dial(t, n)
		io.WriteString(client, upgrade)
		got, _ := hear(client, time.Second)
		is.True(strings.HasPrefix(got, "HTTP/1.1 502 "))
		o := <-p.outcomes
		is.True(errors.Is(o.err, http.ErrNotSupported))
		is.True(strings.Contains(o.err.Error(), "ResponseWriter forward_test.plain has no Hijack, which upgrades take: give it a method Unwrap() http.ResponseWriter"))
		is.Equal(o.Status, 0)
	})
}

func TestWithoutAWayToTheTargetThereIsNoTunnel(t *testing.T) {
	for name, tt := range map[string]struct {
		read bool // the whole request was
		body func(conn net.Conn) io.ReadCloser
		want string
	}{
		"it cannot be written to":     {true, func(conn net.Conn) io.ReadCloser { return struct{ io.ReadCloser }{conn} }, "the target cannot be written to"},
		"the request is not complete": {false, func(conn net.Conn) io.ReadCloser { return conn }, "the request is not complete"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			target, app := net.Pipe()
			defer app.Close()
			client, server := net.Pipe()
			defer client.Close()
			defer server.Close()
			r := read(t, "POST", "/")
			r.Header = http.Header{"Connection": {"upgrade"}, "Upgrade": {"x"}}
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader("hello")), 5
			result, err := forward.Forward(&hijacked{nowhere{make(http.Header)}, server}, r, func(r *http.Request, _ string, _ field.View, _ func(int, http.Header)) (*http.Response, error) {
				if tt.read {
					io.Copy(io.Discard, r.Body)
				}
				res := response(101, "", "Connection", "Upgrade", "Upgrade", "x")
				res.Body = tt.body(target)
				return res, nil
			}, &forward.Options{})
			is.True(err != nil && strings.HasSuffix(err.Error(), tt.want))
			is.Equal(result.Status, 0) // the caller may answer
			_, err = app.Read(make([]byte, 1))
			is.Equal(err, io.EOF) // the target has been left
		})
	}
}

func TestATunnelWhoseHeadDoesNotReachTheClientIsNone(t *testing.T) {
	is := is.New(t)
	target, app := net.Pipe()
	defer app.Close()
	client, server := net.Pipe()
	client.Close()
	r := read(t, "GET", "/")
	r.Header = http.Header{"Connection": {"upgrade"}, "Upgrade": {"x"}}
	res := response(101, "", "Connection", "Upgrade", "Upgrade", "x")
	res.Body = target
	_, err := forward.Forward(&hijacked{nowhere{make(http.Header)}, server}, r, answering(func() *http.Response { return res }), &forward.Options{
		Stream: onStream(func(io.Closer) { t.Error("a stream") }),
	})
	is.Equal(err, io.ErrClosedPipe)
	_, err = app.Read(make([]byte, 1))
	is.Equal(err, io.EOF) // the target has been left
}

// What an outer handler has set is sent as with any other answer.
func TestTheHeadOfATunnelHasTheOuterHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		n := new(proxytest.Net)
		n.Script(t, targetAddr, func(conn net.Conn, _ int) {
			proxytest.ReadHead(conn)
			io.WriteString(conn, strings.Replace(switching, "Upgrade\r\n", "Upgrade, X-Secret\r\nX-Secret: a\r\nContent-Length: 0\r\nX-A: b\r\n", 1))
		})
		p := newProxy(newPool(t, n).Exchange)
		serve(t, n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Outer", "c")
			p.ServeHTTP(w, r)
		}))
		client := dial(t, n)
		io.WriteString(client, upgrade)
		head, err := proxytest.ReadHead(client)
		is.NoErr(err)
		is.Equal(head, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-A: b\r\nX-Outer: c\r\n\r\n")
	})
}

// pair returns both ends of a connection.
func pair(t *testing.T, n *proxytest.Net, address string) (client, server halfCloser) {
	t.Helper()
	listener, err := n.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	dialed, err := n.Dial(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialed.Close() })
	return dialed.(halfCloser), accepted.(halfCloser)
}

// A hijacked writer gives its connection away.
type hijacked struct {
	nowhere
	conn net.Conn
}

func (w *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

// A watched connection counts how often it is closed.
type watched struct {
	halfCloser
	closed int
}

func (c *watched) Close() error {
	c.closed++
	return c.halfCloser.Close()
}

func TestBothEndsOfATunnelAreClosed(t *testing.T) {
	for _, tt := range []struct {
		name string
		give func(*watched) net.Conn // what the client's connection looks like
		ends func(client, target halfCloser)
	}{
		{"after both sides have ended", func(c *watched) net.Conn { return c }, func(client, target halfCloser) {
			client.CloseWrite()
			target.CloseWrite()
		}},
		{"after one has, where a connection cannot be half-closed", func(c *watched) net.Conn { return struct{ net.Conn }{c} }, func(_, target halfCloser) {
			target.CloseWrite()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				n := new(proxytest.Net)
				client, server := pair(t, n, proxyAddr)
				target, app := pair(t, n, targetAddr)
				ours, theirs := &watched{halfCloser: server}, &watched{halfCloser: target}
				r := read(t, "GET", "/")
				r.Header = http.Header{"Connection": {"upgrade"}, "Upgrade": {"x"}}
				res := response(101, "", "Connection", "Upgrade", "Upgrade", "x")
				res.Body = theirs
				time.AfterFunc(time.Second, func() { tt.ends(client, app) })
				result, err := forward.Forward(&hijacked{nowhere{make(http.Header)}, tt.give(ours)}, r, answering(func() *http.Response { return res }), &forward.Options{})
				is.NoErr(err)
				is.Equal(result.Status, 101)
				is.Equal(ours.closed, 1)
				is.True(theirs.closed > 0)
			})
		})
	}
}

// What the client sends ahead is not of the body, nor does it come before the
// 101, whenever that comes.
func TestATunnelBeginsBehindTheBody(t *testing.T) {
	const hello = "5\r\nhello\r\n0\r\n\r\n"
	for _, early := range []bool{false, true} {
		t.Run(fmt.Sprintf("early %t", early), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				n := new(proxytest.Net)
				arrived := make(chan string, 3)
				n.Script(t, targetAddr, func(conn net.Conn, _ int) {
					proxytest.ReadHead(conn)
					if early {
						io.WriteString(conn, switching+"stream")
					}
					body := make([]byte, len(hello))
					io.ReadFull(conn, body)
					arrived <- string(body)
					if !early {
						ahead, _ := hear(conn, time.Second)
						conn.SetReadDeadline(time.Time{})
						arrived <- ahead
						io.WriteString(conn, switching+"stream")
					}
					rest, _ := io.ReadAll(conn)
					arrived <- string(rest)
				})
				p := newProxy(newPool(t, n).Exchange)
				serve(t, n, p)
				client := dial(t, n).(halfCloser)
				io.WriteString(client, post+"Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
				got, _ := hear(client, time.Second)
				client.SetReadDeadline(time.Time{})
				is.Equal(got, "") // no 101 before the end of the body
				io.WriteString(client, "0\r\n\r\nlate")
				is.Equal(<-arrived, hello)
				if !early {
					is.Equal(<-arrived, "") // nothing of the tunnel before the 101
				}
				head, err := proxytest.ReadHead(client)
				is.NoErr(err)
				is.Equal(head, switching)
				is.NoErr(client.CloseWrite())
				is.Equal(<-arrived, "late")
				b, err := io.ReadAll(client)
				is.NoErr(err)
				is.Equal(string(b), "stream")
				o := <-p.outcomes
				is.NoErr(o.err)
				is.Equal(o.Status, 101)
				is.Equal(o.BytesIn, int64(len("hello")+len("late")))
			})
		})
	}
}
