package control_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// A flaky proxy hangs up in the middle of its answer to the first request, on
// some more without an answer, and then tells what is deployed.
type flaky struct {
	first    string // what it answers at first, in full or not
	hangups  int
	services []parachute.Status // if nil, it goes away for good
	isOld    bool               // it cannot be asked for one service
	settled  []string           // what it answers to whoever asks for the fleet, one after the other; if nil, it cannot be asked
}

// serve serves at a path, which it returns, until the test ends.
func (f *flaky) serve(t *testing.T) string {
	t.Helper()
	path := socketPath(t)
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go f.accept(l, done)
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return path
}

func (f *flaky) accept(l net.Listener, done chan<- struct{}) {
	defer close(done)
	defer l.Close()
	for n := 0; ; n++ {
		if n > 0 && f.services == nil {
			return
		}
		c, err := l.Accept()
		if err != nil {
			return
		}
		f.answer(c, n)
		c.Close()
	}
}

func (f *flaky) answer(c net.Conn, n int) {
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, r.Body)
	switch {
	case n == 0:
		_, _ = io.WriteString(c, f.first)
	case n > f.hangups:
		status, told := f.tell(r.URL.Path)
		data, _ := json.Marshal(told)
		_, _ = fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s", status, len(data), data)
	}
}

// tell returns the answer to whoever asks what is deployed.
func (f *flaky) tell(path string) (status string, told any) {
	name, isOfOne := strings.CutPrefix(path, "/v1/services/")
	switch {
	case path == "/v1/fleet/settled/web" && len(f.settled) > 0:
		answer := f.settled[0]
		f.settled = f.settled[1:]
		if strings.Contains(answer, "error") {
			return "503 Service Unavailable", json.RawMessage(answer)
		}
		return "200 OK", json.RawMessage(answer)
	case strings.HasPrefix(path, "/v1/fleet/"):
		return "404 Not Found", json.RawMessage(`{"error":{"code":"no_route","message":"parachute: no such route"}}`)
	case !isOfOne:
		return "200 OK", f.services
	case f.isOld:
		return "405 Method Not Allowed", json.RawMessage(`{"error":{"code":"no_route","message":"parachute: no such route"}}`)
	}
	for _, s := range f.services {
		if s.Service == name {
			return "200 OK", s
		}
	}
	return "404 Not Found", json.RawMessage(`{"error":{"code":"not_found","message":"parachute: no such service"}}`)
}

// lines returns an answer that breaks off after events of these kinds.
func lines(kinds ...parachute.EventKind) string {
	var b strings.Builder
	b.WriteString("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/x-ndjson\r\n\r\n")
	for _, kind := range kinds {
		line := fmt.Sprintf(`{"event":{"time":"2026-01-02T03:04:05Z","service":"web","generation":7,"kind":%q}}`+"\n", kind)
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(line), line)
	}
	return b.String()
}

func serving(generation uint64) []parachute.Status {
	return []parachute.Status{
		{Service: "api", Generation: 100, State: parachute.StateServing},
		{
			Service: "web", Generation: generation, State: parachute.StateServing,
			Deployment: deployment("web"),
		},
	}
}

func TestOneServiceIsAskedForAlsoOfAProxyThatKnowsOnlyAll(t *testing.T) {
	for name, isOld := range map[string]bool{"a proxy of this version": false, "an older one": true} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			proxy := flaky{services: serving(7), isOld: isOld}
			c := &control.Client{Sockets: []string{proxy.serve(t)}}
			_, err := c.Version(t.Context())
			is.True(err != nil) // it hangs up once
			s, err := c.Service(t.Context(), "web")
			is.NoErr(err)
			is.Equal(s, serving(7)[1])
			_, err = c.Service(t.Context(), "shop")
			is.True(errors.Is(err, parachute.ErrNotFound))
		})
	}
}

// The proxy keeps each target once.
func TestLostConnectionIsSettledWhereATargetWasNamedTwice(t *testing.T) {
	is := is.New(t)
	proxy := flaky{first: lines("deploying"), services: serving(7)}
	c := &control.Client{Sockets: []string{proxy.serve(t)}}
	d := deployment("web")
	d.Targets = append(d.Targets, d.Targets...)
	result, err := c.Deploy(t.Context(), d, nil)
	is.NoErr(err) // it serves
	is.Equal(result.Generation, uint64(7))
}

