package metrics_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/metrics"
)

// newMetrics returns the metrics of a proxy that serves nothing yet.
func newMetrics(t testing.TB) (*metrics.Metrics, *parachute.Proxy) {
	t.Helper()
	m := metrics.New()
	p := parachute.New(parachute.Options{Observe: m.Observe, Notify: m.Notify})
	m.SetProxy(p)
	t.Cleanup(func() { p.Close() })
	return m, p
}

// newTarget returns the address of an app that answers with 200 and "ok".
func newTarget(t testing.TB) string {
	t.Helper()
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "ok")
	}))
	t.Cleanup(app.Close)
	return app.Listener.Addr().String()
}

func deploy(t testing.TB, p *parachute.Proxy, d parachute.Deployment) {
	t.Helper()
	if err := p.Deploy(context.Background(), d); err != nil {
		t.Fatal(err)
	}
}

// send has the proxy serve a request.
func send(p *parachute.Proxy, method, url, body string) {
	p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, url, strings.NewReader(body)))
}

// scrape returns what Prometheus would get.
func scrape(t testing.TB, m *metrics.Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatal(w.Body)
	}
	return w.Body.String()
}

// lacks returns those lines that are not in what was scraped.
func lacks(scraped string, lines ...string) (missing []string) {
	for _, line := range lines {
		if !strings.Contains("\n"+scraped, "\n"+line+"\n") {
			missing = append(missing, line)
		}
	}
	return missing
}

func TestRequestsAreCountedByService(t *testing.T) {
	is := is.New(t)
	m, p := newMetrics(t)
	deploy(t, p, parachute.Deployment{Service: "web", Targets: []string{newTarget(t)}, Hosts: []string{"a.test"}})
	send(p, "GET", "http://a.test/x", "")
	send(p, "POST", "http://a.test/y", "12345")
	send(p, "BREW", "http://a.test/", "")
	send(p, "GET", "http://nobody.test/", "")
	is.Equal(lacks(scrape(t, m),
		`parachute_requests_total{code="200",method="GET",role="write",service="web",status="2xx"} 1`,
		`parachute_requests_total{code="200",method="POST",role="write",service="web",status="2xx"} 1`,
		`parachute_requests_total{code="200",method="other",role="write",service="web",status="2xx"} 1`,
		`parachute_requests_total{code="404",method="GET",role="",service="",status="4xx"} 1`,
		`parachute_request_body_bytes_total{service="web"} 5`,
		`parachute_response_body_bytes_total{service="web"} 6`,
		`parachute_request_duration_seconds_bucket{role="write",service="web",le="+Inf"} 3`,
		`parachute_request_duration_seconds_count{role="write",service="web"} 3`,
		`parachute_retries_total{service="web"} 0`,
		`parachute_unbuffered_responses_total{service="web"} 0`,
		`parachute_requests_in_flight{service="web"} 0`,
		`parachute_streams_open{service="web"} 0`,
		`parachute_requests_held{service="web"} 0`,
		`parachute_deploys_total{outcome="switched",service="web"} 1`,
		`parachute_tls_unknown_names_total 0`,
	), nil)
}

