package advice_test

import (
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/advice"
)

// hint returns what is said of f alone.
func hint(t *testing.T, f advice.Failure) string {
	t.Helper()
	hints := advice.For([]advice.Failure{f})
	if len(hints) != 1 || strings.ContainsAny(hints[0], "{}\n") {
		t.Fatalf("%q", hints)
	}
	return hints[0]
}

func TestWhatIsTheSameForSeveralTargetsIsSaidOnce(t *testing.T) {
	is := is.New(t)
	refused := func(at string) advice.Failure {
		return advice.Failure{Cause: "refused", Target: at, At: at, Bare: at}
	}
	tls := advice.Failure{Cause: "speaks_tls", Target: "c:1", At: "c:1", Bare: "c:1"}
	is.Equal(advice.For([]advice.Failure{refused("a:1"), tls, refused("b:1")}), []string{
		"nothing listens on a:1, b:1: see whether the app runs, and listens on that port for others than localhost",
		"the target speaks TLS: deploy it as https://c:1",
	})
	is.Equal(len(advice.For(nil)), 0)
}

func TestLocalhostMayBeTheProxysOwnContainer(t *testing.T) {
	is := is.New(t)
	for at, own := range map[string]bool{"localhost:3000": true, "127.0.0.1:3000": true, "[::1]:3000": true, "127.1.2.3:80": true, "10.0.0.7:3000": false, "web-1:3000": false} {
		f := advice.Failure{Cause: "refused", Target: at, At: at, Bare: at}
		is.Equal(strings.Contains(hint(t, f), "localhost is the proxy's own container"), own)
	}
}

func TestUnixSocketsHaveNoPortsAndNoTLS(t *testing.T) {
	is := is.New(t)
	for _, cause := range []string{"refused", "unreachable", "timeout", "no_answer", "speaks_tls", "malformed", "not_found"} {
		said := hint(t, advice.Failure{Cause: cause, Target: "unix:/run/web.sock", At: "unix:/run/web.sock", Bare: "unix:/run/web.sock", Path: "/up"})
		is.True(!strings.Contains(said, "port"))
		is.True(!strings.Contains(said, "https://"))
	}
	said := hint(t, advice.Failure{Cause: "refused", Target: "unix:/run/web.sock:3000", At: "unix:/run/web.sock:3000"})
	is.True(strings.HasSuffix(said, "a unix socket has no port, so leave :3000 out if its path is /run/web.sock"))
}

func TestNamesNeedANetworkThatResolvesThem(t *testing.T) {
	is := is.New(t)
	is.True(strings.Contains(hint(t, advice.Failure{Cause: "unknown_host", Target: "web:1", At: "web:1"}), "Docker's default bridge resolves no names"))
}

func TestAcceptWithoutAnAnswerMayMeanThatTheAppStillBoots(t *testing.T) {
	is := is.New(t)
	for _, f := range []advice.Failure{
		{Cause: "timeout", Target: "a:1"}, {Cause: "no_answer", Target: "a:1"}, {Cause: "no_answer", Target: "unix:/a"}, {Cause: "no_answer", Target: "h2c://a:1", IsCall: true},
	} {
		is.True(strings.Contains(hint(t, f), "if the app is still booting, give it longer with Timeouts.Deploy"))
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
		said := hint(t, advice.Failure{Cause: "redirect", Target: "10.0.0.7:3000", At: "10.0.0.7:3000", Path: "/up", Host: tt.sent, Status: 301, Location: tt.location})
		for _, want := range tt.want {
			is.True(strings.Contains(said, want)) // tt.location
		}
		for _, not := range tt.not {
			is.True(!strings.Contains(said, not)) // tt.location
		}
	}
	said := hint(t, advice.Failure{Cause: "redirect", Target: "https://10.0.0.7:3000", At: "10.0.0.7:3000", Path: "/up", Host: "10.0.0.7:3000", Location: "https://app1.example.com/up"})
	is.True(strings.Contains(said, host))
}

func TestHostThatWasRefusedIsNotProposed(t *testing.T) {
	is := is.New(t)
	said := func(cause string, status int, sent, service string) string {
		return hint(t, advice.Failure{Cause: cause, Status: status, Target: "a:1", At: "a:1", Path: "/up", Host: sent, Service: service})
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
		is.True(strings.Contains(hint(t, advice.Failure{Cause: "handshake", Target: "https://a:1", Error: text}), want))
	}
	nginx := advice.Failure{Cause: "status", Status: 400, Body: "<title>400 No required SSL certificate was sent</title>", Service: "a.test"}
	is.True(strings.Contains(hint(t, nginx), "wants a certificate of its client"))
}
