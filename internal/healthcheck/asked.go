package healthcheck

import (
	"net/http"
	"strings"

	"github.com/shahnk19/parachute/internal/field"
	"github.com/shahnk19/parachute/internal/grpc"
)

// IsGet reports whether r, which asks for target, looks like a check by somebody else,
// such as a load balancer in front: it reads exactly what h does. The front page does
// not count, since visitors read it too.
func (h Settings) IsGet(r *http.Request, target string) bool {
	path, _, _ := strings.Cut(h.Path, "?")
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && target == h.Path && path != "/"
}

// IsCall is IsGet for a check by a gRPC call, which asks for the health of any service.
func (h Settings) IsCall(r *http.Request, target string) bool {
	return h.GRPC && target == grpc.HealthPath && field.IsCall(r)
}
