package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// request speaks to a plane as curl --unix-socket does.
func (p *plane) request(t *testing.T, method, path, body string, header ...string) (status int, answer string) {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", p.socket)
	}}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://localhost"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

func TestDeployTellsItsEvents(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	first := newTarget(t)
	var events []parachute.Event
	hear := func(e parachute.Event) { events = append(events, e) }

	d := parachute.Deployment{Service: "web", Targets: []string{first}}
	result, err := p.client.Deploy(t.Context(), d, hear)
	is.NoErr(err)
	is.Equal(result, control.Result{Service: "web", Generation: 1})
	is.Equal(kindsOf(events), []parachute.EventKind{"deploying", "healthy", "switched"})
	is.Equal(inUTC(events), inUTC(p.told())) // each with everything that is in it

	events = nil
	second := newTarget(t)
	d.Targets = []string{second}
	result, err = p.client.Deploy(t.Context(), d, hear)
	is.NoErr(err)
	is.Equal(result, control.Result{Service: "web", Generation: 2})
	is.Equal(kindsOf(events), []parachute.EventKind{"deploying", "healthy", "switched", "draining", "drained"})
	for _, e := range events {
		is.Equal(e.Generation, uint64(2)) // all are of this deploy
	}
	told := p.told()
	is.Equal(inUTC(events), inUTC(told[len(told)-len(events):])) // each with everything that is in it
	is.Equal(events[len(events)-1].Unused, []string{first})

	services, err := p.client.Services(t.Context())
	is.NoErr(err)
	is.Equal(generationOf(services, "web"), uint64(2)) // it serves
	is.True(services[0].Live != nil)                   // and there is something to be told of it

	events = nil
	result, err = p.client.Remove(t.Context(), "web", hear)
	is.NoErr(err)
	is.Equal(result, control.Result{Service: "web", Generation: 3})
	is.Equal(kindsOf(events), []parachute.EventKind{"removed", "draining", "drained"})
	services, err = p.client.Services(t.Context())
	is.NoErr(err)
	is.Equal(len(services), 0) // it is gone
}

// told returns the events that Notify got so far.
func (p *plane) told() []parachute.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.events)
}

// inUTC returns events whose times are as comparable as they can be.
func inUTC(events []parachute.Event) []parachute.Event {
	for i := range events {
		events[i].Time = events[i].Time.Round(0).UTC()
		if probe := events[i].Probe; probe != nil {
			copied := *probe
			copied.Time = copied.Time.Round(0).UTC()
			events[i].Probe = &copied
		}
	}
	return events
}

func TestResultTellsWhatWasCutOff(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	old := newSlowTarget(t)
	_, err := p.client.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{old.address}}, nil)
	is.NoErr(err)

	front := httptest.NewServer(p.proxy)
	defer front.Close()
	var requests sync.WaitGroup
	requests.Go(func() {
		if resp, err := http.Get(front.URL + "/slow"); err == nil {
			resp.Body.Close()
		}
	})
	<-old.arrived
	next := newTarget(t)
	d := parachute.Deployment{Service: "web", Targets: []string{next}, Timeouts: parachute.Timeouts{Drain: -1}}
	result, err := p.client.Deploy(t.Context(), d, nil)
	is.NoErr(err)
	is.Equal(result.Requests, int64(1)) // it was not waited for
	requests.Wait()
}

