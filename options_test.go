package parachute_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/wire"
)

// fullDeployment has a value in every field.
var fullDeployment = parachute.Deployment{
	Service: "web",
	Targets: []string{"10.0.0.7:3000", "[::1]:3000"},

	ReadTargets:    []string{"10.0.0.8:3000"},
	ReadWebSockets: true,
	Affinity:       "cookie=sid",
	TargetTLS: parachute.TargetTLS{
		CAFile:     "/etc/ca.pem",
		ServerName: "app.internal",
		Insecure:   true,
	},
	TargetKeepAlive: parachute.TargetKeepAlive{Off: true, Requests: 100},

	Hosts:        []string{"app1.example.com", "*.example.com"},
	PathPrefixes: []string{"/api", "/admin"},
	KeepPrefix:   true,
	TLS: parachute.TLS{
		Mode:       parachute.TLSAutomatic,
		Staging:    true,
		CacheDir:   "/var/certs",
		CertFile:   "/etc/cert.pem",
		KeyFile:    "/etc/key.pem",
		AskURL:     "/allowed",
		NoRedirect: true,
		Wait:       true,
	},
	CanonicalHost: "app1.example.com",
	Redirects:     []parachute.Redirect{{From: "/old", To: "/new"}},
	HealthCheck: parachute.HealthCheck{
		Path:     "/healthz?full=1",
		Port:     3001,
		Host:     "app1.example.com",
		Interval: 2 * time.Second,
		Timeout:  1500 * time.Millisecond,
		Headers:  []string{"X-Probe: yes"},
		Status:   "200-399",
		Rise:     2,
		Fall:     3,

		GRPC:        true,
		GRPCService: "web.v1.Web",
	},
	NoWebSocketClose: true,

	Buffer:          parachute.Buffer{Requests: true, Responses: true, Memory: 1 << 16},
	MaxRequestBody:  1 << 20,
	MaxResponseBody: 1 << 21,
	Access:          parachute.Access{Allow: []string{"10.0.0.0/8"}, Deny: []string{"10.0.0.9"}, BasicAuthFile: "/etc/htpasswd"},
	Forwarded:       parachute.Forwarded{Trust: parachute.TrustEverybody, ClientHeader: "CF-Connecting-IP"},
	Headers: parachute.Headers{
		Request:      []string{"set X-A: b"},
		Response:     []string{"del X-C"},
		HSTS:         "max-age=1",
		Release:      true,
		ScopeCookies: true,

		RewriteLocation: true,
	},
	ErrorPages: "/etc/pages",
	Report: parachute.Report{
		RequestHeaders:      []string{"X-D"},
		ResponseHeaders:     []string{"X-E"},
		ExcludeMetricsPaths: []string{"/up"},
	},
	Timeouts: parachute.Timeouts{
		Deploy:   time.Minute,
		Drain:    90 * time.Second,
		Stream:   time.Hour,
		Response: -1,
		Hold:     5 * time.Second,

		WriterAffinity: 2 * time.Second,
	},
	Bake:    parachute.Bake{For: time.Minute, MaxErrorRate: 0.1, MaxSlowdown: 2, MinRequests: 10},
	Canary:  parachute.Canary{Steps: []int{1, 50}, Step: 30 * time.Second},
	Force:   true,
	Release: "v1.2",
	By:      "Ann",
}