func TestDeploymentInfoIsOfWhatServes(t *testing.T) {
	is := is.New(t)
	m, p := newMetrics(t)
	info := func() (lines []string) {
		for line := range strings.Lines(scrape(t, m)) {
			if strings.HasPrefix(line, "parachute_deployment_info{") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		return lines
	}
	is.Equal(info(), nil)
	d := parachute.Deployment{Service: "web", Targets: []string{newTarget(t)}, Release: `v7 "seven"`, By: "ann"}
	deploy(t, p, d)
	is.Equal(info(), []string{`parachute_deployment_info{by="ann",generation="1",release="v7 \"seven\"",role="main",service="web"} 1`})
	is.NoErr(p.Rollout(context.Background(), "web", parachute.Rollout{Targets: []string{newTarget(t)}, Release: "v8", By: "bob"}))
	is.Equal(info(), []string{
		`parachute_deployment_info{by="ann",generation="1",release="v7 \"seven\"",role="main",service="web"} 1`,
		`parachute_deployment_info{by="bob",generation="",release="v8",role="rollout",service="web"} 1`,
	})
	is.NoErr(p.EndRollout(context.Background(), "web"))
	d.Release, d.By = "", ""
	deploy(t, p, d)
	lines := info()
	is.Equal(len(lines), 1) // what it has replaced is gone
	is.True(strings.HasPrefix(lines[0], `parachute_deployment_info{by="",generation="`))
	is.True(strings.HasSuffix(lines[0], `",release="",role="main",service="web"} 1`))
	is.NoErr(p.Remove(context.Background(), "web"))
	is.Equal(info(), nil)
}

func TestMetricsAreNamedAsPrometheusWants(t *testing.T) {
	is := is.New(t)
	m, p := newMetrics(t)
	deploy(t, p, parachute.Deployment{Service: "web", Targets: []string{newTarget(t)}})
	scraped := scrape(t, m)
	problems, err := promlint.New(strings.NewReader(scraped)).Lint()
	is.NoErr(err)
	is.Equal(problems, nil)
	ours := regexp.MustCompile(`^(# |parachute_|go_|process_)`) // the latter two are those of any Go program
	for line := range strings.Lines(scraped) {
		if !ours.MatchString(line) {
			t.Errorf("not one of ours: %s", line)
		}
	}
	for _, name := range []string{"go_goroutines ", "process_resident_memory_bytes ", "go_build_info{"} {
		is.True(strings.Contains(scraped, "\n"+name))
	}
}

func TestSeriesOfARemovedServiceGoAway(t *testing.T) {
	is := is.New(t)
	m, p := newMetrics(t)
	for range 3 {
		deploy(t, p, parachute.Deployment{Service: "web", Targets: []string{newTarget(t)}})
		send(p, "GET", "http://a.test/", "")
		is.True(strings.Contains(scrape(t, m), `service="web"`))
		is.NoErr(p.Remove(context.Background(), "web"))
		m.Observe(httptest.NewRequest("GET", "/", nil), parachute.Outcome{Service: "web", Status: 200}) // one that was late
		is.True(!strings.Contains(scrape(t, m), `service="web"`))
	}
}

func TestRestoredServicesAreCounted(t *testing.T) {
	is := is.New(t)
	m, p := newMetrics(t)
	address := newTarget(t)
	is.NoErr(p.Restore([]parachute.Status{{Service: "web", Generation: 7, Deployment: parachute.Deployment{Service: "web", Targets: []string{address}}}}))
	send(p, "GET", "http://a.test/", "")
	is.Equal(lacks(scrape(t, m), `parachute_requests_total{code="200",method="GET",role="write",service="web",status="2xx"} 1`), nil)
}

func TestExcludedPathsAreThoseThatTheTargetSees(t *testing.T) {
	d := &parachute.Deployment{Report: parachute.Report{ExcludeMetricsPaths: []string{"/live", "/"}}}
	for _, test := range []struct {
		path, prefix string
		counted      int
	}{
		{"/live", "", 0},
		{"/live?x=y", "", 0},
		{"/live/x", "", 1},
		{"/other", "", 1},
		{"/api/live", "", 1},
		{"/api/live", "/api", 0},
		{"/%61pi/live", "/api", 0},
		{"/api/live", "/%61pi", 0},
		{"/api//live", "/api", 0}, // what is left begins with one slash
		{"/api", "/api", 0},
		{"/api/api/live", "/api", 1},
	} {
		t.Run(test.path+" below "+test.prefix, func(t *testing.T) {
			is := is.New(t)
			m, _ := newMetrics(t)
			m.Observe(httptest.NewRequest("GET", test.path, nil), parachute.Outcome{Prefix: test.prefix, Deployment: d})
			is.Equal(lacks(scrape(t, m), fmt.Sprintf(`parachute_request_duration_seconds_count{role="",service=""} %d`, test.counted)), nil)
		})
	}
}

func TestHealthIsToldByTarget(t *testing.T) {
	is := is.New(t)
	m, p := newMetrics(t)
	address := newTarget(t)
	deploy(t, p, parachute.Deployment{Service: "web", Targets: []string{address}})
	is.Equal(lacks(scrape(t, m), `parachute_target_healthy{role="write",service="web",target="`+address+`"} 1`), nil)
}

func TestDeploysAreCountedByTheirEnd(t *testing.T) {
	is := is.New(t)
	m, p := newMetrics(t)
	deploy(t, p, parachute.Deployment{Service: "web", Targets: []string{newTarget(t)}})
	for i, end := range []struct {
		err  error
		want string
	}{
		{parachute.ErrUnhealthy, "unhealthy"},
		{parachute.ErrSuperseded, "superseded"},
		{context.Canceled, "canceled"},
		{errors.New("no space left on device"), "failed"},
	} {
		generation := uint64(100 + i)
		m.Notify(parachute.Event{Kind: parachute.EventDeploying, Service: "web", Generation: generation})
		m.Notify(parachute.Event{Kind: parachute.EventFailed, Service: "web", Generation: generation, Err: end.err})
		m.Notify(parachute.Event{Kind: parachute.EventFailed, Service: "web", Generation: generation, Err: end.err}) // which is of no deploy
		is.Equal(lacks(scrape(t, m), `parachute_deploys_total{outcome="`+end.want+`",service="web"} 1`), nil)
	}
	m.Notify(parachute.Event{Kind: parachute.EventDeploying, Service: "web", Generation: 150})
	m.Notify(parachute.Event{Kind: parachute.EventSwitched, Service: "web", Generation: 150})
	m.Notify(parachute.Event{Kind: parachute.EventTakenBack, Service: "web", Generation: 150, Err: parachute.ErrTakenBack})
	m.Notify(parachute.Event{Kind: parachute.EventSwitched, Service: "web", Generation: 151, Restores: 1}) // what served before, which is no deploy
	is.Equal(lacks(scrape(t, m), `parachute_deploys_total{outcome="switched",service="web"} 2`, `parachute_deploys_total{outcome="taken_back",service="web"} 1`), nil)
	m.Notify(parachute.Event{Kind: parachute.EventDeploying, Service: "new", Generation: 200})
	m.Notify(parachute.Event{Kind: parachute.EventFailed, Service: "new", Generation: 200, Err: parachute.ErrUnhealthy})
	is.Equal(lacks(scrape(t, m), `parachute_deploys_total{outcome="unhealthy",service="new"} 1`), nil) // although it is no service yet
}

func TestProbesAreCountedOnce(t *testing.T) {
	is := is.New(t)
	m, p := newMetrics(t)
	deploy(t, p, parachute.Deployment{Service: "web", Targets: []string{newTarget(t)}, HealthCheck: parachute.HealthCheck{Interval: time.Hour}})
	before := scrape(t, m)
	is.Equal(lacks(before, `parachute_probes_total{result="passed",service="web"} 1`), nil) // before it was a service
	passed, failed := &parachute.Probe{Passed: true}, &parachute.Probe{}
	m.Notify(parachute.Event{Kind: parachute.EventDeploying, Service: "web", Generation: 9})
	m.Notify(parachute.Event{Kind: parachute.EventProbed, Service: "web", Generation: 9, Probe: passed})
	m.Notify(parachute.Event{Kind: parachute.EventHealthy, Service: "web", Generation: 9, Probe: passed})
	m.Notify(parachute.Event{Kind: parachute.EventSwitched, Service: "web", Generation: 9})
	m.Notify(parachute.Event{Kind: parachute.EventUnhealthy, Service: "web", Generation: 9, Probe: failed})
	m.Notify(parachute.Event{Kind: parachute.EventHealthy, Service: "web", Generation: 9, Probe: passed})
	is.Equal(lacks(scrape(t, m),
		`parachute_probes_total{result="passed",service="web"} 3`,
		`parachute_probes_total{result="failed",service="web"} 1`,
	), nil)
}

func TestDrainsAreTimed(t *testing.T) {
	is := is.New(t)
	m, p := newMetrics(t)
	deploy(t, p, parachute.Deployment{Service: "web", Targets: []string{newTarget(t)}})
	began := time.Now()
	m.Notify(parachute.Event{Kind: parachute.EventDraining, Time: began, Service: "web", Generation: 9})
	m.Notify(parachute.Event{Kind: parachute.EventDrained, Time: began.Add(1500 * time.Millisecond), Service: "web", Generation: 9})
	m.Notify(parachute.Event{Kind: parachute.EventDrained, Time: began.Add(time.Hour), Service: "web", Generation: 9}) // which did not begin
	is.Equal(lacks(scrape(t, m),
		`parachute_drain_duration_seconds_bucket{service="web",le="1"} 0`,
		`parachute_drain_duration_seconds_bucket{service="web",le="2"} 1`,
		`parachute_drain_duration_seconds_sum{service="web"} 1.5`,
		`parachute_drain_duration_seconds_count{service="web"} 1`,
	), nil)
}

func TestStatusesAreBounded(t *testing.T) {
	is := is.New(t)
	m, _ := newMetrics(t)
	for _, status := range []int{0, 101, 204, 301, 404, 502, 999} {
		m.Observe(httptest.NewRequest("PROPFIND", "/", nil), parachute.Outcome{Status: status, Duration: time.Second, Retries: 2, Unbuffered: io.ErrShortWrite})
	}
	scraped := scrape(t, m)
	for class, code := range map[string]string{"none": "0", "1xx": "101", "2xx": "204", "3xx": "301", "4xx": "404", "5xx": "502", "other": "999"} {
		is.Equal(lacks(scraped, `parachute_requests_total{code="`+code+`",method="other",role="",service="",status="`+class+`"} 1`), nil)
	}
	is.Equal(lacks(scraped,
		`parachute_request_duration_seconds_count{role="",service=""} 6`, // the upgraded connection is not among them
		`parachute_retries_total{service=""} 14`,
		`parachute_unbuffered_responses_total{service=""} 7`,
	), nil)
}

func newRequest() (*http.Request, parachute.Outcome) {
	r := httptest.NewRequest(http.MethodGet, "/api/orders", nil)
	return r, parachute.Outcome{
		Service: "web", Prefix: "/api", Status: 200, BytesIn: 10, BytesOut: 1000, Duration: 3 * time.Millisecond, Retries: 1,
		Deployment: &parachute.Deployment{Report: parachute.Report{ExcludeMetricsPaths: []string{"/up"}}},
	}
}

func BenchmarkObserve(b *testing.B) {
	m, p := newMetrics(b)
	deploy(b, p, parachute.Deployment{Service: "web", Targets: []string{newTarget(b)}})
	r, o := newRequest()
	b.Run("plain", func(b *testing.B) {
		o := o
		o.Deployment = nil
		b.ReportAllocs()
		for b.Loop() {
			m.Observe(r, o)
		}
	})
	b.Run("excluding a path", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m.Observe(r, o)
		}
	})
}

