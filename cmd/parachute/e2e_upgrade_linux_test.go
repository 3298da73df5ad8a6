package main_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/sys/unix"

	"github.com/shahnk19/parachute/internal/proxytest"
)

// asSession returns a launcher of a process that others take the place of, in a session of
// its own: with a terminal, or without if that is nil.
func asSession(terminal *os.File) launcher {
	return func(t *testing.T, env environment, args ...string) *process {
		t.Helper()
		path, err := binary()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(path, args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if terminal != nil {
			cmd.ExtraFiles = []*os.File{terminal}
			cmd.SysProcAttr.Setctty, cmd.SysProcAttr.Ctty = true, 3
		}
		return startPredecessor(t, cmd, env)
	}
}

func TestHangupUpgradesAProxyThatHasNoTerminal(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	first, address := startProxy(t, asSession(nil), env)
	endProxy(t, env)
	is.Equal(deploy(t, env, newApp(t, "web")), 0)
	is.NoErr(first.signal(syscall.SIGHUP))
	first.stdout.await(t, first, `"msg":"upgraded"`)
	is.True(pidOf(t, env) != first.pid)
	answer, err := get(newClient(t), address, "localhost", "/")
	is.NoErr(err)
	is.Equal(answer, "200 web")
}

func TestProxyEndsWhenItsTerminalCloses(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	terminal, user := openTerminal(t, 80, 24)
	p, address := startProxy(t, asSession(terminal), env)
	is.NoErr(terminal.Close())
	is.NoErr(user.Close())
	is.True(p.wait(t) != 0) // the signal has ended it
	_, err := net.Dial("tcp", address)
	is.True(err != nil) // and no other process is there
	is.True(!strings.Contains(p.stdout.String(), "upgrad"))
}

// A notice is what systemd was told, and by whom.
type notice struct {
	text string
	pid  int
}

// notices returns a socket for NOTIFY_SOCKET, and what comes there.
func notices(t *testing.T, path string) <-chan notice {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
	if err != nil {
		t.Fatal(err)
	}
	all := make(chan notice, 100)
	go func() {
		for {
			text, oob := make([]byte, 1<<10), make([]byte, 1<<10)
			n, oobn, _, _, err := c.ReadMsgUnix(text, oob)
			if err != nil {
				return
			}
			got := notice{text: string(text[:n])}
			if messages, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(messages) == 1 {
				if who, err := unix.ParseUnixCredentials(&messages[0]); err == nil {
					got.pid = int(who.Pid)
				}
			}
			all <- got
		}
	}()
	return all
}

// awaitNotice returns the next notice of a process.
func awaitNotice(t *testing.T, all <-chan notice, pid int) string {
	t.Helper()
	for late := time.After(patience); ; {
		select {
		case n := <-all:
			if n.pid == pid {
				return n.text
			}
		case <-late:
			t.Fatal("systemd is told nothing")
		}
	}
}

// systemd believes only the main process, so the old one has to say which that is.
func TestSystemdIsToldOfAnUpgradeByTheProcessThatItKnows(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	path := env["PARACHUTE_SOCKET"] + "n"
	told := notices(t, path)
	first, address := startProxy(t, asPredecessor, env.with(environment{"NOTIFY_SOCKET": path}))
	endProxy(t, env)
	is.Equal(awaitNotice(t, told, first.pid), "READY=1\nSTATUS=serving at http "+address)

	is.Equal(inProcess(t, env, "upgrade", "/bin/false").wait(t), 1)
	is.True(strings.HasPrefix(awaitNotice(t, told, first.pid), "RELOADING=1\nMONOTONIC_USEC="))
	is.Equal(awaitNotice(t, told, first.pid), "READY=1\nSTATUS=serving at http "+address) // the reload is over

	is.Equal(inProcess(t, env, "upgrade").wait(t), 0)
	next := pidOf(t, env)
	is.True(strings.HasPrefix(awaitNotice(t, told, first.pid), "RELOADING=1\nMONOTONIC_USEC="))
	said := awaitNotice(t, told, first.pid)
	is.True(strings.HasPrefix(said, fmt.Sprintf("MAINPID=%d\nREADY=1\nSTATUS=upgraded to ", next)))

	is.NoErr(syscall.Kill(next, syscall.SIGKILL))
	first.stdout.await(t, first, "taking up again")
	pidOf(t, env)
	said = awaitNotice(t, told, first.pid)
	is.True(strings.HasPrefix(said, fmt.Sprintf("MAINPID=%d\nREADY=1\n", first.pid))) // it is the main one again
}

func TestUpgradeOfAProxyWithTheSocketsOfSystemd(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	plain, at := bound(t, "tcp", "127.0.0.1:0")
	commands, _ := bound(t, "unix", env["PARACHUTE_SOCKET"])
	launch := asActivated(passed{"control", commands}, passed{"http", plain})
	proxy, _ := startProxy(t, launch, env, "--http-port", portIn(t, at))
	web := newApp(t, "web")
	is.Equal(deploy(t, env, web), 0)
	first := pidOf(t, env)
	is.Equal(inProcess(t, env, "upgrade").wait(t), 0)
	second := pidOf(t, env)
	is.True(second != first)
	is.Equal(inProcess(t, env, "upgrade", "--wait").wait(t), 0) // its successor has them as well
	third := pidOf(t, env)
	is.True(third != second)
	answer, err := get(newClient(t), at, "localhost", "/")
	is.NoErr(err)
	is.Equal(answer, "200 web")

	is.NoErr(syscall.Kill(third, syscall.SIGTERM))
	proxy.stdout.await(t, proxy, `"msg":"stopping"`) // it says so where the first one did
	waiting, err := net.Dial("tcp", at)
	is.NoErr(err) // systemd listens there
	defer waiting.Close()
	fmt.Fprintf(waiting, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	startProxy(t, launch, env, "--http-port", portIn(t, at))
	begin := make([]byte, len("HTTP/1.1 200"))
	_, err = io.ReadFull(waiting, begin)
	is.NoErr(err)
	is.Equal(string(begin), "HTTP/1.1 200")
	is.True(pidOf(t, env) != third)
}

func TestUpgradeKeepsTLSSessionsAndServesHTTP3(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	const host = "app1.example.com"
	env := newEnvironment(t).with(environment{"HTTPS_PORT": "0"})
	first, _ := startProxy(t, asPredecessor, env, "--http3")
	endProxy(t, env)
	var https struct{ Address string }
	is.NoErr(json.Unmarshal([]byte(first.stdout.await(t, first, `"protocol":"https"`)), &https))
	ca := proxytest.NewCA()
	certFile, keyFile := ca.WritePair(t, t.TempDir(), host)
	deploying := inProcess(t, env, "deploy", newApp(t, "web").address, "--host", host,
		"--tls", "--tls-certificate-path", certFile, "--tls-private-key-path", keyFile)
	is.Equal(deploying.wait(t), 0)

	config := &tls.Config{RootCAs: ca.Pool(), ServerName: host, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	ask := func(by http.RoundTripper) (string, *tls.ConnectionState, error) {
		r, err := http.NewRequest(http.MethodGet, "https://"+https.Address+"/", nil)
		is.NoErr(err)
		r.Host = host
		resp, err := by.RoundTrip(r)
		if err != nil {
			return "", nil, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return string(body), resp.TLS, err
	}
	overTCP := func() bool {
		by := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
		body, state, err := ask(by)
		is.NoErr(err)
		is.Equal(body, "web")
		return state.DidResume
	}
	overQUIC := func() error {
		by := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), ServerName: host}}
		defer by.Close()
		body, _, err := ask(by)
		is.True(err != nil || body == "web")
		return err
	}
	is.True(!overTCP())
	is.True(overTCP())
	is.NoErr(overQUIC())
	for range 2 {
		is.Equal(inProcess(t, env, "upgrade", "--wait").wait(t), 0)
		is.True(overTCP()) // with the session of before
		err := overQUIC()
		for late := time.Now().Add(patience); err != nil && time.Now().Before(late); { // the old process reads there at first
			err = overQUIC()
		}
		is.NoErr(err)
	}
}
