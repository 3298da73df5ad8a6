package healthcheck

import (
	"net/http"
	"regexp"

	"github.com/shahnk19/parachute/internal/grpc"
)

// A Cause is the reason why a check does not pass, as far as it calls for a remedy of
// its own. There are others for checks that got no answer, which whoever connects to the
// server knows.
type Cause string

const (
	Timeout        Cause = "timeout"         // there was no answer in time
	Malformed      Cause = "malformed"       // the answer is not HTTP
	SpeaksTLS      Cause = "speaks_tls"      // the target expects TLS, and the check did not use it
	Redirect       Cause = "redirect"        // it answered 3xx with a Location
	Unauthorized   Cause = "unauthorized"    // 401
	Forbidden      Cause = "forbidden"       // 403
	NotFound       Cause = "not_found"       // 404
	ServerError    Cause = "server_error"    // 500 to 599
	OtherStatus    Cause = "status"          // another status that does not pass
	NotGRPC        Cause = "not_grpc"        // the answer is not gRPC
	NotServing     Cause = "not_serving"     // the health is something other than SERVING
	NoHealth       Cause = "no_health"       // the server has no grpc.health.v1.Health
	UnknownService Cause = "unknown_service" // it does not know the service that was asked for
)

// CauseOf returns why an answer to c does not pass; "" if it does.
func (c *Check) CauseOf(a Answer) Cause {
	switch {
	case a.Passed:
		return ""
	case !c.IsCall():
		return causeOfStatus(a.Status, a.Location, a.Body)
	case !a.IsGRPC:
		return NotGRPC
	case a.Code != grpc.OK:
		return causeOfCode(a.Code)
	}
	return NotServing
}

// causeOfCode returns the cause for a status code that a gRPC server answered in
// place of its health.
func causeOfCode(code grpc.Code) Cause {
	switch code {
	case grpc.Unimplemented:
		return NoHealth
	case grpc.NotFound:
		return UnknownService
	case grpc.Unauthenticated:
		return Unauthorized
	case grpc.PermissionDenied:
		return Forbidden
	}
	return ServerError
}

func causeOfStatus(status int, location, body string) Cause {
	switch {
	case status == http.StatusBadRequest && wantsTLS.MatchString(body):
		return SpeaksTLS
	case location != "" && 300 <= status && status <= 399:
		return Redirect
	case status == http.StatusUnauthorized:
		return Unauthorized
	case status == http.StatusForbidden:
		return Forbidden
	case status == http.StatusNotFound:
		return NotFound
	case status >= 500:
		return ServerError
	}
	return OtherStatus
}

// wantsTLS matches what net/http, nginx and Apache answer to a plain request on a
// port for TLS.
var wantsTLS = regexp.MustCompile(`(?i)(HTTP request to an HTTPS server|HTTP request was sent to HTTPS port|speaking plain HTTP to an SSL-enabled)`)
