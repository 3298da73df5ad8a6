package upstream_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/socket"
	"github.com/shahnk19/parachute/internal/upstream"
)

// A socketBody is a body as a server has it that reads it from a socket.
type socketBody struct {
	conn   *socket.Conn
	left   int
	moved  int // in pipes; to be read when it is closed
	closed chan struct{}
}

// newSocketBody returns a body of that length, of which content is written to the other
// end of its socket, and no more. There are so many pipes.
func newSocketBody(t *testing.T, content []byte, length, pipes int) *socketBody {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	pool := socket.NewPipes(pipes, nil)
	written := make(chan struct{})
	go func() {
		defer close(written)
		client.Write(content)
		client.Close()
	}()
	t.Cleanup(func() {
		accepted.Close()
		<-written
		pool.Close()
	})
	return &socketBody{conn: socket.NewConn(accepted, pool, nil), left: length, closed: make(chan struct{})}
}

func (b *socketBody) Read(p []byte) (int, error) {
	n, err := b.conn.Read(p[:min(len(p), b.left)])
	return n, b.ended(n, err)
}

func (b *socketBody) ReadPipe(limit int) (*socket.Pipe, error) {
	p, err := b.conn.ReadPipe(min(limit, b.left))
	if p == nil {
		return nil, err
	}
	b.moved += p.Len()
	return p, b.ended(p.Len(), err)
}

func (b *socketBody) ended(n int, err error) error {
	switch b.left -= n; {
	case b.left == 0:
		return io.EOF
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	}
	return err
}

func (b *socketBody) Close() error {
	close(b.closed)
	return nil
}

// Each upload is several times what the sockets and the pipe hold.
func TestUploadFromASocketIsSpliced(t *testing.T) {
	ca := proxytest.NewCA()
	certificate := ca.Issue("app.test")
	const size = 8<<20 + 17
	content := blob(size)
	for name, tt := range map[string]struct {
		network string
		tls     bool
		pipes   int
		spliced bool
	}{
		"tcp":                   {"tcp", false, 1, true},
		"unix":                  {"unix", false, 1, true},
		"TLS":                   {"tcp", true, 1, false},
		"where no pipe is left": {"tcp", false, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			address := "127.0.0.1:0"
			if tt.network == "unix" {
				address = filepath.Join(proxytest.ShortDir(t), "app.sock")
			}
			var o upstream.Options
			if tt.tls {
				o.TLS = &tls.Config{RootCAs: ca.Pool(), ServerName: "app.test"}
			}
			got := make(chan []byte, 2)
			pool := newSocketTarget(t, tt.network, address, o, func(conn net.Conn, _ int) {
				if tt.tls {
					conn = tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}})
				}
				br := bufio.NewReader(conn)
				for {
					r, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					body, _ := io.ReadAll(r.Body)
					got <- body
					io.WriteString(conn, ok)
				}
			})
			for range 2 {
				body := newSocketBody(t, content, size, tt.pipes)
				_, err := readAll(pool.Exchange(request("POST", body, size), "/", field.View{}, nil))
				is.NoErr(err)
				is.True(bytes.Equal(<-got, content)) // what arrived
				<-body.closed
				is.Equal(body.moved > size/2, tt.spliced)
			}
		})
	}
}

func TestSplicedUploadTellsWhoseFaultItsEndIs(t *testing.T) {
	const size = 20 << 20 // more than sockets hold
	for name, tt := range map[string]struct {
		sent  int // by the client
		stays bool
		limit time.Duration
		want  upstream.Reason
	}{
		"the target stops reading": {size, true, 200 * time.Millisecond, upstream.Timeout},
		"the target hangs up":      {size, false, time.Minute, upstream.Broken},
		"the client hangs up":      {1 << 20, true, time.Minute, upstream.ClientBody},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			over := make(chan struct{})
			o := upstream.Options{ResponseTimeout: tt.limit}
			pool := newSocketTarget(t, "tcp", "127.0.0.1:0", o, func(conn net.Conn, _ int) {
				io.ReadFull(conn, make([]byte, 2<<20))
				if tt.stays {
					<-over
				}
			})
			body := newSocketBody(t, make([]byte, tt.sent), size, 1)
			_, err := pool.Exchange(request("POST", body, size), "/", field.View{}, nil)
			close(over)
			why, repeatable := reason(err)
			is.Equal(why, tt.want)
			is.True(!repeatable)
			<-body.closed
			is.True(body.moved > 0)
			if tt.sent == size { // more has come, and whatever was left in the only pipe, it is there again
				pool.Close()
				p, err := body.conn.ReadPipe(1)
				is.NoErr(err)
				is.True(p != nil)
				p.Release()
			}
		})
	}
}

// What a client is to send only when it is asked is spliced then.
func TestUploadThatWaitedForItsContinueIsSpliced(t *testing.T) {
	is := is.New(t)
	const size = 2 << 20
	content := blob(size)
	got := make(chan []byte, 1)
	pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{}, func(conn net.Conn, _ int) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n")
		body, _ := io.ReadAll(r.Body)
		got <- body
		io.WriteString(conn, ok)
	})
	body := newSocketBody(t, content, size, 1)
	r := request("POST", body, size)
	header := field.ViewOf(http.Header{"Expect": {"100-continue"}})
	_, err := readAll(pool.Exchange(r, "/", header, nil))
	is.NoErr(err)
	is.True(bytes.Equal(<-got, content))
	<-body.closed
	is.True(body.moved > size/2)
}