const fullDeploymentJSON = `{"service":"web",` +
	`"targets":["10.0.0.7:3000","[::1]:3000"],"read_targets":["10.0.0.8:3000"],"read_websockets":true,"affinity":"cookie=sid",` +
	`"target_tls":{"ca_file":"/etc/ca.pem","server_name":"app.internal","insecure":true},"target_keepalive":{"off":true,"requests":100},` +
	`"hosts":["app1.example.com","*.example.com"],` +
	`"path_prefixes":["/api","/admin"],"keep_prefix":true,` +
	`"tls":{"mode":"automatic","staging":true,"cache_dir":"/var/certs","cert_file":"/etc/cert.pem","key_file":"/etc/key.pem",` +
	`"ask_url":"/allowed","no_redirect":true,"wait":true},"canonical_host":"app1.example.com",` +
	`"redirects":[{"from":"/old","to":"/new"}],` +
	`"health_check":{"path":"/healthz?full=1","port":3001,"host":"app1.example.com","headers":["X-Probe: yes"],"status":"200-399","rise":2,"fall":3,"grpc":true,"grpc_service":"web.v1.Web","interval":"2s","timeout":"1.5s"},` +
	`"timeouts":{"deploy":"1m0s","drain":"1m30s","stream":"1h0m0s","response":"-1ns","hold":"5s","writer_affinity":"2s"},"no_websocket_close":true,` +
	`"buffer":{"requests":true,"responses":true,"memory":65536},"max_request_body":1048576,"max_response_body":2097152,` +
	`"access":{"allow":["10.0.0.0/8"],"deny":["10.0.0.9"],"basic_auth_file":"/etc/htpasswd"},` +
	`"forwarded":{"trust":"everybody","client_header":"CF-Connecting-IP"},` +
	`"headers":{"request":["set X-A: b"],"response":["del X-C"],"hsts":"max-age=1","release":true,"scope_cookies":true,"rewrite_location":true},` +
	`"error_pages":"/etc/pages",` +
	`"report":{"request_headers":["X-D"],"response_headers":["X-E"],"exclude_metrics_paths":["/up"]},` +
	`"bake":{"max_error_rate":0.1,"max_slowdown":2,"min_requests":10,"for":"1m0s"},"canary":{"steps":[1,50],"step":"30s"},"force":true,"release":"v1.2","by":"Ann"}`

func TestDeploymentTravelsAsJSON(t *testing.T) {
	is := is.New(t)
	out, err := json.Marshal(fullDeployment)
	is.NoErr(err)
	is.Equal(string(out), fullDeploymentJSON) // scripts and state files depend on these names

	var back parachute.Deployment
	is.NoErr(wire.UnmarshalStrict(out, &back))
	is.Equal(back, fullDeployment)
}

func TestEveryFieldOfADeploymentIsTried(t *testing.T) {
	for _, part := range []any{fullDeployment, fullDeployment.TargetTLS, fullDeployment.TLS, fullDeployment.HealthCheck, fullDeployment.Timeouts,
		fullDeployment.Buffer, fullDeployment.Access, fullDeployment.Forwarded, fullDeployment.Headers, fullDeployment.Report, fullDeployment.Bake, fullDeployment.Canary} {
		v := reflect.ValueOf(part)
		for field, value := range v.Fields() {
			if value.IsZero() {
				t.Errorf("fullDeployment has nothing in %v.%s: no test here would see whether that travels", v.Type(), field.Name)
			}
		}
	}
}

