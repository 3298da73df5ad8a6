package control_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/cmd/parachute/internal/control"
)

// Whatever is not among these is for deployers alone, also a route that is new.
func TestReadersMayAskForThisAlone(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	h := p.server.Handler(p.proxy)
	_, hint, ok := strings.Cut(answer(h, httptest.NewRequest("GET", "/", nil)), "there is ")
	is.True(ok) // with a list of all routes
	hint, _, _ = strings.Cut(hint, `"`)
	routes := strings.Split(hint, ", ")
	is.True(len(routes) >= 12)
	var open []string
	for _, route := range routes {
		method, path, _ := strings.Cut(route, " ")
		r := httptest.NewRequest(method, strings.Replace(path, "{name}", "web", 1), strings.NewReader("{}"))
		got := answer(h, r.WithContext(control.AsReader(r.Context(), 54321, 54322)))
		if strings.HasPrefix(got, "200 ") || strings.Contains(got, `"code":"not_found"`) { // there is no web
			open = append(open, route)
			continue
		}
		is.True(strings.HasPrefix(got, "403 ") && strings.Contains(got, `"code":"forbidden"`))
		is.True(strings.Contains(got, "user 54321 may neither make changes nor see the log: that is for root"))
		is.True(strings.Contains(got, "user 54322"))
	}
	is.Equal(open, []string{"GET /v1/services", "GET /v1/services/{name}", "GET /v1/services/{name}/history", "GET /v1/history", "GET /v1/certificates", "GET /v1/version", "GET /v1/fleet", "GET /v1/fleet/settled/{name}", "GET /v1/fleet/services", "GET /v1/fleet/services/{name}", "GET /v1/fleet/services/{name}/history", "GET /v1/fleet/history", "GET /v1/fleet/certificates"})
}

// answer returns the status and the body that h answers with.
func answer(h http.Handler, r *http.Request) string {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return fmt.Sprintf("%d %s", w.Code, w.Body)
}

func TestReadersSeeNoSecretsOfAService(t *testing.T) {
	is := is.New(t)
	p := newPlane(t, parachute.Options{})
	d := deployment("web")
	d.Headers.Request = []string{"set Authorization: Bearer s3cr3t", "edit Destination s3cr3t s3cr3t", "del X-Debug"}
	d.Headers.Response = []string{"set X-Key: s3cr3t"}
	d.HealthCheck.Headers = []string{"X-Probe: s3cr3t"}
	d.HealthCheck.Path = "/up?token=s3cr3t"
	d.HealthCheck.Interval = time.Hour
	is.NoErr(p.proxy.Deploy(t.Context(), d))
	h, r := p.server.Handler(p.proxy), httptest.NewRequest("GET", "/v1/services", nil)
	is.Equal(strings.Count(answer(h, r), "s3cr3t") >= 6, true) // who may deploy sees them
	got := answer(h, r.WithContext(control.AsReader(r.Context(), 54321)))
	is.True(!strings.Contains(got, "s3cr3t"))
	var services []parachute.Status
	is.NoErr(json.Unmarshal([]byte(strings.TrimPrefix(got, "200 ")), &services))
	seen := services[0].Deployment
	is.Equal(seen.Headers.Request, []string{"set Authorization: ***", "edit Destination ***", "del X-Debug"})
	is.Equal(seen.Headers.Response, []string{"set X-Key: ***"})
	is.Equal(seen.HealthCheck.Headers, []string{"X-Probe: ***"})
	is.Equal(seen.HealthCheck.Path, "/up?***")
	is.Equal(seen.Targets, d.Targets) // what is no secret is there
	got = answer(h, httptest.NewRequest("GET", "/v1/services/web", nil).WithContext(control.AsReader(r.Context(), 54321)))
	var one parachute.Status
	is.NoErr(json.Unmarshal([]byte(strings.TrimPrefix(got, "200 ")), &one))
	is.Equal(one.Deployment, seen)                             // where they ask for it alone, too
	is.Equal(strings.Count(answer(h, r), "s3cr3t") >= 6, true) // and nothing has become of what is deployed
}

