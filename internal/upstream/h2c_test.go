package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

// An h2cTarget is an H2C and the server that it talks to.
type h2cTarget struct {
	*upstream.H2C
	net     proxytest.Net
	address string
}

func newH2CTarget(t *testing.T, o upstream.Options, handler http.HandlerFunc) *h2cTarget {
	g := new(h2cTarget)
	l, err := g.net.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler, Protocols: new(http.Protocols)}
	server.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		server.Serve(l)
	}()
	g.address = l.Addr().String()
	o.Network, o.Address, o.Dial = "tcp", g.address, g.net.Dial
	g.H2C = upstream.NewH2C(o)
	t.Cleanup(func() {
		g.Close()
		server.Close()
		<-done
	})
	return g
}

func (g *h2cTarget) send(r *http.Request) (*http.Response, error) {
	return g.Exchange(r, "/", field.View{}, nil)
}

func TestH2CPassesRequestsAndAnswersOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var got *http.Request
		var body []byte
		g := newH2CTarget(t, upstream.Options{}, func(w http.ResponseWriter, r *http.Request) {
			got = r.Clone(context.Background())
			body, _ = io.ReadAll(r.Body)
			got.Trailer = r.Trailer
			w.Header().Set("Trailer", "Grpc-Status")
			w.Header().Set("X-Answer", "1")
			w.WriteHeader(http.StatusTeapot)
			w.Write(body)
			w.Header().Set("Grpc-Status", "0")
		})
		long := blob(300 << 10)
		for _, length := range []int64{-1, int64(len(long))} {
			r := request("PUT", bytes.NewReader(long), length)
			r.Trailer = http.Header{"X-Sum": {"5"}}
			resp, err := g.Exchange(r, "//a%2Fb{}?q=%zz;", field.ViewOf(http.Header{"A": {"1", "2"}, "Te": {"trailers"}, "Connection": {"x"}, "Keep-Alive": {"x"}}), nil)
			is.NoErr(err)
			answer, err := readAll(resp, nil)
			is.NoErr(err)
			is.Equal(resp.StatusCode, http.StatusTeapot)
			is.Equal(resp.Header.Get("X-Answer"), "1")
			is.True(answer == string(long))                   // the answer's body
			is.Equal(resp.Trailer.Get("Grpc-Status"), "0")    // the answer's trailer
			is.Equal(got.Method, "PUT")                       // method
			is.Equal(got.Host, "app.test")                    // host
			is.Equal(got.RequestURI, "//a%2Fb{}?q=%zz;")      // target
			is.Equal(got.ContentLength, length)               // length
			is.True(bytes.Equal(body, long))                  // body
			is.Equal(got.Trailer.Get("X-Sum"), "5")           // trailer
			is.Equal(got.Header["A"], []string{"1", "2"})     // header
			is.Equal(got.Header["Te"], []string{"trailers"})  // header
			is.Equal(got.Header["User-Agent"], []string(nil)) // nothing is invented
			is.Equal(got.Header["Accept-Encoding"], []string(nil))
		}
		is.Equal(g.net.Dials(g.address), 1) // dials
	})
}

// The transport's goroutine goes on with its encoding when a round trip is given
// up, and the caller goes on to another request with the same memory.
func TestH2CHeaderIsTheCallersAgainWhenExchangeReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		arrived := make(chan http.Header, 1)
		g := newH2CTarget(t, upstream.Options{}, func(w http.ResponseWriter, r *http.Request) { arrived <- r.Header })
		ctx, cancel := context.WithCancel(t.Context())
		changed := make(chan struct{})
		encoding := &httptrace.ClientTrace{WroteHeaderField: func(name string, _ []string) {
			if name == ":authority" { // the first
				cancel()
				<-changed
			}
		}}
		values := []string{"mine", "also mine"}
		header := http.Header{"X-Request-Id": values[:1:1], "X-Forwarded-For": values[1:]}
		_, err := g.Exchange(requestWith(httptrace.WithClientTrace(ctx, encoding), "GET", nil, 0), "/", field.ViewOf(header), nil)
		why, _ := reason(err)
		is.Equal(why, upstream.Gone)
		clear(values)
		clear(header)
		values[0] = "another's"
		header["X-Request-Id"], header["Cookie"] = values[:1], []string{"another's"}
		close(changed)
		is.Equal(<-arrived, http.Header{"X-Request-Id": {"mine"}, "X-Forwarded-For": {"also mine"}})
	})
}

func TestH2CRefusesWhatCannotBeARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newH2CTarget(t, upstream.Options{}, func(http.ResponseWriter, *http.Request) {})
		for target, header := range map[string]http.Header{
			"x:http://evil/": nil,
			"/ HTTP/1.1":     nil,
			"/\n":            nil,
			"/":              {"A": {"1\n2"}},
			"/a":             {"A ": {"1"}},
		} {
			body := &countedBody{Reader: strings.NewReader("x")}
			_, err := g.Exchange(request("POST", body, 1), target, field.ViewOf(header), nil)
			why, repeatable := reason(err)
			is.Equal(why, upstream.BadRequest)
			is.True(!repeatable)
			is.Equal(body.closed, 1)
		}
		is.Equal(g.net.Dials(g.address), 0)
	})
}

