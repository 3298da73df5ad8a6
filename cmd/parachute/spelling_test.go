package main

import (
	"strings"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
)

// Scripts for kamal-proxy say so.
func TestSpellingsOfKamalProxyAreBroughtToTheStrictForm(t *testing.T) {
	for _, test := range []struct {
		args string // separated by '|', behind "deploy web"
		want parachute.Deployment
	}{
		{"--target|web-1", parachute.Deployment{Targets: []string{"web-1:80"}}},
		{"--target|web-1,web-2:3000|--target|10.0.0.7", parachute.Deployment{Targets: []string{"web-1:80", "web-2:3000", "10.0.0.7:80"}}},
		{"--target|[::1]", parachute.Deployment{Targets: []string{"[::1]:80"}}},
		{"--target|https://web-1,h2c://web-2,http://web-3", parachute.Deployment{Targets: []string{"https://web-1:443", "h2c://web-2:80", "http://web-3:80"}}},
		{"--target|unix:/run/web", parachute.Deployment{Targets: []string{"unix:/run/web"}}},
		{"--target|a:1|--read-target|b,c:1", parachute.Deployment{Targets: []string{"a:1"}, ReadTargets: []string{"b:80", "c:1"}}},
		{"--target|a:1|--path-prefix|app", parachute.Deployment{Targets: []string{"a:1"}, PathPrefixes: []string{"/app"}}},
		{"--target|a:1|--path-prefix|/app/,//api,v1/x//", parachute.Deployment{Targets: []string{"a:1"}, PathPrefixes: []string{"/app", "/api", "/v1/x"}}},
		{"--target|a:1|--path-prefix|/", parachute.Deployment{Targets: []string{"a:1"}, PathPrefixes: []string{"/"}}},
		{"--target|a:1|--health-check-path|up", parachute.Deployment{Targets: []string{"a:1"}, HealthCheck: parachute.HealthCheck{Path: "/up"}}},
		{"--target|a:1|--health-check-path|up?full=1", parachute.Deployment{Targets: []string{"a:1"}, HealthCheck: parachute.HealthCheck{Path: "/up?full=1"}}},
		{"--target|a:1|--exclude-metrics-path|up,/live", parachute.Deployment{Targets: []string{"a:1"}, Report: parachute.Report{ExcludeMetricsPaths: []string{"/up", "/live"}}}},
		{"--target|a:1|--host|a.test,,b.test,", parachute.Deployment{Targets: []string{"a:1"}, Hosts: []string{"a.test", "b.test"}}},
		{"--target|a:1|--log-request-header|A,|--log-response-header|,B", parachute.Deployment{Targets: []string{"a:1"}, Report: parachute.Report{RequestHeaders: []string{"A"}, ResponseHeaders: []string{"B"}}}},
	} {
		t.Run(test.args, func(t *testing.T) {
			is := is.New(t)
			d, err := deploymentOf(append([]string{"web"}, strings.Split(test.args, "|")...)...)
			is.NoErr(err)
			test.want.Service = "web"
			is.Equal(d, test.want)
		})
	}
}

func TestEmptyValuesAreAsIfNotGiven(t *testing.T) {
	plain, err := deploymentOf("web", "--target", "a:1")
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range []string{
		"host", "path-prefix", "canonical-host", "read-target", "health-check-path", "health-check-host", "error-pages",
		"log-request-header", "log-response-header", "exclude-metrics-path", "client-ip-header",
		"tls-certificate-path", "tls-private-key-path", "tls-on-demand-url", "tls-acme-cache-path",
	} {
		t.Run(flag, func(t *testing.T) {
			is := is.New(t)
			d, err := deploymentOf("web", "--target", "a:1", "--"+flag, "")
			is.NoErr(err)
			is.Equal(len(d.Hosts)+len(d.ReadTargets), 0)
			d.Hosts, d.ReadTargets = nil, nil // instead of empty
			d.Report.ExcludeMetricsPaths = nil
			is.Equal(d, plain)
		})
	}
}

// Fewer networks would let more people in, and fewer targets serve.
func TestEmptyElementsThatWouldMeanMoreAreLeftForTheLibraryToRefuse(t *testing.T) {
	is := is.New(t)
	d, err := deploymentOf("web", "--target", "a:1,", "--allow", "", "--deny", "10.0.0.0/8,")
	is.NoErr(err)
	is.Equal(d.Targets, []string{"a:1", ""})
	is.Equal(d.Access, parachute.Access{Allow: []string{""}, Deny: []string{"10.0.0.0/8", ""}})
}

func TestWhatKamalProxyDoesNotUnderstandEitherIsLeftForTheLibraryToRefuse(t *testing.T) {
	is := is.New(t)
	d, err := deploymentOf("web", "--target", "web-1/x,web-1:,::1,ftp://web-1", "--path-prefix", "https://a.test/x", "--health-check-path", "http://a.test/up")
	is.NoErr(err)
	is.Equal(d.Targets, []string{"web-1/x", "web-1:", "::1", "ftp://web-1"})
	is.Equal(d.PathPrefixes, []string{"https://a.test/x"})
	is.Equal(d.HealthCheck.Path, "http://a.test/up")
}

func TestSpellingsOfRolloutsAreBroughtToTheStrictForm(t *testing.T) {
	is := is.New(t)
	command, _, err := parse(nil, "rollout", "deploy", "my web", "--target", "web-2", "--read-target", "web-3,")
	is.NoErr(err)
	is.Equal(command.Rollout.Deploy.Service, "my web")
	is.Equal(command.Rollout.Deploy.Target, targetList{"web-2:80"})
	is.Equal(command.Rollout.Deploy.ReadTarget, readerList{"web-3:80"})
	command, _, err = parse(nil, "rollout", "set", "web", "--list", "a,,b")
	is.NoErr(err)
	is.Equal(command.Rollout.Set.List, nameList{"a", "b"})
	command, _, err = parse(nil, "rollout", "set", "web", "--list", "")
	is.NoErr(err)
	is.True(command.Rollout.Set.List != nil) // it was given, and names nobody
}

func TestValueOfABooleanStandsBehindItsEqualsSign(t *testing.T) {
	for line, want := range map[string]string{
		"deploy web --target a:1 --buffer-requests false":   "deploy: --buffer-requests is on or off, and takes no value after a space: want --buffer-requests=false, or --buffer-requests alone",
		"deploy --tls-redirect false web --target a:1":      "want --tls-redirect=false",
		"deploy web --target a:1 --health-check-grpc false": "want --health-check-grpc=false",
		"deploy web --target a:1 --no-force true":           "want --force=true",
		"rollout deploy --json false --target a:1":          "rollout deploy: --json is on or off",
		"run --debug true": "run: --debug is on or off",
		"deploy web --target a:1 --buffer-requests=false":            "",
		"stop false --message true":                                  "",
		"stop --message true false":                                  "",
		"stop --json -- false":                                       "",
		"deploy web --target a:1 --host true --canonical-host false": "",
	} {
		t.Run(line, func(t *testing.T) {
			is := is.New(t)
			_, _, err := parse(nil, strings.Fields(line)...)
			refused(is, err, want)
			if want != "" {
				is.Equal(exitCode(err), exitUsage)
			}
		})
	}
}
