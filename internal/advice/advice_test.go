package advice_test

import (
	"cmp"
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/advice"
)

// failed returns a target whose last probe saw p, which asked for /up at its address if
// p does not say otherwise.
func failed(address string, p advice.Probe) advice.Target {
	if _, bare, ok := strings.Cut(address, "://"); p.URL == "" && ok {
		p.URL = "http://" + bare + "/up"
	}
	p.URL = cmp.Or(p.URL, "http://"+address+"/up")
	return advice.Target{Address: address, Probes: 1, Last: &p}
}

// hint returns what is said of a single target, for a service with that host.
func hint(t *testing.T, service string, target advice.Target) string {
	t.Helper()
	r := advice.Report{Host: service, Targets: []advice.Target{target}}
	hints := r.Hints()
	if len(hints) != 1 || strings.ContainsAny(hints[0], "{}\n") {
		t.Fatalf("%q", hints)
	}
	return hints[0]
}

func TestWhatIsTheSameForSeveralTargetsIsSaidOnce(t *testing.T) {
	is := is.New(t)
	refused := func(at string) advice.Target { return failed(at, advice.Probe{Cause: "refused"}) }
	r := advice.Report{Targets: []advice.Target{refused("a:1"), failed("c:1", advice.Probe{Cause: "speaks_tls"}), refused("b:1")}}
	is.Equal(r.Hints(), []string{
		"nothing listens on a:1, b:1: see whether the app runs, and listens on that port for others than localhost",
		"the target speaks TLS: deploy it as https://c:1",
	})
	is.Equal(len(new(advice.Report).Hints()), 0)
}

func TestLocalhostMayBeTheProxysOwnContainer(t *testing.T) {
	is := is.New(t)
	for at, own := range map[string]bool{"localhost:3000": true, "127.0.0.1:3000": true, "[::1]:3000": true, "127.1.2.3:80": true, "10.0.0.7:3000": false, "web-1:3000": false} {
		is.Equal(strings.Contains(hint(t, "", failed(at, advice.Probe{Cause: "refused"})), "localhost is the proxy's own container"), own)
	}
}

func TestUnixSocketsHaveNoPortsAndNoTLS(t *testing.T) {
	is := is.New(t)
	for _, cause := range []string{"refused", "unreachable", "timeout", "no_answer", "speaks_tls", "malformed", "not_found"} {
		said := hint(t, "", failed("unix:/run/web.sock", advice.Probe{Cause: cause, URL: "http://localhost/up"}))
		is.True(!strings.Contains(said, "port"))
		is.True(!strings.Contains(said, "https://"))
	}
	said := hint(t, "", failed("unix:/run/web.sock:3000", advice.Probe{Cause: "refused"}))
	is.True(strings.HasSuffix(said, "a unix socket has no port, so leave :3000 out if its path is /run/web.sock"))
}

func TestNamesNeedANetworkThatResolvesThem(t *testing.T) {
	is := is.New(t)
	is.True(strings.Contains(hint(t, "", failed("web:1", advice.Probe{Cause: "unknown_host"})), "Docker's default bridge resolves no names"))
}

func TestAcceptWithoutAnAnswerMayMeanThatTheAppStillBoots(t *testing.T) {
	is := is.New(t)
	for _, target := range []advice.Target{
		failed("a:1", advice.Probe{Cause: "timeout"}), failed("a:1", advice.Probe{Cause: "no_answer"}), failed("unix:/a", advice.Probe{Cause: "no_answer"}),
		failed("h2c://a:1", advice.Probe{Cause: "no_answer", URL: "http://a:1/grpc.health.v1.Health/Check"}),
	} {
		is.True(strings.Contains(hint(t, "", target), "if the app is still booting, give it longer with Timeouts.Deploy"))
	}
}

