package forward_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/forward"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// piped makes the body of res what is written to the returned writer.
func piped(res *http.Response) (*http.Response, *io.PipeWriter) {
	in, out := io.Pipe()
	res.Body = in
	return res, out
}

// nextPiece reads what has come by now.
func nextPiece(is *is.I, r io.Reader) string {
	is.Helper()
	b := make([]byte, 1000)
	n, err := r.Read(b)
	is.NoErr(err)
	return string(b[:n])
}

func TestEachPieceIsThroughAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fields []string
		pieces []string // as the client gets them
	}{
		{"unknown length", nil, []string{"4\r\none,\r\n", "4\r\ntwo,\r\n", "5\r\nthree\r\n"}},
		{"events", []string{"Content-Type", "text/event-stream"}, []string{"4\r\none,\r\n", "4\r\ntwo,\r\n", "5\r\nthree\r\n"}},
		{"known length", []string{"Content-Length", "13"}, []string{"one,", "two,", "three"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			played(t, get+"\r\n", func(t *testing.T, client net.Conn, p *proxy, c call) {
				is := is.New(t)
				res, out := piped(response(200, "", tt.fields...))
				if len(tt.fields) > 0 && tt.fields[0] == "Content-Length" {
					res.ContentLength = 13
				}
				c.answer <- answer{res: res}
				synctest.Wait()
				counted := res.ContentLength > 0
				if !counted {
					head, err := proxytest.ReadHead(client)
					is.NoErr(err)
					is.True(strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n")) // before there is a body
				}
				for i, piece := range []string{"one,", "two,", "three"} {
					io.WriteString(out, piece)
					if counted && i == 2 {
						out.Close() // as a body of known length ends at its last byte
					}
					synctest.Wait()
					got := nextPiece(is, client)
					if counted && i == 0 {
						_, got, _ = strings.Cut(got, "\r\n\r\n")
					}
					is.Equal(got, tt.pieces[i])
					time.Sleep(time.Hour) // a target that is silent is not given up
				}
				out.Close()
				is.NoErr((<-p.outcomes).err)
			})
		})
	}
}

// A written is a body that passes itself on.
type written struct {
	io.Reader
	n int
}

func (b *written) WriteTo(w io.Writer) (int64, error) {
	b.n++
	return io.Copy(w, struct{ io.Reader }{b.Reader})
}

func (b *written) Close() error { return nil }

func TestABodyThatCanPassesItselfOn(t *testing.T) {
	for _, tt := range []struct {
		name, kind string
		times      int
	}{
		{"any", "a/b", 1},
		{"but no event stream", "text/event-stream", 0}, // WriteTo would time the client
	} {
		t.Run(tt.name, func(t *testing.T) {
			played(t, get+"\r\n", func(t *testing.T, client net.Conn, p *proxy, c call) {
				is := is.New(t)
				body := &written{Reader: strings.NewReader("hello")}
				res := response(200, "", "Content-Length", "5")
				res.Header.Set("Content-Type", tt.kind)
				res.ContentLength, res.Body = 5, body
				c.answer <- answer{res: res}
				got, _ := hear(client, time.Second)
				is.True(strings.HasSuffix(got, "\r\n\r\nhello"))
				is.Equal(body.n, tt.times)
				o := <-p.outcomes
				is.NoErr(o.err)
				is.Equal(o.BytesOut, int64(5))
			})
		})
	}
}

func TestAShortBodyIsAnError(t *testing.T) {
	for name, body := range map[string]io.ReadCloser{
		"read":    io.NopCloser(struct{ io.Reader }{strings.NewReader("hell")}),
		"written": &written{Reader: strings.NewReader("hell")},
	} {
		t.Run(name, func(t *testing.T) {
			played(t, get+"\r\n", func(t *testing.T, client net.Conn, p *proxy, c call) {
				is := is.New(t)
				res := response(200, "", "Content-Length", "5")
				res.ContentLength, res.Body = 5, body
				c.answer <- answer{res: res}
				got, state := hear(client, time.Second)
				is.True(strings.HasSuffix(got, "\r\n\r\nhell"))
				is.Equal(state, "closed")
				o := <-p.outcomes
				is.Equal(o.err, io.ErrUnexpectedEOF)
				is.Equal(o.Status, 200)
				is.Equal(o.BytesOut, int64(4))
			})
		})
	}
}

