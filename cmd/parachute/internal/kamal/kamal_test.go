package kamal_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/kamal"
	"github.com/shahnk19/parachute/internal/proxytest"
)

// read returns what kamal.Read does.
func read(path string) ([]parachute.Status, []string, error) {
	left, err := kamal.Read(path, "")
	if err != nil {
		return nil, nil, err
	}
	return left.Services, left.Warnings, nil
}

// write returns the path of a state with that in it.
func write(t *testing.T, state string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), kamal.FileName)
	if err := os.WriteFile(path, []byte(state), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const full = `[{
	"name": "app-web",
	"active_targets": ["1a2b:80", "3c4d:80"],
	"active_readers": ["5e6f:80"],
	"rollout_targets": ["7a8b:80"],
	"rollout_readers": null,
	"options": {
		"hosts": ["app1.example.com", "www.example.com"],
		"path_prefixes": ["/app"],
		"strip_prefix": false,
		"tls_enabled": true,
		"tls_certificate_path": "", "tls_private_key_path": "", "tls_on_demand_url": "",
		"tls_redirect": true,
		"canonical_host": "app1.example.com",
		"acme_directory": "https://acme-v02.api.letsencrypt.org/directory",
		"acme_cache_path": "/home/kamal-proxy/.config/kamal-proxy/certs",
		"error_page_path": "PAGES",
		"writer_affinity_timeout": 3000000000,
		"read_targets_accept_websockets": true
	},
	"target_options": {
		"health_check_config": {"path": "/health", "port": 8080, "host": "in.test", "interval": 2000000000, "timeout": 7000000000},
		"response_timeout": 60000000000,
		"buffer_requests": true, "buffer_responses": true,
		"max_memory_buffer_size": 2097152, "max_request_body_size": 1048576, "max_response_body_size": 0,
		"log_request_headers": ["Cache-Control"], "log_response_headers": ["X-Runtime"],
		"forward_headers": true
	},
	"pause_controller": {"state": 2, "stop_message": "Back at noon", "fail_after": 0},
	"rollout_controller": {"percentage": 20, "percentage_split_point": 3435973836.8, "allowlist": ["qa"]}
}]`

func wanted(pages string) parachute.Status {
	return parachute.Status{
		Service: "app-web", Generation: 1, State: parachute.StateStopped,
		Deployment: parachute.Deployment{
			Service: "app-web",
			Targets: []string{"1a2b:80", "3c4d:80"}, ReadTargets: []string{"5e6f:80"}, ReadWebSockets: true,
			Hosts: []string{"app1.example.com", "www.example.com"}, PathPrefixes: []string{"/app"}, KeepPrefix: true,
			TLS:           parachute.TLS{Mode: parachute.TLSAutomatic},
			CanonicalHost: "app1.example.com",
			HealthCheck:   parachute.HealthCheck{Path: "/health", Port: 8080, Host: "in.test", Interval: 2 * time.Second, Timeout: 7 * time.Second},
			Timeouts:      parachute.Timeouts{Response: time.Minute, WriterAffinity: 3 * time.Second},
			Buffer:        parachute.Buffer{Requests: true, Responses: true, Memory: 2 << 20}, MaxRequestBody: 1 << 20,
			Forwarded:  parachute.Forwarded{Trust: parachute.TrustEverybody},
			ErrorPages: pages,
			Report:     parachute.Report{RequestHeaders: []string{"Cache-Control"}, ResponseHeaders: []string{"X-Runtime"}},
		},
		Rollout: &parachute.Rollout{Targets: []string{"7a8b:80"}, Split: parachute.Split{Percent: 20, List: []string{"qa"}, CookieOnly: true}},
		Stop:    &parachute.Stop{Message: "Back at noon"},
	}
}

// trust is the one warning about a service that believed everybody.
const trust = ": everybody's X-Forwarded-For, -Proto and -Host are believed as with kamal-proxy, for app-web; " +
	"from its next deploy on, a service believes those of run --trusted-proxies alone, or of private networks if that names none: to keep it as it is, deploy with --forward-headers"

// withPages returns full with a folder of error pages, and the folder.
func withPages(t *testing.T) (state, pages string) {
	t.Helper()
	pages = t.TempDir()
	if err := os.WriteFile(filepath.Join(pages, "503.html"), []byte("down"), 0o600); err != nil {
		t.Fatal(err)
	}
	return strings.Replace(full, "PAGES", pages, 1), pages
}

func TestEverythingThatIsKnownIsTakenOver(t *testing.T) {
	is := is.New(t)
	state, pages := withPages(t)
	path := write(t, state)
	services, warnings, err := read(path)
	is.NoErr(err)
	is.Equal(warnings, []string{path + trust})
	is.Equal(services, []parachute.Status{wanted(pages)})
	left, err := os.ReadFile(path)
	is.NoErr(err)
	is.Equal(string(left), state) // as it was
}

func TestNamesMayBeSpelledOtherwise(t *testing.T) {
	is := is.New(t)
	state, pages := withPages(t)
	path := write(t, strings.NewReplacer("active_targets", "ActiveTargets", "active_readers", "activeReaders", "tls_enabled", "TLSEnabled",
		"health_check_config", "healthCheckConfig", `"state": 2`, `"State": "stopped"`, "3000000000,", `"3s",`).Replace(state))
	services, warnings, err := read(path)
	is.NoErr(err)
	is.Equal(warnings, []string{path + trust})
	is.Equal(services, []parachute.Status{wanted(pages)})
}

func TestOlderVersionsAreUnderstood(t *testing.T) {
	is := is.New(t)
	services, warnings, err := read(write(t, `[
		{"name": "one", "hosts": ["a.test"], "active_target": "a:80", "rollout_target": "", "options": {"tls_enabled": false}, "target_options": {}},
		{"name": "two", "hosts": [""], "path_prefixes": ["/x"], "active_target": "b:80", "rollout_target": "c:80", "pause_controller": {"state": 1, "fail_after": 10000000000}}
	]`))
	is.NoErr(err)
	is.Equal(warnings, nil)
	is.Equal(services, []parachute.Status{
		{Service: "one", Generation: 1, State: parachute.StateServing, Deployment: parachute.Deployment{Service: "one", Targets: []string{"a:80"}, Hosts: []string{"a.test"}}},
		{
			Service: "two", Generation: 2, State: parachute.StatePaused, Pause: &parachute.Pause{Max: 10 * time.Second},
			Deployment: parachute.Deployment{Service: "two", Targets: []string{"b:80"}, PathPrefixes: []string{"/x"}},
			Rollout:    &parachute.Rollout{Targets: []string{"c:80"}},
		},
	})
}

func TestTLSIsTakenOverByItsKind(t *testing.T) {
	certFile, keyFile := proxytest.NewCA().WritePair(t, t.TempDir(), "a.test", "b.test")
	files := fmt.Sprintf(`"tls_certificate_path": %q, "tls_private_key_path": %q`, certFile, keyFile)
	const hosts = `"hosts": ["a.test"], `
	for _, test := range []struct {
		name, options string
		want          parachute.TLS
	}{
		{"off is nothing said", hosts + `"tls_enabled": false, "tls_redirect": false, "acme_cache_path": "/c"`, parachute.TLS{}},
		{"files", hosts + `"tls_enabled": true, "acme_cache_path": "/c", "tls_on_demand_url": "/ask", ` + files,
			parachute.TLS{Mode: parachute.TLSFiles, CertFile: certFile, KeyFile: keyFile}},
		{"half a pair", hosts + `"tls_enabled": true, "tls_certificate_path": "/a"`, parachute.TLS{Mode: parachute.TLSAutomatic}},
		{"on demand", `"hosts": [""], "tls_enabled": true, "tls_on_demand_url": "/ask"`, parachute.TLS{Mode: parachute.TLSOnDemand, AskURL: "/ask"}},
		{"staging", hosts + `"tls_enabled": true, "acme_directory": "https://acme-staging-v02.api.letsencrypt.org/directory", "tls_redirect": false`,
			parachute.TLS{Mode: parachute.TLSAutomatic, Staging: true, NoRedirect: true}},
		{"the usual folder", hosts + `"tls_enabled": true, "acme_cache_path": "/home/kamal-proxy/.config/kamal-proxy/certs"`, parachute.TLS{Mode: parachute.TLSAutomatic}},
		{"another folder", hosts + `"tls_enabled": true, "acme_cache_path": "/mnt/certs"`, parachute.TLS{Mode: parachute.TLSAutomatic, CacheDir: "/mnt/certs"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			services, warnings, err := read(write(t, `[{"name":"web","active_targets":["a:80"],"options":{`+test.options+`}}]`))
			is.NoErr(err)
			is.Equal(warnings, nil)
			is.Equal(services[0].Deployment.TLS, test.want)
		})
	}
}

func TestWhatIsNotTakenOverIsNamed(t *testing.T) {
	for _, test := range []struct{ name, state, want string }{
		{"an option", `[{"name":"web","options":{"tls_enabled":true,"warp_factor":9}}]`, "service web: options: warp_factor is not known here and not taken over: 9"},
		{"a member", `[{"name":"web","plugins":["x"]}]`, `service web: plugins is not known here and not taken over: ["x"]`},
		{"an option of a target", `[{"name":"web","target_options":{"health_check_config":{"method":"HEAD"}}}]`, "health_check_config: method is not known"},
		{"another authority", `[{"name":"web","options":{"tls_enabled":true,"acme_directory":"https://ca.test/dir"}}]`, "run --acme-directory"},
		{"a limit without a buffer", `[{"name":"web","target_options":{"max_request_body_size":9}}]`, "max_request_body_size 9 is left out"},
		{"hosts beside all of them", `[{"name":"web","options":{"hosts":["a.test",""]}}]`, "service web: it is for every host, and those that it names beside that are left out: a.test"},
		{"a name", `[{"name":"we/b"}]`, "service we/b: its name is we-b here"},
		{"a percentage", `[{"name":"web","rollout_controller":{"percentage":150}}]`, "percentage 150 is 100 here"},
		{"a relative path", `[{"name":"web","options":{"error_page_path":"pages"}}]`, "error_page_path pages is not taken over"},
		{"a value of another kind", `[{"name":"web","active_targets":"a:80"}]`, "active_targets cannot be read and is not taken over"},
		{"a state", `[{"name":"web","pause_controller":{"state":7}}]`, "state 7 is not known"},
		{"a duration", `[{"name":"web","target_options":{"response_timeout":"soon"}}]`, "response_timeout cannot be read"},
		{"options that are none", `[{"name":"web","options":[1]}]`, "service web: options: it cannot be read"},
		{"a service without a name", `[{"active_targets":["a:80"]}]`, "service number 1: it has no name"},
		{"a service that is none", `["web"]`, "service number 1: it cannot be read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			is := is.New(t)
			_, warnings, err := read(write(t, test.state))
			is.NoErr(err) // nothing of it is fatal
			is.True(strings.Contains(strings.Join(warnings, "\n"), test.want))
		})
	}
}

