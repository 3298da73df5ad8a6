package upstream_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

func TestHeadHasWhatWasAskedForAndNothingElse(t *testing.T) {
	chunked := request("POST", strings.NewReader("x"), -1)
	chunked.Trailer = http.Header{"X-Sum": nil, "Content-Length": nil}
	for name, tt := range map[string]struct {
		r      *http.Request
		target string
		header http.Header
		want   string
	}{
		"no body": {
			request("GET", nil, 0), "/a%2Fb{}?q=%zz;#", nil,
			"GET /a%2Fb{}?q=%zz;# HTTP/1.1\r\nHost: app.test\r\n",
		},
		"http.NoBody": {
			request("GET", http.NoBody, -1), "/", nil,
			"GET / HTTP/1.1\r\nHost: app.test\r\n",
		},
		"headers": {
			request("GET", nil, 0), "/", http.Header{"B": {"2", ""}, "a_b": {"1"}},
			"GET / HTTP/1.1\r\nB: \r\nB: 2\r\nHost: app.test\r\na_b: 1\r\n",
		},
		"host in header": {
			request("GET", nil, 0), "/", http.Header{"Host": {"other.test:81"}},
			"GET / HTTP/1.1\r\nHost: other.test:81\r\n",
		},
		"derived headers": {
			request("GET", nil, 0), "/", http.Header{"Content-Length": {"5"}, "transfer-encoding": {"chunked"}, "Trailer": {"X"}},
			"GET / HTTP/1.1\r\nHost: app.test\r\n",
		},
		"empty POST": {
			request("POST", nil, 0), "/", nil,
			"POST / HTTP/1.1\r\nContent-Length: 0\r\nHost: app.test\r\n",
		},
		"empty PURGE": {
			request("PURGE", nil, 0), "/", nil,
			"PURGE / HTTP/1.1\r\nHost: app.test\r\n",
		},
		"counted": {
			request("DELETE", strings.NewReader("12345"), 5), "/", nil,
			"DELETE / HTTP/1.1\r\nContent-Length: 5\r\nHost: app.test\r\n",
		},
		"chunked, with trailers": {
			chunked, "/", nil,
			"POST / HTTP/1.1\r\nHost: app.test\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				heads := make(chan string, 1)
				g := newTarget(t, upstream.Options{}, func(conn net.Conn, _ int) {
					head, _ := proxytest.ReadHead(conn)
					heads <- head
					io.WriteString(conn, ok)
					io.Copy(io.Discard, conn)
				})
				_, err := readAll(g.Exchange(tt.r, tt.target, field.ViewOf(tt.header), nil))
				is.NoErr(err)
				is.Equal(sortedHead(<-heads), tt.want) // request head
			})
		})
	}
}

func TestWhatCannotBeARequestIsRefusedBeforeDialing(t *testing.T) {
	type in struct {
		method, host, target string
		header               http.Header
	}
	for name, change := range map[string]func(*in){
		"no method":         func(in *in) { in.method = "" },
		"space in method":   func(in *in) { in.method = "GET /admin" },
		"LF in method":      func(in *in) { in.method = "GET\n" },
		"no target":         func(in *in) { in.target = "" },
		"space in target":   func(in *in) { in.target = "/ HTTP/1.1" },
		"CR in target":      func(in *in) { in.target = "/\rX" },
		"LF in target":      func(in *in) { in.target = "/\n" },
		"NUL in target":     func(in *in) { in.target = "/\x00" },
		"LF in host":        func(in *in) { in.host = "a\nb" },
		"space in host":     func(in *in) { in.host = "a b" },
		"CR in name":        func(in *in) { in.header = http.Header{"A\r": {"1"}} },
		"LF in name":        func(in *in) { in.header = http.Header{"A\nB": {"1"}} },
		"NUL in name":       func(in *in) { in.header = http.Header{"A\x00": {"1"}} },
		"colon in name":     func(in *in) { in.header = http.Header{"Transfer-Encoding:": {"chunked"}} },
		"space in name":     func(in *in) { in.header = http.Header{"Content-Length ": {"1"}} },
		"empty name":        func(in *in) { in.header = http.Header{"": {"1"}} },
		"CR in value":       func(in *in) { in.header = http.Header{"A": {"1\r2"}} },
		"LF in value":       func(in *in) { in.header = http.Header{"A": {"1", "1\nB: 2"}} },
		"lines in value":    func(in *in) { in.header = http.Header{"A": {"1\r\nB: 2"}} },
		"CR before a value": func(in *in) { in.header = http.Header{"A": {"\r2"}} },
		"LF before a value": func(in *in) { in.header = http.Header{"A": {"\nB: 2"}} },
		"NUL in value":      func(in *in) { in.header = http.Header{"A": {"\x00"}} },
		"LF in header host": func(in *in) { in.header = http.Header{"Host": {"a\n"}} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newTarget(t, upstream.Options{}, always(ok))
				in := in{method: "POST", host: "app.test", target: "/"}
				change(&in)
				body := &countedBody{Reader: strings.NewReader("hello")}
				r := request("POST", body, 5)
				r.Method, r.Host = in.method, in.host
				_, err := g.Exchange(r, in.target, field.ViewOf(in.header), nil)
				why, repeatable := reason(err)
				is.Equal(why, upstream.BadRequest) // reason
				is.True(!repeatable)               // it will not get better
				is.Equal(g.dials(), 0)             // dials
				is.Equal(body.closed, 1)           // Close of the body
			})
		})
	}
}

// A countedBody counts the calls of its methods. Only one goroutine may use it.
type countedBody struct {
	io.Reader
	reads, closed int
}

func (b *countedBody) Read(p []byte) (int, error) {
	b.reads++
	return b.Reader.Read(p)
}

func (b *countedBody) Close() error {
	b.closed++
	return nil
}

// TestExchangesDoNotMix has many at once, some of them given up at some point,
// and looks whether each of the others gets its own answer.
func TestExchangesDoNotMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var network proxytest.Net
		backend := network.Serve(t, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			if len(body)%2 == 0 {
				w.Header().Set("Content-Length", strconv.Itoa(len(body)))
			}
			time.Sleep(time.Duration(len(body)%7) * time.Millisecond)
			w.Write(body)
		}))
		p := upstream.New(upstream.Options{Network: "tcp", Address: backend.Addr(), Dial: network.Dial, ResponseTimeout: time.Minute})
		defer p.Close()
		results := make(chan error)
		for n := range 20 {
			go func() { results <- exchangeMany(p, n) }()
		}
		for range 20 {
			is.NoErr(<-results)
		}
	})
}

func exchangeMany(p *upstream.Pool, n int) error {
	random := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range 30 {
		sent := strings.Repeat(fmt.Sprintf("%d-%d ", n, i), random.IntN(10_000))
		length := int64(len(sent))
		if random.IntN(3) == 0 {
			length = -1
		}
		ctx, cancel := context.WithCancel(context.Background())
		givenUp := random.IntN(5) == 0
		if givenUp {
			time.AfterFunc(time.Duration(random.IntN(10_000))*time.Microsecond, cancel)
		}
		got, err := readAll(p.Exchange(requestWith(ctx, "POST", strings.NewReader(sent), length), "/", field.View{}, nil))
		cancel()
		if err != nil && !givenUp {
			return err
		}
		if err == nil && got != sent {
			return fmt.Errorf("sent %d bytes, got %d others", len(sent), len(got))
		}
		if random.IntN(20) == 0 {
			p.CloseIdle()
		}
		time.Sleep(time.Duration(random.IntN(3000)) * time.Microsecond)
	}
	return nil
}
