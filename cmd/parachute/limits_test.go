package main_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
)

// The head of a request may be what the flags say, and not a byte or a field more.
func TestFlagsBoundTheHeadOfARequest(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	_, address := startProxy(t, asBinary, env, "--max-header-bytes", "2KiB", "--max-header-fields", "8", "--max-target-bytes", "100", "--max-conn-requests", "3")
	target := newRawTarget(t)
	is.Equal(inProcess(t, env, "deploy", "web", "--target", target.address, "--host", "app.test").wait(t), 0)

	const line = "GET / HTTP/1.1\r\nHost: app.test\r\n"
	arrives := []string{`GET / app.test ""`}
	long := "/" + strings.Repeat("x", 99)
	filled := func(bytes int) string {
		return line + "X: " + strings.Repeat("y", bytes-len(line)-len("X: \r\n\r\n")) + "\r\n\r\n"
	}
	for _, f := range []framing{
		{name: "2 KiB", send: filled(2 << 10), status: []int{200}, arrives: arrives, open: true},
		{name: "a byte more", send: filled(2<<10 + 1), status: []int{431}},
		{name: "8 fields", send: line + strings.Repeat("X: y\r\n", 7) + "\r\n", status: []int{200}, arrives: arrives, open: true},
		{name: "9 fields", send: line + strings.Repeat("X: y\r\n", 8) + "\r\n", status: []int{431}},
		{name: "a target of 100 bytes", send: "GET " + long + " HTTP/1.1\r\nHost: app.test\r\n\r\n", status: []int{200}, arrives: []string{"GET " + long + ` app.test ""`}, open: true},
		{name: "a byte more of that", send: "GET " + long + "x HTTP/1.1\r\nHost: app.test\r\n\r\n", status: []int{414}},
		{name: "3 requests, and a fourth", send: strings.Repeat(line+"\r\n", 4), status: []int{200, 200, 200}, arrives: []string{arrives[0], arrives[0], arrives[0]}},
	} {
		t.Run(f.name, func(t *testing.T) { f.check(t, address, target) })
	}
}

// A client that does not go on is hung up on after the time that the flags say.
func TestFlagsBoundTheTimeOfAConnection(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		send   string
		status int // 0: there is no answer
	}{
		"half a head":       {"GET / HTTP/1.1\r\nHost: app.test\r\n", http.StatusRequestTimeout},
		"no second request": {"GET / HTTP/1.1\r\nHost: app.test\r\n\r\n", http.StatusNotFound},
		"no request":        {"", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			for limit := 500 * time.Millisecond; ; limit *= 2 {
				_, address := startProxy(t, asBinary, newEnvironment(t), "--read-header-timeout", limit.String(), "--idle-timeout", limit.String())
				conn, err := net.Dial("tcp", address)
				is.NoErr(err)
				defer conn.Close()
				is.NoErr(conn.SetDeadline(time.Now().Add(patience)))
				io.WriteString(conn, tt.send)
				answers := bufio.NewReader(conn)
				if tt.status != 0 {
					status, _, err := readFinalAnswer(answers, http.MethodGet)
					if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && limit < patience/4 {
						continue // it was sent too late for the limit
					}
					is.NoErr(err)
					is.Equal(status, tt.status)
				}
				_, err = answers.ReadByte()
				is.True(err != nil && !errors.Is(err, os.ErrDeadlineExceeded)) // it is hung up on
				return
			}
		})
	}
}
