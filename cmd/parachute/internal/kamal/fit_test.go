package kamal_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// restored returns what a Proxy makes of the services, by name, and the warnings
// without the path of the file.
func restored(t *testing.T, state string) (services map[string]parachute.Status, warnings []string) {
	t.Helper()
	path := write(t, state)
	left, warnings, err := read(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range warnings {
		warnings[i] = strings.TrimPrefix(w, path+": ")
	}
	p := parachute.New(parachute.Options{})
	defer p.Close()
	if err := p.Restore(left); err != nil {
		t.Errorf("a service is not served: %v", err)
	}
	services = make(map[string]parachute.Status)
	for _, s := range p.Services() {
		services[s.Service] = s
	}
	return services, warnings
}

// What is in the way of a whole service here was none there.
func TestWhatKamalProxyServedIsServedWithoutWhatCannotBe(t *testing.T) {
	elsewhere, broken := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "503.html"), []byte("{{"), 0o600); err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := proxytest.NewCA().WritePair(t, t.TempDir(), "a.test")
	files := fmt.Sprintf(`"tls_enabled":true,"tls_certificate_path":%q,"tls_private_key_path":%q`, certFile, keyFile)
	web := func(options string) string {
		return `{"name":"web","active_targets":["a:80"],"options":{` + options + `}}`
	}
	target := func(options string) string {
		return `{"name":"web","active_targets":["a:80"],"target_options":{` + options + `}}`
	}
	for _, tt := range []struct {
		name, state string
		want        func(d *parachute.Deployment) // makes of the least of deployments what is served
		warning     string                        // of the first one; "": there is none
	}{
		{"a health path without a slash", target(`"health_check_config":{"path":"up"}`), func(d *parachute.Deployment) { d.HealthCheck.Path = "/up" }, ""},
		{"an empty health path", target(`"health_check_config":{"path":""}`), func(d *parachute.Deployment) { d.HealthCheck.Path = "/" }, ""},
		{"a health path that cannot be sent", target(`"health_check_config":{"path":"/u p"}`), nil, "the path of the health check: left out"},
		{"a health port that is none", target(`"health_check_config":{"port":70000}`), nil, "the port of the health check: left out"},
		{"a health host that is none", target(`"health_check_config":{"host":"a b"}`), nil, "the host of the health check: left out"},
		{"a negative interval", target(`"health_check_config":{"interval":-1000000000,"timeout":-1000000000}`), nil, "the interval of the health check: left out"},
		{"a negative limit", target(`"buffer_requests":true,"max_request_body_size":-1`), func(d *parachute.Deployment) { d.Buffer.Requests = true }, "the limits of bodies: left out"},
		{"a target twice", `{"name":"web","active_targets":["a:80","a:80"]}`, nil, ""},
		{"a target without a port", `{"name":"web","active_targets":["a"]}`, nil, ""},
		{"a target that is none", `{"name":"web","active_targets":["a:80","b:99999","c:x"]}`, nil, "target b:99999: left out"},
		{"a writer that reads", `{"name":"web","active_targets":["a:80"],"active_readers":["a:80","b"]}`,
			func(d *parachute.Deployment) { d.ReadTargets = []string{"a:80", "b:80"} }, ""},
		{"a reader that is none", `{"name":"web","active_targets":["a:80"],"active_readers":["b:0"]}`, nil, "read target b:0: left out"},
		{"WebSockets without readers", web(`"read_targets_accept_websockets":true`), nil, ""},
		{"hosts that cannot be", web(`"hosts":["*.*.x","ok.test","a b","*"]`), func(d *parachute.Deployment) { d.Hosts = []string{"ok.test"} }, `host *.*.x: left out, so that the rest is served: host "*.*.x"`},
		{"a canonical host without hosts", web(`"hosts":[""],"canonical_host":"a.test"`), func(d *parachute.Deployment) { d.CanonicalHost = "a.test" }, ""},
		{"a canonical host elsewhere", web(`"hosts":["a.test","*.*.x"],"canonical_host":"b.test"`), func(d *parachute.Deployment) { d.Hosts = []string{"a.test"} }, "canonical host b.test is not among"},
		{"a canonical host that cannot be", web(`"hosts":["a.test","*.*.x"],"canonical_host":"*.*.x"`), func(d *parachute.Deployment) { d.Hosts = []string{"a.test"} }, "host *.*.x: left out"},
		{"a prefix without a slash", web(`"path_prefixes":["app/"]`), func(d *parachute.Deployment) { d.PathPrefixes = []string{"/app"} }, ""},
		{"the root", web(`"path_prefixes":["/"]`), nil, ""},
		{"a prefix with a percent sign", web(`"path_prefixes":["/100%?"]`), func(d *parachute.Deployment) { d.PathPrefixes = []string{"/100%25%3F"} }, ""},
		{"a prefix that cannot be", web(`"path_prefixes":["/app","/a//b"]`), func(d *parachute.Deployment) { d.PathPrefixes = []string{"/app"} }, "path prefix /a//b: left out"},
		{"no error pages", web(fmt.Sprintf(`"error_page_path":%q`, elsewhere)), nil, "the error pages: left out"},
		{"broken error pages", web(fmt.Sprintf(`"error_page_path":%q,"hosts":["a.test","b.test","*.*.x"],"canonical_host":"a.test"`, broken)),
			func(d *parachute.Deployment) { d.Hosts, d.CanonicalHost = []string{"a.test", "b.test"}, "a.test" }, "host *.*.x: left out"},
		{"a header that cannot be", web(`"client_ip_header":"X Y"`), nil, "the header with the client's address: left out"},
		{"no certificate files", web(`"hosts":["a.test"],"tls_enabled":true,"tls_certificate_path":"/nowhere/c","tls_private_key_path":"/nowhere/k"`),
			func(d *parachute.Deployment) { d.Hosts = []string{"a.test"} }, "TLS: left out, so that the rest is served"},
		{"certificate files for one of two hosts", web(`"hosts":["b.test","a.test"],"canonical_host":"b.test",` + files),
			func(d *parachute.Deployment) {
				d.Hosts, d.TLS = []string{"a.test"}, parachute.TLS{Mode: parachute.TLSFiles, CertFile: certFile, KeyFile: keyFile}
			}, "host b.test: left out, for it cannot have the service's TLS"},
		{"certificate files for other hosts", web(`"hosts":["b.test","c.test"],` + files), func(d *parachute.Deployment) { d.Hosts = []string{"b.test", "c.test"} }, "TLS: left out"},
		{"TLS for every host", web(`"hosts":[""],"tls_enabled":true`), nil, "TLS: left out"},
		{"TLS for a name of one label", web(`"hosts":["localhost","*.*.x"],"tls_enabled":true`), func(d *parachute.Deployment) { d.Hosts = []string{"localhost"} }, "host *.*.x: left out"},
		{"on demand for a name", web(`"hosts":["a.test"],"tls_enabled":true,"tls_on_demand_url":"/ask"`),
			func(d *parachute.Deployment) {
				d.Hosts, d.TLS = []string{"a.test"}, parachute.TLS{Mode: parachute.TLSAutomatic}
			}, "without /ask being asked"},
		{"on demand for a wildcard", web(`"hosts":["*.a.test"],"tls_enabled":true,"tls_on_demand_url":"/ask"`),
			func(d *parachute.Deployment) {
				d.TLS = parachute.TLS{Mode: parachute.TLSOnDemand, AskURL: "/ask"}
			}, "it is for every host that no other service has, and not for *.a.test alone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			least := `{"name":"web","active_targets":["a:80"]}`
			is.Equal(served(t, "["+tt.state+"]", tt.warning), expected(t, "["+least+"]", tt.want))
		})
	}
}