// What HTTP/2 does not need to find an end is what an HTTP/1 client goes by.
func TestH2CLengthIsOneOrTheAnswerIsRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		lengths []string
		want    string // "": refused
	}{
		"once":           {[]string{"5"}, "5"},
		"twice":          {[]string{"5", "5"}, "5"},
		"in a list":      {[]string{"5, 5"}, "5"},
		"contradicting":  {[]string{"5", "6"}, ""},
		"no number":      {[]string{"+5"}, ""},
		"a list of both": {[]string{"5, 6"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				g := newH2CTarget(t, upstream.Options{}, func(w http.ResponseWriter, r *http.Request) {
					// The server takes out what it does not understand by its
					// canonical name.
					w.Header()["content-length"] = tt.lengths
					io.WriteString(w, "hello")
					http.NewResponseController(w).Flush()
				})
				resp, err := g.send(request("GET", nil, 0))
				if tt.want == "" {
					why, _ := reason(err)
					is.Equal(why, upstream.Malformed)
					return
				}
				is.NoErr(err)
				is.Equal(resp.Header["Content-Length"], []string{tt.want})
				is.Equal(resp.ContentLength, int64(5))
				text, err := readAll(resp, nil)
				is.NoErr(err)
				is.Equal(text, "hello")
			})
		})
	}
}

func TestH2CTrailersMayBeAsLongAsAHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		long := strings.Repeat("x", 200<<10)
		g := newH2CTarget(t, upstream.Options{}, func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "hello")
			w.Header().Set(http.TrailerPrefix+"X-Long", long)
		})
		resp, err := g.send(request("GET", nil, 0))
		is.NoErr(err)
		text, err := readAll(resp, nil)
		is.NoErr(err)
		is.Equal(text, "hello")
		is.True(resp.Trailer.Get("X-Long") == long)
	})
}

func TestH2CIsFullDuplex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newH2CTarget(t, upstream.Options{}, func(w http.ResponseWriter, r *http.Request) {
			http.NewResponseController(w).Flush()
			for b := make([]byte, 4); ; {
				n, err := r.Body.Read(b)
				w.Write(bytes.ToUpper(b[:n]))
				http.NewResponseController(w).Flush()
				if err != nil {
					return
				}
			}
		})
		client, body := net.Pipe()
		resp, err := g.send(request("POST", body, -1))
		is.NoErr(err)
		for _, word := range []string{"ping", "pong"} {
			io.WriteString(client, word)
			got := make([]byte, 4)
			_, err = io.ReadFull(resp.Body, got)
			is.NoErr(err)
			is.Equal(string(got), strings.ToUpper(word))
		}
		client.Close()
		_, err = readAll(resp, nil)
		is.NoErr(err)
	})
}

func TestH2CHeldBodyIsReadWhenThe100WasPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newH2CTarget(t, upstream.Options{}, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(w, r.Body)
		})
		var order journal
		body := noteReads{strings.NewReader("hello"), &order}
		text, err := readAll(g.Exchange(request("POST", body, 5), "/", field.ViewOf(http.Header{"Expect": {"100-continue"}}), func(status int, _ http.Header) {
			time.Sleep(time.Second)
			order.note(http.StatusText(status))
		}))
		is.NoErr(err)
		is.Equal(text, "hello")
		is.True(strings.HasPrefix(order.String(), "Continue, read"))
	})
}

