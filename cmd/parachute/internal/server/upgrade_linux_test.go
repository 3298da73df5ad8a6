package server_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/handover"
	"github.com/shahnk19/parachute/cmd/parachute/internal/server"
)

// The processes of these tests are all this one, so nothing is asked of who has ended.

// takingOver returns a Config that takes the place of the one that serves at the socket.
func takingOver(c server.Config) server.Config {
	c.Predecessor = func(ctx context.Context) (handover.Conn, error) {
		return (&control.Client{Sockets: []string{c.Socket}}).TakeOver(ctx)
	}
	return c
}

// A sickApp is a target that can be made unhealthy.
type sickApp struct {
	address string
	sick    atomic.Bool
}

func newSickApp(t *testing.T) *sickApp {
	t.Helper()
	a := new(sickApp)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.sick.Load() && r.URL.Path == "/up" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		io.WriteString(w, "hello")
	}))
	t.Cleanup(s.Close)
	a.address = s.Listener.Addr().String()
	return a
}

func TestProcessThatHangsIsGivenUpAndEnded(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	c.ReadyTimeout = 100 * time.Millisecond
	mark := "MARK=" + c.DataDir
	c.Program = handover.Program{Path: "/bin/sleep", Args: []string{"parachute", "60"}, Env: append(os.Environ(), mark)}
	app := newApp(t)
	p := start(t, c)
	deploy(t, c, app.Listener.Addr().String())
	client := &control.Client{Sockets: []string{c.Socket}}

	// What is asked for meanwhile waits, and is done here.
	begun, deployed := make(chan struct{}), make(chan error, 1)
	go func() {
		<-begun
		_, err := client.Deploy(context.Background(), parachute.Deployment{Service: "shop", Hosts: []string{"shop.test"}, Targets: []string{app.Listener.Addr().String()}}, nil)
		deployed <- err
	}()
	go func() {
		p.await(t, `"msg":"upgrading"`)
		close(begun)
	}()
	_, err := client.Upgrade(t.Context(), "", false)
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), "the new process was not ready within 100ms"))
	is.NoErr(<-deployed)
	is.Equal(p.get("/"), "200 hello")
	is.True(!runsWith(t, mark)) // it has ended

	_, err = client.Upgrade(t.Context(), "/bin/true", false)
	is.True(err != nil)
	ended := strings.Contains(err.Error(), "ended before it served")
	is.True(ended || strings.Contains(err.Error(), "not ready within")) // the next is not kept from anything
	is.NoErr(p.stop(t))
}

// runsWith reports whether a process runs that has that in its environment.
func runsWith(t *testing.T, variable string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		environ, err := os.ReadFile(file) // of others it is not to be read
		if err == nil && slices.Contains(strings.Split(string(environ), "\x00"), variable) {
			return true
		}
	}
	return false
}

func TestProcessByWhichAHealthyServiceWouldBeUnhealthyDoesNotTakeOver(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	app := newSickApp(t)
	p := start(t, c)
	_, err := (&control.Client{Sockets: []string{c.Socket}}).Deploy(t.Context(), parachute.Deployment{
		Service: "web", Targets: []string{app.address}, HealthCheck: parachute.HealthCheck{Interval: time.Hour},
	}, nil)
	is.NoErr(err)
	app.sick.Store(true) // nobody has noticed yet
	next := takingOver(c)
	next.ReadyTimeout = 5 * time.Second
	err = server.Run(t.Context(), next)
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), "web would be unhealthy: "+app.address+" GET /up answered 503"))
	line := p.await(t, `"msg":"not upgraded: this process goes on"`)
	is.True(strings.Contains(line, "web would be unhealthy")) // both say why
	is.Equal(p.get("/"), "200 hello")

	app.sick.Store(false)
	q := start(t, takingOver(c))
	is.Equal(q.get("/"), "200 hello")
	is.NoErr(q.stop(t))
	is.NoErr(p.stop(t))
}

