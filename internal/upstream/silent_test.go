package upstream_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/proxytest"
	"github.com/shahnk19/parachute/internal/upstream"
)

// A silentClient sends first, and then nothing for an hour, as the client of a call
// does that waits for the answer to its first message.
type silentClient struct{ first io.Reader }

func (c silentClient) Read(p []byte) (int, error) {
	n, err := c.first.Read(p)
	if err == io.EOF {
		time.Sleep(time.Hour)
	}
	return n, err
}

// streamEnds are the ways in which a target of HTTP/2 ends a stream.
var streamEnds = map[string]func(conn net.Conn, framer *http2.Framer, id uint32){
	"connection closed": func(conn net.Conn, _ *http2.Framer, _ uint32) { conn.Close() },
	"stream reset":      func(_ net.Conn, framer *http2.Framer, id uint32) { framer.WriteRSTStream(id, http2.ErrCodeInternal) },
	"stream refused": func(_ net.Conn, framer *http2.Framer, id uint32) {
		framer.WriteRSTStream(id, http2.ErrCodeRefusedStream)
	},
	"going away": func(_ net.Conn, framer *http2.Framer, id uint32) { framer.WriteGoAway(id-1, http2.ErrCodeNo, nil) },
}

// A streamScript is a target of HTTP/2 that ends a stream after some of its frames. It
// answers requests without a body.
type streamScript struct {
	after http2.FrameType // the frame that it is ended after
	say   string          // a status of an interim answer to say before that
	end   func(conn net.Conn, framer *http2.Framer, id uint32)
}

func (s streamScript) serve(conn net.Conn, _ int) {
	io.CopyN(io.Discard, conn, int64(len(http2.ClientPreface)))
	framer := http2.NewFramer(conn, conn)
	framer.WriteSettings()
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		id := frame.Header().StreamID
		if frame.Header().Type == http2.FrameHeaders && frame.Header().Flags.Has(http2.FlagHeadersEndStream) {
			writeStatus(framer, id, "204", true)
			continue
		}
		if frame.Header().Type != s.after {
			continue
		}
		if s.say != "" {
			writeStatus(framer, id, s.say, false)
		}
		time.Sleep(time.Second) // the client is waited for
		s.end(conn, framer, id)
	}
}

func writeStatus(framer *http2.Framer, id uint32, status string, last bool) {
	var head bytes.Buffer
	hpack.NewEncoder(&head).WriteField(hpack.HeaderField{Name: ":status", Value: status})
	framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head.Bytes(), EndHeaders: true, EndStream: last})
}

// silentCall returns a request with a body that goes on.
func silentCall(first string) *http.Request {
	r := request("POST", silentClient{bytes.NewReader([]byte(first))}, -1)
	r.ProtoMajor, r.ProtoMinor = 2, 0
	r.Header.Set("Content-Type", "application/grpc")
	return r
}

// TestH2CStreamThatItsTargetEndsIsOverThoughItsClientIsSilent has nobody wait for a
// client that itself waits for an answer.
func TestH2CStreamThatItsTargetEndsIsOverThoughItsClientIsSilent(t *testing.T) {
	for name, end := range streamEnds {
		for said, after := range map[string]http2.FrameType{"": http2.FrameHeaders, "a message": http2.FrameData} {
			for _, interim := range []string{"", "103"} {
				t.Run(name+" "+said+" "+interim, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						is := is.New(t)
						var n proxytest.Net
						script := n.Script(t, "127.0.0.1:0", streamScript{after, interim, end}.serve)
						p := upstream.NewH2C(upstream.Options{Network: "tcp", Address: script.Addr(), Dial: n.Dial})
						defer p.Close()
						begun := time.Now()
						_, err := p.Exchange(silentCall(said), "/", field.View{}, nil)
						why, repeatable := reason(err)
						is.Equal(why, upstream.Broken)
						is.True(!repeatable) // a part of the body may be lost
						is.True(time.Since(begun) <= 2*time.Second)
						is.True(interim != "" || time.Since(begun) == time.Second) // at once
					})
				})
			}
		}
	}
}