// Scripts and state files depend on every byte of it.
func TestTypesWithDurationsTravelAsTheyAlwaysDid(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC)
	probe := parachute.Probe{Time: at, Took: 12 * time.Millisecond, URL: "http://10.0.0.7:3000/up", Host: "app1.example.com", Status: 301, GRPC: "SERVING", Location: "https://app1.example.com/up", Body: "<moved>", Error: "cut", Cause: parachute.CauseRedirect, Passed: true}
	unhealthy := parachute.UnhealthyError{Waited: 90 * time.Second, Host: "app1.example.com", Targets: []parachute.UnhealthyTarget{{Address: "10.0.0.7:3000", Probes: 31, Last: &probe}, {Address: "10.0.0.8:3000"}}}
	tests := []struct {
		value, zero         any
		wantValue, wantZero string
	}{
		{
			fullDeployment.HealthCheck, parachute.HealthCheck{},
			`{"path":"/healthz?full=1","port":3001,"host":"app1.example.com","headers":["X-Probe: yes"],"status":"200-399","rise":2,"fall":3,"grpc":true,"grpc_service":"web.v1.Web","interval":"2s","timeout":"1.5s"}`,
			`{}`,
		},
		{
			fullDeployment.Timeouts, parachute.Timeouts{},
			`{"deploy":"1m0s","drain":"1m30s","stream":"1h0m0s","response":"-1ns","hold":"5s","writer_affinity":"2s"}`,
			`{}`,
		},
		{
			parachute.Pause{Max: time.Minute, Drain: -1}, parachute.Pause{},
			`{"max":"1m0s","drain":"-1ns"}`,
			`{}`,
		},
		{
			parachute.Stop{Message: "Back at <noon>", Drain: 1500 * time.Microsecond}, parachute.Stop{},
			`{"message":"Back at \u003cnoon\u003e","drain":"1.5ms"}`,
			`{}`,
		},
		{
			probe, parachute.Probe{},
			`{"time":"2026-03-04T05:06:07.000000089Z","url":"http://10.0.0.7:3000/up","host":"app1.example.com","status":301,"grpc":"SERVING","location":"https://app1.example.com/up","body":"\u003cmoved\u003e","error":"cut","cause":"redirect","passed":true,"took":"12ms"}`,
			`{"time":"0001-01-01T00:00:00Z","url":"","host":"","passed":false,"took":"0s"}`,
		},
		{
			parachute.Traffic{Rate: 12.5, ErrorRate: 0.25, P50: 12 * time.Millisecond, P99: time.Second, Waited: 0.5, WaitP99: time.Minute}, parachute.Traffic{},
			`{"requests_per_second":12.5,"error_rate":0.25,"waited":0.5,"p50":"12ms","p99":"1s","wait_p99":"1m0s"}`,
			`{"requests_per_second":0,"error_rate":0,"p50":"0s","p99":"0s"}`,
		},
		{
			unhealthy, parachute.UnhealthyError{},
			`{"host":"app1.example.com","targets":[{"address":"10.0.0.7:3000","probes":31,"last":{"time":"2026-03-04T05:06:07.000000089Z","url":"http://10.0.0.7:3000/up","host":"app1.example.com","status":301,"grpc":"SERVING","location":"https://app1.example.com/up","body":"\u003cmoved\u003e","error":"cut","cause":"redirect","passed":true,"took":"12ms"}},{"address":"10.0.0.8:3000","probes":0}],"waited":"1m30s"}`,
			`{"targets":null,"waited":"0s"}`,
		},
	}
	for _, tt := range tests {
		typ := reflect.TypeOf(tt.value)
		t.Run(typ.Name(), func(t *testing.T) {
			is := is.New(t)
			for _, value := range reflect.ValueOf(tt.value).Fields() {
				is.True(!value.IsZero()) // every field is seen to travel
			}
			out, err := json.Marshal(tt.value)
			is.NoErr(err)
			is.Equal(string(out), tt.wantValue)
			out, err = json.Marshal(tt.zero)
			is.NoErr(err)
			is.Equal(string(out), tt.wantZero)

			back := reflect.New(typ)
			is.NoErr(json.Unmarshal([]byte(tt.wantValue), back.Interface()))
			is.Equal(back.Elem().Interface(), tt.value)
		})
	}
}

