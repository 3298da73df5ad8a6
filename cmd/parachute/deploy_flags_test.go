package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"
	"github.com/shahnk19/parachute"
)

func TestEveryFlagOfDeployHasItsField(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	plain, err := deploymentOf("web", "--target", "a:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		args string // separated by '|'
		want parachute.Deployment
	}{
		{"--read-target|b:1,c:1|--read-target|d:1", parachute.Deployment{ReadTargets: []string{"b:1", "c:1", "d:1"}}},
		{"--read-target-websockets", parachute.Deployment{ReadWebSockets: true}},
		{"--read-target-websockets|--read-target-websockets=false", parachute.Deployment{}},
		{"--read-target-websockets|--no-read-target-websockets", parachute.Deployment{}},
		{"--writer-affinity-timeout|3s", parachute.Deployment{Timeouts: parachute.Timeouts{WriterAffinity: 3 * time.Second}}},
		{"--writer-affinity-timeout|0", parachute.Deployment{Timeouts: parachute.Timeouts{WriterAffinity: -1}}},

		{"--release|v1.2|--by|Ann Example", parachute.Deployment{Release: "v1.2", By: "Ann Example"}},
		{"--release-header", parachute.Deployment{Headers: parachute.Headers{Release: true}}},
		{"--release-header=false|--no-release-header", parachute.Deployment{}},

		{"--affinity|cookie", parachute.Deployment{Affinity: "cookie"}},
		{"--affinity=cookie=sid", parachute.Deployment{Affinity: "cookie=sid"}},

		{"--target-keepalive=false", parachute.Deployment{TargetKeepAlive: parachute.TargetKeepAlive{Off: true}}},
		{"--no-target-keepalive", parachute.Deployment{TargetKeepAlive: parachute.TargetKeepAlive{Off: true}}},
		{"--target-keepalive", parachute.Deployment{}},
		{"--target-keepalive-requests|1000", parachute.Deployment{TargetKeepAlive: parachute.TargetKeepAlive{Requests: 1000}}},
		{"--target-keepalive-requests|0", parachute.Deployment{}},

		{"--buffer-requests|--buffer-responses", parachute.Deployment{Buffer: parachute.Buffer{Requests: true, Responses: true}}},
		{"--buffer-requests=false|--no-buffer-responses", parachute.Deployment{}},
		{"--websocket-close=false", parachute.Deployment{NoWebSocketClose: true}},
		{"--no-websocket-close", parachute.Deployment{NoWebSocketClose: true}},
		{"--websocket-close", parachute.Deployment{}},
		{"--buffer-memory|1048576", parachute.Deployment{Buffer: parachute.Buffer{Memory: 1 << 20}}},
		{"--buffer-memory|64KiB", parachute.Deployment{Buffer: parachute.Buffer{Memory: 64 << 10}}},
		{"--buffer-memory|0", parachute.Deployment{Buffer: parachute.Buffer{Memory: -1}}},
		{"--max-request-body|1MiB|--max-response-body|3GiB", parachute.Deployment{MaxRequestBody: 1 << 20, MaxResponseBody: 3 << 30}},
		{"--max-request-body|0|--max-response-body|0", parachute.Deployment{}},

		{"--redirect|/a=/b?c=d|--redirect|/x=https://e.test/,", parachute.Deployment{Redirects: []parachute.Redirect{
			{From: "/a", To: "/b?c=d"}, {From: "/x", To: "https://e.test/,"},
		}}},
		{"--request-header|set X-A: 1, 2|--request-header|del X-B", parachute.Deployment{Headers: parachute.Headers{Request: []string{"set X-A: 1, 2", "del X-B"}}}},
		{"--request-header|edit Destination ^http://[^/]+,? x, y", parachute.Deployment{Headers: parachute.Headers{Request: []string{"edit Destination ^http://[^/]+,? x, y"}}}},
		{"--response-header|set Vary: a,b", parachute.Deployment{Headers: parachute.Headers{Response: []string{"set Vary: a,b"}}}},
		{"--hsts|max-age=31536000; includeSubDomains", parachute.Deployment{Headers: parachute.Headers{HSTS: "max-age=31536000; includeSubDomains"}}},
		{"--scope-cookie-paths", parachute.Deployment{Headers: parachute.Headers{ScopeCookies: true}}},
		{"--rewrite-location", parachute.Deployment{Headers: parachute.Headers{RewriteLocation: true}}},
		{"--error-pages|pages", parachute.Deployment{ErrorPages: filepath.Join(wd, "pages")}},

		{"--allow|10.0.0.0/8,::1|--deny|10.1.0.0/16", parachute.Deployment{Access: parachute.Access{Allow: []string{"10.0.0.0/8", "::1"}, Deny: []string{"10.1.0.0/16"}}}},
		{"--basic-auth-file|users", parachute.Deployment{Access: parachute.Access{BasicAuthFile: filepath.Join(wd, "users")}}},
		{"--forward-headers", parachute.Deployment{Forwarded: parachute.Forwarded{Trust: parachute.TrustEverybody}}},
		{"--forward-headers=false", parachute.Deployment{Forwarded: parachute.Forwarded{Trust: parachute.TrustNobody}}},
		{"--no-forward-headers", parachute.Deployment{Forwarded: parachute.Forwarded{Trust: parachute.TrustNobody}}},
		{"--client-ip-header|CF-Connecting-IP", parachute.Deployment{Forwarded: parachute.Forwarded{ClientHeader: "CF-Connecting-IP"}}},

		{"--log-request-header|cache-control,X-A|--log-response-header|etag", parachute.Deployment{Report: parachute.Report{
			RequestHeaders: []string{"Cache-Control", "X-A"}, ResponseHeaders: []string{"Etag"},
		}}},
		{"--exclude-metrics-path|/up,/metrics", parachute.Deployment{Report: parachute.Report{ExcludeMetricsPaths: []string{"/up", "/metrics"}}}},

		{"--health-check-header|Accept: a, b|--health-check-header|X: y", parachute.Deployment{HealthCheck: parachute.HealthCheck{Headers: []string{"Accept: a, b", "X: y"}}}},
		{"--health-check-status|200-399", parachute.Deployment{HealthCheck: parachute.HealthCheck{Status: "200-399"}}},
		{"--health-check-grpc", parachute.Deployment{HealthCheck: parachute.HealthCheck{GRPC: true}}},
		{"--health-check-grpc=web.v1.Web", parachute.Deployment{HealthCheck: parachute.HealthCheck{GRPC: true, GRPCService: "web.v1.Web"}}},
		{"--health-check-grpc=web.v1.Web|--health-check-grpc", parachute.Deployment{HealthCheck: parachute.HealthCheck{GRPC: true}}},
		{"--health-check-grpc|--health-check-grpc=false", parachute.Deployment{}},
		{"--health-check-grpc|--health-check-fall|3", parachute.Deployment{HealthCheck: parachute.HealthCheck{GRPC: true, Fall: 3}}},
		{"--health-check-rise|2|--health-check-fall|3", parachute.Deployment{HealthCheck: parachute.HealthCheck{Rise: 2, Fall: 3}}},
	} {
		t.Run(test.args, func(t *testing.T) {
			is := is.New(t)
			d, err := deploymentOf(append([]string{"web", "--target", "a:1"}, strings.Split(test.args, "|")...)...)
			is.NoErr(err)
			want := test.want
			want.Service, want.Targets, want.Hosts, want.PathPrefixes = plain.Service, plain.Targets, plain.Hosts, plain.PathPrefixes
			is.Equal(d, want)
		})
	}
}