// TestH2CEarlyAnswerIsPassedOnThoughItsClientIsSilent: the transport lets go of the
// body then, too.
func TestH2CEarlyAnswerIsPassedOnThoughItsClientIsSilent(t *testing.T) {
	for _, interim := range []string{"", "100"} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			answer := func(_ net.Conn, framer *http2.Framer, id uint32) {
				writeStatus(framer, id, "413", false)
				time.Sleep(5 * time.Second)
				framer.WriteData(id, true, []byte("too large"))
			}
			var n proxytest.Net
			script := n.Script(t, "127.0.0.1:0", streamScript{http2.FrameData, interim, answer}.serve)
			p := upstream.NewH2C(upstream.Options{Network: "tcp", Address: script.Addr(), Dial: n.Dial})
			defer p.Close()
			begun := time.Now()
			resp, err := p.Exchange(silentCall("hello"), "/", field.View{}, nil)
			is.NoErr(err)
			is.Equal(resp.StatusCode, 413)
			is.Equal(time.Since(begun), time.Second)
			body, err := readAll(resp, nil)
			is.NoErr(err)
			is.Equal(body, "too large")
			is.Equal(time.Since(begun), 6*time.Second)
		})
	}
}

// TestH2CBodyOfAStreamThatItsTargetHasEndedIsNotBegun has the stream end before the
// transport reads the body.
func TestH2CBodyOfAStreamThatItsTargetHasEndedIsNotBegun(t *testing.T) {
	for name, end := range streamEnds {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var n proxytest.Net
				script := n.Script(t, "127.0.0.1:0", streamScript{http2.FrameHeaders, "", end}.serve)
				p := upstream.NewH2C(upstream.Options{Network: "tcp", Address: script.Addr(), Dial: n.Dial})
				defer p.Close()
				_, err := p.Exchange(request("GET", nil, 0), "/", field.View{}, nil) // the connection is settled
				is.NoErr(err)
				var once sync.Once // another connection has to be settled first
				late := &httptrace.ClientTrace{WroteHeaders: func() { once.Do(func() { time.Sleep(2 * time.Second) }) }}
				begun := time.Now()
				_, err = p.Exchange(requestWith(httptrace.WithClientTrace(t.Context(), late), "POST", silentClient{strings.NewReader("")}, -1), "/", field.View{}, nil)
				why, _ := reason(err)
				is.Equal(why, upstream.Broken)
				is.True(time.Since(begun) <= 5*time.Second) // it may have been sent again
			})
		})
	}
}

// TestH2CBodyIsReadThoughItsFirstConnectionTookNoStream: the transport closes the body
// with the connection, and reads it on another one.
func TestH2CBodyIsReadThoughItsFirstConnectionTookNoStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var got []byte
		answer := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if r.Method == "GET" {
				time.Sleep(time.Second)
				return
			}
			got, _ = io.ReadAll(r.Body)
		})
		var n proxytest.Net
		l, err := n.Listen("127.0.0.1:0")
		is.NoErr(err)
		server := &http.Server{Handler: answer, Protocols: new(http.Protocols), HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 1}}
		server.Protocols.SetUnencryptedHTTP2(true)
		var serving sync.WaitGroup
		serving.Go(func() { server.Serve(l) })
		defer serving.Wait()
		defer server.Close()
		address := l.Addr().String()
		p := upstream.NewH2C(upstream.Options{Network: "tcp", Address: address, Dial: n.Dial})
		defer p.Close()
		send := func(r *http.Request) (*http.Response, error) { return p.Exchange(r, "/", field.View{}, nil) }
		first := make(chan error)
		go func() {
			_, err := readAll(send(request("GET", nil, 0)))
			first <- err
		}()
		synctest.Wait() // it is known how many streams a connection takes
		_, err = readAll(send(request("GET", nil, 0)))
		is.NoErr(err)
		is.NoErr(<-first)
		is.Equal(n.Dials(address), 2)
		lost := 0
		losing := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
			if lost++; lost == 1 {
				info.Conn.Close()
				time.Sleep(time.Second)
			}
		}}
		long := blob(300 << 10)
		resp, err := send(requestWith(httptrace.WithClientTrace(t.Context(), losing), "POST", bytes.NewReader(long), -1))
		is.NoErr(err)
		is.Equal(resp.StatusCode, 200)
		is.Equal(lost, 2)
		is.True(bytes.Equal(got, long))
	})
}

func TestConnectionThatItsTargetClosesIsOverThoughItsClientIsSilent(t *testing.T) {
	for _, said := range []string{"", "a message"} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			g := newTarget(t, upstream.Options{}, func(conn net.Conn, _ int) {
				proxytest.ReadHead(conn)
				time.Sleep(time.Second)
			})
			begun := time.Now()
			_, err := g.send(request("POST", silentClient{bytes.NewReader([]byte(said))}, -1))
			why, repeatable := reason(err)
			is.Equal(why, upstream.Broken)
			is.True(!repeatable)
			is.Equal(time.Since(begun), time.Second)
		})
	}
}
