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

func TestProbesOfOneKindArePrintedOnce(t *testing.T) {
	is := is.New(t)
	var out bytes.Buffer
	p := newProgress(&out, parachute.Deployment{Service: "web", Targets: []string{"a:1", "b:1"}})
	for port := range 30 {
		refused := fmt.Sprintf("read tcp 10.0.0.1:%d->10.0.0.7:1: connection reset by peer", 40000+port)
		p.show(probed("a:1", parachute.Probe{URL: "http://a:1/up", Error: refused}))
		p.show(probed("b:1", parachute.Probe{URL: "http://b:1/up", Status: 503, Body: fmt.Sprint("boot step ", port)}))
	}
	p.show(probed("a:1", parachute.Probe{URL: "http://a:1/up", Status: 503}))
	p.show(probed("a:1", parachute.Probe{URL: "http://a:1/up", Status: 200, Passed: true}))
	is.Equal(out.String(), `web: a:1: GET /up got no answer: read tcp 10.0.0.1:40000->10.0.0.7:1: connection reset by peer
web: b:1: GET /up answered 503 "boot step 0"
web: a:1: GET /up answered 503
`)
}

func TestDrainingIsToldWhereThereIsSomethingToWaitFor(t *testing.T) {
	is := is.New(t)
	var out bytes.Buffer
	p := newProgress(&out, parachute.Deployment{Service: "web"})
	for _, e := range []parachute.Event{
		{Kind: parachute.EventDraining},
		{Kind: parachute.EventDraining, Requests: 1},
		{Kind: parachute.EventDraining, Streams: 2},
		{Kind: parachute.EventDraining, Requests: 3, Streams: 1},
		{Kind: parachute.EventDrained},
		{Kind: parachute.EventDrained, Streams: 2},
	} {
		p.show(e)
	}
	is.Equal(out.String(), `web: draining 1 request
web: draining 2 streams
web: draining 3 requests and 1 stream
web: closed 2 streams
`)
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
			change := newProgress(&out, parachute.Deployment{Service: "web"})
			err := p.conclude(test.ctx, "deploy", change, test.result, test.err)
			is.Equal(exitCode(err), test.want)
			is.Equal(stderr.String(), test.stderr)
			is.True(err == nil || hint(err) != "") // says what to do about it
		})
	}
}

func TestCertificateIsTheLastThingToBeTold(t *testing.T) {
	for state, want := range map[control.CertificateState]string{
		"":                         "",
		control.CertificateReady:   "web: certificate: ready\n",
		control.CertificatePending: "web: certificate: pending, see parachute certificates\n",
	} {
		t.Run(string(state), func(t *testing.T) {
			is := is.New(t)
			var out bytes.Buffer
			change := newProgress(&out, parachute.Deployment{Service: "web"})
			is.NoErr(new(program).conclude(t.Context(), "deploy", change, control.Result{Certificate: state}, nil))
			_, last, _ := strings.Cut(out.String(), "\n")
			is.Equal(last, want)
		})
	}
}

func TestWaitForACertificateIsToldOncePerReason(t *testing.T) {
	is := is.New(t)
	var out bytes.Buffer
	p := newProgress(&out, parachute.Deployment{Service: "web"})
	refused := errors.New("acme: the CA cannot reach a.test")
	for _, e := range []parachute.Event{
		{Kind: parachute.EventNoCertificate, Host: "a.test", Err: refused},
		{Kind: parachute.EventNoCertificate, Host: "a.test", Err: refused},
		{Kind: parachute.EventCertificate, Host: "b.test"},
		{Kind: parachute.EventNoCertificate, Host: "a.test", Err: errors.New("acme: too many orders")},
	} {
		p.show(e)
	}
	is.Equal(out.String(), `web: a.test has no certificate yet: acme: the CA cannot reach a.test
web: b.test has its certificate
web: a.test has no certificate yet: acme: too many orders
`)
}

func TestInterruptionIsOnlyCalledHarmlessWhereItWas(t *testing.T) {
	is := is.New(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	p, change := &program{}, newProgress(nil, parachute.Deployment{Service: "web"})
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

func TestTableShowsWhyAServiceHasFailed(t *testing.T) {
	is := is.New(t)
	var out bytes.Buffer
	p := &program{stdout: &out}
	is.NoErr(p.table([]parachute.Status{
		{Service: "api", Generation: 12, State: parachute.StateServing,
			Deployment: parachute.Deployment{Hosts: []string{"a.test", "b.test"}},
			Live: &parachute.Live{Targets: []parachute.TargetStatus{
				{Address: "10.0.0.7:3000", Health: parachute.HealthHealthy},
				{Address: "10.0.0.8:3000", Health: parachute.HealthUnhealthy},
			}}},
		{Service: "web", Generation: 3, State: parachute.StateFailed, Error: "certificate is gone",
			Deployment: parachute.Deployment{Targets: []string{"10.0.0.9:3000"}}, Live: &parachute.Live{}},
	}))
	is.Equal(out.String(), `SERVICE  STATE    HOSTS          TLS  TARGETS                                             GENERATION
api      serving  a.test,b.test  off  10.0.0.7:3000 (healthy), 10.0.0.8:3000 (unhealthy)  12
web      failed   any            off  10.0.0.9:3000                                       3
web: certificate is gone
`)
}

func TestTableShowsPathsAndTheTLSOfTheHost(t *testing.T) {
	is := is.New(t)
	var out bytes.Buffer
	p := &program{stdout: &out}
	service := func(name string, mode parachute.TLSMode, hosts, prefixes []string) parachute.Status {
		return parachute.Status{Service: name, State: parachute.StateServing, Deployment: parachute.Deployment{
			Hosts: hosts, PathPrefixes: prefixes, Targets: []string{"a:1"}, TLS: parachute.TLS{Mode: mode},
		}}
	}
	is.NoErr(p.table([]parachute.Status{
		service("api", parachute.TLSInherit, []string{"a.test"}, []string{"/api", "/v1"}),
		service("both", parachute.TLSInherit, []string{"a.test", "c.test"}, []string{"/both"}),
		service("certs", parachute.TLSFiles, []string{"*.b.test"}, nil),
		service("rest", parachute.TLSOnDemand, nil, nil),
		service("web", parachute.TLSAutomatic, []string{"a.test"}, nil),
	}))
	is.Equal(out.String(), `SERVICE  STATE    HOSTS                    TLS            TARGETS  GENERATION
api      serving  a.test/api,a.test/v1     automatic      a:1      0
both     serving  a.test/both,c.test/both  automatic,off  a:1      0
certs    serving  *.b.test                 files          a:1      0
rest     serving  any                      on-demand      a:1      0
web      serving  a.test                   automatic      a:1      0
`)
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
	return parachute.Event{Kind: parachute.EventProbed, Target: target, Probe: &saw}
}
