package backend_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/backend"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// keepAliveTimer is what the kernel has for the timer of a connection that it keeps
// alive and on which nothing is under way.
const keepAliveTimer = "02"

// timerOf returns the timer of the connection from a port of 127.0.0.1, as
// /proc/self/net/tcp has it, or "" if there is no such connection.
func timerOf(port int) (string, error) {
	table, err := os.ReadFile("/proc/self/net/tcp")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line) // number, local, remote, state, queues, timer
		if len(fields) > 5 && fields[1] == fmt.Sprintf("0100007F:%04X", port) {
			timer, _, _ := strings.Cut(fields[5], ":")
			return timer, nil
		}
	}
	return "", nil
}

// It costs system calls, and a probe is over before it matters.
func TestConnectionOfAProbeIsNotKeptAlive(t *testing.T) {
	is := is.New(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	is.NoErr(err)
	defer l.Close()
	timers := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		proxytest.ReadHead(conn)
		timer, err := timerOf(conn.RemoteAddr().(*net.TCPAddr).Port)
		if err != nil {
			timer = err.Error()
		}
		timers <- timer
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}()
	to := newOf(t, new(backend.Shared), l.Addr().String(), backend.Settings{})
	defer to.Close()
	is.True(to.Probe(t.Context()).Passed)
	timer := <-timers
	is.Equal(len(timer), 2) // the connection was found
	is.True(timer != keepAliveTimer)
}