func TestStatusTravelsAsJSON(t *testing.T) {
	is := is.New(t)
	status := parachute.Status{
		Service:    "web",
		Generation: 1 << 60, // more than a float64 can tell apart
		State:      parachute.StateFailed,
		Deployment: fullDeployment,
		Rollout:    &parachute.Rollout{Targets: []string{"10.0.0.9:3000"}, Timeouts: parachute.Timeouts{Drain: time.Second}, Split: parachute.Split{Percent: 5, List: []string{"b"}, CookieOnly: true}},
		Pause:      &parachute.Pause{Max: time.Minute, Drain: time.Second},
		Stop:       &parachute.Stop{Message: "moving", Drain: time.Second},
		Error:      "no such certificate",
		Live: &parachute.Live{Since: time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC), Held: 4, Changes: []parachute.Change{{
			Kind:       parachute.EventDraining,
			Generation: 8,
			Since:      time.Date(2026, 3, 4, 5, 6, 0, 0, time.UTC),
			Requests:   5,
			Streams:    6,
		}}, Targets: []parachute.TargetStatus{{
			Address:  "10.0.0.7:3000",
			Health:   parachute.HealthUnhealthy,
			Since:    time.Date(2026, 3, 4, 5, 6, 1, 0, time.UTC),
			Traffic:  parachute.Traffic{Rate: 12.5, ErrorRate: 0.25, P50: 12 * time.Millisecond, P99: time.Second},
			Requests: 3,
			Streams:  2,
			Probe: &parachute.Probe{
				Time:     time.Date(2026, 3, 4, 5, 6, 7, 89, time.UTC),
				Took:     12 * time.Millisecond,
				URL:      "http://10.0.0.7:3000/up",
				Host:     "app1.example.com",
				Status:   301,
				GRPC:     "SERVING",
				Location: "https://app1.example.com/up",
				Body:     "moved",
				Error:    "cut",
				Passed:   true,
			},
		}}},
	}
	out, err := json.Marshal(status)
	is.NoErr(err)
	is.True(strings.Contains(string(out), `"took":"12ms"`)) // a duration three types down is a string too

	var back parachute.Status
	is.NoErr(wire.UnmarshalStrict(out, &back))
	is.Equal(back, status)
}

func TestUnhealthyErrorTravelsAsJSON(t *testing.T) {
	is := is.New(t)
	sent := &parachute.UnhealthyError{
		Waited: 30 * time.Second,
		Targets: []parachute.UnhealthyTarget{
			{Address: "10.0.0.7:3000", Probes: 31, Last: &parachute.Probe{
				URL: "http://10.0.0.7:3000/up", Status: 301, Location: "https://app1.example.com/up",
			}},
			{Address: "10.0.0.8:3000"},
		},
	}
	out, err := json.Marshal(sent)
	is.NoErr(err)

	var back parachute.UnhealthyError
	is.NoErr(wire.UnmarshalStrict(out, &back))
	is.Equal(&back, sent)
	is.Equal(back.Error(), "10.0.0.7:3000 did not become healthy in 30s: "+
		"GET /up answered 301 to https://app1.example.com/up (31 probes); "+
		"10.0.0.8:3000 did not become healthy in 30s: its first probe was not answered") // reads alike on both ends
	is.True(errors.Is(&back, parachute.ErrUnhealthy))
}

func TestConflictErrorTravelsAsJSON(t *testing.T) {
	for _, sent := range []*parachute.ConflictError{
		{Host: "app1.example.com", Owner: "web"},
		{Owner: "web"}, // any host
	} {
		t.Run(sent.Host, func(t *testing.T) {
			is := is.New(t)
			out, err := json.Marshal(sent)
			is.NoErr(err)
			var back parachute.ConflictError
			is.NoErr(wire.UnmarshalStrict(out, &back))
			is.Equal(&back, sent)
			is.True(errors.Is(&back, parachute.ErrConflict))
		})
	}
}

