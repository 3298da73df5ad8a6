package main_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// withFiles runs a command line with the program itself, which may have that many
// files open.
func withFiles(limit int) launcher {
	return func(t *testing.T, env environment, args ...string) *process {
		t.Helper()
		path, err := binary()
		if err != nil {
			t.Fatal(err)
		}
		limited := fmt.Sprintf(`ulimit -n %d; exec "$0" "$@"`, limit)
		cmd := exec.Command("/bin/sh", slices.Concat([]string{"-c", limited, path}, args)...)
		stdout, stderr := newOutput(), newOutput()
		p := startCommand(t, cmd, env, stdout, stderr)
		p.stdout, p.stderr = stdout, stderr
		return p
	}
}

// filesOf returns how many files a process has open.
func filesOf(t *testing.T, pid int) int {
	t.Helper()
	open, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

// awaitFiles returns when as many files are open as want says.
func awaitFiles(t *testing.T, p *process, want func(n int) bool) {
	t.Helper()
	look, late := time.NewTicker(10*time.Millisecond), time.NewTimer(patience)
	defer look.Stop()
	defer late.Stop()
	for n := filesOf(t, p.pid); !want(n); n = filesOf(t, p.pid) {
		select {
		case <-look.C:
		case <-late.C:
			t.Fatalf("%d files are open", n)
		}
	}
}

// More clients than files may be open connect, and say nothing.
func TestIdleClientsTakeNobodyElsesFiles(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	_, metricsPort, err := net.SplitHostPort(freeAddress(t))
	is.NoErr(err)
	proxy, address := startProxy(t, withFiles(128), env, "--metrics-port", metricsPort)
	old, next := newApp(t, "old"), newApp(t, "next")
	is.Equal(deploy(t, env, old), 0)
	known := newClient(t)
	answer, err := get(known, address, "localhost", "/")
	is.NoErr(err)
	is.Equal(answer, "200 old")

	var idle []net.Conn
	leave := func() {
		for _, conn := range idle {
			conn.Close()
		}
	}
	defer leave()
	for range 300 {
		conn, err := net.Dial("tcp", address)
		is.NoErr(err)
		idle = append(idle, conn)
	}
	warning := proxy.stdout.await(t, proxy, `"msg":"clients wait to be accepted: raise the limit of open files`)
	is.True(strings.Contains(warning, `"level":"WARN"`))
	is.True(strings.Contains(warning, `"limit":128`))

	is.True(filesOf(t, proxy.pid) < 128-24) // the reserve is there
	answer, err = get(known, address, "localhost", "/")
	is.NoErr(err)
	is.Equal(answer, "200 old") // to who was there before
	ready, err := get(newClient(t), net.JoinHostPort("127.0.0.1", metricsPort), "localhost", "/readyz")
	is.NoErr(err)
	is.Equal(ready, "200 ready")
	is.Equal(deploy(t, env, next), 0) // the control socket answers, a new target is probed, and the state saved
	answer, err = get(known, address, "localhost", "/")
	is.NoErr(err)
	is.Equal(answer, "200 next")
	services := list(t, env)
	is.Equal(services[0].Live.Targets[0].Health, parachute.HealthHealthy)

	leave()
	answer, err = get(newClient(t), address, "localhost", "/")
	is.NoErr(err)
	is.Equal(answer, "200 next") // to who comes afterwards
	is.Equal(strings.Count(proxy.stdout.String(), "clients wait to be accepted"), 1)
	is.True(!strings.Contains(proxy.stdout.String(), `"msg":"unhealthy"`))
}

// Each download that waits for its client holds a pipe.
func TestPipesGoBackWhenDownloadsAreOver(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	proxy, address := startProxy(t, asBinary, env)
	const size = 8 << 20 // more than a pipe and the sockets hold
	app := listening(t, func(conn net.Conn) {
		head := make([]byte, 1024)
		if n, err := conn.Read(head); err == nil && strings.HasPrefix(string(head[:n]), "GET /up ") {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			return
		}
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", size)
		conn.Write(make([]byte, size))
	})
	is.Equal(asBinary(t, env, "deploy", app).wait(t), 0)
	before := filesOf(t, proxy.pid)

	var clients []*http.Response
	for range 20 {
		res, err := newClient(t).Get("http://" + address)
		is.NoErr(err)
		clients = append(clients, res)
	}
	awaitFiles(t, proxy, func(n int) bool { return n >= before+20*4 }) // two sockets for each, and a pipe
	for _, res := range clients {
		n, err := io.Copy(io.Discard, res.Body)
		is.NoErr(err)
		is.Equal(n, int64(size))
		is.NoErr(res.Body.Close())
	}
	awaitFiles(t, proxy, func(n int) bool { return n <= before+20+5 }) // the clients are still there, and perhaps a probe
}