func TestCurlCanDeploy(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	address := newTarget(t)
	body := fmt.Sprintf(`{"targets":[%q],"hosts":["app1.example.com"],"timeouts":{"drain":"5s"}}`, address)

	status, answer := p.request(t, "PUT", "/v1/services/web", body)
	is.Equal(status, 200)
	is.Equal(answer, `{"service":"web","generation":1,"requests_cut":0,"streams_closed":0}`+"\n")

	status, answer = p.request(t, "PUT", "/v1/services/web", body, "Accept", "application/x-ndjson")
	is.Equal(status, 200)
	lines := strings.Split(strings.TrimSpace(answer), "\n")
	is.True(len(lines) >= 5)                                                      // deploying, healthy, switched, draining, drained
	is.True(strings.HasPrefix(lines[0], `{"event":{"time":"`))                    // events
	is.True(strings.HasPrefix(lines[len(lines)-1], `{"result":{"service":"web"`)) // and a result
	for _, line := range lines {
		is.True(json.Valid([]byte(line))) // each by itself
	}

	status, answer = p.request(t, "GET", "/v1/services", "")
	is.Equal(status, 200)
	is.True(saysAll(answer, `"service":"web"`, `"drain":"5s"`, address)) // durations are strings

	status, answer = p.request(t, "DELETE", "/v1/services/web", "")
	is.Equal(status, 200)
	is.True(saysAll(answer, `"service":"web"`))

	status, answer = p.request(t, "GET", "/v1/services", "")
	is.Equal(status, 200)
	is.Equal(answer, "[]\n") // an empty list is one

	status, answer = p.request(t, "GET", "/v1/version", "")
	is.Equal(status, 200)
	is.Equal(answer, fmt.Sprintf(`{"version":"v1.2.3","pid":%d,"unknown_names":0}`+"\n", os.Getpid()))
	version, err := p.client.Version(t.Context())
	is.NoErr(err)
	is.Equal(version, control.Version{Version: "v1.2.3", PID: os.Getpid()})
}

func TestErrorsComeWithTheirStatus(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	status, answer := p.request(t, "DELETE", "/v1/services/web", "")
	is.Equal(status, 404)
	is.True(saysAll(answer, `{"error":{"code":"not_found","message":"parachute: remove web: `))

	sick, _ := newSickTarget(t)
	body := fmt.Sprintf(`{"targets":[%q],"timeouts":{"deploy":"10ms"}}`, sick)
	status, answer = p.request(t, "PUT", "/v1/services/web", body)
	is.Equal(status, 422)
	is.True(saysAll(answer, `"code":"unhealthy"`, `"waited":"10ms"`))

	status, answer = p.request(t, "PUT", "/v1/services/web", body, "Accept", "application/x-ndjson")
	is.Equal(status, 200) // it had begun to answer
	lines := strings.Split(strings.TrimSpace(answer), "\n")
	is.True(saysAll(lines[0], `"kind":"deploying"`))
	is.True(saysAll(lines[len(lines)-1], `{"error":{"code":"unhealthy"`)) // which is the last line

	status, answer = p.request(t, "PUT", "/v1/services/web", `{"targets":["nonsense"]}`, "Accept", "application/x-ndjson")
	is.Equal(status, 400) // it had not
	is.True(saysAll(answer, `{"error":{"code":"invalid"`))
}

func TestBadBodyIsRefusedWithWhatWouldBeRight(t *testing.T) {
	p := newPlane(t, parachute.Options{})
	for name, test := range map[string]struct {
		body   string
		status int
		says   []string
	}{
		"none":                   {"", 400, []string{"no body", `{\"targets\":[`}},
		"blank":                  {" \n", 400, []string{"no body", `{\"targets\":[`}},
		"not JSON":               {"targets=web-1:3000", 400, []string{"not JSON", `{\"targets\":[`}},
		"cut off":                {`{"targets":["web-1:3000"]`, 400, []string{"not JSON", `{\"targets\":[`}},
		"a list":                 {`["web-1:3000"]`, 400, []string{"JSON array", `{\"targets\":[`}},
		"two":                    {`{"targets":["web-1:3000"]}{}`, 400, []string{"more in the body", `{\"targets\":[`}},
		"null":                   {`null`, 400, []string{"target"}},
		"unknown field":          {`{"tragets":["web-1:3000"]}`, 400, []string{`\"tragets\"`, "want one of service, targets, ", "health_check.path"}},
		"unknown field deep":     {`{"targets":["web-1:3000"],"timeouts":{"dreploy":"1s"}}`, 400, []string{`\"dreploy\"`, "timeouts.deploy"}},
		"wrong kind":             {`{"targets":"web-1:3000"}`, 400, []string{"targets", "JSON string", `[`}},
		"wrong kind deep":        {`{"targets":["web-1:3000"],"health_check":{"path":7}}`, 400, []string{"path", "JSON number"}},
		"a bad duration":         {`{"targets":["web-1:3000"],"timeouts":{"drain":"soon"}}`, 400, []string{"soon", "1m30s"}},
		"a duration as a number": {`{"targets":["web-1:3000"],"timeouts":{"drain":30}}`, 400, []string{"drain", "JSON number"}},
		"another name":           {`{"service":"shop","targets":["web-1:3000"]}`, 400, []string{`\"web\"`, `\"shop\"`}},
		"10 MiB":                 {`{"targets":["` + strings.Repeat("x", 10<<20) + `"]}`, 413, []string{"1048576 bytes"}},
		"10 MiB of nothing":      {strings.Repeat(" ", 10<<20), 413, []string{"1048576 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			is := is.New(t)
			status, answer := p.request(t, "PUT", "/v1/services/web", test.body)
			is.Equal(status, test.status)
			is.True(strings.HasPrefix(answer, `{"error":{"code":"invalid","message":"parachute: deploy web: `))
			if !saysAll(answer, test.says...) {
				t.Errorf("%s: want all of %q", answer, test.says)
			}
			is.Equal(len(p.proxy.Services()), 0) // nothing was changed
		})
	}
}

