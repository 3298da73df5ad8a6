package main_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/cmd/parachute/internal/handover"
)

// A passed is a descriptor that systemd passes on, with its name.
type passed struct {
	name string
	file *os.File
}

// asActivated returns a launcher of the program as systemd starts it with these sockets.
func asActivated(sockets ...passed) launcher {
	return func(t *testing.T, env environment, args ...string) *process {
		t.Helper()
		path, err := binary()
		if err != nil {
			t.Fatal(err)
		}
		// The variable has the pid of the program, which is known to the process alone.
		cmd := exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, path}, args...)...)
		var names []string
		for _, s := range sockets {
			names = append(names, s.name)
			cmd.ExtraFiles = append(cmd.ExtraFiles, s.file)
		}
		env = env.with(environment{"LISTEN_FDS": strconv.Itoa(len(sockets)), "LISTEN_FDNAMES": strings.Join(names, ":")})
		stdout, stderr := newOutput(), newOutput()
		p := startCommand(t, cmd, env, stdout, stderr)
		p.stdout, p.stderr = stdout, stderr
		return p
	}
}

// bound returns the file of a socket that the test has bound, and its address.
func bound(t *testing.T, network, address string) (*os.File, string) {
	t.Helper()
	var opened interface {
		syscall.Conn
		io.Closer
	}
	var at net.Addr
	switch network {
	case "udp":
		c, err := net.ListenPacket(network, address)
		if err != nil {
			t.Fatal(err)
		}
		opened, at = c.(*net.UDPConn), c.LocalAddr()
	case "unix":
		l, err := net.ListenUnix(network, &net.UnixAddr{Name: address, Net: network})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		opened, at = l, l.Addr()
	default:
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		opened, at = l.(*net.TCPListener), l.Addr()
	}
	defer opened.Close() // the file is the socket still
	return fileOf(t, opened), at.String()
}

// fileOf returns a file of a socket. A process that has the socket goes on with it when
// another one is started with the file: that of the socket's method File would be made a
// blocking one then, and the socket with it, so that nothing could end Accept any more.
func fileOf(t *testing.T, socket syscall.Conn) *os.File {
	t.Helper()
	var all handover.Sockets
	if err := all.Duplicate("socket", socket); err != nil {
		t.Fatal(err)
	}
	f := all.File("socket")
	t.Cleanup(func() { f.Close() })
	return f
}

// boundPair returns the files of a TCP and a UDP socket of the same port.
func boundPair(t *testing.T) (tcp, udp *os.File, address string) {
	t.Helper()
	for range 10 {
		f, at := bound(t, "tcp", "127.0.0.1:0")
		c, err := net.ListenPacket("udp", at)
		if err != nil {
			continue
		}
		defer c.Close()
		return f, fileOf(t, c.(*net.UDPConn)), at
	}
	t.Fatal("no port is free for both")
	return nil, nil, ""
}