func TestLostConnectionIsSettledByWhatServes(t *testing.T) {
	back := serving(8)
	back[1].Restores = 6
	restored := serving(7)
	restored[1].State, restored[1].Error = parachute.StateFailed, "its pages are gone"
	another := serving(7)
	another[1].Deployment.Targets = []string{"10.0.0.7:3000"}
	for name, test := range map[string]struct {
		proxy   flaky
		err     error    // nil, or what it is
		warning []string // what the warning says, if err is nil
		says    []string // what the error says
		took    time.Duration
	}{
		"after the switch": {
			proxy:   flaky{first: lines("deploying", "switched", "draining"), services: serving(7)},
			warning: []string{"lost", "taken effect", "not known"},
		},
		"after the switch, and nobody answers": {
			proxy: flaky{first: lines("deploying", "switched", "draining")},
			err:   parachute.ErrUndecided,
			says:  []string{"lost", "taken effect", "stop neither", "generation 7"},
			took:  10 * time.Second,
		},
		"after the switch, and it was taken back": {
			proxy: flaky{first: lines("deploying", "switched"), services: back},
			err:   parachute.ErrTakenBack,
			says:  []string{"lost", "taken back", "generation 8 serves what generation 6 did"},
		},
		"after the switch, and a newer one serves": {
			proxy: flaky{first: lines("deploying", "switched"), services: serving(8)},
			err:   parachute.ErrSuperseded,
			says:  []string{"lost", "newer", "generation 7"},
		},
		"after the switch, and it was removed": {
			proxy: flaky{first: lines("deploying", "switched"), services: serving(8)[:1]},
			err:   parachute.ErrSuperseded,
			says:  []string{"lost", "newer"},
		},
		"it serves": {
			proxy:   flaky{first: lines("deploying", "probed"), services: serving(7)},
			warning: []string{"lost", "taken effect"},
		},
		"it serves after a restart": {
			proxy:   flaky{first: lines("deploying"), hangups: 20, services: serving(7)},
			warning: []string{"lost", "taken effect"},
			took:    2 * time.Second,
		},
		"the one before serves": {
			proxy: flaky{first: lines("deploying"), services: serving(6)},
			err:   io.ErrUnexpectedEOF,
			says:  []string{"lost", "nothing was changed"},
			took:  time.Second,
		},
		"nothing serves": {
			proxy: flaky{first: lines("deploying"), services: serving(7)[:1]},
			err:   io.ErrUnexpectedEOF,
			says:  []string{"lost", "nothing was changed"},
			took:  time.Second,
		},
		"a newer one serves": {
			proxy: flaky{first: lines("deploying"), services: serving(8)},
			err:   parachute.ErrSuperseded,
			says:  []string{"lost", "newer", "generation 7"},
		},
		"another has got its number, after a restart": {
			proxy: flaky{first: lines("deploying"), services: another},
			err:   parachute.ErrSuperseded,
			says:  []string{"lost", "newer"},
		},
		"it could not be restored": {
			proxy: flaky{first: lines("deploying"), services: restored},
			err:   io.ErrUnexpectedEOF,
			says:  []string{"could not be restored", "its pages are gone"},
		},
		"its number is not known": {
			proxy: flaky{first: lines(), services: serving(7)},
			err:   io.ErrUnexpectedEOF,
			says:  []string{"is not known", "generation 7 serves", "127.0.0.1:1"},
		},
		"there was no answer at all": {
			proxy: flaky{services: serving(7)},
			err:   io.ErrUnexpectedEOF,
			says:  []string{"is not known", "generation 7 serves"},
		},
		"in the middle of a line": {
			proxy:   flaky{first: lines("deploying") + "5\r\n{\"eve", services: serving(7)},
			warning: []string{"taken effect"},
		},
		"what comes is garbage": {
			proxy:   flaky{first: lines("deploying") + "5\r\nhello\r\n", services: serving(7)},
			warning: []string{"taken effect"},
		},
		"the answer ends too early": {
			proxy:   flaky{first: lines("deploying") + "0\r\n\r\n", services: serving(7)},
			warning: []string{"taken effect"},
		},
		"nobody answers any more": {
			proxy: flaky{first: lines("deploying")},
			err:   control.ErrNoProxy,
			says:  []string{"lost", "nobody has answered", "generation 7"},
			took:  10 * time.Second,
		},
		"nobody answers, and its number is not known": {
			proxy: flaky{first: lines()},
			err:   control.ErrNoProxy,
			says:  []string{"lost", "nobody has answered", "list of services"},
			took:  10 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &control.Client{Sockets: []string{test.proxy.serve(t)}}
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				start := time.Now()
				result, err := c.Deploy(t.Context(), deployment("web"), nil)
				took := time.Since(start)
				if test.err == nil {
					is.NoErr(err)
					is.Equal(result.Generation, uint64(7))
					is.True(saysAll(result.Warning, test.warning...))
				} else {
					is.True(errors.Is(err, test.err))
					is.True(strings.HasPrefix(err.Error(), "parachute: deploy web: "))
					is.True(saysAll(err.Error(), test.says...))
				}
				is.True(took >= test.took && took <= test.took+200*time.Millisecond) // no longer than it must
			})
		})
	}
}