func TestWhatThereIsNoRouteForIsToldWhatThereIs(t *testing.T) {
	p := newPlane(t, parachute.Options{})
	for request, want := range map[string]struct {
		status int
		says   string
	}{
		"GET /":                       {404, "GET /v1/services, GET /v1/services/{name}, PUT /v1/services/{name}"},
		"GET /v2/services":            {404, "GET /v1/services, GET /v1/services/{name}, PUT /v1/services/{name}"},
		"PUT /v1/services/":           {404, "PUT /v1/services/{name}"},
		"PUT /v1//services/web":       {404, "PUT /v1/services/{name}"},
		"PUT /v1/services/../web":     {404, "PUT /v1/services/{name}"},
		"PUT /v1/services/web/config": {404, "PUT /v1/services/{name}"},
		"POST /v1/services":           {405, "this path takes GET"},
		"POST /v1/services/web":       {405, "this path takes GET, PUT, PATCH, DELETE"},
		"DELETE /v1/version":          {405, "this path takes GET"},
	} {
		t.Run(request, func(t *testing.T) {
			is := is.New(t)
			method, path, _ := strings.Cut(request, " ")
			status, answer := p.request(t, method, path, "")
			is.Equal(status, want.status)
			is.True(saysAll(answer, `{"error":{"code":"no_route"`, path+": no such route", want.says))
		})
	}
}

func TestRefusingLetsQuestionsThrough(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	sick, heal := newSickTarget(t)
	running := make(chan error, 1)
	go deployInto(running, p, parachute.Deployment{Service: "web", Targets: []string{sick}})
	p.await(t, parachute.EventDeploying)

	p.server.Refuse()
	_, err := p.client.Deploy(t.Context(), deployment("shop"), nil)
	is.True(errors.Is(err, parachute.ErrClosed))
	is.Equal(err.Error(), "parachute: deploy shop: proxy closed") // as the library would say
	_, err = p.client.Remove(t.Context(), "web", nil)
	is.True(errors.Is(err, parachute.ErrClosed))
	_, err = p.client.Services(t.Context())
	is.NoErr(err) // a question

	heal()
	is.NoErr(<-running) // what was under way goes on
}

func TestNobodyIsToldThatNothingIsDeployedAtTheEnd(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	_, err := p.client.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{newTarget(t)}}, nil)
	is.NoErr(err)
	p.server.End()
	is.NoErr(p.proxy.Close())
	for _, path := range []string{"/v1/services", "/v1/export", "/v1/certificates", "/v1/history", "/v1/services/web", "/v1/services/web/history"} {
		status, answer := p.request(t, "GET", path, "")
		is.Equal(status, http.StatusServiceUnavailable)               // path
		is.True(strings.Contains(answer, `"error":{"code":"closed"`)) // path
	}
	status, _ := p.request(t, "GET", "/v1/version", "")
	is.Equal(status, http.StatusOK) // it is there still
}