// readable are the fields that readers see as they are. Error of a probe is about the
// connection, and else hidden as well. Paths of files are no secrets, nor is what the
// service tells every visitor.
const readable = `Service
State
Deployment.Service
Deployment.Targets
Deployment.ReadTargets
Deployment.Affinity
Deployment.TargetTLS.CAFile
Deployment.TargetTLS.ServerName
Deployment.Hosts
Deployment.PathPrefixes
Deployment.TLS.Mode
Deployment.TLS.CacheDir
Deployment.TLS.CertFile
Deployment.TLS.KeyFile
Deployment.CanonicalHost
Deployment.Redirects.From
Deployment.Redirects.To
Deployment.HealthCheck.Host
Deployment.HealthCheck.Status
Deployment.HealthCheck.GRPCService
Deployment.Access.Allow
Deployment.Access.Deny
Deployment.Access.BasicAuthFile
Deployment.Forwarded.Trust
Deployment.Forwarded.ClientHeader
Deployment.Headers.HSTS
Deployment.ErrorPages
Deployment.Report.RequestHeaders
Deployment.Report.ResponseHeaders
Deployment.Report.ExcludeMetricsPaths
Deployment.Release
Deployment.By
Rollout.Targets
Rollout.ReadTargets
Rollout.Release
Rollout.By
Rollout.Deployment.Service
Rollout.Deployment.Targets
Rollout.Deployment.ReadTargets
Rollout.Deployment.Affinity
Rollout.Deployment.TargetTLS.CAFile
Rollout.Deployment.TargetTLS.ServerName
Rollout.Deployment.Hosts
Rollout.Deployment.PathPrefixes
Rollout.Deployment.TLS.Mode
Rollout.Deployment.TLS.CacheDir
Rollout.Deployment.TLS.CertFile
Rollout.Deployment.TLS.KeyFile
Rollout.Deployment.CanonicalHost
Rollout.Deployment.Redirects.From
Rollout.Deployment.Redirects.To
Rollout.Deployment.HealthCheck.Host
Rollout.Deployment.HealthCheck.Status
Rollout.Deployment.HealthCheck.GRPCService
Rollout.Deployment.Access.Allow
Rollout.Deployment.Access.Deny
Rollout.Deployment.Access.BasicAuthFile
Rollout.Deployment.Forwarded.Trust
Rollout.Deployment.Forwarded.ClientHeader
Rollout.Deployment.Headers.HSTS
Rollout.Deployment.ErrorPages
Rollout.Deployment.Report.RequestHeaders
Rollout.Deployment.Report.ResponseHeaders
Rollout.Deployment.Report.ExcludeMetricsPaths
Rollout.Deployment.Release
Rollout.Deployment.By
Stop.Message
Bake.Deployment.Service
Bake.Deployment.Targets
Bake.Deployment.ReadTargets
Bake.Deployment.Affinity
Bake.Deployment.TargetTLS.CAFile
Bake.Deployment.TargetTLS.ServerName
Bake.Deployment.Hosts
Bake.Deployment.PathPrefixes
Bake.Deployment.TLS.Mode
Bake.Deployment.TLS.CacheDir
Bake.Deployment.TLS.CertFile
Bake.Deployment.TLS.KeyFile
Bake.Deployment.CanonicalHost
Bake.Deployment.Redirects.From
Bake.Deployment.Redirects.To
Bake.Deployment.HealthCheck.Host
Bake.Deployment.HealthCheck.Status
Bake.Deployment.HealthCheck.GRPCService
Bake.Deployment.Access.Allow
Bake.Deployment.Access.Deny
Bake.Deployment.Access.BasicAuthFile
Bake.Deployment.Forwarded.Trust
Bake.Deployment.Forwarded.ClientHeader
Bake.Deployment.Headers.HSTS
Bake.Deployment.ErrorPages
Bake.Deployment.Report.RequestHeaders
Bake.Deployment.Report.ResponseHeaders
Bake.Deployment.Report.ExcludeMetricsPaths
Bake.Deployment.Release
Bake.Deployment.By
Live.Targets.Address
Live.Targets.Health
Live.Targets.Probe.Host
Live.Targets.Probe.Error
Live.Targets.Probe.Cause
Live.Changes.Kind
Live.Changes.Release
Live.Changes.By`

// Every text that a service has, also one that is new, is either hidden from readers or
// among these.
func TestWhatReadersSeeOfAServiceIsDecidedForEachField(t *testing.T) {
	is := is.New(t)
	services := make([]parachute.Status, 1)
	fill(reflect.ValueOf(&services[0]).Elem(), "set a?: SECRET")
	control.HideSecrets(services)
	var seen []string
	visit(reflect.ValueOf(services[0]), "", func(path string, text string) {
		if strings.Contains(text, "SECRET") {
			seen = append(seen, path)
		}
	})
	is.Equal(strings.Join(seen, "\n"), readable)
}

