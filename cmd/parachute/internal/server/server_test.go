package server_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/server"
	"github.com/shahnk19/parachute/cmd/parachute/internal/state"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// patience is how long something may take that is bound to happen, and how long a request
// is held at most, over all that a test does meanwhile.
const patience = 2 * time.Minute

func TestRunBringsBackWhatWasSaved(t *testing.T) {
	is := is.New(t)
	c := newConfig(t)
	app := newApp(t)
	save(t, c, app.Listener.Addr().String())

	p := start(t, c)
	is.Equal(p.get("/"), "200 hello")
	is.NoErr(p.stop(t))
	is.True(strings.Contains(p.log.String(), `"msg":"Request"`)) // flushed
	is.True(strings.Contains(p.log.String(), `"msg":"stopped"`)) // the last line too
}

func TestRunWithoutAccessLogHasNoLinePerRequest(t *testing.T) {
	is := is.New(t)
	c := newConfig(t)
	c.NoAccessLog = true
	p := start(t, c)
	is.Equal(p.get("/"), "404 404 Not Found")
	is.NoErr(p.stop(t))
	is.True(!strings.Contains(p.log.String(), `"msg":"Request"`))
}

func TestRunThatCannotListenLeavesNothingBehind(t *testing.T) {
	is := is.New(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	is.NoErr(err)
	defer taken.Close()
	c := newConfig(t)
	c.HTTPPort = uint16(taken.Addr().(*net.TCPAddr).Port)

	err = server.Run(t.Context(), c)
	is.True(errors.Is(err, syscall.EADDRINUSE))
	is.True(strings.HasPrefix(err.Error(), "http: ")) // says which listener
	_, err = os.Lstat(c.Socket)
	is.True(errors.Is(err, os.ErrNotExist)) // no socket
	store, err := state.Open(c.DataDir)
	is.NoErr(err) // no lock
	is.NoErr(store.Close())
}

func TestRunThatCannotListenStillSaysWhatBecameOfTheState(t *testing.T) {
	is := is.New(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	is.NoErr(err)
	defer taken.Close()
	c := newConfig(t)
	c.HTTPPort = uint16(taken.Addr().(*net.TCPAddr).Port)
	said := new(bytes.Buffer)
	c.Output = said
	is.NoErr(os.MkdirAll(c.DataDir, 0o700))
	is.NoErr(os.WriteFile(filepath.Join(c.DataDir, "state.json"), []byte("{"), 0o600))
	is.True(server.Run(t.Context(), c) != nil)
	is.True(strings.Contains(said.String(), "set aside")) // the next start will not find it any more
}

func TestRunThatCannotHaveItsSocketLeavesNoLock(t *testing.T) {
	is := is.New(t)
	c := newConfig(t)
	is.NoErr(os.WriteFile(c.Socket, []byte("a file of somebody"), 0o600))
	is.True(server.Run(t.Context(), c) != nil) // it is no socket
	store, err := state.Open(c.DataDir)
	is.NoErr(err)
	is.NoErr(store.Close())
	kept, err := os.ReadFile(c.Socket)
	is.NoErr(err)
	is.Equal(string(kept), "a file of somebody")
}

func TestHeadOfMoreThanTheLimitIsRefused(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	p := start(t, newConfig(t))
	r, err := http.NewRequest(http.MethodGet, "http://"+p.address, nil)
	is.NoErr(err)
	r.Header.Set("X-Large", strings.Repeat("x", 100<<10))
	res, err := http.DefaultTransport.RoundTrip(r)
	is.NoErr(err)
	defer res.Body.Close()
	is.Equal(res.StatusCode, http.StatusRequestHeaderFieldsTooLarge)
}

// On HTTP/1.0 the end of the connection is the end of the answer, so one that
// broke off has to be reset.
func TestBrokenAnswerToHTTP10IsReset(t *testing.T) {
	is := is.New(t)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/up" {
			return
		}
		io.WriteString(w, "hello")
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer app.Close()
	c := newConfig(t)
	p := start(t, c)
	deploy(t, c, app.Listener.Addr().String())
	client, err := net.Dial("tcp", p.address)
	is.NoErr(err)
	defer client.Close()
	_, err = io.WriteString(client, "GET / HTTP/1.0\r\nHost: app.test\r\n\r\n")
	is.NoErr(err)
	_, err = io.ReadAll(client)
	is.True(errors.Is(err, syscall.ECONNRESET))
}

func TestClientThatLeavesEndsItsRequest(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	app := newApp(t)
	p := start(t, c)
	deploy(t, c, app.Listener.Addr().String())
	client, err := net.Dial("tcp", p.address)
	is.NoErr(err)
	defer client.Close()
	fmt.Fprint(client, "GET /hold HTTP/1.1\r\nHost: app.test\r\n\r\n")
	<-app.entered
	is.NoErr(client.Close())
	line := p.await(t, `"msg":"Request"`) // although the app keeps it
	app.release <- struct{}{}
	is.True(strings.Contains(line, `"error":"gone: `))
}

func TestStopWaitsForRequestsAndClosesStreams(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	app := newApp(t)
	p := start(t, c)
	deploy(t, c, app.Listener.Addr().String())

	stream, err := http.Get("http://" + p.address + "/events")
	is.NoErr(err)
	defer stream.Body.Close()
	event := make([]byte, len("data: 1\n\n"))
	_, err = io.ReadFull(stream.Body, event)
	is.NoErr(err)
	is.Equal(string(event), "data: 1\n\n")
	answer := make(chan string, 1)
	go func() { answer <- p.get("/hold") }()
	<-app.entered

	p.cancel()
	p.await(t, `"msg":"stopping"`)
	client := &control.Client{Sockets: []string{c.Socket}}
	_, err = client.Remove(t.Context(), "web", nil)
	is.True(errors.Is(err, parachute.ErrClosed)) // changes are refused
	app.release <- struct{}{}
	is.Equal(<-answer, "200 hello")
	is.NoErr(p.stop(t))
	rest, _ := io.ReadAll(stream.Body) // ends, although the app never ends it
	is.Equal(len(rest), 0)
}

func TestStopCutsOffWhatTakesTooLongAndSaysSo(t *testing.T) {
	t.Parallel()
	is := is.New(t)
	c := newConfig(t)
	c.ShutdownTimeout = -1
	app := newApp(t)
	p := start(t, c)
	deploy(t, c, app.Listener.Addr().String())
	const requests = 5
	answers := make(chan string, requests)
	for range requests {
		go func() { answers <- p.get("/hold") }()
		<-app.entered
	}
	tunnel := upgrade(t, p.address)
	defer tunnel.Close()

	is.NoErr(p.stop(t)) // although the app keeps the requests
	for range requests {
		is.Equal(<-answers, "504 504 Gateway Timeout") // each gets its answer
		app.release <- struct{}{}
	}
	is.Equal(strings.Count(p.log.String(), `"status":504`), requests) // and its line
	is.Equal(strings.Count(p.log.String(), `"status":101`), 1)        // so does what was upgraded
	is.True(strings.Contains(p.log.String(), "requests were cut off"))
}

func TestStopEndsThoseWhoFollowTheLog(t *testing.T) {
	is := is.New(t)
	c := newConfig(t)
	p := start(t, c)
	client := &control.Client{Sockets: []string{c.Socket}}
	lines := make(chan string, 100)
	ended := make(chan error, 1)
	go func() {
		ended <- client.Logs(context.Background(), control.LogQuery{Follow: true}, func(line []byte) error {
			lines <- string(line)
			return nil
		})
	}()
	is.True(strings.Contains(<-lines, `"msg":"started"`)) // it follows
	is.Equal(p.get("/"), "404 404 Not Found")
	is.NoErr(p.stop(t))
	is.True(errors.Is(<-ended, control.ErrNoProxy))
	close(lines)
	var followed []string
	for line := range lines {
		followed = append(followed, line)
	}
	is.True(strings.Contains(followed[len(followed)-1], `"msg":"stopping"`)) // up to there
	is.True(strings.Contains(p.log.String(), strings.Join(followed, "")))    // it was told what the log has
	is.True(!strings.Contains(p.log.String(), `"msg":"closing"`))            // and went in good order
}

// upgrade opens an upgraded connection.
func upgrade(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "GET /upgrade HTTP/1.1\r\nHost: any.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 101 ") {
		t.Fatalf("no upgrade: %q %v", line, err)
	}
	return conn
}