func TestRedirectToTheAppsOwnHostIsToldWhatTheAppWants(t *testing.T) {
	is := is.New(t)
	const (
		host   = "HealthCheck.Host app1.example.com"
		scheme = "HealthCheck.Headers 'X-Forwarded-Proto: https'"
		mode   = "TLS.Mode"
		other  = "HealthCheck.Status 200-399"
	)
	for _, tt := range []struct {
		sent, location string
		want, not      []string
	}{
		{"10.0.0.7:3000", "https://app1.example.com/up", []string{host, scheme, mode, "exclude /up from force_ssl"}, []string{other}},
		{"app1.example.com", "https://app1.example.com/up", []string{scheme, mode, "exclude /up from force_ssl"}, []string{host, other}},
		{"10.0.0.7:3000", "https://10.0.0.7/up", []string{scheme, mode}, []string{"HealthCheck.Host", other}},
		{"10.0.0.7:3000", "http://app1.example.com/up", []string{host}, []string{scheme, mode, other}},
		{"10.0.0.7:3000", "//app1.example.com:8080/up", []string{host}, []string{scheme, other}},
		{"app1.example.com", "http://app1.example.com/login", []string{other}, []string{host, scheme}},
		{"10.0.0.7:3000", "/login", []string{other}, []string{"HealthCheck.Host", scheme}},
		{"10.0.0.7:3000", "http://%zz", []string{other}, []string{"HealthCheck.Host", scheme}},
	} {
		said := hint(t, "", failed("10.0.0.7:3000", advice.Probe{Cause: "redirect", Host: tt.sent, Status: 301, Location: tt.location}))
		for _, want := range tt.want {
			is.True(strings.Contains(said, want)) // tt.location
		}
		for _, not := range tt.not {
			is.True(!strings.Contains(said, not)) // tt.location
		}
	}
	said := hint(t, "", failed("https://10.0.0.7:3000", advice.Probe{Cause: "redirect", Status: 301, Host: "10.0.0.7:3000", Location: "https://app1.example.com/up"}))
	is.True(strings.Contains(said, host))
}

func TestHostThatWasRefusedIsNotProposed(t *testing.T) {
	is := is.New(t)
	said := func(cause string, status int, sent, service string) string {
		return hint(t, service, failed("a:1", advice.Probe{Cause: cause, Status: status, Host: sent}))
	}
	is.True(strings.Contains(said("forbidden", 403, "a:1", "app1.example.com"), "HealthCheck.Host app1.example.com"))
	is.True(strings.Contains(said("forbidden", 403, "a:1", ""), "HealthCheck.Host HOST"))
	for _, sent := range []string{"app1.example.com", "APP1.example.com", "app1.example.com:443"} {
		is.True(!strings.Contains(said("forbidden", 403, sent, "app1.example.com"), "HealthCheck.Host"))
	}
	// Others than 403 are how an app may refuse a host, too.
	is.True(strings.Contains(said("status", 400, "a:1", "app1.example.com"), "HealthCheck.Host app1.example.com"))
	is.True(strings.Contains(said("status", 421, "a:1", "app1.example.com"), "HealthCheck.Host app1.example.com"))
	is.True(!strings.Contains(said("status", 400, "app1.example.com", "app1.example.com"), "HealthCheck.Host"))
	is.True(!strings.Contains(said("status", 400, "a:1", ""), "HealthCheck.Host"))
}

func TestHandshakeThatFailedSaysHow(t *testing.T) {
	is := is.New(t)
	for text, want := range map[string]string{
		"remote error: tls: protocol version not supported":     "no version of TLS in common",
		"tls: server selected unsupported protocol version 301": "no version of TLS in common",
		"remote error: tls: handshake failure":                  "no cipher suite in common",
		"remote error: tls: insufficient security level":        "no cipher suite in common",
		"tls: server chose an unconfigured cipher suite":        "no cipher suite in common",
		"remote error: tls: certificate required":               "wants a certificate of its client",
		"remote error: tls: bad certificate":                    "wants a certificate of its client",
		"remote error: tls: unrecognized name":                  "TargetTLS.ServerName",
		"remote error: tls: no application protocol":            "port for HTTPS",
		"remote error: tls: internal error":                     "the handshake of TLS fails",
	} {
		is.True(strings.Contains(hint(t, "", failed("https://a:1", advice.Probe{Cause: "handshake", Error: text})), want))
	}
	nginx := failed("a:1", advice.Probe{Cause: "status", Status: 400, Body: "<title>400 No required SSL certificate was sent</title>"})
	is.True(strings.Contains(hint(t, "a.test", nginx), "wants a certificate of its client"))
}

func TestCallOfGRPCHasHintsOfItsOwn(t *testing.T) {
	is := is.New(t)
	for cause, want := range map[string]string{
		"not_grpc":        "check the app without HealthCheck.GRPC",
		"not_serving":     "the app says that it is not ready",
		"no_health":       "register the health service",
		"unknown_service": "leave HealthCheck.GRPCService empty",
		"unauthorized":    "exempt /grpc.health.v1.Health/Check from that",
		"forbidden":       "exempt /grpc.health.v1.Health/Check from that",
		"server_error":    "the app fails", // as for a GET
	} {
		said := hint(t, "", failed("h2c://a:1", advice.Probe{Cause: cause, Status: 200, URL: "http://a:1/grpc.health.v1.Health/Check"}))
		is.True(strings.Contains(said, want)) // cause
	}
}
