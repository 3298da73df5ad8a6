package healthcheck_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/grpc"
	"github.com/shahnk19/parachute/internal/healthcheck"
)

func TestSettingsHaveDefaults(t *testing.T) {
	is := is.New(t)
	s, err := healthcheck.Settings{}.Normalize()
	is.NoErr(err)
	is.Equal(s, healthcheck.Settings{Path: "/up", Status: "200-299", Interval: time.Second, Timeout: 5 * time.Second, Rise: 1, Fall: 1})
	s, err = healthcheck.Settings{GRPC: true, Rise: 3}.Normalize()
	is.NoErr(err)
	is.Equal(s, healthcheck.Settings{GRPC: true, Interval: time.Second, Timeout: 5 * time.Second, Rise: 3, Fall: 1})
}

func TestSettingThatCannotBeIsNamed(t *testing.T) {
	for _, tt := range []struct {
		settings healthcheck.Settings
		want     string
	}{
		{healthcheck.Settings{GRPC: true, Path: "/up"}, "has neither"},
		{healthcheck.Settings{GRPC: true, Status: "204"}, "has neither"},
		{healthcheck.Settings{GRPCService: "web"}, "ask for a gRPC health check, too"},
		{healthcheck.Settings{GRPC: true, GRPCService: "\xff"}, "1024 bytes of UTF-8"},
		{healthcheck.Settings{GRPC: true, GRPCService: strings.Repeat("x", 1025)}, "1024 bytes of UTF-8"},
		{healthcheck.Settings{Headers: []string{"X-Probe"}}, "want NAME: VALUE"},
		{healthcheck.Settings{Headers: []string{"Host: x"}}, "want NAME: VALUE"},
		{healthcheck.Settings{Status: "ok"}, `status "ok"`},
		{healthcheck.Settings{Path: "up"}, "begins with '/'"},
		{healthcheck.Settings{Path: "/up now"}, "as in /up%20now"},
		{healthcheck.Settings{Port: -1}, "port -1"},
		{healthcheck.Settings{Port: 65536}, "port 65536"},
		{healthcheck.Settings{Host: "a b"}, `host "a b"`},
		{healthcheck.Settings{Interval: -1}, "want more than 0"},
		{healthcheck.Settings{Timeout: -1}, "want more than 0"},
		{healthcheck.Settings{Rise: -1}, "want at least 1"},
		{healthcheck.Settings{Fall: -1}, "want at least 1"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			is := is.New(t)
			_, err := tt.settings.Normalize()
			is.True(err != nil)
			is.True(strings.Contains(err.Error(), tt.want)) // err.Error()
		})
	}
}

func TestAnswerThatDoesNotPassHasItsCause(t *testing.T) {
	get := healthcheck.Get("a.test", "/up", http.Header{}, 200, 299, time.Second)
	call := healthcheck.Call("a.test", "", http.Header{}, time.Second)
	for _, tt := range []struct {
		check  *healthcheck.Check
		answer healthcheck.Answer
		want   healthcheck.Cause
	}{
		{get, healthcheck.Answer{Status: 200, Passed: true}, ""},
		{get, healthcheck.Answer{Status: 400, Body: "Client sent an HTTP request to an HTTPS server.\n"}, healthcheck.SpeaksTLS},
		{get, healthcheck.Answer{Status: 400, Body: "no"}, healthcheck.OtherStatus},
		{get, healthcheck.Answer{Status: 300, Location: "/x"}, healthcheck.Redirect},
		{get, healthcheck.Answer{Status: 399, Location: "/x"}, healthcheck.Redirect},
		{get, healthcheck.Answer{Status: 301}, healthcheck.OtherStatus},
		{get, healthcheck.Answer{Status: 201, Location: "/x"}, healthcheck.OtherStatus},
		{get, healthcheck.Answer{Status: 401}, healthcheck.Unauthorized},
		{get, healthcheck.Answer{Status: 403}, healthcheck.Forbidden},
		{get, healthcheck.Answer{Status: 404}, healthcheck.NotFound},
		{get, healthcheck.Answer{Status: 499}, healthcheck.OtherStatus},
		{get, healthcheck.Answer{Status: 500}, healthcheck.ServerError},
		{call, healthcheck.Answer{Status: 200}, healthcheck.NotGRPC},
		{call, healthcheck.Answer{IsGRPC: true, Code: grpc.Unimplemented}, healthcheck.NoHealth},
		{call, healthcheck.Answer{IsGRPC: true, Code: grpc.NotFound}, healthcheck.UnknownService},
		{call, healthcheck.Answer{IsGRPC: true, Code: grpc.Unauthenticated}, healthcheck.Unauthorized},
		{call, healthcheck.Answer{IsGRPC: true, Code: grpc.PermissionDenied}, healthcheck.Forbidden},
		{call, healthcheck.Answer{IsGRPC: true, Code: 13}, healthcheck.ServerError},
		{call, healthcheck.Answer{IsGRPC: true, Code: grpc.OK}, healthcheck.NotServing},
	} {
		t.Run(string(tt.want), func(t *testing.T) {
			is.New(t).Equal(tt.check.CauseOf(tt.answer), tt.want)
		})
	}
}