// fill sets every text in v.
func fill(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0), text)
	case reflect.Struct:
		for _, f := range reflect.VisibleFields(v.Type()) {
			if f.IsExported() {
				fill(v.FieldByIndex(f.Index), text)
			}
		}
	}
}

// visit calls each with every text in v, and where it is.
func visit(v reflect.Value, path string, each func(path, text string)) {
	switch v.Kind() {
	case reflect.String:
		each(strings.TrimPrefix(path, "."), v.String())
	case reflect.Pointer:
		if !v.IsNil() {
			visit(v.Elem(), path, each)
		}
	case reflect.Slice:
		for i := range v.Len() {
			visit(v.Index(i), path, each)
		}
	case reflect.Struct:
		for _, f := range reflect.VisibleFields(v.Type()) {
			if f.IsExported() {
				visit(v.FieldByIndex(f.Index), path+"."+f.Name, each)
			}
		}
	}
}

func TestReadersSeeOfAProbeWhatTheProxySaysAndNotWhatTheApplicationDoes(t *testing.T) {
	for _, tt := range []struct{ said, seen parachute.Probe }{
		{parachute.Probe{URL: "http://10.0.0.7/up?k=s3cr3t", Location: "https://app.test/login?next=s3cr3t#x", Body: "s3cr3t", Status: 302},
			parachute.Probe{URL: "http://10.0.0.7/up?***", Location: "https://app.test/login?***", Status: 302}},
		{parachute.Probe{Location: "http://user:s3cr3t@app.test/"}, parachute.Probe{Location: "http://***@app.test/"}},
		{parachute.Probe{Cause: parachute.CauseMalformed, Error: `malformed header line "X-Key s3cr3t"`}, parachute.Probe{Cause: parachute.CauseMalformed, Error: "***"}},
		{parachute.Probe{Cause: parachute.CauseNotGRPC, Error: "s3cr3t"}, parachute.Probe{Cause: parachute.CauseNotGRPC, Error: "***"}},
		{parachute.Probe{Cause: parachute.CauseRefused, Error: "connection refused"}, parachute.Probe{Cause: parachute.CauseRefused, Error: "connection refused"}},
		{parachute.Probe{GRPC: "UNAVAILABLE: s3cr3t"}, parachute.Probe{GRPC: "UNAVAILABLE"}},
		{parachute.Probe{GRPC: "SERVING", Passed: true}, parachute.Probe{GRPC: "SERVING", Passed: true}},
	} {
		is := is.New(t)
		said := tt.said
		services := []parachute.Status{{Live: &parachute.Live{Targets: []parachute.TargetStatus{{Probe: &said}, {}}}}}
		control.HideSecrets(services)
		is.Equal(*services[0].Live.Targets[0].Probe, tt.seen)
		is.Equal(said, tt.said) // which is the target's own
	}
}

func TestReadersAreNotToldOfSecretsByTheReasonOfAFailure(t *testing.T) {
	is := is.New(t)
	services := []parachute.Status{
		{Error: `header rule "set X: s3cr3t": no`, Deployment: parachute.Deployment{Headers: parachute.Headers{Request: []string{"set X: s3cr3t"}}}},
		{Error: "/etc/tls/cert.pem: no such file"},
	}
	control.HideSecrets(services)
	is.True(strings.Contains(services[0].Error, "who may deploy"))
	is.True(!strings.Contains(services[0].Error, "s3cr3t"))
	is.Equal(services[1].Error, "/etc/tls/cert.pem: no such file")
}

func TestOwnerMayDoEverythingWhoeverElseMay(t *testing.T) {
	is := is.New(t)
	p := newPlaneFor(t, parachute.Options{}, control.SocketOptions{Deployers: []string{"54321"}})
	is.Equal(modeOf(t, p.socket).Perm(), os.FileMode(0o666)) // for the deployer to be let in
	_, err := p.client.Deploy(t.Context(), deployment("web"), nil)
	is.NoErr(err)
	is.NoErr(p.client.Logs(t.Context(), control.LogQuery{}, func([]byte) error { return nil }))
}

func TestDeployerWhoIsNoUserIsRefused(t *testing.T) {
	is := is.New(t)
	_, err := control.Listen(socketPath(t), control.SocketOptions{Deployers: []string{"no such user"}})
	is.True(err != nil)
	is.True(saysAll(err.Error(), "no such user"))
}
