package forward_test

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

// serveH2C puts a target that speaks HTTP/2 behind an exchange.
func serveH2C(t *testing.T, n *proxytest.Net, h http.Handler) forward.Exchange {
	l, err := n.Listen(targetAddr)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	server.Protocols.SetUnencryptedHTTP2(true)
	served := make(chan error)
	go func() { served <- server.Serve(l) }()
	p := upstream.NewH2C(upstream.Options{Network: "tcp", Address: targetAddr, Dial: n.Dial})
	t.Cleanup(func() {
		p.Close()
		server.Close()
		<-served
	})
	return p.Exchange
}

// serveHTTP1 does so with one that speaks HTTP/1.
func serveHTTP1(t *testing.T, n *proxytest.Net, h http.Handler) forward.Exchange {
	n.Serve(t, targetAddr, h).SetHealth(0)
	return newPool(t, n).Exchange
}

// head is the handler of a target that answers with a head alone.
func head(status int, fields ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex() // does not wait for the body
		h := w.Header()
		h["Date"], h["Content-Length"] = []string{"today"}, nil
		for i := 0; i < len(fields); i += 2 {
			h[fields[i]] = []string{fields[i+1]}
		}
		w.WriteHeader(status)
	}
}

// A client of gRPC takes an empty DATA frame behind the head for the loss of the
// trailers.
func TestAnswerThatIsOverWithItsHeadIsOneFrame(t *testing.T) {
	for name, tt := range map[string]struct {
		target func(*testing.T, *proxytest.Net, http.Handler) forward.Exchange
		method string
		answer http.HandlerFunc
		want   string
	}{
		"trailers only":        {serveH2C, "POST", head(200, "Grpc-Status", "12"), "HEADERS :status=200 date=today grpc-status=12 END_STREAM"},
		"no length":            {serveH2C, "GET", head(302), "HEADERS :status=302 date=today END_STREAM"},
		"an event stream":      {serveH2C, "GET", head(200, "Content-Type", "text/event-stream"), "HEADERS :status=200 content-type=text/event-stream date=today END_STREAM"},
		"h2c, nothing counted": {serveH2C, "GET", head(200, "Content-Length", "0"), "HEADERS :status=200 date=today content-length=0 END_STREAM"},
		"h2c, 204":             {serveH2C, "GET", head(204), "HEADERS :status=204 date=today END_STREAM"},
		"h2c, 304":             {serveH2C, "GET", head(304, "Etag", "x"), "HEADERS :status=304 date=today etag=x END_STREAM"},
		"h2c, HEAD":            {serveH2C, "HEAD", head(200, "Content-Length", "5"), "HEADERS :status=200 date=today content-length=5 END_STREAM"},
		"h2c, HEAD, no length": {serveH2C, "HEAD", head(200), "HEADERS :status=200 date=today END_STREAM"},
		"nothing counted":      {serveHTTP1, "GET", head(200, "Content-Length", "0"), "HEADERS :status=200 date=today content-length=0 END_STREAM"},
		"204":                  {serveHTTP1, "GET", head(204), "HEADERS :status=204 date=today END_STREAM"},
		"304":                  {serveHTTP1, "GET", head(304, "Etag", "x"), "HEADERS :status=304 date=today etag=x END_STREAM"},
		"HEAD":                 {serveHTTP1, "HEAD", head(200, "Content-Length", "5"), "HEADERS :status=200 date=today content-length=5 END_STREAM"},
	} {
		for sending, call := range map[string]func(*frameClient) uint32{
			"":         func(c *frameClient) uint32 { return c.ask(tt.method, false) },
			", early":  func(c *frameClient) uint32 { return c.ask(tt.method, true) },
			", a call": func(c *frameClient) uint32 { return c.ask(tt.method, false, "content-type", "application/grpc") },
		} {
			t.Run(name+sending, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					is := is.New(t)
					var n proxytest.Net
					p := newProxy(tt.target(t, &n, tt.answer))
					serve2(t, &n, p)
					c := dialFrames(t, &n)
					first := call(c)
					is.Equal(c.next(), tt.want)
					is.NoErr((<-p.outcomes).err)
					if sending == ", early" {
						is.Equal(c.next(), "RST_STREAM NO_ERROR") // RFC 9113, section 8.1
						is.Equal(first, uint32(1))
					}
					c.ask("HEAD", false)
					is.Equal(c.next()[:len("HEADERS")], "HEADERS") // nothing was left
					c.conn.Close()
				})
			})
		}
	}
}

func TestAnswerWithTrailersAloneBehindItsHeadHasTwoFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		p := newProxy(serveH2C(t, &n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", "today")
			http.NewResponseController(w).Flush()
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "5")
		})))
		serve2(t, &n, p)
		c := dialFrames(t, &n)
		c.ask("GET", false)
		is.Equal(c.next(), "HEADERS :status=200 date=today")
		is.Equal(c.next(), "HEADERS grpc-status=5 END_STREAM")
		c.conn.Close()
	})
}

// The length of what is over is known, and a client of HTTP/1 is not made to
// look for the end.
func TestAnswerThatIsOverWithItsHeadHasALengthOverHTTP1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		p := newProxy(serveH2C(t, &n, head(302, "Location", "/x")))
		serve(t, &n, p)
		c := dial(t, &n)
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: app.test\r\n\r\n")
		got, state := hear(c, time.Second)
		lines := strings.Split(strings.TrimSuffix(got, "\r\n\r\n"), "\r\n")
		slices.Sort(lines)
		is.Equal(lines, []string{"Content-Length: 0", "Date: today", "HTTP/1.1 302 Found", "Location: /x"})
		is.Equal(state, "open")
	})
}

func TestTrailersGoOnBesideALength(t *testing.T) {
	for _, body := range []string{"hello", ""} {
		for _, announced := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var n proxytest.Net
				p := newProxy(serveH2C(t, &n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					h := w.Header()
					h["Date"], h["Content-Length"] = []string{"today"}, []string{strconv.Itoa(len(body))}
					h["Content-Type"] = nil
					if announced {
						h.Set("Trailer", "Grpc-Status")
					}
					http.NewResponseController(w).Flush()
					io.WriteString(w, body)
					h.Set(http.TrailerPrefix+"Grpc-Status", "0")
				})))
				serve2(t, &n, p)
				c := dialFrames(t, &n)
				c.ask("GET", false)
				want := "HEADERS :status=200 date=today"
				if announced {
					want += " trailer=Grpc-Status"
				}
				is.Equal(c.next(), want+" content-length="+strconv.Itoa(len(body)))
				if body != "" {
					is.Equal(c.next(), "DATA "+body)
				}
				is.Equal(c.next(), "HEADERS grpc-status=0 END_STREAM")
				c.conn.Close()
			})
		}
	}
}

func TestTrailersOfARequestGoOnBesideALength(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		trailers := make(chan http.Header, 1)
		p := newProxy(serveH2C(t, &n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			trailers <- r.Trailer
		})))
		serve2(t, &n, p)
		c := dialFrames(t, &n)
		id := c.ask("POST", true, "content-length", "5", "trailer", "x-sum")
		c.must(c.WriteData(id, false, []byte("hello")))
		synctest.Wait() // the body is read, and the end of the stream is not there yet
		c.fields(id, true, "x-sum", "1")
		is.Equal(<-trailers, http.Header{"X-Sum": {"1"}})
		o := <-p.outcomes
		is.NoErr(o.err)
		is.Equal(o.BytesIn, int64(5))
		c.conn.Close()
	})
}
