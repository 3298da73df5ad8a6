package forward_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
)

// A visit is one request over HTTP/2, answered by the test itself.
type visit struct {
	net    *proxytest.Net
	client *http.Client
	x      *exchange
	p      *proxy
	out    *io.PipeWriter // the request's body
	call   call
	got    <-chan received
}

type received struct {
	*http.Response
	err error
}

// visited runs test with a POST whose body has not begun.
func visited(t *testing.T, test func(is *is.I, v *visit)) {
	synctest.Test(t, func(t *testing.T) {
		v := &visit{net: new(proxytest.Net), x: newExchange()}
		v.p = newProxy(v.x.Exchange)
		v.client = serve2(t, v.net, v.p)
		var in io.Reader
		in, v.out = io.Pipe()
		r, err := http.NewRequestWithContext(t.Context(), "POST", "http://app.test/a%2Fb", in)
		if err != nil {
			t.Fatal(err)
		}
		r.Trailer = http.Header{"X-Sum": nil, "Cookie": nil}
		v.got = v.send(r)
		v.call = <-v.x.calls
		test(is.New(t), v)
	})
}

func (v *visit) send(r *http.Request) <-chan received {
	got := make(chan received, 1)
	go func() {
		res, err := v.client.Do(r)
		got <- received{res, err}
	}()
	return got
}

// isOpen makes sure that the connection has survived.
func (v *visit) isOpen(is *is.I) {
	is.Helper()
	r, err := http.NewRequest("GET", "http://app.test/", nil)
	is.NoErr(err)
	got := v.send(r)
	c := <-v.x.calls
	c.answer <- answer{res: response(204, "")}
	again := <-got
	is.NoErr(again.err)
	is.Equal(again.StatusCode, 204)
	is.NoErr(again.Body.Close())
	is.Equal(c.r.RemoteAddr, v.call.r.RemoteAddr) // one connection for both
}

// serve2 is serve for HTTP/2, and has the client as well.
func serve2(t *testing.T, n *proxytest.Net, h http.Handler) *http.Client {
	listener, err := n.Listen(proxyAddr)
	if err != nil {
		t.Fatal(err)
	}
	only := new(http.Protocols)
	only.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: h, Protocols: only}
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	transport := &http.Transport{
		Protocols:          only,
		DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return n.Dial(ctx, network, proxyAddr)
		},
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
		<-served
	})
	return &http.Client{Transport: transport}
}

func TestHTTP2GoesBothWaysAtOnce(t *testing.T) {
	visited(t, func(is *is.I, v *visit) {
		res, out := piped(response(200, ""))
		go echo(out, v.call.r.Body)
		synctest.Wait() // until the body is waited for
		v.call.answer <- answer{res: res}
		got := <-v.got
		is.NoErr(got.err)
		for _, piece := range []string{"one", "two", "three"} {
			io.WriteString(v.out, piece)
			is.Equal(nextPiece(is, got.Body), piece)
			time.Sleep(24 * time.Hour) // nobody owes anybody anything
		}
		v.out.Close()
		b, err := io.ReadAll(got.Body)
		is.NoErr(err)
		is.Equal(string(b), "")
		o := <-v.p.outcomes
		is.NoErr(o.err)
		is.Equal(o.BytesIn, int64(11))
		is.Equal(o.BytesOut, int64(11))
		v.isOpen(is)
	})
}

func TestHTTP2TargetMayTakeTheBodySlowly(t *testing.T) {
	visited(t, func(is *is.I, v *visit) {
		go func() {
			io.WriteString(v.out, "hello")
			time.Sleep(30 * time.Minute)
			io.WriteString(v.out, "world")
			v.out.Close()
		}()
		hello := make([]byte, 5)
		_, err := io.ReadFull(v.call.r.Body, hello)
		is.NoErr(err)
		time.Sleep(time.Hour)
		b, err := io.ReadAll(v.call.r.Body)
		is.NoErr(err)
		is.Equal(string(b), "world")
		v.call.answer <- answer{res: response(204, "")}
		got := <-v.got
		is.NoErr(got.err)
		is.NoErr(got.Body.Close())
	})
}