func portIn(t *testing.T, address string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestProxyServesAtTheSocketsOfSystemd(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	plain, at := bound(t, "tcp", "127.0.0.1:0")
	further, alsoAt := bound(t, "tcp", "127.0.0.1:0")
	metrics, metricsAt := bound(t, "tcp", "127.0.0.1:0")
	secure, quic, secureAt := boundPair(t)
	commands, _ := bound(t, "unix", env["PARACHUTE_SOCKET"])

	early, err := net.Dial("tcp", at) // before the proxy is there
	is.NoErr(err)
	defer early.Close()
	fmt.Fprintf(early, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

	launch := asActivated(passed{"http", further}, passed{"control", commands}, passed{"https", secure}, // in any order
		passed{"http3", quic}, passed{"metrics", metrics}, passed{"http", plain})
	p, _ := startProxy(t, launch, env, "--http-port", portIn(t, at), "--listen", alsoAt, "--http3",
		"--https-port", portIn(t, secureAt), "--metrics-port", portIn(t, metricsAt))
	for protocol, address := range map[string]string{"http3": secureAt, "https": secureAt, "metrics": metricsAt} {
		line := p.stdout.await(t, p, `"protocol":"`+protocol+`"`)
		is.True(strings.Contains(line, address)) // protocol
	}
	answer := make([]byte, len("HTTP/1.1 404"))
	_, err = io.ReadFull(early, answer)
	is.NoErr(err)
	is.Equal(string(answer), "HTTP/1.1 404") // it was not refused, and is served

	web := newApp(t, "web")
	is.Equal(deploy(t, env, web), 0) // over the socket
	for _, address := range []string{at, alsoAt} {
		answer, err := get(newClient(t), address, "localhost", "/")
		is.NoErr(err)
		is.Equal(answer, "200 web") // address
	}
	is.NoErr(p.signal(syscall.SIGTERM))
	is.Equal(p.wait(t), 0)
	_, err = os.Lstat(env["PARACHUTE_SOCKET"])
	is.NoErr(err) // systemd listens there, so it stays

	waiting, err := net.Dial("tcp", at)
	is.NoErr(err) // the port is open for the next
	defer waiting.Close()
	fmt.Fprintf(waiting, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	startProxy(t, asActivated(passed{"control", commands}, passed{"http", plain}), env, "--http-port", portIn(t, at))
	_, err = io.ReadFull(waiting, answer)
	is.NoErr(err)
	is.Equal(string(answer), "HTTP/1.1 200") // what was deployed is there, too
}

func TestSocketOfSystemdThatDoesNotFitIsAnError(t *testing.T) {
	t.Parallel()
	list, at := bound(t, "tcp", "127.0.0.1:0")
	datagrams, _ := bound(t, "udp", "127.0.0.1:0")
	commands, path := bound(t, "unix", filepath.Join(newEnvironment(t)["PARACHUTE_SOCKET"]+"2"))
	for name, tt := range map[string]struct {
		socket passed
		args   string
		want   string
	}{
		"a wrong name":         {passed{"web", list}, "", `the name "web"`},
		"the name of its unit": {passed{"parachute.socket", list}, "", "FileDescriptorName="},
		"UDP for http":         {passed{"http", datagrams}, "", "is no listening TCP socket"},
		"TCP for http3":        {passed{"http3", list}, "", "is no UDP socket"},
		"TCP for control":      {passed{"control", list}, "", "is no listening unix socket"},
		"another port":         {passed{"http", list}, "--http-port 1", "is not where the flags ask for (--bind 127.0.0.1 --http-port 1)"},
		"another address":      {passed{"http", list}, "--bind 127.0.0.2 --http-port " + portIn(t, at), "is not where the flags ask for"},
		"no --metrics-port":    {passed{"metrics", list}, "", "start with --metrics-port " + portIn(t, at)},
		"no HTTPS":             {passed{"https", list}, "", "is not asked for: start with --https-port " + portIn(t, at)},
		"no --http3":           {passed{"http3", datagrams}, "--https-port 0", "start with --http3"},
		"another path":         {passed{"control", commands}, "", path},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			env := newEnvironment(t)
			p := asActivated(tt.socket)(t, env, append([]string{"run"}, strings.Fields(tt.args)...)...)
			is.Equal(p.wait(t), 1)
			is.True(strings.HasPrefix(p.stderr.String(), "parachute: run: socket activation: "))
			if !strings.Contains(p.stderr.String(), tt.want) {
				t.Errorf("%s\n\thas no %q", p.stderr, tt.want)
			}
			_, err := os.Lstat(env["PARACHUTE_DATA_DIR"])
			is.True(os.IsNotExist(err)) // nothing was begun
		})
	}
}

func TestSystemdIsToldWhenTheProxyServesAndWhenItEnds(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	env := newEnvironment(t)
	path := env["PARACHUTE_SOCKET"] + "n"
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	is.NoErr(err)
	defer c.Close()
	next := func() string {
		b := make([]byte, 1<<10)
		n, err := c.Read(b)
		is.NoErr(err)
		return string(b[:n])
	}
	p, address := startProxy(t, asBinary, env.with(environment{"NOTIFY_SOCKET": path}))
	is.Equal(next(), "READY=1\nSTATUS=serving at http "+address)
	is.NoErr(p.signal(syscall.SIGTERM))
	is.Equal(next(), "STOPPING=1\nSTATUS=waiting for running requests, at most 30s")
	is.Equal(p.wait(t), 0)
}

// The units are checked with the program in its place, for systemd-analyze looks
// whether it is there.
func TestUnitsOfSystemdAreValidAndHardened(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("systemd-analyze is missing, which .ci/run installs")
		}
		t.Skip("systemd-analyze is not installed: the units in examples/systemd are not checked")
	}
	is := is.New(t)
	path, err := binary()
	is.NoErr(err)
	files, err := filepath.Glob("../../examples/systemd/parachute*.*")
	is.NoErr(err)
	is.True(len(files) > 1) // there are units
	dir := t.TempDir()
	for _, file := range files {
		text, err := os.ReadFile(file)
		is.NoErr(err)
		moved := strings.ReplaceAll(string(text), "/usr/local/bin/parachute", path)
		is.NoErr(os.WriteFile(filepath.Join(dir, filepath.Base(file)), []byte(moved), 0o600))
	}
	for _, file := range files {
		unit := filepath.Join(dir, filepath.Base(file))
		said, err := exec.Command(analyze, "verify", unit).CombinedOutput()
		if err != nil || strings.Contains(string(said), dir) {
			t.Errorf("systemd-analyze verify %s: %v\n%s", file, err, said)
		}
	}
	// The threshold is in tenths.
	said, err := exec.Command(analyze, "security", "--offline=true", "--threshold=29", filepath.Join(dir, "parachute.service")).CombinedOutput()
	if err != nil {
		t.Errorf("the unit is not rated below 3: %v\n%s", err, said)
	}
}