func TestExplicitNothingIsNone(t *testing.T) {
	is := is.New(t)
	services, _, err := read(write(t, `[{"name":"web","active_targets":["a:80"],"options":{"writer_affinity_timeout":0},"target_options":{"response_timeout":0,"forward_headers":false}}]`))
	is.NoErr(err)
	d := services[0].Deployment
	is.Equal(d.Timeouts, parachute.Timeouts{Response: -1, WriterAffinity: -1}) // no limit; not at all
	is.Equal(d.Forwarded.Trust, parachute.TrustNobody)
}

func TestFileThatIsNoStateIsAnError(t *testing.T) {
	is := is.New(t)
	for _, state := range []string{"", "{}", "not JSON", `[{"name":`} {
		_, _, err := read(write(t, state))
		is.True(err != nil)
	}
	_, _, err := read(filepath.Join(t.TempDir(), "none"))
	is.True(errors.Is(err, fs.ErrNotExist))
	link := filepath.Join(t.TempDir(), "link")
	is.NoErr(os.Symlink(write(t, full), link))
	_, _, err = read(link)
	is.True(err != nil) // is not followed
}

func FuzzNoStateIsFatal(f *testing.F) {
	f.Add(full)
	f.Add(`[{"name":"x","options":null,"pause_controller":{"state":"paused"}}]`)
	f.Fuzz(func(t *testing.T, state string) {
		services, _, err := read(write(t, state))
		for i, s := range services {
			if err != nil || s.Service == "" || s.Generation != uint64(i+1) {
				t.Errorf("%+v, %v", s, err)
			}
		}
	})
}
