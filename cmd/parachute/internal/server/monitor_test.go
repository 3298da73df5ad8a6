package server_test

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/cmd/parachute/internal/server"
	"github.com/shahnk19/parachute/cmd/parachute/internal/state"
)

// metricsOf returns a func that asks the metrics port of p for a path.
func metricsOf(t *testing.T, p *process) func(path string) string {
	t.Helper()
	var listening struct{ Address string }
	if err := json.Unmarshal([]byte(p.await(t, `"protocol":"metrics"`)), &listening); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, Timeout: patience}
	return func(path string) string { return answerOf(client.Get("http://" + listening.Address + path)) }
}

func TestMetricsPortTellsOfRequestsAndHealth(t *testing.T) {
	is := is.New(t)
	c := newConfig(t)
	c.MetricsPort = -1
	app := newApp(t)
	save(t, c, app.Listener.Addr().String())
	p := start(t, c)
	ask := metricsOf(t, p)
	is.Equal(p.get("/"), "200 hello")
	p.await(t, `"msg":"Request"`) // the log hears of requests as well, and after the metrics
	is.True(strings.Contains(ask("/metrics"), `parachute_requests_total{code="200",method="GET",role="write",service="web",status="2xx"} 1`))
	is.Equal(ask("/healthz"), "200 ok")
	is.Equal(ask("/readyz"), "200 ready")
	const healthy = "200 serving, 1 of 1 targets healthy"
	said := ask("/healthz/web")
	for late := time.Now().Add(patience); said != healthy && time.Now().Before(late); { // the request had waited a second for the probe
		said = ask("/healthz/web")
	}
	is.Equal(said, healthy)
	is.Equal(ask("/healthz/other"), "404 no such service")
	is.True(strings.HasPrefix(ask("/other"), "404"))
}

func TestServiceSaysWhatIsReportedOfItsRequests(t *testing.T) {
	is := is.New(t)
	c := newConfig(t)
	c.MetricsPort = -1
	p := start(t, c)
	ask := metricsOf(t, p)
	client := &control.Client{Sockets: []string{c.Socket}}
	_, err := client.Deploy(t.Context(), parachute.Deployment{
		Service: "web", Targets: []string{newApp(t).Listener.Addr().String()}, PathPrefixes: []string{"/api"},
		Report: parachute.Report{
			RequestHeaders: []string{"User-Agent"}, ResponseHeaders: []string{"X-Scheme"}, ExcludeMetricsPaths: []string{"/quiet"},
		},
	}, nil)
	is.NoErr(err)
	is.Equal(p.get("/api/quiet"), "200 hello")
	is.Equal(p.get("/api/loud"), "200 hello")
	line := p.await(t, `"path":"/api/loud"`)
	is.True(strings.Contains(line, `"req_user_agent":"Go-http-client/1.1","resp_x_scheme":"http"`))
	p.await(t, `"path":"/api/quiet"`)
	is.True(strings.Contains(ask("/metrics"), `parachute_requests_total{code="200",method="GET",role="write",service="web",status="2xx"} 1`)) // of the two
}

func TestReadinessEndsBeforeRequestsDo(t *testing.T) {
	is := is.New(t)
	c := newConfig(t)
	c.MetricsPort = -1
	app := newApp(t)
	p := start(t, c)
	ask := metricsOf(t, p)
	deploy(t, c, app.Listener.Addr().String())

	answered := make(chan string, 1)
	go func() { answered <- p.get("/hold") }()
	<-app.entered
	p.cancel()
	p.await(t, `"msg":"stopping"`)
	is.Equal(ask("/readyz"), "503 stopping") // while a request runs
	is.Equal(ask("/healthz"), "200 ok")
	app.release <- struct{}{}
	is.Equal(<-answered, "200 hello")
	is.NoErr(p.stop(t))
	is.True(strings.Contains(ask("/readyz"), "refused")) // it is gone with the process
}

func TestServiceThatFailedIsUnhealthy(t *testing.T) {
	is := is.New(t)
	c := newConfig(t)
	c.MetricsPort = -1
	store, err := state.Open(c.DataDir)
	is.NoErr(err)
	is.NoErr(store.Save([]parachute.Status{{Service: "broken", Generation: 1, Deployment: parachute.Deployment{Service: "broken"}}}))
	is.NoErr(store.Close())
	p := start(t, c)
	is.Equal(metricsOf(t, p)("/healthz/broken"), "503 failed, 0 of 0 targets healthy")
}

func TestServiceThatIsStoppedOnPurposeIsWell(t *testing.T) {
	is := is.New(t)
	c := newConfig(t)
	c.MetricsPort = -1
	p := start(t, c)
	ask := metricsOf(t, p)
	deploy(t, c, newApp(t).Listener.Addr().String())
	client := &control.Client{Sockets: []string{c.Socket}}
	_, err := client.Stop(t.Context(), "web", parachute.Stop{Message: "closed"}, nil)
	is.NoErr(err)
	is.Equal(ask("/healthz/web"), "200 stopped, 1 of 1 targets healthy")
	_, err = client.Pause(t.Context(), "web", parachute.Pause{}, nil)
	is.NoErr(err)
	is.Equal(ask("/healthz/web"), "200 paused, 1 of 1 targets healthy")
}

func TestThereIsNoMetricsPortUnlessOneIsAskedFor(t *testing.T) {
	is := is.New(t)
	p := start(t, newConfig(t))
	p.get("/")
	is.NoErr(p.stop(t))
	is.True(!strings.Contains(p.log.String(), `"protocol":"metrics"`))
}

func TestMetricsPortThatIsTakenIsAnError(t *testing.T) {
	is := is.New(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	is.NoErr(err)
	defer taken.Close()
	c := newConfig(t)
	c.MetricsPort = taken.Addr().(*net.TCPAddr).Port
	err = server.Run(t.Context(), c)
	is.True(strings.HasPrefix(err.Error(), "metrics: ") && strings.Contains(err.Error(), syscall.EADDRINUSE.Error()))
}

func TestSpoolIsAFolderOfTheOwner(t *testing.T) {
	is := is.New(t)
	c := newConfig(t)
	p := start(t, c)
	is.NoErr(p.stop(t))
	info, err := os.Stat(filepath.Join(c.DataDir, "spool"))
	is.NoErr(err)
	is.Equal(info.Mode(), os.ModeDir|0o700)

	c = newConfig(t)
	c.SpoolDir = filepath.Join(c.DataDir, "state.json", "below")
	is.NoErr(os.MkdirAll(c.DataDir, 0o700))
	is.NoErr(os.WriteFile(filepath.Join(c.DataDir, "state.json"), []byte(`{"version":1,"services":[]}`), 0o600))
	err = server.Run(t.Context(), c)
	is.True(err != nil && strings.Contains(err.Error(), "folder for bodies")) // and nothing is served
}