func TestHTTP2EarlyAnswerLeavesTheConnectionOpen(t *testing.T) {
	visited(t, func(is *is.I, v *visit) {
		go io.Copy(io.Discard, v.call.r.Body)
		io.WriteString(v.out, "hello")
		begun := time.Now()
		v.call.answer <- answer{res: response(413, "no", "Content-Length", "2")}
		got := <-v.got
		is.NoErr(got.err)
		is.Equal(got.StatusCode, 413)
		b, err := io.ReadAll(got.Body)
		is.NoErr(err)
		is.Equal(string(b), "no")
		is.NoErr((<-v.p.outcomes).err)
		is.Equal(time.Since(begun), time.Duration(0)) // nobody is waited for
		v.out.Close()
		v.isOpen(is)
	})
}

// HTTP/2 goes both ways whatever a wrapper says.
func TestHTTP2NeedsNoFullDuplex(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		v := &visit{net: new(proxytest.Net), x: newExchange()}
		v.p = newProxy(v.x.Exchange)
		v.client = serve2(t, v.net, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { v.p.ServeHTTP(halfDuplex{w}, r) }))
		in, out := io.Pipe()
		r, err := http.NewRequestWithContext(t.Context(), "POST", "http://app.test/", in)
		is.NoErr(err)
		got := v.send(r)
		c := <-v.x.calls
		c.answer <- answer{res: response(413, "")}
		res := <-got
		is.NoErr(res.err)
		is.Equal(res.StatusCode, 413)
		is.NoErr(res.Body.Close())
		out.Close()
	})
}

// A halfDuplex writer refuses to be written to while the body is read.
type halfDuplex struct{ http.ResponseWriter }

func (w halfDuplex) EnableFullDuplex() error     { return http.ErrNotSupported }
func (w halfDuplex) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func TestHTTP2CarriesTrailersBothWays(t *testing.T) {
	visited(t, func(is *is.I, v *visit) {
		is.Equal(v.call.r.Trailer, http.Header{"X-Sum": nil})
		v.out.Close()
		b, err := io.ReadAll(v.call.r.Body)
		is.NoErr(err)
		is.Equal(string(b), "")
		res, out := piped(response(200, ""))
		res.Trailer = http.Header{"Grpc-Status": nil}
		v.call.answer <- answer{res: res}
		got := <-v.got
		is.NoErr(got.err)
		is.Equal(got.Header["Content-Length"], nil)
		res.Trailer = http.Header{"Grpc-Status": {"0"}, "Grpc-Message": {"ok"}, "Set-Cookie": {"a"}}
		out.Close()
		_, err = io.ReadAll(got.Body)
		is.NoErr(err)
		is.Equal(got.Trailer, http.Header{"Grpc-Status": {"0"}, "Grpc-Message": {"ok"}})
	})
}

func TestHTTP2NothingIsInvented(t *testing.T) {
	visited(t, func(is *is.I, v *visit) {
		v.out.Close()
		res := response(200, "<script>")
		res.Header = http.Header{"Connection": {"close"}, "Keep-Alive": {"timeout=5"}, "Date": {"today"}}
		v.call.answer <- answer{res: res}
		got := <-v.got
		is.NoErr(got.err)
		b, err := io.ReadAll(got.Body)
		is.NoErr(err)
		is.Equal(string(b), "<script>")
		is.Equal(got.Header, http.Header{"Date": {"today"}})
		v.isOpen(is)
	})
}

func TestHTTP2KeepsWhatA304TellsAndNamesNoProtocols(t *testing.T) {
	for status, want := range map[int]http.Header{
		304: {"Content-Length": {"500"}, "Content-Type": {"a/b"}, "Date": {"today"}},
		426: {"Content-Length": {"0"}, "Content-Type": {"a/b"}, "Date": {"today"}}, // HTTP/2 knows no upgrade (RFC 9113, section 8.2.2)
	} {
		visited(t, func(is *is.I, v *visit) {
			v.out.Close()
			res := response(status, "", "Date", "today")
			if status == 304 {
				res.Header["Content-Length"] = []string{"500"}
			} else {
				res.Header["Upgrade"], res.Header["Connection"] = []string{"foo"}, []string{"Upgrade"}
				res.Header["Content-Length"] = []string{"0"}
			}
			v.call.answer <- answer{res: res}
			got := <-v.got
			is.NoErr(got.err)
			got.Body.Close()
			is.Equal(got.StatusCode, status)
			is.Equal(got.Header, want)
			v.isOpen(is)
		})
	}
}