// increase() in Prometheus sees nothing of a counter that comes into being at 1.
func TestOutcomesOfADeployAreThereBeforeItEnds(t *testing.T) {
	is := is.New(t)
	m, _ := newMetrics(t)
	m.Notify(parachute.Event{Kind: parachute.EventDeploying, Service: "new", Generation: 1})
	for _, outcome := range []string{"switched", "unhealthy", "superseded", "canceled", "failed", "taken_back"} {
		is.Equal(lacks(scrape(t, m), `parachute_deploys_total{outcome="`+outcome+`",service="new"} 0`), nil)
	}
	for i := range 200 { // names are made up with ease
		m.Notify(parachute.Event{Kind: parachute.EventDeploying, Service: fmt.Sprint("tried-", i), Generation: uint64(2 + i)})
	}
	is.Equal(strings.Count(scrape(t, m), `parachute_deploys_total{outcome="failed",service=`), 1+100) // and for no service
}

func TestRequestsAndDurationsTellTheRoleOfTheTarget(t *testing.T) {
	is := is.New(t)
	m, p := newMetrics(t)
	deploy(t, p, parachute.Deployment{Service: "web", Targets: []string{newTarget(t)}})
	for role, o := range map[string]parachute.Outcome{"": {}, "write": {Target: "a:1"}, "read": {Target: "a:1", Reads: true},
		"rollout_write": {Target: "a:1", Rollout: true}, "rollout_read": {Target: "a:1", Reads: true, Rollout: true}} {
		o.Service, o.Status, o.Duration, o.Waited = "web", 200, 11*time.Second, 10*time.Second
		m.Observe(httptest.NewRequest("GET", "/", nil), o)
		is.Equal(lacks(scrape(t, m),
			`parachute_requests_total{code="200",method="GET",role="`+role+`",service="web",status="2xx"} 1`,
			`parachute_request_duration_seconds_sum{role="`+role+`",service="web"} 1`, // without the wait
		), nil)
	}
	is.Equal(lacks(scrape(t, m), `parachute_request_wait_seconds_sum{service="web"} 50`), nil)
}
