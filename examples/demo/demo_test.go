package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestDemoLosesNothingAndLeavesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two programs")
	}
	is := is.New(t)
	bin := t.TempDir()
	var out bytes.Buffer
	s := &stage{
		parachute: filepath.Join(bin, "parachute"),
		backend:   filepath.Join(bin, "backend"),
		dir:       t.TempDir(),
		out:       &out,
		pace:      50 * time.Millisecond,
	}
	is.NoErr(proxytest.Build(s.parachute, ".", "../../cmd/parachute"))
	is.NoErr(proxytest.Build(s.backend, ".", "../backend"))
	is.NoErr(s.play(t.Context(), true))

	is.True(regexp.MustCompile(`\n[1-9]\d* requests, 0 failed, 6 deploys, slowest \d+ms\n$`).Match(out.Bytes())) // the summary is the last line
	is.Equal(len(s.running), 3)
	for _, p := range s.running {
		select {
		case <-p.ended:
		default:
			t.Errorf("%s is still running", p.name())
		}
	}
	_, err := net.Dial("tcp", s.addr)
	is.True(err != nil) // nobody listens any more
}

func TestFleetLosesNothingAndLeavesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("builds three programs")
	}
	is := is.New(t)
	haproxy, err := exec.LookPath("haproxy")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("the fleet is not tried behind a balancer: ", err)
	}
	bin := t.TempDir()
	var out bytes.Buffer
	s := &stage{
		parachute: filepath.Join(bin, "parachute"),
		backend:   filepath.Join(bin, "backend"),
		etcd:      filepath.Join(bin, "etcd"),
		haproxy:   haproxy,
		dir:       t.TempDir(),
		out:       &out,
		pace:      50 * time.Millisecond,
	}
	is.NoErr(proxytest.Build(s.parachute, ".", "../../cmd/parachute"))
	is.NoErr(proxytest.Build(s.backend, ".", "../backend"))
	is.NoErr(proxytest.BuildEtcd(s.etcd, "../.."))
	err = s.play(t.Context(), true)
	if err != nil {
		t.Logf("it said:\n%s", &out)
	}
	is.NoErr(err)
	is.True(regexp.MustCompile(`\n[1-9]\d* requests, 0 failed, 6 deploys, slowest \d+ms\n$`).Match(out.Bytes())) // the summary is the last line
	is.Equal(len(s.running), 7)
	for _, p := range s.running {
		select {
		case <-p.ended:
		default:
			t.Errorf("%s is still running", p.name())
		}
	}
}

func TestProgramThatDoesNotStartIsNamed(t *testing.T) {
	is := is.New(t)
	s := &stage{parachute: "false", backend: "false", dir: t.TempDir(), out: new(bytes.Buffer)}
	err := s.play(t.Context(), true)
	is.True(err != nil)
	is.Equal(err.Error(), "false did not start: exit status 1\n")
}

func TestAnswerOfAReplacedVersionIsAFailure(t *testing.T) {
	is := is.New(t)
	l := new(load)
	l.deployed("1")
	before := l.expectation()
	l.count(before, "1", time.Millisecond, nil)
	l.deploying()
	l.count(before, "2", time.Millisecond, nil) // began before the deploy: either may answer
	during := l.expectation()
	l.deployed("2")
	l.count(during, "1", 2*time.Millisecond, nil) // began while it went on
	is.NoErr(l.err())

	l.count(l.expectation(), "1", time.Millisecond, nil)
	is.Equal(l.err().Error(), "1 of 4 requests failed; the first: version 1 answered after the deploy of version 2 had returned")
	is.Equal(l.String(), "4 requests, 1 failed, 2 deploys, slowest 2ms")
}

func TestClientDoesNotHideALostConnection(t *testing.T) {
	is := is.New(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	is.NoErr(err)
	defer listener.Close()
	go dropAll(listener)

	c := &client{addr: listener.Addr().String()}
	defer c.close()
	for range 2 {
		_, err := c.ask()
		is.True(err != nil) // the connection was closed without an answer
	}
}

func dropAll(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		conn.Close()
	}
}

func TestQuotedWordIsOneWord(t *testing.T) {
	for _, s := range []string{"/tmp/a.sock", "/tmp/my folder/a", "it's", "$HOME"} {
		t.Run(s, func(t *testing.T) {
			is := is.New(t)
			out, err := exec.Command("sh", "-c", "printf %s "+quote(s)).Output()
			is.NoErr(err)
			is.Equal(string(out), s)
		})
	}
}