func TestServiceThatIsUnhealthyAnywayDoesNotKeepAnotherFromTakingOver(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	app := newSickApp(t)
	p := start(t, c)
	_, err := (&control.Client{Sockets: []string{c.Socket}}).Deploy(t.Context(), parachute.Deployment{
		Service: "web", Targets: []string{app.address}, HealthCheck: parachute.HealthCheck{Interval: 10 * time.Millisecond},
	}, nil)
	is.NoErr(err)
	app.sick.Store(true)
	p.await(t, `"msg":"unhealthy"`)
	q := start(t, takingOver(c))
	is.NoErr(q.stop(t))
	is.NoErr(p.stop(t))
}

func TestOldProcessEndsWhenItIsNotNeededAnyMore(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	c.Guard = 50 * time.Millisecond
	app := newApp(t)
	p := start(t, c)
	deploy(t, c, app.Listener.Addr().String())
	answer := make(chan string, 1)
	go func() { answer <- p.get("/hold") }()
	<-app.entered
	q := start(t, takingOver(c))
	is.Equal(q.get("/"), "200 hello")
	app.release <- struct{}{}
	is.Equal(<-answer, "200 hello")
	select {
	case <-p.ended:
		is.NoErr(p.err)
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
	is.NoErr(q.stop(t))
}

func TestCommandThatTheOldProcessHasNotReadYetIsAnswered(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	p := start(t, c)
	send := func(text string) net.Conn {
		conn, err := net.Dial("unix", c.Socket)
		is.NoErr(err)
		is.NoErr(conn.SetDeadline(time.Now().Add(patience)))
		_, err = io.WriteString(conn, text)
		is.NoErr(err)
		return conn
	}
	status := func(r *bufio.Reader) int {
		resp, err := http.ReadResponse(r, nil)
		is.NoErr(err)
		_, err = io.Copy(io.Discard, resp.Body)
		is.NoErr(err)
		return resp.StatusCode
	}
	late := send("GET /v1/version HTTP/1.1\r\n")
	defer late.Close()
	idle := send("GET /v1/version HTTP/1.1\r\nHost: x\r\n\r\n") // behind the other one in the queue
	defer idle.Close()
	answers := bufio.NewReader(idle)
	is.Equal(status(answers), http.StatusOK)
	q := start(t, takingOver(c))
	_, err := answers.ReadByte() // the old process closes what is idle
	is.Equal(err, io.EOF)
	_, err = io.WriteString(late, "Host: x\r\n\r\n")
	is.NoErr(err)
	is.Equal(status(bufio.NewReader(late)), http.StatusOK)
	is.NoErr(q.stop(t))
	<-p.ended
	is.NoErr(p.err)
}

// Whoever starts the proxy again then must not be told that a target is unused to which the
// first of its processes has requests.
func TestNewProcessEndsWhenTheOldOneHas(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		timeout  time.Duration
		released bool
		want     string
	}{
		"whose requests end":         {time.Minute, true, "200 hello"},
		"whose requests are cut off": {100 * time.Millisecond, false, "504 504 Gateway Timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			is := is.New(t)
			c := newConfig(t)
			c.ShutdownTimeout = tt.timeout
			app := newApp(t)
			defer close(app.release)
			p := start(t, c)
			deploy(t, c, app.Listener.Addr().String())
			answer := make(chan string, 1)
			go func() { answer <- p.get("/hold") }()
			<-app.entered
			q := start(t, takingOver(c))
			q.cancel()
			if tt.released {
				select {
				case <-q.ended:
					t.Fatal("it did not wait")
				case <-time.After(300 * time.Millisecond):
				}
				app.release <- struct{}{}
			}
			is.Equal(<-answer, tt.want)
			<-q.ended
			is.NoErr(q.err)
			<-p.ended
			is.NoErr(p.err)
		})
	}
}

