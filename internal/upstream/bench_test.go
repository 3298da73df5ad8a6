package upstream_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/upstream"
)

const smallAnswer = "HTTP/1.1 200 OK\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\n" +
	"Date: Mon, 02 Jan 2006 15:04:05 GMT\r\n" +
	"Content-Length: 13\r\n\r\nHello, world!"

// answerSmall answers each head that it reads with smallAnswer.
func answerSmall(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		if len(line) == 2 {
			if _, err := io.WriteString(conn, smallAnswer); err != nil {
				return
			}
		}
	}
}

func listen(tb testing.TB, serve func(net.Conn)) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { l.Close() })
	go accept(l, serve)
	return l
}

func accept(l net.Listener, serve func(net.Conn)) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go serve(conn)
	}
}

func smallHeader() http.Header {
	return http.Header{
		"User-Agent":        {"wrk"},
		"Accept":            {"*/*"},
		"X-Forwarded-For":   {"127.0.0.1"},
		"X-Forwarded-Proto": {"http"},
		"X-Forwarded-Host":  {"app.example.com"},
		"X-Request-Id":      {"0123456789abcdef0123456789abcdef"},
	}
}

func smallRequest(tb testing.TB) (*http.Request, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, "GET", "http://app.example.com/", nil)
	if err != nil {
		tb.Fatal(err)
	}
	return r, cancel
}

func benchmarkExchange(b *testing.B, o upstream.Options) {
	p := upstream.New(o)
	defer p.Close()
	r, cancel := smallRequest(b)
	defer cancel()
	header := smallHeader()
	b.ReportAllocs()
	for b.Loop() {
		resp, err := p.Exchange(r, "/", field.ViewOf(header), nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := resp.Body.(io.WriterTo).WriteTo(io.Discard); err != nil {
			b.Fatal(err)
		}
		resp.Body.Close()
	}
}

func BenchmarkExchangeLoopback(b *testing.B) {
	l := listen(b, answerSmall)
	benchmarkExchange(b, upstream.Options{Network: "tcp", Address: l.Addr().String()})
}

func BenchmarkExchangeLoopbackTimed(b *testing.B) {
	l := listen(b, answerSmall)
	benchmarkExchange(b, upstream.Options{Network: "tcp", Address: l.Addr().String(), ResponseTimeout: 30 * time.Second})
}

// A canned connection answers every write at once, and has nothing else to read.
type canned struct {
	net.Conn
	answers *bytes.Reader
}

func (c canned) Write(p []byte) (int, error) {
	c.answers.Seek(0, io.SeekStart)
	return len(p), nil
}

func (c canned) Read(p []byte) (int, error) {
	if c.answers.Len() == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	return c.answers.Read(p)
}

func (canned) SetReadDeadline(time.Time) error  { return nil }
func (canned) SetWriteDeadline(time.Time) error { return nil }
func (canned) Close() error                     { return nil }

func dialCanned(context.Context, string, string) (net.Conn, error) {
	answers := bytes.NewReader([]byte(smallAnswer))
	answers.Seek(0, io.SeekEnd)
	return canned{answers: answers}, nil
}

func BenchmarkExchangeMemory(b *testing.B) {
	benchmarkExchange(b, upstream.Options{Dial: dialCanned})
}

func BenchmarkExchangeMemoryTimed(b *testing.B) {
	benchmarkExchange(b, upstream.Options{Dial: dialCanned, ResponseTimeout: time.Minute})
}

func BenchmarkTransportLoopback(b *testing.B) {
	l := listen(b, answerSmall)
	t := &http.Transport{}
	defer t.CloseIdleConnections()
	r, cancel := smallRequest(b)
	defer cancel()
	r.URL.Host = l.Addr().String()
	r.Header = smallHeader()
	b.ReportAllocs()
	for b.Loop() {
		resp, err := t.RoundTrip(r)
		if err != nil {
			b.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}