// served returns the Deployment of web as it is served, as JSON. One of the warnings
// must have that text.
func served(t *testing.T, state, warning string) string {
	t.Helper()
	services, warnings := restored(t, state)
	if warning == "" && warnings != nil || !strings.Contains(strings.Join(warnings, "\n"), warning) {
		t.Errorf("the warnings are %q, want %q", warnings, warning)
	}
	text, err := json.Marshal(services["web"].Deployment)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func expected(t *testing.T, state string, change func(d *parachute.Deployment)) string {
	t.Helper()
	services, _ := restored(t, state)
	d := services["web"].Deployment
	if change != nil {
		change(&d)
	}
	text, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestRolloutIsTakenOverWithoutWhatCannotBe(t *testing.T) {
	is := is.New(t)
	services, warnings := restored(t, `[{"name":"web","active_targets":["a:80"],"rollout_targets":["b","b:80","c:0"],"rollout_readers":["d:0"],
		"rollout_controller":{"percentage":150,"percentage_split_point":6442450942.5,"allowlist":["vip","a;b","","é"]}}]`)
	is.Equal(services["web"].Rollout, &parachute.Rollout{
		Targets: []string{"b:80"}, Split: parachute.Split{Percent: 100, List: []string{"vip"}, CookieOnly: true},
	})
	is.Equal(len(warnings), 5) // the percentage, a target, a reader, two visitors
	services, warnings = restored(t, `[{"name":"web","active_targets":["a:80"],"rollout_targets":["c:0"]}]`)
	is.Equal(services["web"].Rollout, nil)
	is.Equal(len(warnings), 1)
	is.True(strings.Contains(warnings[0], "the rollout: left out"))
}

// Hosts that kamal-proxy tells apart may be one here.
func TestServiceKeepsTheHostsThatNoOtherHas(t *testing.T) {
	is := is.New(t)
	services, warnings := restored(t, `[
		{"name":"one","active_targets":["a:80"],"options":{"hosts":["a.test"]}},
		{"name":"two","active_targets":["b:80"],"options":{"hosts":["A.test","b.test"]}}]`)
	is.Equal(services["one"].Deployment.Hosts, []string{"a.test"})
	is.Equal(services["two"].Deployment.Hosts, []string{"b.test"})
	is.Equal(len(warnings), 1)
	is.True(strings.Contains(warnings[0], "service two: host A.test: left out"))
}

// In kamal-proxy, the service with the root of a host has the say, wherever it stands
// in the file.
func TestServicesOfAHostHaveTheTLSOfTheOneAtItsRoot(t *testing.T) {
	is := is.New(t)
	services, warnings := restored(t, `[
		{"name":"api","active_targets":["a:80"],"options":{"hosts":["a.test"],"path_prefixes":["/api"],"tls_enabled":true,"tls_redirect":true}},
		{"name":"web","active_targets":["b:80"],"options":{"hosts":["a.test"],"path_prefixes":["/"],"tls_enabled":true,"tls_redirect":false}},
		{"name":"plain","active_targets":["c:80"],"options":{"hosts":["a.test"],"path_prefixes":["/plain"],"tls_enabled":false}}]`)
	want := parachute.TLS{Mode: parachute.TLSAutomatic, NoRedirect: true}
	is.Equal(services["web"].Deployment.TLS, want)
	is.Equal(services["api"].Deployment.TLS, want)
	is.Equal(services["plain"].Deployment.TLS, parachute.TLS{}) // which is theirs
	is.Equal(warnings, []string{"service api: TLS is that of service web, which has host a.test as well"})
}

func TestNamesThatCannotBeAreMadeOnesThatCan(t *testing.T) {
	is := is.New(t)
	services, _ := restored(t, `[
		{"name":"a/b","active_targets":["a:80"],"options":{"hosts":["a.test"]}},
		{"name":"a-b","active_targets":["a:80"],"options":{"hosts":["b.test"]}},
		{"name":"my service","active_targets":["a:80"],"options":{"hosts":["c.test"]}}]`)
	is.Equal(services["a-b"].Deployment.Hosts, []string{"a.test"})
	is.Equal(services["a-b-2"].Deployment.Hosts, []string{"b.test"})
	is.Equal(services["my service"].Deployment.Hosts, []string{"c.test"})
}

func TestServiceThatCannotBeServedAtAllSpoilsNoOther(t *testing.T) {
	is := is.New(t)
	path := write(t, `[{"name":"bad","active_targets":["a:0"],"options":{"hosts":["*.*.x"]}},{"name":"web","active_targets":["a:80"]}]`)
	left, _, err := read(path)
	is.NoErr(err)
	p := parachute.New(parachute.Options{})
	defer p.Close()
	is.True(p.Restore(left) != nil) // of the one
	services := p.Services()
	is.Equal(services[0].State, parachute.StateFailed) // to be seen
	is.Equal(services[1].State, parachute.StateServing)
}

// The file is one that a running kamal-proxy wrote, with services that use every
// option.
func TestStateOfARunningKamalProxyIsTakenOverWhole(t *testing.T) {
	is := is.New(t)
	state, err := os.ReadFile("testdata/kamal-proxy.state")
	is.NoErr(err)
	services, warnings := restored(t, string(state))
	is.Equal(len(services), 14)
	for _, w := range warnings {
		is.True(!strings.Contains(w, "not known")) // every member is
	}
	slices.Sort(warnings)
	is.Equal(len(warnings), 4)
	is.True(strings.Contains(warnings[0], "believed as with kamal-proxy, for paused, my service, both, wild, pages, full, stopped, roll, plain, twice, hosts, slash;"))
	is.True(strings.HasPrefix(warnings[1], "service pages: the error pages: left out")) // which are not there
	is.True(strings.HasPrefix(warnings[2], "service static: TLS: left out"))
	is.True(strings.HasPrefix(warnings[3], "service wild: host *.*.example.org: left out"))

	full := services["full"].Deployment
	is.Equal(full.HealthCheck, parachute.HealthCheck{Path: "/up", Port: 3002, Host: "full.example.com", Interval: 2 * time.Second, Timeout: 3 * time.Second,
		Rise: full.HealthCheck.Rise, Fall: full.HealthCheck.Fall, Status: full.HealthCheck.Status})
	is.Equal(full.Timeouts.Response, 10*time.Second)
	is.Equal(full.Buffer, parachute.Buffer{Requests: true, Responses: true, Memory: 2 << 20})
	is.Equal(full.MaxRequestBody, int64(1<<20))
	is.Equal(full.MaxResponseBody, int64(4<<20))
	is.Equal(full.Forwarded, parachute.Forwarded{Trust: parachute.TrustEverybody, ClientHeader: "X-Real-IP"})
	is.Equal(full.Report, parachute.Report{RequestHeaders: []string{"Cookie"}, ResponseHeaders: []string{"Set-Cookie"}, ExcludeMetricsPaths: []string{"/up", "/live"}})
	is.True(full.Headers.ScopeCookies)

	is.Equal(services["plain"].Deployment.Hosts, []string{})
	hosts := services["hosts"].Deployment
	is.Equal(hosts.Hosts, []string{"a.example.com", "b.example.com"})
	is.Equal(hosts.PathPrefixes, []string{"/api", "/v2"})
	is.True(hosts.KeepPrefix)
	both := services["both"].Deployment
	is.Equal(both.ReadTargets, []string{"127.0.0.1:3001", "127.0.0.1:3002"})
	is.True(both.ReadWebSockets)
	is.Equal(both.Timeouts.WriterAffinity, 5*time.Second)
	is.Equal(services["static"].Deployment.Forwarded.Trust, parachute.TrustNobody)
	auto := services["auto"].Deployment
	is.Equal(auto.TLS, parachute.TLS{Mode: parachute.TLSAutomatic, Staging: true})
	is.Equal(auto.CanonicalHost, "auto.example.com")
	is.Equal(services["paused"].State, parachute.StatePaused)
	is.Equal(services["paused"].Pause.Max, time.Hour)
	is.Equal(services["stopped"].State, parachute.StateStopped)
	is.Equal(services["stopped"].Stop.Message, "Back <soon>")
	is.Equal(services["roll"].Rollout.Split, parachute.Split{Percent: 25, List: []string{"vip1", "vip2"}, CookieOnly: true})
}
