package upstream_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
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

// A frameTarget does one thing after the other with the requests that it gets,
// whatever connection they come on: "answer" or "goaway", the words of a GOAWAY that
// comes too late, or the code of a reset.
type frameTarget struct {
	todo   []any
	bodies []string // of the requests
}

// A goAway is what a target says when it goes away with what it has begun.
type goAway string

func (f *frameTarget) serve(conn net.Conn, _ int) {
	io.CopyN(io.Discard, conn, int64(len(http2.ClientPreface)))
	framer := http2.NewFramer(conn, conn)
	framer.WriteSettings()
	var body bytes.Buffer
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		if data, ok := frame.(*http2.DataFrame); ok {
			body.Write(data.Data())
		}
		kind := frame.Header().Type
		if kind != http2.FrameData && kind != http2.FrameHeaders || !frame.Header().Flags.Has(http2.FlagDataEndStream) {
			continue
		}
		f.bodies = append(f.bodies, body.String())
		body.Reset()
		do := f.todo[0]
		f.todo = f.todo[1:]
		id := frame.Header().StreamID
		if words, ok := do.(goAway); ok {
			framer.WriteGoAway(id, http2.ErrCodeNo, []byte(words)) // the stream is processed
			return
		}
		switch do {
		case "answer":
			var head bytes.Buffer
			hpack.NewEncoder(&head).WriteField(hpack.HeaderField{Name: ":status", Value: "204"})
			framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head.Bytes(), EndHeaders: true, EndStream: true})
		case "goaway":
			framer.WriteGoAway(id-1, http2.ErrCodeNo, nil) // the stream is not one of those that are processed
		default:
			framer.WriteRSTStream(id, do.(http2.ErrCode))
		}
	}
}

func TestH2CSendsAgainWhatWasNotProcessed(t *testing.T) {
	const refused = http2.ErrCodeRefusedStream
	for name, tt := range map[string]struct {
		todo       []any
		repeatable bool // where it failed
	}{
		"refused":          {[]any{refused, "answer"}, false},
		"goaway":           {[]any{"goaway", "answer"}, false},
		"refused again":    {[]any{refused, refused}, true},
		"goaway again":     {[]any{"goaway", "goaway"}, true},
		"cancelled":        {[]any{http2.ErrCodeCancel}, false},
		"misunderstood":    {[]any{http2.ErrCodeProtocol}, false},
		"goaway too late":  {[]any{goAway("")}, false},
		"goaway, then not": {[]any{"goaway", http2.ErrCodeInternal}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				var n proxytest.Net
				f := &frameTarget{todo: tt.todo}
				script := n.Script(t, "127.0.0.1:0", f.serve)
				p := upstream.NewH2C(upstream.Options{Network: "tcp", Address: script.Addr(), Dial: n.Dial})
				defer p.Close()
				r := request("POST", strings.NewReader("hello"), 5)
				begun := time.Now()
				resp, err := p.Exchange(r, "/", field.View{}, nil)
				is.Equal(time.Since(begun), time.Duration(0)) // without waiting
				is.Equal(len(f.todo), 0)
				for _, body := range f.bodies {
					is.Equal(body, "hello")
				}
				if tt.todo[len(tt.todo)-1] == "answer" {
					is.NoErr(err)
					is.Equal(resp.StatusCode, 204)
					is.Equal(resp.ContentLength, int64(0))
					is.Equal(resp.Body, http.NoBody) // it is over with its head
					return
				}
				why, repeatable := reason(err)
				is.Equal(why, upstream.Broken)
				is.Equal(repeatable, tt.repeatable)
				if repeatable {
					again, err := io.ReadAll(r.Body)
					is.NoErr(err)
					is.Equal(string(again), "hello")
				}
			})
		})
	}
}

// A body of 16 KiB is read first. Of one that is longer, what the transport has
// read cannot be read again.
func TestH2CSendsABodyAgainThatIsSmall(t *testing.T) {
	for size, again := range map[int]bool{16 << 10: true, 16<<10 + 1: false} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			var n proxytest.Net
			f := &frameTarget{todo: []any{http2.ErrCodeRefusedStream, "answer"}}
			script := n.Script(t, "127.0.0.1:0", f.serve)
			p := upstream.NewH2C(upstream.Options{Network: "tcp", Address: script.Addr(), Dial: n.Dial})
			defer p.Close()
			_, err := p.Exchange(request("POST", bytes.NewReader(make([]byte, size)), int64(size)), "/", field.View{}, nil)
			is.Equal(err == nil, again)
			is.Equal(len(f.bodies) == 2, again)
		})
	}
}

func TestH2CReadsASmallBodyFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		f := &frameTarget{todo: []any{"answer"}}
		var n proxytest.Net
		p := upstream.NewH2C(upstream.Options{Network: "tcp", Address: n.Script(t, "127.0.0.1:0", f.serve).Addr(), Dial: n.Dial})
		defer p.Close()
		_, err := p.Exchange(request("POST", brokenAfter("hell"), 5), "/", field.View{}, nil)
		why, repeatable := reason(err)
		is.Equal(why, upstream.ClientBody)
		is.True(!repeatable)
		is.Equal(len(f.bodies), 0) // the target has got nothing
		body := &countedBody{Reader: strings.NewReader("hello")}
		_, err = p.Exchange(request("POST", body, 5), "/", field.View{}, nil)
		is.NoErr(err)
		is.Equal(body.closed, 1)
		is.Equal(f.bodies, []string{"hello"})
	})
}

// It is the dial that fails first where an exchange is younger than its look for
// clients that have left.
func TestClientThatLeavesDuringADialIsGoneHoweverEarly(t *testing.T) {
	for _, after := range []time.Duration{time.Millisecond, time.Second} {
		synctest.Test(t, func(t *testing.T) {
			is := is.New(t)
			g := newTarget(t, upstream.Options{}, nil)
			g.net.Blackhole(g.script.Addr())
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			_, err := g.send(requestWith(ctx, "GET", nil, 0))
			why, repeatable := reason(err)
			is.Equal(why, upstream.Gone)
			is.True(!repeatable)
			is.True(errors.Is(err, context.DeadlineExceeded)) // the cause is kept
		})
	}
}

// TestRequestOfWhichATargetHasAPartIsNotSentAgain has a request that is too large
// for what a socket takes at once, of which the target reads most.
func TestRequestOfWhichATargetHasAPartIsNotSentAgain(t *testing.T) {
	is := is.New(t)
	small := func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			err = conn.(*net.TCPConn).SetWriteBuffer(4096)
		}
		return conn, err
	}
	pool := newSocketTarget(t, "tcp", "127.0.0.1:0", upstream.Options{Dial: small}, func(conn net.Conn, _ int) {
		conn.(*net.TCPConn).SetReadBuffer(32 << 10)
		io.ReadFull(conn, make([]byte, 12<<20))
		conn.(*net.TCPConn).SetLinger(0)
	})
	long := field.ViewOf(http.Header{"Long": {strings.Repeat("x", 16<<20)}})
	_, err := pool.Exchange(post("hello"), "/", long, nil)
	why, repeatable := reason(err)
	is.Equal(why, upstream.Broken)
	is.True(!repeatable)
}
