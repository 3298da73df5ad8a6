package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// told returns what is printed of events where there is no terminal.
func told(d parachute.Deployment, events ...parachute.Event) string {
	var out bytes.Buffer
	change := (&program{stdout: &out}).newProgress(newFormatter(d), false)
	defer change.stop()
	for _, e := range events {
		change.handleEvent(e)
	}
	return out.String()
}

// A probe of a newer proxy may have a form that is not known here.
func TestProbeThatCannotBeReadIsNotTold(t *testing.T) {
	is := is.New(t)
	d := parachute.Deployment{Service: "web", Targets: []string{"a:1"}}
	is.Equal(told(d, parachute.Event{Kind: parachute.EventProbed, Target: "a:1", Probes: 1},
		parachute.Event{Kind: parachute.EventHealthy, Target: "a:1", Probes: 2}), "")
}

func TestDeployIsToldInColumns(t *testing.T) {
	is := is.New(t)
	var out bytes.Buffer
	s := newFormatter(parachute.Deployment{Service: "web", Targets: []string{"10.0.0.7:3000"}, Hosts: []string{"a.test", "b.test", "c.test"}})
	change := (&program{stdout: &out}).newProgress(s, false)
	defer change.stop()
	const target, limit = "10.0.0.7:3000", 30 * time.Second
	for _, e := range []parachute.Event{
		{Kind: parachute.EventDeploying, Limit: limit},
		{Kind: parachute.EventProbed, Target: target, Probes: 4, Elapsed: 1200 * time.Millisecond, Limit: limit,
			Probe: &parachute.Probe{URL: "http://10.0.0.7:3000/up", Error: "dial tcp 10.0.0.7:3000: connect: connection refused", Cause: parachute.CauseRefused}},
		{Kind: parachute.EventProbed, Target: target, Probes: 7, Elapsed: 2400 * time.Millisecond, Limit: limit,
			Probe: &parachute.Probe{URL: "http://10.0.0.7:3000/up", Status: 503, Body: "boot", Cause: parachute.CauseServerError}},
		{Kind: parachute.EventHealthy, Target: target, Probes: 8, Elapsed: 3400 * time.Millisecond,
			Probe: &parachute.Probe{URL: "http://10.0.0.7:3000/up", Status: 200, Passed: true, Took: 12 * time.Millisecond}},
		{Kind: parachute.EventSwitched, Generation: 42},
		{Kind: parachute.EventDraining, Requests: 18, Streams: 3, Limit: limit},
		{Kind: parachute.EventDraining, Requests: 17, Streams: 3, Elapsed: 2100 * time.Millisecond, Limit: limit},
		{Kind: parachute.EventDrained, Streams: 3, Elapsed: 2800 * time.Millisecond, Unused: []string{"10.0.0.6:3000"}},
	} {
		change.handleEvent(e)
	}
	change.show(s.formatDone(6200 * time.Millisecond))
	is.Equal(out.String(), `web  probes send    Host: 10.0.0.7:3000, and not a.test: see --health-check-host
web  10.0.0.7:3000  connecting ...
web  10.0.0.7:3000  connecting ...            refused (4 probes, 1.2s of 30s)
web  10.0.0.7:3000  waiting ...               GET /up 503 "boot" (7 probes, 2.4s of 30s)
web  10.0.0.7:3000  healthy after 3.4s        GET /up 200 in 12ms
web  switched       3 hosts, generation 42
web  draining       18 requests, 3 streams left
web  draining       17 requests, 3 streams left (2.1s of 30s)
web  drained        in 2.8s, 3 streams closed
web  done in 6.2s   old target 10.0.0.6:3000 may be removed
`)
}

func TestDeployTellsWhichHostItsProbesSend(t *testing.T) {
	is := is.New(t)
	first := func(d parachute.Deployment) string {
		line, _, _ := strings.Cut(told(d, parachute.Event{Kind: parachute.EventDeploying}), "\n")
		return strings.Join(strings.Fields(line), " ")
	}
	const see = ", and not b.test: see --health-check-host"
	hosts := []string{"*.a.test", "b.test"}
	for target, want := range map[string]string{
		"web-1:3000": "Host: web-1:3000", "https://web-1:3000": "Host: web-1:3000", "[::1]:3000": "Host: [::1]:3000", "unix:/run/web.sock": "Host: localhost",
	} {
		is.Equal(first(parachute.Deployment{Service: "web", Targets: []string{target}, Hosts: hosts}), "web probes send "+want+see)
	}
	port := parachute.HealthCheck{Port: 9000}
	is.Equal(first(parachute.Deployment{Service: "web", Targets: []string{"web-1:3000"}, Hosts: hosts, HealthCheck: port}), "web probes send Host: web-1:9000"+see)
	is.Equal(first(parachute.Deployment{Service: "web", Targets: []string{"a:1", "b:1"}, Hosts: hosts}), "web probes send Host: the target's address"+see)
	for _, d := range []parachute.Deployment{
		{Targets: []string{"a:1"}},
		{Targets: []string{"a:1"}, Hosts: hosts[:1]},
		{Targets: []string{"a:1"}, Hosts: hosts, HealthCheck: parachute.HealthCheck{Host: "b.test"}},
		{Targets: []string{"a:1"}, Hosts: []string{"a"}, HealthCheck: parachute.HealthCheck{GRPC: true}},
	} {
		d.Service = "web"
		is.Equal(first(d), "web a:1 connecting ...")
	}
}

