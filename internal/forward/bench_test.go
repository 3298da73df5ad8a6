package forward_test

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/forward"
)

// A nowhere is a ResponseWriter that costs nothing. Like our own server it takes headers
// over.
type nowhere struct{ header http.Header }

func (w *nowhere) Header() http.Header              { return w.header }
func (w *nowhere) AdoptHeader(http.Header)          {}
func (w *nowhere) Write(b []byte) (int, error)      { return len(b), nil }
func (w *nowhere) WriteHeader(int)                  {}
func (w *nowhere) FlushError() error                { return nil }
func (w *nowhere) SetReadDeadline(time.Time) error  { return nil }
func (w *nowhere) SetWriteDeadline(time.Time) error { return nil }
func (w *nowhere) EnableFullDuplex() error          { return nil }

// A cost is one call of Forward, with an exchange that does nothing.
type cost struct {
	w    nowhere
	r    *http.Request
	o    forward.Options
	res  http.Response
	body strings.Reader
	head http.Header
}

const browser = "Host: app.test\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\nConnection: keep-alive\r\nCookie: session=0123456789abcdef\r\n" +
	"Upgrade-Insecure-Requests: 1\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: none\r\n\r\n"

func newCost(tb testing.TB, raw string) *cost {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		tb.Fatal(err)
	}
	r.RemoteAddr = "192.0.2.1:1000"
	return &cost{
		w:    nowhere{make(http.Header)},
		r:    r,
		o:    forward.Options{RequestTarget: "/", Client: forward.Client{Addr: netip.MustParseAddr("192.0.2.1")}, RequestID: "our-id", Start: start},
		head: http.Header{"Content-Length": {"5"}, "Content-Type": {"text/plain"}, "Date": {"today"}, "Server": {"app"}},
	}
}

func (c *cost) exchange(r *http.Request, _ string, _ field.View, _ func(int, http.Header)) (*http.Response, error) {
	if r != c.r {
		io.Copy(io.Discard, r.Body)
	}
	c.body.Reset("hello")
	c.res = http.Response{StatusCode: 200, Header: c.head, ContentLength: 5, Body: c}
	return &c.res, nil
}

func (c *cost) Read(p []byte) (int, error) {
	n, err := c.body.Read(p)
	if c.body.Len() == 0 {
		err = io.EOF
	}
	return n, err
}

// BeforeWait has nothing to tell, as the body of internal/upstream where all of
// the answer came with its head.
func (c *cost) BeforeWait(func() error) {}

func (c *cost) Close() error { return nil }

func (c *cost) run(exchange forward.Exchange) {
	clear(c.w.header)
	if _, err := forward.Forward(&c.w, c.r, exchange, &c.o); err != nil {
		panic(err)
	}
}

func BenchmarkForward(b *testing.B) {
	for name, raw := range map[string]string{
		"small":   "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n",
		"browser": "GET / HTTP/1.1\r\n" + browser,
	} {
		b.Run(name, func(b *testing.B) {
			c := newCost(b, raw)
			exchange := c.exchange
			b.ReportAllocs()
			for b.Loop() {
				c.run(exchange)
			}
		})
	}
	b.Run("post", func(b *testing.B) {
		c := newCost(b, "POST / HTTP/1.1\r\nContent-Length: 1000\r\n"+browser)
		data := strings.Repeat("x", 1000)
		body := strings.NewReader(data)
		c.r.Body = io.NopCloser(body)
		exchange := c.exchange
		b.ReportAllocs()
		for b.Loop() {
			body.Reset(data)
			c.run(exchange)
		}
	})
	b.Run("target", func(b *testing.B) {
		c := newCost(b, "GET /a/path?with=query HTTP/1.1\r\n"+browser)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := forward.RequestTarget(c.r, ""); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("client", func(b *testing.B) {
		c := newCost(b, "GET / HTTP/1.1\r\nX-Forwarded-For: 198.51.100.1, 192.0.2.2\r\n"+browser)
		trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.0/24")}
		b.ReportAllocs()
		for b.Loop() {
			forward.ClientOf(c.r, trusted, "")
		}
	})
}

// BenchmarkReference is what BenchmarkForward replaces.
func BenchmarkReference(b *testing.B) {
	c := newCost(b, "GET / HTTP/1.1\r\n"+browser)
	proxy := reference(roundTripper(func(r *http.Request) (*http.Response, error) {
		return c.exchange(c.r, "", field.View{}, nil)
	})).(*httputil.ReverseProxy)
	b.ReportAllocs()
	for b.Loop() {
		clear(c.w.header)
		proxy.ServeHTTP(&c.w, c.r)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
