package main_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
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
	"github.com/shahnk19/parachute/internal/proxytest"
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
func filesOf(t *testing.T, pid int) int { return countFiles(t, pid, "") }

// pipesOf returns how many ends of pipes a process has open.
func pipesOf(t *testing.T, pid int) int { return countFiles(t, pid, "pipe:") }

// countFiles returns how many files a process has open whose names begin so.
func countFiles(t *testing.T, pid int, prefix string) (n int) {
	t.Helper()
	dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	open, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range open {
		name, err := os.Readlink(filepath.Join(dir, f.Name()))
		if prefix == "" || err == nil && strings.HasPrefix(name, prefix) {
			n++
		}
	}
	return n
}

// awaitPipes returns when as many ends of pipes are open as want says.
func awaitPipes(t *testing.T, p *process, want func(n int) bool) {
	t.Helper()
	look, late := time.NewTicker(10*time.Millisecond), time.NewTimer(patience)
	defer look.Stop()
	defer late.Stop()
	for n := pipesOf(t, p.pid); !want(n); n = pipesOf(t, p.pid) {
		select {
		case <-look.C:
		case <-late.C:
			t.Fatalf("%d ends of pipes are open", n)
		}
	}
}

// More clients than files may be open connect, and say nothing.
func TestIdleClientsTakeNobodyElsesFiles(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	metricsPort := proxytest.FreePort(t)
	began := time.Now()
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

	for late := time.Now().Add(patience); filesOf(t, proxy.pid) >= 128-24; { // the reserve is there, unless a probe has one of it
		is.True(time.Now().Before(late))
	}
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
	warnings := strings.Count(proxy.stdout.String(), "clients wait to be accepted")
	is.True(warnings <= 1+int(time.Since(began)/time.Minute)) // once a minute
	is.True(!strings.Contains(proxy.stdout.String(), `"msg":"unhealthy"`))
}

// One client asks for more at once, over HTTP/2, than there are connections for.
func TestRequestsOfOneClientTakeNobodyElsesFiles(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	const host = "app1.example.com"
	env := newEnvironment(t).with(environment{"HTTPS_PORT": "0"})
	proxy, _ := startProxy(t, withFiles(96), env)
	var https struct{ Address string }
	is.NoErr(json.Unmarshal([]byte(proxy.stdout.await(t, proxy, `"protocol":"https"`)), &https))
	a, ca := newApp(t, "app"), proxytest.NewCA()
	certFile, keyFile := ca.WritePair(t, t.TempDir(), host)
	args := []string{"deploy", "web", "--host", host, "--tls", "--tls-certificate-path", certFile, "--tls-private-key-path", keyFile, "--hold", "0", "--target"}
	is.Equal(asBinary(t, env, append(args, a.address)...).wait(t), 0)
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: host}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: holdTime}

	const requests = 90 // on one connection
	answers := make(chan string, requests)
	for range requests {
		go func() {
			r, err := http.NewRequest(http.MethodPost, "https://"+https.Address+"/hold", nil)
			if err != nil {
				answers <- err.Error()
				return
			}
			r.Host = host
			res, err := client.Do(r)
			if err != nil {
				answers <- err.Error()
				return
			}
			res.Body.Close()
			answers <- res.Proto + " " + res.Status
		}()
	}
	is.Equal(<-answers, "HTTP/2.0 503 Service Unavailable") // no connection is left for it
	line := proxy.stdout.await(t, proxy, `"status":503`)
	is.True(strings.Contains(line, `"error":"descriptors: `))
	proxy.stdout.await(t, proxy, `"msg":"a request could not be sent on: raise the limit of open files`)
	is.Equal(list(t, env)[0].Live.Targets[0].Health, parachute.HealthHealthy)
	next := newApp(t, "next")
	deploying := asBinary(t, env, append(args, next.address)...)
	deploying.stdout.await(t, deploying, "switched") // files are read, and a new target is probed

	served, refused := 0, 1
	for range requests {
		a.release <- struct{}{}
		next.release <- struct{}{} // for who was late
	}
	for range requests - 1 {
		switch answer := <-answers; answer {
		case "HTTP/2.0 200 OK":
			served++
		case "HTTP/2.0 503 Service Unavailable":
			refused++
		default:
			t.Error(answer)
		}
	}
	is.Equal(served+refused, requests)
	is.True(served >= 30) // as many as there was room for
	is.Equal(deploying.wait(t), 0)
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
	before := pipesOf(t, proxy.pid)

	var clients []*http.Response
	for range 20 {
		res, err := newClient(t).Get("http://" + address)
		is.NoErr(err)
		clients = append(clients, res)
	}
	awaitPipes(t, proxy, func(n int) bool { return n >= before+20*2 })
	for _, res := range clients {
		n, err := io.Copy(io.Discard, res.Body)
		is.NoErr(err)
		is.Equal(n, int64(size))
		is.NoErr(res.Body.Close())
	}
	awaitPipes(t, proxy, func(n int) bool { return n <= before }) // though the clients are still there
}

// A target that does not take an upload leaves a part of it in a pipe.
func TestPipesGoBackWhenUploadsAreOver(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	proxy, address := startProxy(t, asBinary, env)
	const size = 8 << 20 // more than a pipe and the sockets hold
	takes := make(chan struct{})
	app := listening(t, func(conn net.Conn) {
		r, err := http.ReadRequest(bufio.NewReader(conn))
		if err != nil {
			return
		}
		if r.Method == "POST" {
			<-takes
			if n, _ := io.Copy(io.Discard, r.Body); n != size {
				return
			}
		}
		io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
	})
	is.Equal(asBinary(t, env, "deploy", app).wait(t), 0)
	before := pipesOf(t, proxy.pid)

	ended := make(chan error, 5)
	body := make([]byte, size)
	client := newClient(t)
	for range cap(ended) {
		go func() {
			res, err := client.Post("http://"+address, "a/b", bytes.NewReader(body))
			if err == nil {
				res.Body.Close()
				if res.StatusCode != 200 {
					err = errors.New(res.Status)
				}
			}
			ended <- err
		}()
	}
	awaitPipes(t, proxy, func(n int) bool { return n >= before+cap(ended)*2 })
	close(takes)
	for range cap(ended) {
		is.NoErr(<-ended)
	}
	awaitPipes(t, proxy, func(n int) bool { return n <= before }) // though the clients are still there
}