func TestProbesOfOneKindArePrintedOnce(t *testing.T) {
	is := is.New(t)
	var events []parachute.Event
	for port := range 30 {
		reset := fmt.Sprintf("read tcp 10.0.0.1:%d->10.0.0.7:1: connection reset by peer", 40000+port)
		events = append(events,
			probed("a:1", parachute.Probe{URL: "http://a:1/up", Error: reset, Cause: parachute.CauseNoAnswer}),
			probed("b:1", parachute.Probe{URL: "http://b:1/up", Status: 503, Body: fmt.Sprint("boot step ", port)}))
	}
	events = append(events,
		probed("a:1", parachute.Probe{URL: "http://a:1/up", Status: 503}),
		probed("a:1", parachute.Probe{URL: "http://a:1/up", Status: 200, Passed: true}))
	is.Equal(told(parachute.Deployment{Service: "web", Targets: []string{"a:1", "b:1"}}, events...),
		`web  a:1            connecting ...            hung up without an answer (1 probe)
web  b:1            waiting ...               GET /up 503 "boot step 0" (1 probe)
web  a:1            waiting ...               GET /up 503 (1 probe)
`)
}

func TestDrainingIsToldWhereThereIsSomethingToWaitFor(t *testing.T) {
	is := is.New(t)
	is.Equal(told(parachute.Deployment{Service: "web"},
		parachute.Event{Kind: parachute.EventDraining},
		parachute.Event{Kind: parachute.EventDrained},
		parachute.Event{Kind: parachute.EventDraining, Requests: 1},
		parachute.Event{Kind: parachute.EventDraining, Streams: 2},
		parachute.Event{Kind: parachute.EventDrained, Elapsed: time.Second},
	), `web  draining       1 request left
web  draining       2 streams left
`)
	is.Equal(told(parachute.Deployment{Service: "web"},
		parachute.Event{Kind: parachute.EventDrained, Streams: 2, Requests: 1, Elapsed: time.Second},
	), "web  drained        in 1s, 2 streams closed, 1 request cut off\n")
}

func TestWhatMayBeRemovedIsNamed(t *testing.T) {
	is := is.New(t)
	s := newFormatter(parachute.Deployment{Service: "web"})
	is.Equal(s.formatDone(time.Second).detail, "")
	s.format(parachute.Event{Kind: parachute.EventDrained, Unused: []string{"a:1", "b:1"}})
	is.Equal(s.formatDone(time.Second).detail, "old targets a:1, b:1 may be removed")
}

func TestOutcomeForProgramsIsTheLastLine(t *testing.T) {
	is := is.New(t)
	var out, stderr bytes.Buffer
	p := &program{stdout: &out, stderr: &stderr, printer: control.NewPrinter(&out)}
	change := p.newProgress(newFormatter(parachute.Deployment{Service: "web"}), false)
	defer change.stop()
	is.NoErr(p.conclude(t.Context(), "deploy", change, control.Result{Service: "web", Generation: 2, Requests: 1}, nil))
	is.Equal(out.String(), `{"result":{"service":"web","generation":2,"requests_cut":1,"streams_closed":0}}`+"\n")
	is.Equal(stderr.String(), "parachute: warning: 1 request cut off when the drain time-out had passed\n")
}

func TestOutcomeOfAChangeDecidesTheExitCode(t *testing.T) {
	alive := context.Background()
	interrupted, cancel := context.WithCancel(alive)
	cancel()
	lost := errors.New("the connection to the proxy was lost")
	for _, test := range []struct {
		name   string
		ctx    context.Context
		result control.Result
		err    error
		want   int
		stderr string
	}{
		{name: "done", ctx: alive, want: 0},
		{name: "requests cut off", ctx: alive, result: control.Result{Requests: 2}, want: 0,
			stderr: "parachute: warning: 2 requests cut off when the drain time-out had passed\n"},
		{name: "connection lost after the switch", ctx: alive, result: control.Result{Warning: "not known"}, want: 0,
			stderr: "parachute: warning: not known\n"},
		{name: "connection lost before", ctx: alive, err: lost, want: 1},
		{name: "interrupted in time", ctx: interrupted, err: fmt.Errorf("deploy: %w", context.Canceled), want: 1},
		{name: "interrupted, and who knows", ctx: interrupted, err: lost, want: 1},
		{name: "interrupted after the switch", ctx: interrupted, result: control.Result{Warning: "draining"}, want: 0,
			stderr: "parachute: warning: draining\n"},
		{name: "superseded", ctx: alive, err: fmt.Errorf("deploy: %w", parachute.ErrSuperseded), want: 4},
		{name: "no proxy", ctx: alive, err: &control.NoProxyError{}, want: 5},
		{name: "no certificate", ctx: alive, err: fmt.Errorf("deploy: %w", parachute.ErrNoCertificate), want: 1},
		{name: "refused", ctx: alive, err: &parachute.ConflictError{Owner: "other"}, want: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			var out, stderr bytes.Buffer
			p := &program{stdout: &out, stderr: &stderr}
			change := p.newProgress(newFormatter(parachute.Deployment{Service: "web"}), false)
			defer change.stop()
			err := p.conclude(test.ctx, "deploy", change, test.result, test.err)
			is.Equal(exitCode(err), test.want)
			is.Equal(stderr.String(), test.stderr)
			text, _ := hint(err, "deploy")
			is.True(err == nil || text != "") // says what to do about it
		})
	}
}