func TestLostConnectionOfARemovalIsSettledByWhatIsThere(t *testing.T) {
	for name, test := range map[string]struct {
		proxy flaky
		err   error
	}{
		"it was removed":      {flaky{first: lines("removed")}, nil},
		"it is gone":          {flaky{first: lines(), services: serving(6)[:1]}, nil},
		"it is there":         {flaky{first: lines(), services: serving(6)}, io.ErrUnexpectedEOF},
		"nobody is there":     {flaky{first: lines()}, control.ErrNoProxy},
		"nothing at all came": {flaky{services: serving(6)[:1]}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := &control.Client{Sockets: []string{test.proxy.serve(t)}}
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				result, err := c.Remove(t.Context(), "web", nil)
				is.True(errors.Is(err, test.err))
				is.Equal(result.Warning != "", test.err == nil)
			})
		})
	}
}

func TestLostConnectionIsSettledWhenTheFleetHasDrained(t *testing.T) {
	const notYet, unsettled = `{"settled":false}`, `{"error":{"code":"unsettled","message":"the lease of eu-2 has ended"}}`
	ended := func(c *control.Client) error {
		_, err := c.Deploy(context.Background(), deployment("web"), nil)
		return err
	}
	removed := func(c *control.Client) error {
		_, err := c.Remove(context.Background(), "web", nil)
		return err
	}
	applied := func(c *control.Client) error {
		_, err := c.Apply(context.Background(), control.Application{Document: []byte("{}")})
		return err
	}
	const plan = `{"plan":[{"service":"shop","action":"keep"},{"service":"web","action":"replace"}]}` + "\n"
	planned := fmt.Sprintf("\r\n\r\n%x\r\n%s\r\n", len(plan), plan)
	for name, test := range map[string]struct {
		proxy  flaky
		change func(*control.Client) error
		says   string // empty: it ends well
	}{
		"in the end":                {flaky{first: lines("deploying", "switched"), services: serving(7), settled: []string{notYet, notYet, `{"settled":true}`}}, ended, ""},
		"and one may serve on":      {flaky{first: lines("deploying", "switched"), services: serving(7), settled: []string{notYet, unsettled}}, ended, "parachute: deploy web: the lease of eu-2 has ended"},
		"and it was not told":       {flaky{first: lines("deploying"), services: serving(7), settled: []string{unsettled}}, ended, "the lease of eu-2 has ended"},
		"of a removal":              {flaky{first: lines("removed"), services: serving(7)[:1], settled: []string{unsettled}}, removed, "parachute: remove web: the lease of eu-2 has ended"},
		"of an apply":               {flaky{first: strings.Replace(lines("switched"), "\r\n\r\n", planned, 1), services: serving(7), settled: []string{notYet, unsettled}}, applied, "parachute: apply: the lease of eu-2 has ended"},
		"and its proxy is an older": {flaky{first: lines("deploying", "switched"), services: serving(7)}, ended, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := &control.Client{Sockets: []string{test.proxy.serve(t)}}
			synctest.Test(t, func(t *testing.T) {
				is := is.New(t)
				err := test.change(c)
				is.Equal(err == nil, test.says == "")
				if err != nil {
					is.True(errors.Is(err, control.ErrUnsettled))
					is.True(strings.Contains(err.Error(), test.says))
				}
				is.Equal(len(test.proxy.settled), 0) // it was asked until it said so
			})
		})
	}
}