func TestAnAnswerWithoutAValidStatusIsNotPassedOn(t *testing.T) {
	for _, status := range []int{0, 99, 100, 103, 199, 1000} {
		played(t, get+"\r\n", func(t *testing.T, client net.Conn, p *proxy, c call) {
			is := is.New(t)
			c.answer <- answer{res: response(status, "")}
			got, _ := hear(client, time.Second)
			is.True(strings.HasPrefix(got, "HTTP/1.1 502 "))
			is.Equal((<-p.outcomes).Status, 0)
		})
	}
}

func TestResultTellsWhatHappened(t *testing.T) {
	played(t, post+"Content-Length: 5\r\n\r\nhello", func(t *testing.T, client net.Conn, p *proxy, c call) {
		is := is.New(t)
		io.ReadAll(c.r.Body)
		time.Sleep(time.Second)
		begun := time.Now()
		res, out := piped(response(201, "", "Connection", "X-Secret", "X-Secret", "a", "X-A", "b"))
		c.answer <- answer{res: res}
		time.Sleep(time.Second)
		io.WriteString(out, "thanks")
		out.Close()
		is.Equal(<-p.outcomes, outcome{Result: forward.Result{
			Status:    201,
			Header:    http.Header{"Content-Type": {"a/b"}, "X-A": {"b"}},
			BytesIn:   5,
			BytesOut:  6,
			FirstByte: begun,
			BodyRead:  true,
		}})
	})
}

func TestAClientThatTakesNothingForAMinuteIsGivenUp(t *testing.T) {
	played(t, get+"\r\n", func(t *testing.T, client net.Conn, p *proxy, c call) {
		is := is.New(t)
		res := response(200, "", "Content-Length", "1000000")
		res.ContentLength, res.Body = 1000000, io.NopCloser(struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 1000000))})
		begun := time.Now()
		c.answer <- answer{res: res}
		o := <-p.outcomes
		is.True(errors.Is(o.err, os.ErrDeadlineExceeded))
		is.Equal(o.Status, 200)
		is.Equal(time.Since(begun), time.Minute)
	})
}

func TestAClientThatTakesALittleIsNotGivenUp(t *testing.T) {
	played(t, get+"\r\n", func(t *testing.T, client net.Conn, p *proxy, c call) {
		is := is.New(t)
		res := response(200, "", "Content-Length", "1000000")
		res.ContentLength, res.Body = 1000000, io.NopCloser(struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 1000000))})
		c.answer <- answer{res: res}
		for b := make([]byte, 50000); ; time.Sleep(50 * time.Second) {
			if _, err := io.ReadFull(client, b); err != nil {
				is.Equal(err, nil)
			}
			if len(p.outcomes) > 0 {
				break
			}
		}
		is.NoErr((<-p.outcomes).err)
	})
}

func TestTheLastBytesAreNotWrittenForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		n := new(proxytest.Net)
		closed := make(chan bool)
		serve(t, n, newProxy(answering(func() *http.Response {
			res := response(200, "", "Content-Length", "1000")
			res.Body, res.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", 1000))), 1000
			return res
		})))
		client := dial(t, n)
		begun := time.Now()
		go func() {
			defer close(closed)
			for { // requests, and no answer is ever read
				if _, err := io.WriteString(client, get+"\r\n"); err != nil {
					return
				}
			}
		}()
		<-closed
		is.True(time.Since(begun) <= time.Minute)
	})
}

