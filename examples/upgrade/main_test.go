package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
)

const patience = time.Minute

// A running is a process of the program, and those that take its place.
type running struct {
	cmd   *exec.Cmd
	said  *proxytest.Output
	ended chan struct{} // closed when the first one has
}

// start starts the program in front of an app.
func start(t *testing.T, path, app string) *running {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := &running{exec.Command(path, "127.0.0.1:0", app), new(proxytest.Output), make(chan struct{})}
	p.cmd.Stderr = w
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go io.Copy(p.said, r)
	go func() {
		p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill() // if the test has failed
		<-p.ended
	})
	return p
}

// serves returns the line in which a process says that it serves.
func (p *running) serves(t *testing.T, other int) (address string, pid int) {
	t.Helper()
	line, err := p.said.Await(nil, patience, func(line string) bool {
		_, pid := parse(line)
		return pid != 0 && pid != other
	})
	if err != nil {
		t.Fatalf("%v; it said:\n%s", err, p.said)
	}
	return parse(line)
}

// await waits for the end of the first process.
func (p *running) await(t *testing.T) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("it does not end; it said:\n%s", p.said)
	}
}

// parse returns what is in a line such as "... serving address=127.0.0.1:1234 pid=42".
func parse(line string) (address string, pid int) {
	_, rest, _ := strings.Cut(line, "serving address=")
	address, rest, ok := strings.Cut(rest, " pid=")
	if ok {
		json.Unmarshal([]byte(strings.TrimSpace(rest)), &pid)
	}
	return address, pid
}

func get(t *testing.T, address string) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := client.Get("http://" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestRequestsOfBothProcessesAreAnswered(t *testing.T) {
	is := is.New(t)
	entered, release := make(chan struct{}, 1), make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			entered <- struct{}{}
			<-release
		}
		io.WriteString(w, "hello")
	}))
	defer app.Close()
	letGo := sync.OnceFunc(func() { close(release) })
	defer letGo()
	path := filepath.Join(t.TempDir(), "upgrade")
	is.NoErr(proxytest.Build(path, ".", "."))
	p := start(t, path, app.Listener.Addr().String())
	address, first := p.serves(t, 0)
	is.Equal(get(t, address), "hello")
	slow := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + address + "/slow")
		if err != nil {
			slow <- err.Error()
			return
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		slow <- string(body)
	}()
	<-entered

	is.NoErr(p.cmd.Process.Signal(syscall.SIGHUP))
	same, second := p.serves(t, first)
	defer syscall.Kill(second, syscall.SIGTERM)
	is.Equal(same, address)
	is.Equal(get(t, address), "hello") // by the new process
	select {
	case <-p.ended:
		t.Fatal("the old process has not waited")
	default:
	}
	letGo()
	is.Equal(<-slow, "hello")
	p.await(t)
	is.Equal(p.cmd.ProcessState.ExitCode(), 0)
	is.Equal(get(t, address), "hello")
}

func TestRequestThatTheOldProcessHasNotReadYetIsAnswered(t *testing.T) {
	is := is.New(t)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	defer app.Close()
	path := filepath.Join(t.TempDir(), "upgrade")
	is.NoErr(proxytest.Build(path, ".", "."))
	p := start(t, path, app.Listener.Addr().String())
	address, first := p.serves(t, 0)
	send := func(text string) net.Conn {
		conn, err := net.Dial("tcp", address)
		is.NoErr(err)
		is.NoErr(conn.SetDeadline(time.Now().Add(patience)))
		_, err = io.WriteString(conn, text)
		is.NoErr(err)
		return conn
	}
	late := send("GET / HTTP/1.1\r\n")
	defer late.Close()
	idle := send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n") // behind the other one in the queue
	defer idle.Close()
	answers := bufio.NewReader(idle)
	answered := func(r *bufio.Reader) {
		resp, err := http.ReadResponse(r, nil)
		is.NoErr(err)
		body, err := io.ReadAll(resp.Body)
		is.NoErr(err)
		is.Equal(string(body), "hello")
	}
	answered(answers)

	is.NoErr(p.cmd.Process.Signal(syscall.SIGHUP))
	_, second := p.serves(t, first)
	defer syscall.Kill(second, syscall.SIGTERM)
	_, err := answers.ReadByte() // the old process closes what is idle
	is.Equal(err, io.EOF)
	_, err = io.WriteString(late, "Host: app.test\r\n\r\n")
	is.NoErr(err)
	answered(bufio.NewReader(late))
	p.await(t)
	is.Equal(p.cmd.ProcessState.ExitCode(), 0)
}

func TestProgramThatDoesNotServeIsNoSuccessor(t *testing.T) {
	is := is.New(t)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }))
	defer app.Close()
	path := filepath.Join(t.TempDir(), "upgrade")
	is.NoErr(proxytest.Build(path, ".", "."))
	p := start(t, path, app.Listener.Addr().String())
	address, _ := p.serves(t, 0)
	is.NoErr(os.Rename(path, path+".old"))
	is.NoErr(os.WriteFile(path, []byte("#!/bin/sh\nexit 1\n"), 0o755))
	is.NoErr(p.cmd.Process.Signal(syscall.SIGHUP))
	_, err := p.said.Await(nil, patience, func(line string) bool { return strings.Contains(line, "this process goes on") })
	is.NoErr(err)
	is.Equal(get(t, address), "hello")
	is.NoErr(p.cmd.Process.Signal(syscall.SIGTERM))
	p.await(t)
	is.Equal(p.cmd.ProcessState.ExitCode(), 0)
}
