package upstream_test

import (
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

// What a target has written piece by piece is at hand all the same: nothing is
// flushed before the target has to be waited for.
func TestWhatIsAtHandIsNotFlushed(t *testing.T) {
	const counted = "Content-Length: 6000\r\n\r\n"
	most, rest := strings.Repeat("x", 5999), "x"
	for name, tt := range map[string]struct{ head, soon, late, want string }{
		"counted":             {counted, most + rest, "", "set, write, flush, clear"},
		"counted, then more":  {counted, most, rest, "set, write, flush, clear, write"},
		"counted, head first": {"Content-Length: 2\r\n\r\n", "", "ok", "set, flush, clear, write"},
		"chunked":             {"Transfer-Encoding: chunked\r\n\r\n", "2\r\nok\r\n0\r\n\r\n", "", "write"},
		"chunked, then more":  {"Transfer-Encoding: chunked\r\n\r\n", "2\r\nok\r\n", "0\r\n\r\n", "write, set, flush, clear"},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			step, over := make(chan struct{}), make(chan struct{})
			// A socket of this kind has what was written to it at once.
			pool := newSocketTarget(t, "unix", filepath.Join(proxytest.ShortDir(t), "s"), upstream.Options{}, func(conn net.Conn, _ int) {
				proxytest.ReadHead(conn)
				io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+tt.head)
				<-step
				io.WriteString(conn, tt.soon)
				step <- struct{}{}
				if tt.late != "" {
					<-step
					io.WriteString(conn, tt.late)
				}
				<-over
			})
			defer close(over)
			r := request("GET", nil, 0)
			res, err := pool.Exchange(r, "/", field.View{}, nil)
			is.NoErr(err)
			defer res.Body.Close()
			step <- struct{}{}
			<-step
			missing := tt.late != ""
			w := flushed{then: func() {
				if missing {
					missing = false
					step <- struct{}{}
				}
			}}
			_, err = res.Body.(io.WriterTo).WriteTo(&w)
			is.NoErr(err)
			is.Equal(w.String(), tt.want) // calls
		})
	}
}

// A flushed is a recorder that does something when it is flushed.
type flushed struct {
	recorder
	then func()
	err  error
}

func (w *flushed) FlushError() error {
	w.recorder.FlushError()
	w.then()
	return w.err
}

func TestClientThatCannotBeFlushedIsNotKeptWaitingFor(t *testing.T) {
	for name, head := range map[string]string{
		"counted":       "Content-Length: 2\r\n",
		"chunked":       "Transfer-Encoding: chunked\r\n",
		"up to the end": "",
	} {
		for how, network := range map[string]string{"socket": "unix", "TCP": "tcp"} {
			t.Run(name+", "+how, func(t *testing.T) {
				is := is.New(t)
				over := make(chan struct{})
				address := "127.0.0.1:0"
				if network == "unix" {
					address = filepath.Join(proxytest.ShortDir(t), "s")
				}
				pool := newSocketTarget(t, network, address, upstream.Options{}, func(conn net.Conn, _ int) {
					proxytest.ReadHead(conn)
					io.WriteString(conn, "HTTP/1.1 200 OK\r\n"+head+"\r\n")
					<-over
				})
				defer close(over)
				r := request("GET", nil, 0)
				res, err := pool.Exchange(r, "/", field.View{}, nil)
				is.NoErr(err)
				defer res.Body.Close()
				left := errors.New("the client has left")
				_, err = res.Body.(io.WriterTo).WriteTo(&flushed{then: func() {}, err: left})
				is.Equal(err, left)
			})
		}
	}
}

// A reset is not taken for the end of a body, whoever meets it first.
func TestResetIsNotTheEndOfABodyWithoutLength(t *testing.T) {
	is := is.New(t)
	reset := make(chan struct{})
	pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{}, func(conn net.Conn, _ int) {
		proxytest.ReadHead(conn)
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		<-reset
		conn.(*net.TCPConn).SetLinger(0)
	})
	r := request("GET", nil, 0)
	res, err := pool.Exchange(r, "/", field.View{}, nil)
	is.NoErr(err)
	defer res.Body.Close()
	_, err = res.Body.(io.WriterTo).WriteTo(&flushed{then: func() { close(reset) }})
	why, _ := reason(err)
	is.Equal(why, upstream.Broken)
}