// A process is a proxy that runs.
type process struct {
	log     *proxytest.Output
	address string
	cancel  context.CancelFunc
	ended   chan struct{} // closed when Run has returned
	err     error         // valid then
}

func newConfig(t testing.TB) server.Config {
	t.Helper()
	dir := proxytest.ShortDir(t)
	return server.Config{
		Version: "test",
		DataDir: filepath.Join(dir, "data"),
		Socket:  filepath.Join(dir, "s"),
		Bind:    netip.MustParseAddr("127.0.0.1"),
		Output:  io.Discard,

		HTTPSPort: -1,
	}
}

func start(t testing.TB, c server.Config) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{log: new(proxytest.Output), cancel: cancel, ended: make(chan struct{})}
	c.Output = p.log
	go func() {
		defer close(p.ended)
		p.err = server.Run(ctx, c)
	}()
	t.Cleanup(func() {
		cancel()
		<-p.ended
	})
	line := p.await(t, `"msg":"listening"`)
	var listening struct{ Address string }
	if json.Unmarshal([]byte(line), &listening) != nil {
		t.Fatalf("it does not listen: %v", p.err)
	}
	p.address = listening.Address
	return p
}

// stop ends the proxy in good order and returns what Run did.
func (p *process) stop(t *testing.T) error {
	t.Helper()
	p.cancel()
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
	return p.err
}

