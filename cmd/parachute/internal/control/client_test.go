package control_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

func TestSocketsAreTriedInOrder(t *testing.T) {
	is := is.New(t)
	first, second := newPlane(t, parachute.Options{}), newPlane(t, parachute.Options{})
	is.NoErr(first.proxy.Deploy(t.Context(), deployment("first")))
	is.NoErr(second.proxy.Deploy(t.Context(), deployment("second")))

	c := &control.Client{Sockets: []string{first.socket, second.socket}}
	services, err := c.Services(t.Context())
	is.NoErr(err)
	is.Equal(services[0].Service, "first")

	c.Sockets = []string{socketPath(t), deadSocket(t), second.socket}
	services, err = c.Services(t.Context())
	is.NoErr(err)
	is.Equal(services[0].Service, "second")
}

// deadSocket returns a socket that nobody listens on any more.
func deadSocket(t *testing.T) string {
	t.Helper()
	path := socketPath(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWithoutAProxyEverySocketIsNamed(t *testing.T) {
	is := is.New(t)
	missing, dead := socketPath(t), deadSocket(t)
	file := filepath.Join(t.TempDir(), "file")
	is.NoErr(os.WriteFile(file, nil, 0o600))
	long := "/" + strings.Repeat("x", 200)
	c := &control.Client{Sockets: []string{missing, dead, file, long}}

	_, deployErr := c.Deploy(t.Context(), deployment("web"), nil)
	_, removeErr := c.Remove(t.Context(), "web", nil)
	_, servicesErr := c.Services(t.Context())
	_, versionErr := c.Version(t.Context())
	for _, err := range []error{deployErr, removeErr, servicesErr, versionErr} {
		is.True(errors.Is(err, control.ErrNoProxy))
		is.True(errors.Is(err, fs.ErrNotExist)) // one of the reasons
		var none *control.NoProxyError
		is.True(errors.As(err, &none))
		is.Equal(len(none.Tried), 4)
		is.True(saysAll(err.Error(),
			"no proxy answers: ",
			missing+": it is not there",
			dead+": it is there, but nobody listens on it any more",
			file+": it is a file, but no socket",
			long+": the path has 201 bytes"))
	}
	is.Equal(deployErr.Error(), "parachute: deploy web: "+servicesErr.Error())

	_, err := new(control.Client).Services(t.Context())
	is.True(errors.Is(err, control.ErrNoProxy)) // without sockets
}

func TestWhatIsNoProxyOfOursIsToldSo(t *testing.T) {
	is := is.New(t)
	path := socketPath(t)
	l, err := net.Listen("unix", path)
	is.NoErr(err)
	other := httptest.NewUnstartedServer(http.NotFoundHandler())
	other.Listener.Close()
	other.Listener = l
	other.Start()
	defer other.Close()
	c := &control.Client{Sockets: []string{path}}
	_, err = c.Services(t.Context())
	is.True(saysAll(err.Error(), path, "no proxy of ours", "404"))
	_, err = c.Deploy(t.Context(), deployment("web"), nil)
	is.True(saysAll(err.Error(), path, "no proxy of ours", "404"))
}

func TestGivingUpBeforeTheSwitchChangesNothing(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	sick, _ := newSickTarget(t)
	ctx, cancel := context.WithCancel(t.Context())
	giveUp := func(e parachute.Event) {
		if e.Kind == parachute.EventProbed {
			cancel()
		}
	}
	_, err := p.client.Deploy(ctx, parachute.Deployment{Service: "web", Targets: []string{sick}}, giveUp)
	is.Equal(whichOf(err), []error{parachute.ErrUnhealthy, context.Canceled})
	is.True(saysAll(err.Error(), "parachute: deploy web: context canceled: ", "GET /up answered 503")) // it was the proxy that said so
	told := p.told()
	is.Equal(told[len(told)-1].Kind, parachute.EventFailed) // when it had ended
	is.Equal(len(p.proxy.Services()), 0)                    // and changed nothing

	_, err = p.client.Deploy(ctx, deployment("web"), nil)
	is.True(errors.Is(err, context.Canceled)) // it is not even begun
	is.Equal(len(p.told()), len(told))
}

func TestGivingUpAfterTheSwitchLeavesTheDrainGoing(t *testing.T) {
	t.Run("at once", func(t *testing.T) {
		giveUpDraining(t, func(cancel context.CancelFunc) { cancel() })
	})
	t.Run("while it drains", func(t *testing.T) {
		giveUpDraining(t, func(cancel context.CancelFunc) { time.AfterFunc(10*time.Millisecond, cancel) })
	})
}

// giveUpDraining has giveUp cancel a deploy that has told of its switch.
func giveUpDraining(t *testing.T, giveUp func(context.CancelFunc)) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	old := newSlowTarget(t)
	_, err := p.client.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{old.address}}, nil)
	is.NoErr(err)
	front := httptest.NewServer(p.proxy)
	defer front.Close()
	status := make(chan int, 1)
	go get(status, front.URL+"/slow")
	<-old.arrived

	ctx, cancel := context.WithCancel(t.Context())
	hear := func(e parachute.Event) {
		if e.Kind == parachute.EventSwitched {
			giveUp(cancel)
		}
	}
	next := newTarget(t)
	result, err := p.client.Deploy(ctx, parachute.Deployment{Service: "web", Targets: []string{next}}, hear)
	is.True(errors.Is(err, parachute.ErrUndecided)) // it serves, and may be taken back
	is.True(!errors.Is(err, context.Canceled))
	is.Equal(result.Generation, uint64(2))
	is.True(saysAll(err.Error(), "interrupted", "stop neither yet"))
	is.Equal(generationOf(p.proxy.Services(), "web"), uint64(2))

	close(old.finish)
	is.Equal(<-status, 200) // nothing was cut off
}