func TestAnEventStreamIsWatched(t *testing.T) {
	streams := func(t *testing.T, test func(is *is.I, client net.Conn, p *proxy, out *io.PipeWriter, stream io.Closer)) {
		synctest.Test(t, func(t *testing.T) {
			n := new(proxytest.Net)
			x := newExchange()
			p := newProxy(x.Exchange)
			opened := make(chan io.Closer, 2)
			p.stream = func(stream io.Closer) { opened <- stream }
			serve(t, n, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/other" {
					w.WriteHeader(http.StatusNoContent)
					return
				}
				p.ServeHTTP(w, r)
			}))
			client := dial(t, n)
			io.WriteString(client, get+"\r\n")
			c := <-x.calls
			res, out := piped(response(200, ""))
			res.Header.Set("Content-Type", "Text/Event-Stream; charset=utf-8")
			c.answer <- answer{res: res}
			test(is.New(t), client, p, out, <-opened)
			if len(opened) > 0 {
				t.Error("the stream was reported twice")
			}
		})
	}
	t.Run("closed while the target is silent", func(t *testing.T) {
		streams(t, func(is *is.I, client net.Conn, p *proxy, out *io.PipeWriter, stream io.Closer) {
			io.WriteString(out, "data: 1\n\n")
			synctest.Wait()
			is.NoErr(stream.Close())
			got, state := hear(client, time.Second)
			is.True(strings.HasSuffix(got, "\r\n\r\n9\r\ndata: 1\n\n\r\n")) // and no last chunk
			is.Equal(state, "closed")
			o := <-p.outcomes
			is.Equal(o.err.Error(), "the stream was closed") // whatever failed because of that
			is.Equal(o.Status, 200)
			is.Equal(o.BytesOut, int64(9))
		})
	})
	t.Run("closed while the client takes nothing", func(t *testing.T) {
		streams(t, func(is *is.I, client net.Conn, p *proxy, out *io.PipeWriter, stream io.Closer) {
			go func() {
				for { // until the stream is closed
					if _, err := out.Write(make([]byte, 10000)); err != nil {
						return
					}
				}
			}()
			time.Sleep(24 * time.Hour) // nobody minds
			is.Equal(len(p.outcomes), 0)
			is.NoErr(stream.Close())
			synctest.Wait()
			is.Equal(len(p.outcomes), 1) // at once
			is.True((<-p.outcomes).err != nil)
		})
	})
	t.Run("closed after its end", func(t *testing.T) {
		streams(t, func(is *is.I, client net.Conn, p *proxy, out *io.PipeWriter, stream io.Closer) {
			out.Close()
			is.NoErr((<-p.outcomes).err)
			got, _ := hear(client, time.Second)
			is.True(strings.HasSuffix(got, "\r\n\r\n0\r\n\r\n"))
			io.WriteString(client, "GET /other HTTP/1.1\r\nHost: app.test\r\n\r\n")
			is.NoErr(stream.Close()) // the connection is another request's now
			got, state := hear(client, time.Second)
			is.True(strings.HasPrefix(got, "HTTP/1.1 204 "))
			is.Equal(state, "open")
		})
	})
}

// As it is where it comes when all others have been closed: its request was let
// in, so its head is passed on.
func TestAStreamThatIsClosedAsItOpensHasItsHeadPassedOn(t *testing.T) {
	played(t, get+"\r\n", func(t *testing.T, client net.Conn, p *proxy, c call) {
		is := is.New(t)
		p.stream = func(s io.Closer) { s.Close() }
		res, out := piped(response(200, ""))
		res.Header.Set("Content-Type", "text/event-stream")
		c.answer <- answer{res: res}
		o := <-p.outcomes
		is.Equal(o.err.Error(), "the stream was closed")
		is.Equal(o.Status, 200)
		_, err := io.WriteString(out, "data: 1\n\n")
		is.Equal(err, io.ErrClosedPipe) // the target's body was closed
		got, state := hear(client, time.Second)
		is.True(strings.HasPrefix(got, "HTTP/1.1 200 "))
		is.True(strings.HasSuffix(got, "\r\n\r\n")) // and no last chunk
		is.Equal(state, "closed")
	})
}

func TestAnEventStreamWithoutABodyIsNone(t *testing.T) {
	for _, tt := range []struct {
		method string
		status int
	}{{"HEAD", 200}, {"GET", 204}, {"GET", 304}} {
		played(t, tt.method+" / HTTP/1.1\r\nHost: app.test\r\n\r\n", func(t *testing.T, client net.Conn, p *proxy, c call) {
			is := is.New(t)
			p.stream = func(io.Closer) { panic("no stream") }
			res := response(tt.status, "")
			res.Header.Set("Content-Type", "text/event-stream")
			c.answer <- answer{res: res}
			is.NoErr((<-p.outcomes).err)
			_, state := hear(client, time.Second)
			is.Equal(state, "open")
		})
	}
}