func TestH2CErrorsTellWhatHappened(t *testing.T) {
	t.Run("dial", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			var network proxytest.Net
			p := upstream.NewH2C(upstream.Options{Network: "tcp", Address: "127.0.0.1:1", Dial: network.Dial})
			defer p.Close()
			body := &countedBody{Reader: strings.NewReader("hello")}
			_, err := p.Exchange(request("POST", body, -1), "/", field.View{}, nil)
			why, repeatable := reason(err)
			is.Equal(why, upstream.Dial)
			is.True(repeatable)
			is.True(errors.Is(err, syscall.ECONNREFUSED))
			is.Equal(body.reads+body.closed, 0) // the body is as it was
		})
	})
	t.Run("dial in vain", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			var network proxytest.Net
			network.Blackhole("127.0.0.1:1")
			p := upstream.NewH2C(upstream.Options{Network: "tcp", Address: "127.0.0.1:1", Dial: network.Dial})
			defer p.Close()
			start := time.Now()
			_, err := p.Exchange(request("GET", nil, 0), "/", field.View{}, nil)
			why, repeatable := reason(err)
			is.Equal(why, upstream.Dial)
			is.True(repeatable)
			is.Equal(time.Since(start), 5*time.Second)
		})
	})
	t.Run("time-out", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			g := newH2CTarget(t, upstream.Options{ResponseTimeout: 10 * time.Second}, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				time.Sleep(9 * time.Second)
				w.WriteHeader(http.StatusEarlyHints)
				<-r.Context().Done()
			})
			start := time.Now()
			_, err := g.send(request("POST", slowReader(5), -1))
			why, repeatable := reason(err)
			is.Equal(why, upstream.Timeout)
			is.True(!repeatable)
			is.Equal(time.Since(start), (50+9+10)*time.Second)
		})
	})
	t.Run("lost before the answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			var network proxytest.Net
			script := network.Script(t, "127.0.0.1:0", func(conn net.Conn, _ int) {
				conn.Write([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00")) // empty SETTINGS
				readTo(conn, "SM\r\n\r\n")                                 // the preface
				time.Sleep(time.Second)
			})
			p := upstream.NewH2C(upstream.Options{Network: "tcp", Address: script.Addr(), Dial: network.Dial})
			defer p.Close()
			for method, again := range map[string]bool{"GET": true, "DELETE": true, "POST": false} {
				_, err := p.Exchange(request(method, nil, 0), "/", field.View{}, nil)
				why, repeatable := reason(err)
				is.Equal(why, upstream.Broken)
				is.Equal(repeatable, again)
			}
			_, err := p.Exchange(request("PUT", strings.NewReader("x"), 1), "/", field.View{}, nil)
			why, repeatable := reason(err)
			is.Equal(why, upstream.Broken)
			is.True(!repeatable)
		})
	})
	t.Run("lost after an interim answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			g := newH2CTarget(t, upstream.Options{}, func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusEarlyHints)
				panic(http.ErrAbortHandler)
			})
			_, err := g.send(request("GET", nil, 0))
			why, repeatable := reason(err)
			is.Equal(why, upstream.Broken)
			is.True(!repeatable)
		})
	})
	t.Run("aborted answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			g := newH2CTarget(t, upstream.Options{}, func(w http.ResponseWriter, r *http.Request) {
				io.WriteString(w, "hel")
				http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			})
			text, err := readAll(g.send(request("GET", nil, 0)))
			why, _ := reason(err)
			is.Equal(why, upstream.Broken)
			is.Equal(text, "hel")
		})
	})
	t.Run("client's body", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			ends := make(chan error, 1)
			g := newH2CTarget(t, upstream.Options{}, func(w http.ResponseWriter, r *http.Request) {
				_, err := io.ReadAll(r.Body)
				ends <- err
			})
			_, err := g.send(request("POST", brokenAfter("hell"), -1))
			why, repeatable := reason(err)
			is.Equal(why, upstream.ClientBody)
			is.True(!repeatable)
			is.True(<-ends != nil) // the target does not see a complete body
		})
	})
}

func TestH2CExchangeEndsAtOnce(t *testing.T) {
	for state, handler := range map[string]http.HandlerFunc{
		"dialing":               nil,
		"waiting for an answer": func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"reading a body": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "hel")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(state, func(t *testing.T) {
			endAtOnce(t, func(t *testing.T) exchanger {
				g := newH2CTarget(t, upstream.Options{DialTimeout: -1}, handler)
				if handler == nil {
					g.net.Blackhole(g.address)
				}
				return g
			})
		})
	}
}

func TestH2CCloseLeavesNoConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newH2CTarget(t, upstream.Options{}, func(w http.ResponseWriter, r *http.Request) {
			io.Copy(w, r.Body)
		})
		client, body := net.Pipe()
		defer client.Close()
		_, err := readAll(g.send(request("GET", nil, 0)))
		is.NoErr(err)
		done := make(chan error)
		go func() {
			_, err := readAll(g.send(request("POST", body, -1)))
			done <- err
		}()
		time.Sleep(time.Second)
		g.Close()
		why, _ := reason(<-done)
		is.Equal(why, upstream.Cut)
		is.Equal(g.net.Conns(g.address), 0) // connections
		_, err = g.send(request("GET", nil, 0))
		why, repeatable := reason(err)
		is.Equal(why, upstream.Cut)
		is.True(repeatable)
		g.Close()
	})
}

func TestH2CStreamsArePassedOnAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		g := newH2CTarget(t, upstream.Options{}, func(w http.ResponseWriter, r *http.Request) {
			for range 3 {
				http.NewResponseController(w).Flush()
				time.Sleep(time.Hour)
				io.WriteString(w, "x")
			}
		})
		resp, err := g.send(request("GET", nil, 0))
		is.NoErr(err)
		var w recorder
		n, err := resp.Body.(io.WriterTo).WriteTo(&w)
		is.NoErr(err)
		is.Equal(n, int64(3))
		is.Equal(w.String(), "set, flush, clear, write, set, flush, clear, write, set, flush, clear, write, set, flush, clear")
	})
}