func deployInto(ended chan<- error, p *plane, d parachute.Deployment) {
	_, err := p.client.Deploy(context.Background(), d, nil)
	ended <- err
}

func TestEachDeployGetsItsOwnEvents(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	const deploys = 20
	type outcome struct {
		result control.Result
		err    error
		events []parachute.Event
	}
	outcomes := make([]outcome, deploys)
	address := newTarget(t)
	var wg sync.WaitGroup
	for i := range outcomes {
		wg.Go(func() {
			o := &outcomes[i]
			service := fmt.Sprint("s", i%4)
			d := parachute.Deployment{Service: service, Targets: []string{address}, Hosts: []string{service + ".test"}}
			o.result, o.err = p.client.Deploy(context.Background(), d, func(e parachute.Event) { o.events = append(o.events, e) })
		})
	}
	wg.Wait()
	seen := make(map[uint64]bool)
	for i, o := range outcomes {
		is.True(o.err == nil || errors.Is(o.err, parachute.ErrSuperseded)) // the newer wins
		is.Equal(o.events[0].Kind, parachute.EventDeploying)
		generation := o.events[0].Generation
		is.True(!seen[generation]) // which no other deploy has
		seen[generation] = true
		for _, e := range o.events {
			is.Equal(e.Generation, generation)
			is.Equal(e.Service, fmt.Sprint("s", i%4))
		}
		if o.err == nil {
			is.Equal(o.result.Generation, generation)
		}
	}
}

func TestFailedChangeLetsTheNextOneBegin(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	for range 3 {
		_, err := p.client.Deploy(t.Context(), parachute.Deployment{Service: "web"}, nil)
		is.True(errors.Is(err, parachute.ErrInvalid)) // it has no event at all
		_, err = p.client.Remove(t.Context(), "web", nil)
		is.True(errors.Is(err, parachute.ErrNotFound)) // nor has this
	}
	address := newTarget(t)
	_, err := p.client.Deploy(t.Context(), parachute.Deployment{Service: "web", Targets: []string{address}}, nil)
	is.NoErr(err)
}

func TestHangingUpBeforeTheSwitchEndsTheDeploy(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	sick, _ := newSickTarget(t)
	c, err := net.Dial("unix", p.socket)
	is.NoErr(err)
	body := fmt.Sprintf(`{"targets":[%q]}`, sick)
	_, err = fmt.Fprintf(c, "PUT /v1/services/web HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	is.NoErr(err)
	p.await(t, parachute.EventDeploying)
	is.NoErr(c.Close())
	e := p.await(t, parachute.EventFailed)
	is.True(errors.Is(e.Err, context.Canceled)) // long before its time
	is.Equal(len(p.proxy.Services()), 0)        // nothing was changed
}

func FuzzRequestIsAnswered(f *testing.F) {
	f.Add("PUT", "/v1/services/web", `{"targets":["10.0.0.7:3000"],"timeouts":{"drain":"5s"}}`)
	f.Add("PUT", "/v1/services/%2F", `{"service":"/","targets":7}`)
	f.Add("DELETE", "/v1/services/a%zzb", "")
	f.Add("GET", "/v1//services", "[[[[")
	proxy := parachute.New(parachute.Options{})
	if err := proxy.Close(); err != nil { // so that what is well formed is refused at once
		f.Fatal(err)
	}
	handler := control.NewServer("v1").Handler(proxy)
	f.Fuzz(func(t *testing.T, method, path, body string) {
		r, err := http.NewRequest(method, path, strings.NewReader(body))
		if err != nil {
			t.Skip("no request")
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		switch w.Code {
		case 200, 400, 404, 405, 413, 503:
		default:
			t.Fatalf("%s %q %q: %d %s", method, path, body, w.Code, w.Body)
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%s %q %q: %s", method, path, body, w.Body)
		}
	})
}