func TestHTTP2BrokenAnswerIsReset(t *testing.T) {
	visited(t, func(is *is.I, v *visit) {
		v.out.Close()
		res, out := piped(response(200, ""))
		v.call.answer <- answer{res: res}
		io.WriteString(out, "hello")
		out.CloseWithError(errors.New("broken"))
		got := <-v.got
		is.NoErr(got.err)
		b, err := io.ReadAll(got.Body)
		is.True(err != nil)
		is.Equal(string(b), "hello")
		o := <-v.p.outcomes
		is.True(o.err != nil)
		is.Equal(o.Status, 200)
		v.isOpen(is)
	})
}

func TestHTTP2InterimAnswersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		v := &visit{net: new(proxytest.Net), x: newExchange()}
		v.p = newProxy(v.x.Exchange)
		v.client = serve2(t, v.net, v.p)
		var heads []string
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
			heads = append(heads, http.StatusText(status)+" "+strings.Join(h["Link"], ","))
			return nil
		}})
		r, err := http.NewRequestWithContext(ctx, "POST", "http://app.test/", strings.NewReader("hello"))
		is.NoErr(err)
		r.Header.Set("Expect", "100-continue")
		got := v.send(r)
		c := <-v.x.calls
		b, err := io.ReadAll(c.r.Body)
		is.NoErr(err)
		is.Equal(string(b), "hello")
		c.interim(103, http.Header{"Link": {"</a>"}, "Connection": {"x"}})
		c.answer <- answer{res: response(200, "ok")}
		res := <-got
		is.NoErr(res.err)
		b, err = io.ReadAll(res.Body)
		is.NoErr(err)
		is.Equal(string(b), "ok")
		is.Equal(heads, []string{"Continue ", "Early Hints </a>"})
	})
}

func TestHTTP2HasNoTunnels(t *testing.T) {
	visited(t, func(is *is.I, v *visit) {
		v.out.Close()
		res := response(101, "", "Connection", "Upgrade", "Upgrade", "websocket")
		v.call.answer <- answer{res: res}
		got := <-v.got
		is.NoErr(got.err)
		is.Equal(got.StatusCode, 502)
		is.NoErr(got.Body.Close())
		is.Equal((<-v.p.outcomes).Status, 0)
	})
}

func TestHTTP2ClientThatSendsNothingForAMinuteIsGivenUp(t *testing.T) {
	visited(t, func(is *is.I, v *visit) {
		io.WriteString(v.out, "hello")
		begun := time.Now()
		_, err := io.ReadAll(v.call.r.Body)
		is.True(errors.Is(err, os.ErrDeadlineExceeded))
		is.True(time.Since(begun) >= 59*time.Second)
		v.call.answer <- answer{err: err}
		v.out.Close()
		got := <-v.got
		is.NoErr(got.err)
		is.Equal(got.StatusCode, 502)
		is.NoErr(got.Body.Close())
		v.isOpen(is)
	})
}

func TestHTTP2EventStreamIsCut(t *testing.T) {
	visited(t, func(is *is.I, v *visit) {
		streams := make(chan io.Closer, 1)
		v.p.stream = func(s io.Closer) { streams <- s }
		v.out.Close()
		res, out := piped(response(200, ""))
		res.Header.Set("Content-Type", "text/event-stream")
		v.call.answer <- answer{res: res}
		got := <-v.got
		is.NoErr(got.err)
		io.WriteString(out, "data: 1\n\n")
		is.Equal(nextPiece(is, got.Body), "data: 1\n\n")
		time.Sleep(24 * time.Hour)
		stream := <-streams
		is.NoErr(stream.Close())
		_, err := io.ReadAll(got.Body)
		is.True(err != nil)
		is.Equal((<-v.p.outcomes).Status, 200)
		is.NoErr(stream.Close())
		v.isOpen(is)
	})
}