func TestOnlyAProcessWithTheSameDataDirectoryTakesOver(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	p := start(t, c)
	other := takingOver(c)
	other.DataDir = t.TempDir()
	err := server.Run(t.Context(), other)
	is.True(err != nil)
	is.True(strings.Contains(err.Error(), "the new process has another data directory, "+other.DataDir+": want "+c.DataDir))
	is.Equal(p.get("/"), "404 404 Not Found")
	is.NoErr(p.stop(t))
}

// A newcomer is the other end of a handover, message by message.
type newcomer struct {
	*testing.T
	link *handover.Link
}

// newNewcomer returns one that the process at the socket of c has told to serve. It comes
// again if it was not ready in time.
func newNewcomer(t *testing.T, c server.Config) *newcomer {
	t.Helper()
	for until := time.Now().Add(patience); ; {
		n, err := comeTo(t, c)
		if err == nil {
			return n
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
	}
}

// comeTo is newNewcomer for one attempt.
func comeTo(t *testing.T, c server.Config) (*newcomer, error) {
	conn, err := (&control.Client{Sockets: []string{c.Socket}}).TakeOver(t.Context())
	if err != nil {
		return nil, err
	}
	n := &newcomer{t, handover.NewLink(conn)}
	t.Cleanup(func() { n.link.Close() })
	if err := n.link.Send(handover.KindAsk, handover.Ask{Protocol: handover.Protocol, Version: "new", DataDir: c.DataDir}); err != nil {
		return nil, err
	}
	if _, err := n.receive(handover.KindOffered); err != nil {
		return nil, err
	}
	if err := n.link.Send(handover.KindReady, nil); err != nil {
		return nil, err
	}
	if _, err := n.receive(handover.KindGo); err != nil {
		return nil, err
	}
	return n, nil
}

func (n *newcomer) send(kind handover.Kind, body any) {
	n.Helper()
	if err := n.link.Send(kind, body); err != nil {
		n.Fatal(err)
	}
}

// await is receive, which has to return a message.
func (n *newcomer) await(kind handover.Kind) *handover.Message {
	n.Helper()
	m, err := n.receive(kind)
	if err != nil {
		n.Fatal(err)
	}
	return m
}

// receive returns the next message of that kind.
func (n *newcomer) receive(kind handover.Kind) (*handover.Message, error) {
	for {
		m, err := n.link.Receive()
		if err != nil {
			return nil, fmt.Errorf("%w in place of %q", err, kind)
		}
		if m.File != nil {
			m.File.Close()
		}
		if m.Kind == kind {
			return m, nil
		}
	}
}

// Somebody may ask for a change as soon as the new process listens. If the old one took
// that for a failure, both would serve.
func TestNewProcessMayTellOfChangesBeforeItSaysThatItServes(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	app := newApp(t)
	p := start(t, c)
	deploy(t, c, app.Listener.Addr().String())
	n := newNewcomer(t, c)
	n.send(handover.KindPublish, handover.Publish{Service: "shop"})
	n.send(handover.KindDrain, handover.Drain{ID: 7, Service: "shop"})
	n.send(handover.KindServing, nil)
	p.await(t, `"msg":"upgraded"`)
	var drained handover.Drained
	is.NoErr(n.await(handover.KindDrained).Decode(&drained))
	is.Equal(drained.ID, uint64(7)) // it is followed all the same
	n.link.Close()
	p.await(t, "taking up again")
	is.Equal(p.get("/"), "200 hello")
	is.NoErr(p.stop(t))
}

func TestNewProcessThatIsTooLateIsToldNotToServe(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	c.ReadyTimeout = 300 * time.Millisecond
	app := newApp(t)
	p := start(t, c)
	deploy(t, c, app.Listener.Addr().String())
	n := newNewcomer(t, c)
	var failed handover.Failed
	is.NoErr(n.await(handover.KindFailed).Decode(&failed))
	is.True(strings.Contains(failed.Error, "not ready within 300ms"))
	p.await(t, "taking up again")
	is.Equal(p.get("/"), "200 hello")
	is.NoErr(p.stop(t))
}
