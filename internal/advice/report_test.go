package advice_test

import (
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/advice"
)

func TestProbeReadsAsTheEndOfASentence(t *testing.T) {
	is := is.New(t)
	const call = "http://a:1/grpc.health.v1.Health/Check"
	for _, tt := range []struct {
		probe          advice.Probe
		sentence, last string
	}{
		{advice.Probe{URL: "http://a:1/up?deep=1", Status: 204, Passed: true}, "GET /up?deep=1 answered 204", "204"},
		{advice.Probe{URL: "http://a:1/up", Status: 200, Body: "ok", Passed: true}, "GET /up answered 200", "200"},
		{advice.Probe{URL: "http://a:1/up", Status: 503, Body: "a\n\"b\""}, `GET /up answered 503 "a\n\"b\""`, `503 "a\n\"b\""`},
		{advice.Probe{URL: "http://a:1/up", Status: 503}, "GET /up answered 503", "503"},
		{advice.Probe{URL: "http://a:1/up", Status: 302, Location: "/login", Body: "moved"}, "GET /up answered 302 to /login", "302 to /login"},
		{advice.Probe{URL: "http://a:1/up", Error: "EOF", Cause: "no_answer"}, "GET /up got no answer: EOF", "none: EOF"},
		{advice.Probe{URL: "http://a:1/up", Error: "none within 5s", Cause: "timeout"}, "GET /up got no answer: none within 5s", "none within 5s"},
		{advice.Probe{URL: call, Status: 200, GRPC: "NOT_SERVING"}, "POST /grpc.health.v1.Health/Check answered NOT_SERVING", "NOT_SERVING"},
		{advice.Probe{URL: "http:///up", Status: 200, Passed: true}, "GET /up answered 200", "200"},
		{advice.Probe{URL: "a:1", Status: 200, Passed: true}, "GET a:1 answered 200", "200"}, // not one of ours
		{advice.Probe{URL: "http://a:1", Status: 200, Passed: true}, "GET http://a:1 answered 200", "200"},
	} {
		is.Equal(tt.probe.String(), tt.sentence)
		is.Equal(tt.probe.Answer(), tt.last)
	}
}

func TestReportTellsOfEveryTarget(t *testing.T) {
	is := is.New(t)
	r := advice.Report{Waited: 30 * time.Second, Host: "app1.example.com", Targets: []advice.Target{
		{Address: "a:1", Probes: 3, Last: &advice.Probe{URL: "http://a:1/up", Host: "a:1", Status: 503, Cause: "server_error"}},
		{Address: "b:1", Probes: 1, Last: &advice.Probe{URL: "http://b:2/up", Host: "b:2", Error: "connection refused", Cause: "refused"}},
		{Address: "c:1"},
		{Address: "d:1", Probes: 2, Last: &advice.Probe{URL: "http://d:1/up", Host: "d:1", Error: "too many open files", Cause: "shortage"}},
	}}
	is.Equal(r.Brief(), "a:1 did not become healthy in 30s: GET /up answered 503 (3 probes)"+
		"; b:1 did not become healthy in 30s: GET /up got no answer: connection refused (1 probes)"+
		"; c:1 did not become healthy in 30s: its first probe was not answered"+
		"; d:1 did not become healthy in 30s: GET /up got no answer: too many open files (2 probes)")
	full := strings.Split(r.Full(), "\n  ")
	is.Equal(full[:8], []string{
		"a:1, b:1, c:1, d:1 did not become healthy in 30s",
		"GET http://a:1/up  Host: a:1   3 probes",
		"last answer: 503",
		"GET http://b:2/up  Host: b:2   1 probe",
		"last answer: none: connection refused",
		"no probe of c:1 has ended",
		"GET http://d:1/up  Host: d:1   2 probes",
		"last answer: none: too many open files",
	})
	is.Equal(full[8:], r.Hints()) // each on a line of its own
	is.Equal(len(full[8:]), 4)
	is.True(strings.HasPrefix(full[8], "the app fails"))
	is.True(strings.HasPrefix(full[9], "nothing listens on b:2")) // where it was probed
	is.True(strings.HasPrefix(full[10], "the deploy ended before the first answer"))
	is.True(strings.HasPrefix(full[11], "the proxy has too many files open"))
}

func TestTargetWithoutAPortIsNamedAsItWasDeployed(t *testing.T) {
	is := is.New(t)
	for _, address := range []string{"unix:/run/web.sock", "handler:web"} {
		said := hint(t, "", failed(address, advice.Probe{Cause: "refused", URL: "http://localhost/up"}))
		is.True(strings.HasPrefix(said, "nothing listens on "+address+": "))
	}
}

func TestOtherSchemeIsProposedInPlaceOfTheOneThatWasNamed(t *testing.T) {
	is := is.New(t)
	for address, bare := range map[string]string{"web-1:3000": "web-1:3000", "http://web-1:3000": "web-1:3000", "h2c://[::1]:1": "[::1]:1"} {
		is.True(strings.HasSuffix(hint(t, "", failed(address, advice.Probe{Cause: "speaks_tls"})), "deploy it as https://"+bare))
		is.True(strings.HasSuffix(hint(t, "", failed(address, advice.Probe{Cause: "speaks_plain"})), "deploy it as "+bare))
	}
}