func TestEveryBooleanOfDeployCanBeTurnedOff(t *testing.T) {
	is := is.New(t)
	booleans := []string{
		"strip-path-prefix", "force", "tls", "tls-staging", "tls-redirect", "wait-certificate", "target-insecure",
		"read-target-websockets", "buffer-requests", "buffer-responses", "scope-cookie-paths", "rewrite-location", "target-keepalive", "forward-headers", "websocket-close", "release-header",
	}
	for _, name := range booleans {
		for _, spelling := range []string{"--" + name + "=false", "--no-" + name} {
			args := []string{"web", "--target", "a:1", spelling}
			if name == "tls-redirect" {
				args = append(args, "--tls")
			}
			_, err := deploymentOf(args...)
			if err != nil {
				t.Errorf("%s: %v", spelling, err)
			}
		}
	}
	help := helpOf(t, "deploy")
	is.Equal(strings.Count(help, "--[no-]"), len(booleans)) // there are no others
}

func TestBadValuesOfDeploysFlagsAreUsageErrors(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"--buffer-memory|1MB", "such as 1048576, 64KiB or 1MiB"},
		{"--buffer-memory=-1", "no size"},
		{"--max-request-body|lots", `"lots" is no size`},
		{"--max-request-body|9223372036854775807KiB", "too large"},
		{"--redirect|/old", "FROM=TO"},
		{"--redirect|=/new", "FROM=TO"},
		{"--health-check-rise|0", "at least 1"},
		{"--health-check-grpc=", "such as web.v1.Web"},
		{"--health-check-fall|x", "at least 1"},
		{"--target-keepalive-requests|x", `"x" is no number`},
		{"--target-keepalive-requests=-1", `"-1" is no number`},
		{"--writer-affinity-timeout|1", "such as 30s"},
		{"--buffer-requests=maybe", "bool value must be true"},
	} {
		t.Run(test.args, func(t *testing.T) {
			is := is.New(t)
			_, err := deploymentOf(append([]string{"web", "--target", "a:1"}, strings.Split(test.args, "|")...)...)
			refused(is, err, test.want)
			is.Equal(exitCode(err), exitUsage)
		})
	}
}

// helpOf returns the help of a command.
func helpOf(t *testing.T, command string) string {
	t.Helper()
	var out strings.Builder
	p := &program{stdout: &out, stderr: &out, environ: &environ{getenv: func(string) string { return "" }}}
	if _, err := p.parse([]string{command, "--help"}); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