func TestCertificateIsTheLastThingToBeTold(t *testing.T) {
	for state, want := range map[control.CertificateState]string{
		"":                         "",
		control.CertificateReady:   "web  certificate    ready\n",
		control.CertificatePending: "web  certificate    pending, see parachute certificates\n",
	} {
		t.Run(string(state), func(t *testing.T) {
			is := is.New(t)
			var out bytes.Buffer
			p := &program{stdout: &out}
			change := p.newProgress(newFormatter(parachute.Deployment{Service: "web"}), false)
			defer change.stop()
			is.NoErr(p.conclude(t.Context(), "deploy", change, control.Result{Certificate: state}, nil))
			_, last, _ := strings.Cut(out.String(), "\n")
			is.Equal(last, want)
		})
	}
}

func TestWaitForACertificateIsToldOncePerReason(t *testing.T) {
	is := is.New(t)
	refused := errors.New("acme: the CA cannot reach a.test")
	is.Equal(told(parachute.Deployment{Service: "web"},
		parachute.Event{Kind: parachute.EventNoCertificate, Host: "a.test", Err: refused},
		parachute.Event{Kind: parachute.EventNoCertificate, Host: "a.test", Err: refused},
		parachute.Event{Kind: parachute.EventCertificate, Host: "b.test"},
		parachute.Event{Kind: parachute.EventNoCertificate, Host: "a.test", Err: errors.New("acme: too many\norders")},
	), `web  a.test         no certificate yet        acme: the CA cannot reach a.test
web  b.test         certificate obtained
web  a.test         no certificate yet        acme: too many orders
`)
}

func TestInterruptionIsOnlyCalledHarmlessWhereItWas(t *testing.T) {
	is := is.New(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	p := &program{}
	change := p.newProgress(newFormatter(parachute.Deployment{Service: "web"}), true)
	err := p.conclude(ctx, "deploy", change, control.Result{}, context.Canceled)
	is.Equal(err.Error(), "deploy web: interrupted before it took effect: nothing was changed")
	lost := errors.New("whether it has taken effect is not known")
	err = p.conclude(ctx, "deploy", change, control.Result{}, lost)
	is.Equal(err.Error(), lost.Error())
}

func TestTargetsCannotWriteToTheTerminal(t *testing.T) {
	is := is.New(t)
	is.Equal(printable("301 to \x1b]0;owned\x07\nnext é"), "301 to \uFFFD]0;owned\uFFFD\nnext é")
}

func TestCertificatesAreShownWithWhyTheyCouldNotBeHad(t *testing.T) {
	is := is.New(t)
	var out bytes.Buffer
	p := &program{stdout: &out}
	expires := time.Date(2026, 5, 30, 11, 59, 59, 0, time.FixedZone("", 2*60*60))
	is.NoErr(p.certificateTable([]parachute.Certificate{
		{Host: "a.test", Source: parachute.TLSAutomatic, Issuer: "R3", Expires: expires, Renews: expires.AddDate(0, -1, 0)},
		{Host: "b.test", Source: parachute.TLSAutomatic, Renews: expires, Error: "acme: \x1b rate limited"},
		{Host: "*.c.test", Source: parachute.TLSFiles, Issuer: "Our own CA", Expires: expires},
	}))
	is.Equal(out.String(), "HOST      ISSUER      SOURCE     EXPIRES               RENEWS\n"+
		"a.test    R3          automatic  2026-05-30 09:59 UTC  2026-04-30 09:59 UTC\n"+
		"b.test    -           automatic  -                     2026-05-30 09:59 UTC\n"+
		"*.c.test  Our own CA  files      2026-05-30 09:59 UTC  -\n"+
		"b.test: acme: \uFFFD rate limited\n")
}

func probed(target string, saw parachute.Probe) parachute.Event {
	return parachute.Event{Kind: parachute.EventProbed, Target: target, Probe: &saw, Probes: 1}
}
