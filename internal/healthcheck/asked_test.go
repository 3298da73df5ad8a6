package healthcheck_test

import (
	"net/http/httptest"
	"testing"

	"github.com/matryer/is"

	"github.com/shahnk19/parachute/internal/grpc"
	"github.com/shahnk19/parachute/internal/healthcheck"
)

func TestCheckBySomebodyElseIsKnownByWhatItReads(t *testing.T) {
	for _, tt := range []struct {
		path, method, target string
		want                 bool
	}{
		{"/up", "GET", "/up", true},
		{"/up", "HEAD", "/up", true},
		{"/up", "POST", "/up", false},
		{"/up", "GET", "/up?deep", false},
		{"/up?deep", "GET", "/up?deep", true},
		{"/up", "GET", "/upper", false},
		{"/", "GET", "/", false},               // visitors read it too
		{"/?health", "GET", "/?health", false}, // likewise
	} {
		t.Run(tt.method+" "+tt.target, func(t *testing.T) {
			is := is.New(t)
			h := healthcheck.Settings{Path: tt.path}
			is.Equal(h.IsGet(httptest.NewRequest(tt.method, "http://app.test/", nil), tt.target), tt.want)
		})
	}
}

func TestCallBySomebodyElseIsKnownWhereTargetsAreCalled(t *testing.T) {
	is := is.New(t)
	r := httptest.NewRequest("POST", grpc.HealthPath, nil)
	r.ProtoMajor = 2
	r.Header.Set("Content-Type", grpc.ContentType)
	h := healthcheck.Settings{GRPC: true}
	is.True(h.IsCall(r, grpc.HealthPath))
	is.True(!h.IsCall(r, "/shop.Cart/Add"))
	is.True(!healthcheck.Settings{Path: grpc.HealthPath}.IsCall(r, grpc.HealthPath)) // which is asked by GET
	r.ProtoMajor = 1
	is.True(!h.IsCall(r, grpc.HealthPath)) // which is no call
}
