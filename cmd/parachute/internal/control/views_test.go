package control_test

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// newFleet returns two planes of one fleet, with a third proxy that does not answer.
func newFleet(t *testing.T) (here, there *plane) {
	here, there = newPlane(t, parachute.Options{}), newPlane(t, parachute.Options{})
	here.server.Fleet = control.Fleet{Ask: func(ctx context.Context, question []byte) ([]control.Answer, error) {
		own, err := here.server.Answer(ctx, here.proxy, question)
		others, err2 := there.server.Answer(ctx, there.proxy, question)
		return []control.Answer{
			{Name: "eu-1", Self: true, Told: own, Err: err}, {Name: "eu-2", Told: others, Err: err2},
			{Name: "eu-3", Err: errors.New("it did not answer within 5s")},
		}, nil
	}}
	there.server.Fleet.Records = func() map[string]int64 { return map[string]int64{"web": 12, "shop": 13} }
	return here, there
}

func TestProxiesOfAFleetAreToldApart(t *testing.T) {
	is := is.New(t)
	here, there := newFleet(t)
	is.NoErr(there.proxy.Deploy(t.Context(), deployment("web")))
	told, err := here.client.ServicesEverywhere(t.Context(), "")
	is.NoErr(err)
	is.Equal(len(told), 3)
	is.Equal(told[0].Name, "eu-1")
	is.True(told[0].Self)
	is.Equal(told[0].Services, []parachute.Status{})
	is.Equal(told[1].Services[0].Service, "web")
	is.Equal(told[1].Records, map[string]int64{"web": 12, "shop": 13})
	is.Equal(told[2], control.Told{Name: "eu-3", Error: "it did not answer within 5s"})

	told, err = here.client.ServicesEverywhere(t.Context(), "web")
	is.NoErr(err)
	is.Equal(len(told[0].Services), 0)
	is.Equal(told[1].Services[0].Service, "web")
	is.Equal(told[1].Records, map[string]int64{"web": 12})

	told, err = here.client.HistoryEverywhere(t.Context(), "")
	is.NoErr(err)
	is.Equal(told[0].History, []parachute.Past{})
	is.Equal(told[1].History[0].Service, "web")
	told, err = here.client.HistoryEverywhere(t.Context(), "web")
	is.NoErr(err)
	is.Equal(len(told[1].History), 1)

	told, err = here.client.CertificatesEverywhere(t.Context())
	is.NoErr(err)
	is.Equal(told[1].Certificates, []parachute.Certificate{})
	is.Equal(told[1].Services, nil) // what was not asked for
}

func TestReadersSeeNoSecretsOfAnyProxy(t *testing.T) {
	is := is.New(t)
	here, there := newFleet(t)
	d := deployment("web")
	d.Headers.Request = []string{"set Authorization: Bearer s3cr3t"}
	is.NoErr(there.proxy.Deploy(t.Context(), d))
	h := here.server.Handler(here.proxy)
	for _, path := range []string{"/v1/fleet/services", "/v1/fleet/services/web", "/v1/fleet/history"} {
		r := httptest.NewRequest("GET", path, nil)
		got := answer(h, r.WithContext(control.AsReader(r.Context(), 54321)))
		is.True(strings.HasPrefix(got, "200 ") && strings.Contains(got, `"service":"web"`))
		is.True(!strings.Contains(got, "s3cr3t"))
	}
	is.True(strings.Contains(answer(h, httptest.NewRequest("GET", "/v1/fleet/services", nil)), "s3cr3t")) // who may deploy sees them
}

func TestProxySaysWhatItDoesNotUnderstand(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	for _, question := range []string{`{"of":"weather"}`, `"?"`} {
		_, err := p.server.Answer(t.Context(), p.proxy, []byte(question))
		is.True(err != nil)
		is.True(strings.HasPrefix(err.Error(), "version v1.2.3 of parachute "))
	}
	p.server.End()
	_, err := p.server.Answer(t.Context(), p.proxy, []byte(`{"of":"services"}`))
	is.True(err != nil) // it is not that all were removed
}
