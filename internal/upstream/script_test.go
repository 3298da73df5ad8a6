package upstream_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

// A target is a Pool, the script that it talks to, and the network between.
type target struct {
	*upstream.Pool
	net    proxytest.Net
	script *proxytest.Script
}

// newTarget starts a script and a Pool for it; Network, Address and Dial of
// the options are filled in.
func newTarget(t *testing.T, o upstream.Options, play func(conn net.Conn, n int)) *target {
	g := new(target)
	g.script = g.net.Script(t, "127.0.0.1:3000", play)
	o.Network, o.Address = "tcp", g.script.Addr()
	if o.Dial == nil {
		o.Dial = g.net.Dial
	}
	g.Pool = upstream.New(o)
	t.Cleanup(g.Pool.Close)
	return g
}

func (g *target) dials() int { return g.net.Dials(g.script.Addr()) }
func (g *target) conns() int { return g.net.Conns(g.script.Addr()) }

// send makes an exchange without headers, at the target "/".
func (g *target) send(r *http.Request) (*http.Response, error) {
	return g.Exchange(r, "/", field.View{}, func(int, http.Header) {})
}

// get makes a GET exchange and reads its body.
func (g *target) get() (body string, err error) {
	return readAll(g.send(request("GET", nil, 0)))
}

// request returns a request as a server has it: length 0 is no body.
func request(method string, body io.Reader, length int64) *http.Request {
	r, err := http.NewRequest(method, "http://app.test/", body)
	if err != nil {
		panic(err)
	}
	r.ContentLength = length
	return r
}

func requestWith(ctx context.Context, method string, body io.Reader, length int64) *http.Request {
	return request(method, body, length).WithContext(ctx)
}

func post(body string) *http.Request {
	return request("POST", strings.NewReader(body), int64(len(body)))
}

// readAll reads an answer's body to its end and closes it.
func readAll(resp *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// reason returns the reason and the repeatability of an error of upstream.
func reason(err error) (upstream.Reason, bool) {
	var e *upstream.Error
	if !errors.As(err, &e) {
		return 0, false
	}
	return e.Reason, e.Repeatable
}

// always answers each request with the same bytes until the client hangs up.
// Requests must have no body.
func always(answer string) func(net.Conn, int) {
	return func(conn net.Conn, _ int) {
		for {
			if _, err := proxytest.ReadHead(conn); err != nil {
				return
			}
			io.WriteString(conn, answer)
		}
	}
}

// once answers one request, waits until the client hangs up and closes.
func once(answer string) func(net.Conn, int) {
	return func(conn net.Conn, _ int) {
		proxytest.ReadHead(conn)
		io.WriteString(conn, answer)
		io.Copy(io.Discard, conn)
	}
}

// thenClose answers one request and closes.
func thenClose(answer string) func(net.Conn, int) {
	return func(conn net.Conn, _ int) {
		proxytest.ReadHead(conn)
		io.WriteString(conn, answer)
	}
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// sortedHead returns a head with its header lines in order.
func sortedHead(head string) string {
	lines := strings.SplitAfter(strings.TrimSuffix(head, "\r\n"), "\r\n")
	slices.Sort(lines[1:])
	return strings.Join(lines, "")
}