func TestZeroFieldsAreLeftOut(t *testing.T) {
	tests := []struct {
		name  string
		value any
		want  string
	}{
		{"deployment", parachute.Deployment{Service: "web", Targets: []string{"a:1"}}, `{"service":"web","targets":["a:1"]}`},
		{"one check field", parachute.Deployment{HealthCheck: parachute.HealthCheck{Rise: 2}}, `{"service":"","targets":null,"health_check":{"rise":2}}`},
		{"one timeout", parachute.Deployment{Timeouts: parachute.Timeouts{Drain: time.Second}}, `{"service":"","targets":null,"timeouts":{"drain":"1s"}}`},
		{"status without live", parachute.Status{Service: "web", Generation: 7, State: parachute.StateServing,
			Deployment: parachute.Deployment{Service: "web", Targets: []string{"a:1"}}},
			`{"service":"web","generation":7,"state":"serving","deployment":{"service":"web","targets":["a:1"]}}`},
		{"target never probed", parachute.TargetStatus{Address: "a:1", Health: parachute.HealthUnknown},
			`{"address":"a:1","health":"unknown","since":"0001-01-01T00:00:00Z","requests":0,"streams":0,"traffic":{"requests_per_second":0,"error_rate":0,"p50":"0s","p99":"0s"}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			out, err := json.Marshal(tt.value)
			is.NoErr(err)
			is.Equal(string(out), tt.want)
		})
	}
}

func TestUnknownFieldsAreRefusedAtEveryDepth(t *testing.T) {
	deployment := func() any { return new(parachute.Deployment) }
	status := func() any { return new(parachute.Status) }
	tests := []struct {
		name string
		into func() any
		data string // with %s where a field that nobody knows goes
	}{
		{"deployment", deployment, `{"service":"web"%s}`},
		{"health check", deployment, `{"health_check":{"path":"/up","interval":"1s"%s}}`},
		{"timeouts", deployment, `{"timeouts":{"drain":"1s"%s}}`},
		{"status", status, `{"service":"web"%s}`},
		{"deployment of a status", status, `{"deployment":{"service":"web"%s}}`},
		{"timeouts of a status", status, `{"deployment":{"timeouts":{"drain":"1s"%s}}}`},
		{"live", status, `{"live":{"targets":[]%s}}`},
		{"target", status, `{"live":{"targets":[{"address":"a:1"%s}]}}`},
		{"change", status, `{"live":{"changes":[{"kind":"draining"%s}]}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			is := is.New(t)
			is.NoErr(wire.UnmarshalStrict([]byte(strings.ReplaceAll(tt.data, "%s", "")), tt.into())) // fine without it

			err := wire.UnmarshalStrict([]byte(strings.ReplaceAll(tt.data, "%s", `,"nmae":1`)), tt.into())
			is.True(err != nil)
			is.True(strings.Contains(err.Error(), `"nmae"`)) // the message names the field
		})
	}
}

// A newer proxy may tell more.
func TestUnknownFieldsOfWhatIsOnlyToldArePassedOver(t *testing.T) {
	is := is.New(t)
	var s parachute.Status
	is.NoErr(json.Unmarshal([]byte(`{"live":{"mood":1,"targets":[{"mood":1,"probe":{"took":"1s","mood":1},"traffic":{"p50":"2s","mood":1}}]}}`), &s))
	is.Equal(s.Live.Targets[0].Probe.Took, time.Second)
	is.Equal(s.Live.Targets[0].Traffic.P50, 2*time.Second)
	var e parachute.UnhealthyError
	is.NoErr(json.Unmarshal([]byte(`{"waited":"1s","mood":1,"targets":[{"last":{"status":500,"mood":1}}]}`), &e))
	is.Equal(e.Waited, time.Second)
	is.Equal(e.Targets[0].Last.Status, 500)
}

func TestTypeErrorsNameTheFieldByItsJSONName(t *testing.T) {
	for data, field := range map[string]string{
		`{"health_check":{"path":3}}`:     "health_check.path",
		`{"health_check":{"interval":3}}`: "health_check.interval",
		`{"timeouts":{"drain":3}}`:        "timeouts.drain",
	} {
		t.Run(field, func(t *testing.T) {
			is := is.New(t)
			wrong, ok := errors.AsType[*json.UnmarshalTypeError](json.Unmarshal([]byte(data), new(parachute.Deployment)))
			is.True(ok)
			is.Equal(wrong.Field, field) // which the control socket repeats
		})
	}
}

func TestDurationsOfADeploymentNeedAUnit(t *testing.T) {
	for _, data := range []string{
		`{"timeouts":{"drain":30}}`,
		`{"timeouts":{"drain":"30"}}`,
		`{"health_check":{"interval":1}}`,
		`{"health_check":{"timeout":"soon"}}`,
	} {
		t.Run(data, func(t *testing.T) {
			is := is.New(t)
			var d parachute.Deployment
			is.True(json.Unmarshal([]byte(data), &d) != nil)
			is.Equal(d.Timeouts.Drain, time.Duration(0))
		})
	}
}
