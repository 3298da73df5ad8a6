package proxytest_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestScriptAnswersByteForByteConnectionByConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		heads := make(chan string, 2)
		n.Script(t, "web-1:3000", func(conn net.Conn, n int) {
			head, _ := proxytest.ReadHead(conn)
			heads <- head
			if n == 0 {
				return // hangs up on the first one
			}
			io.WriteString(conn, "HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok")
		})
		client := n.Client(t)
		_, _, err := get(client, "http://web-1:3000/a%2Fb")
		is.True(err != nil)
		status, body, err := get(client, "http://web-1:3000/a%2Fb")
		is.NoErr(err)
		is.Equal(status, 999)
		is.Equal(body, "ok")
		const want = "GET /a%2Fb HTTP/1.1\r\nHost: web-1:3000\r\nUser-Agent: Go-http-client/1.1\r\n\r\n"
		is.Equal(<-heads, want)
		is.Equal(<-heads, want)
	})
}

func TestScriptStopEndsWhatItPlays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		ended := make(chan error, 2)
		s := n.Script(t, "web-1:0", func(conn net.Conn, n int) {
			_, err := conn.Read(make([]byte, 1))
			ended <- err
		})
		for range 2 {
			_, err := n.Dial(t.Context(), "tcp", s.Addr())
			is.NoErr(err)
		}
		synctest.Wait()
		s.Stop()
		is.Equal(len(ended), 2) // Stop waited for both
		is.True(errors.Is(<-ended, net.ErrClosed))
		is.True(errors.Is(<-ended, net.ErrClosed))
		_, err := n.Dial(t.Context(), "tcp", s.Addr())
		is.True(err != nil)
		s.Stop() // does nothing
	})
}

func TestScriptCanAnswerEarlyWhileItIsWrittenTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := is.New(t)
		var n proxytest.Net
		n.Script(t, "web-1:3000", func(conn net.Conn, n int) {
			io.WriteString(conn, "HTTP/1.1 413 Content Too Large\r\n\r\n")
		})
		c, err := n.Dial(t.Context(), "tcp", "web-1:3000")
		is.NoErr(err)
		defer c.Close()
		_, err = c.Write(make([]byte, 1_000_000))
		is.True(err != nil)
		head, err := proxytest.ReadHead(c)
		is.NoErr(err)
		is.Equal(head, "HTTP/1.1 413 Content Too Large\r\n\r\n")
	})
}

func TestReadHeadStopsAtTheBlankLine(t *testing.T) {
	tests := []struct {
		name, sent, head, rest string
	}{
		{"body follows", "GET / HTTP/1.1\r\nA: b\r\n\r\n\r\nbody", "GET / HTTP/1.1\r\nA: b\r\n\r\n", "\r\nbody"},
		{"bare line feeds", "GET / HTTP/1.1\nA: b\n\nbody", "GET / HTTP/1.1\nA: b\n\n", "body"},
		{"mixed", "GET / HTTP/1.1\n\r\nbody", "GET / HTTP/1.1\n\r\n", "body"},
		{"odd bytes", "\x00\xff\r\r\n\r\n", "\x00\xff\r\r\n\r\n", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			var n proxytest.Net
			client, server := pair(t, n.Listen, n.Dial)
			_, err := io.WriteString(client, test.sent)
			is.NoErr(err)
			is.NoErr(client.CloseWrite())
			head, err := proxytest.ReadHead(server)
			is.NoErr(err)
			is.Equal(head, test.head)
			rest, err := io.ReadAll(server)
			is.NoErr(err)
			is.Equal(string(rest), test.rest)
		})
	}
}

func TestReadHeadTellsHowAHeadEnded(t *testing.T) {
	for sent, want := range map[string]error{
		"":                     io.EOF,
		"GET / HTTP/1.1\r\nA:": io.ErrUnexpectedEOF,
	} {
		t.Run(want.Error(), func(t *testing.T) {
			is := is.New(t)
			var n proxytest.Net
			client, server := pair(t, n.Listen, n.Dial)
			_, err := io.WriteString(client, sent)
			is.NoErr(err)
			is.NoErr(client.CloseWrite())
			head, err := proxytest.ReadHead(server)
			is.Equal(err, want)
			is.Equal(head, sent) // what was there
		})
	}
}

func TestReadHeadIsBounded(t *testing.T) {
	is := is.New(t)
	var n proxytest.Net
	client, server := pair(t, n.Listen, n.Dial)
	wrote := make(chan error, 1)
	go func() {
		_, err := io.Copy(client, strings.NewReader(strings.Repeat("endless ", 1<<17)))
		wrote <- err
	}()
	head, err := proxytest.ReadHead(server)
	is.Equal(len(head), 512<<10)
	is.True(err != nil)
	is.NoErr(server.Close())
	is.True(<-wrote != nil)
}