func (p *process) get(path string) string {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	return answerOf(client.Get("http://" + p.address + path))
}

// answerOf returns the status and the body of an answer, or what was wrong.
func answerOf(res *http.Response, err error) string {
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", res.StatusCode, strings.TrimSpace(string(body)))
}

// await returns the first line with s in it, or "" if the proxy ends first.
func (p *process) await(t testing.TB, s string) string {
	t.Helper()
	line, err := p.log.Await(p.ended, patience, func(line string) bool { return strings.Contains(line, s) })
	if err == proxytest.ErrLate {
		t.Fatalf("it does not say %q, but:\n%s", s, p.log)
	}
	return line
}

type app struct {
	*httptest.Server
	entered, release chan struct{}
}

// newApp returns a target. It holds requests for /hold until it is told to
// release them, and never ends the answer to one for /events. At /steps it waits
// for that after the head of an answer, and after each of its three bytes. At
// /status it answers with that alone.
func newApp(t *testing.T) *app {
	a := &app{entered: make(chan struct{}, 10), release: make(chan struct{}, 1)}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/hold":
		a.entered <- struct{}{}
		<-a.release
	case "/upgrade":
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		io.Copy(conn, conn)
		return
	case "/echo":
		w.Header().Set("Trailer", "X-Sum")
		n, err := io.Copy(w, r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("X-Sum", fmt.Sprint(n))
		return
	case "/framing":
		fmt.Fprint(w, r.ContentLength, r.TransferEncoding)
		return
	case "/head": // an answer without a body
		w.Header().Set("Content-Length", "0")
		status, _ := strconv.Atoi(r.URL.RawQuery)
		w.WriteHeader(status)
		return
	case "/events":
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: 1\n\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return
	case "/steps":
		if length := r.FormValue("length"); length != "" {
			w.Header().Set("Content-Length", length)
		}
		w.Header().Set("X-Accel-Buffering", r.FormValue("buffering"))
		for _, piece := range []string{"", "a", "b", "c"} {
			io.WriteString(w, piece)
			http.NewResponseController(w).Flush()
			<-a.release
		}
		return
	case "/status":
		status, _ := strconv.Atoi(r.FormValue("status"))
		w.WriteHeader(status)
		return
	}
	w.Header().Set("X-Scheme", r.Header.Get("X-Forwarded-Proto"))
	io.WriteString(w, "hello")
}

func save(t *testing.T, c server.Config, target string) {
	t.Helper()
	store, err := state.Open(c.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	err = store.Save([]parachute.Status{{
		Service:    "web",
		Generation: 1,
		State:      parachute.StateServing,
		Deployment: parachute.Deployment{Service: "web", Targets: []string{target}},
	}})
	if err != nil {
		t.Fatal(err)
	}
}

func deploy(t testing.TB, c server.Config, target string) {
	t.Helper()
	client := &control.Client{Sockets: []string{c.Socket}}
	_, err := client.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{target}}, nil)
	if err != nil {
		t.Fatal(err)
	}
}

func TestStopKeepsWhatTheHistoryHasCounted(t *testing.T) {
	is := is.New(t)
	c := newConfig(t)
	app := newApp(t)
	save(t, c, app.Listener.Addr().String())
	p := start(t, c)
	is.Equal(p.get("/"), "200 hello")
	is.NoErr(p.stop(t))
	is.True(!strings.Contains(p.log.String(), `"level":"WARN"`))
	p = start(t, c)
	past, err := (&control.Client{Sockets: []string{c.Socket}}).History(t.Context(), "web")
	is.NoErr(err)
	is.Equal(past[0].Figures.Requests, uint64(1)) // of before
	is.NoErr(p.stop(t))
}
