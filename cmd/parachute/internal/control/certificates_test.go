package control_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
	"github.com/shahnk19/parachute/internal/proxytest"
)

func TestDeployIsToldOfTheCertificatesThatItWaitsFor(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	sick, heal := newSickTarget(t)
	certFile, keyFile := proxytest.NewCA().WritePair(t, t.TempDir(), "app1.example.com", "xn--bcher-kva.example")
	d := parachute.Deployment{
		Service: "web", Targets: []string{sick}, Hosts: []string{"APP1.example.com.", "bücher.example"},
		TLS: parachute.TLS{Mode: parachute.TLSFiles, CertFile: certFile, KeyFile: keyFile, Wait: true},
	}
	var events []parachute.Event
	var result control.Result
	ended := make(chan error)
	go func() {
		var err error
		result, err = p.client.Deploy(t.Context(), d, func(e parachute.Event) { events = append(events, e) })
		ended <- err
	}()
	generation := p.await(t, parachute.EventDeploying).Generation
	reason := errors.New("acme: rate limited")
	for _, e := range []parachute.Event{
		{Kind: parachute.EventNoCertificate, Host: "app1.example.com", Err: reason},
		{Kind: parachute.EventCertificate, Host: "xn--bcher-kva.example"},
		{Kind: parachute.EventCertificate, Host: "app2.example.com"}, // is nobody's
	} {
		p.server.Notify(e)
	}
	heal()
	is.NoErr(<-ended)

	events = slices.DeleteFunc(events, func(e parachute.Event) bool { return e.Host == "" })
	is.Equal(len(events), 2)
	is.Equal(events[0].Kind, parachute.EventNoCertificate)
	is.Equal(events[0].Host, "app1.example.com")
	is.Equal(textOf(events[0].Err), reason.Error()) // says why
	is.Equal(events[1].Kind, parachute.EventCertificate)
	is.Equal(events[1].Host, "xn--bcher-kva.example")
	for _, e := range events {
		is.Equal(e.Service, "web") // they are the deploy's own
		is.Equal(e.Generation, generation)
	}
	is.Equal(result, control.Result{Service: "web", Generation: generation, Certificate: control.CertificateReady})
}

func TestResultTellsWhetherTheCertificatesAreThere(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	valid := func(host string) parachute.Certificate {
		return parachute.Certificate{Host: host, Issuer: "CA", Expires: now.Add(time.Hour)}
	}
	for _, test := range []struct {
		name         string
		hosts        []string
		certificates []parachute.Certificate
		want         control.CertificateState
	}{
		{name: "no TLS at all", hosts: []string{"a.test"}},
		{name: "no TLS for the host", hosts: []string{"a.test"}, certificates: []parachute.Certificate{valid("b.test")}},
		{name: "no host", certificates: []parachute.Certificate{valid("b.test")}},
		{name: "there", hosts: []string{"a.test"}, certificates: []parachute.Certificate{valid("a.test")}, want: control.CertificateReady},
		{name: "there for every host with TLS", hosts: []string{"a.test", "b.test"}, certificates: []parachute.Certificate{valid("a.test")}, want: control.CertificateReady},
		{name: "wildcard", hosts: []string{"*.a.test"}, certificates: []parachute.Certificate{valid("*.a.test")}, want: control.CertificateReady},
		{name: "to come", hosts: []string{"a.test"}, certificates: []parachute.Certificate{{Host: "a.test"}}, want: control.CertificatePending},
		{name: "one to come", hosts: []string{"a.test", "b.test", "c.test"},
			certificates: []parachute.Certificate{valid("a.test"), {Host: "b.test"}, valid("c.test")}, want: control.CertificatePending},
		{name: "expired", hosts: []string{"a.test"},
			certificates: []parachute.Certificate{{Host: "a.test", Issuer: "CA", Expires: now}}, want: control.CertificatePending},
	} {
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			is.Equal(control.CertificateStateOf(test.hosts, test.certificates, now), test.want)
		})
	}
}

func TestCertificatesAreAListAlsoWhereThereAreNone(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	status, answer := p.request(t, "GET", "/v1/certificates", "")
	is.Equal(status, 200)
	is.Equal(answer, "[]\n")
	certificates, err := p.client.Certificates(t.Context())
	is.NoErr(err)
	is.Equal(len(certificates), 0)
}
