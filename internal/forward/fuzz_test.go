package forward_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// FuzzRequest sends raw bytes through the proxy. What arrives at the target
// must parse as exactly the requests that were forwarded, each of them once.
func FuzzRequest(f *testing.F) {
	for _, tt := range slices.Concat(table, upgrades) {
		f.Add(tt.send + tt.after)
	}
	for _, send := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
		"GET / HTTP/1.1\nHost: a\nX: a\n\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n1\r\na\r\n0\r\nX-A: b\r\nHost : c\r\nX-\x80: d\r\n\r\n",
		"G\x80T / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /a\x80\xff?\xfe HTTP/1.1\r\nHost: a\r\nX-A: \x80\xff\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: a, b\r\nConnection: upgrade, host, content-length\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		f.Add(send)
	}
	f.Fuzz(func(t *testing.T, send string) {
		synctest.Test(t, func(t *testing.T) {
			n := new(proxytest.Net)
			var s arrivals
			n.Script(t, targetAddr, func(conn net.Conn, _ int) { s.serve(t, conn) })
			pool := newPool(t, n)
			serve(t, n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				target, err := forward.RequestTarget(r, "")
				if err != nil {
					w.WriteHeader(http.StatusBadRequest)
					return
				}
				result, err := forward.Forward(w, r, pool.Exchange, &forward.Options{
					RequestTarget: target,
					Client:        forward.ClientOf(r, nil, ""),
					RequestID:     s.sent(r.Method + " " + target),
				})
				switch {
				case err != nil && result.Status == 0:
					w.WriteHeader(http.StatusBadGateway)
				case err != nil:
					panic(http.ErrAbortHandler)
				}
			}))
			client := dial(t, n)
			io.WriteString(client, send)
			client.(interface{ CloseWrite() error }).CloseWrite()
			hear(client, time.Minute)
		})
	})
}

// The arrivals at a target are compared with what was sent there.
type arrivals struct {
	mu    sync.Mutex // guards lines
	lines []string   // method and target of each request; "" if it has arrived
}

// sent notes a request and returns its id.
func (s *arrivals) sent(line string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
	return strconv.Itoa(len(s.lines) - 1)
}

func (s *arrivals) serve(t *testing.T, conn net.Conn) {
	for r := bufio.NewReader(conn); ; {
		req, err := http.ReadRequest(r)
		if err == nil {
			s.arrived(t, req)
			_, err = io.Copy(io.Discard, req.Body)
		}
		switch {
		case err == nil:
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, net.ErrClosed):
			return // the end of a connection, maybe in the middle of a request
		default:
			t.Errorf("the target cannot read this: %v", err)
			return
		}
	}
}

func (s *arrivals) arrived(t *testing.T, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := r.Method + " " + r.RequestURI
	ids := r.Header["X-Request-Id"]
	if len(ids) != 1 {
		t.Errorf("%q arrived with the ids %q", line, ids)
		return
	}
	id, err := strconv.Atoi(ids[0])
	if err != nil || id >= len(s.lines) || s.lines[id] != line {
		t.Errorf("%q arrived as number %q of %q", line, ids[0], s.lines)
		return
	}
	s.lines[id] = ""
	for name, values := range r.Header {
		plain := http.CanonicalHeaderKey(strings.ReplaceAll(name, "_", "-"))
		if name != plain && strings.HasPrefix(plain, "X-Forwarded") {
			t.Errorf("%s arrived", name)
		}
		if name == "X-Forwarded-For" && (len(values) != 1 || values[0] != "127.0.0.1") {
			t.Errorf("%s: %q arrived", name, values)
		}
	}
}

// FuzzTarget makes sure that a target is what the client wrote, from some byte
// on, and reads as a path.
func FuzzTarget(f *testing.F) {
	for _, uri := range []string{"/api/a%2fb?c", "/%61pi//x", "http://a.test/api?b", "/api%2f", "*", "/api#x", "/api/ HTTP/1.1", "http://a@b/", "x:/y", "//"} {
		f.Add("GET", uri, "/api")
		f.Add("GET", uri, "")
	}
	f.Fuzz(func(t *testing.T, method, uri, prefix string) {
		u, err := url.ParseRequestURI(uri)
		if err != nil {
			return
		}
		got, err := forward.RequestTarget(&http.Request{Method: method, RequestURI: uri, URL: u}, prefix)
		if err != nil {
			return
		}
		if rest := strings.TrimPrefix(got, "/"); !strings.HasSuffix(uri, rest) {
			t.Errorf("%q below %q became %q", uri, prefix, got)
		}
		if strings.TrimSuffix(prefix, "/") != "" && strings.HasPrefix(got, "//") {
			t.Errorf("%q below %q became %q: another host's", uri, prefix, got)
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + got + " HTTP/1.1\r\n\r\n")))
		if err != nil || r.RequestURI != got || r.Method != method || r.URL.Host != "" || r.URL.Opaque != "" {
			t.Errorf("%q below %q became %q: not a path", uri, prefix, got)
		}
	})
}

// FuzzPortIsOneThatWasSaid sends lists of ports, schemes and addresses.
func FuzzPortIsOneThatWasSaid(f *testing.F) {
	f.Add("443", "https", "192.0.2.1", "app.test")
	f.Add("666, 8443,80", "https, http", "192.0.2.1, 10.0.0.1", "app.test:8080")
	f.Add(",,+1,65536", "", ",,", "[::1]:80")
	trusted := forward.NearbyPrefixes()
	f.Fuzz(func(t *testing.T, ports, proto, hops, host string) {
		r := &http.Request{RemoteAddr: "10.0.0.1:1000", Host: host, Header: http.Header{
			"X-Forwarded-Port": {ports}, "X-Forwarded-Proto": {proto}, "X-Forwarded-For": {hops},
		}}
		for _, scheme := range []string{"http", "https"} {
			port := forward.ClientOf(r, trusted, "").Port(r, scheme)
			if port != 0 && !strings.Contains(ports, strconv.Itoa(int(port))) {
				t.Errorf("port %d of %q", port, ports)
			}
			if port := forward.ClientOf(r, nil, "").Port(r, scheme); port != 0 {
				t.Errorf("port %d of a peer that is not trusted", port)
			}
		}
	})
}