func get(status chan<- int, url string) {
	resp, err := http.Get(url)
	if err != nil {
		status <- 0
		return
	}
	resp.Body.Close()
	status <- resp.StatusCode
}

// clientOf returns a client of a proxy with that answer.
func clientOf(t *testing.T, answer string) *control.Client {
	t.Helper()
	proxy := flaky{first: answer}
	return &control.Client{Sockets: []string{proxy.serve(t)}}
}

func TestNewerProxyIsUnderstoodAsFarAsPossible(t *testing.T) {
	is := is.New(t)
	c := clientOf(t, "HTTP/1.1 422 Unprocessable Entity\r\nConnection: close\r\n\r\n"+
		`{"error":{"code":"unhealthy","message":"parachute: deploy web: sick","unhealthy":{"waited":5},"since":"monday"}}`)
	_, err := c.Deploy(t.Context(), deployment("web"), nil)
	is.True(errors.Is(err, parachute.ErrUnhealthy)) // without its details
	is.Equal(err.Error(), "parachute: deploy web: sick")

	c = clientOf(t, "HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\n\r\n"+
		`{"error":{"code":"tired","message":"parachute: deploy web: later","hint":"try again tomorrow"}}`)
	_, err = c.Deploy(t.Context(), deployment("web"), nil)
	is.Equal(err.Error(), "parachute: deploy web: later: try again tomorrow") // without its code

	c = clientOf(t, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+
		`{"event":{"service":"web","generation":7,"kind":"pondering","probe":{"status":"good"}}}`+"\n"+
		`{"event":{"service":"web","generation":7,"kind":"probed","probe":{"status":200,"mood":"good"}}}`+"\n"+
		`{"weather":"fine"}`+"\n"+`{"result":{"service":"web","generation":7,"mood":"good"}}`+"\n")
	var events []parachute.Event
	result, err := c.Deploy(t.Context(), deployment("web"), func(e parachute.Event) { events = append(events, e) })
	is.NoErr(err)
	is.Equal(result.Generation, uint64(7))
	is.Equal(len(events), 2)
	is.True(events[0].Probe == nil)       // it has a form that nobody knew
	is.Equal(events[1].Probe.Status, 200) // and all that is known of this one
}
