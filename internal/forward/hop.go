package forward

import (
	"net/http"
	"slices"
	"strings"

	"github.com/shahnk19/parachute/internal/field"
)

// hopHeader lists the proxies that a request has passed, the last one at the end.
// It goes on whoever sent it: a loop may lead through somebody who is not trusted,
// and what a stranger writes there can only keep a request of his own from going
// on.
const hopHeader = "X-Parachute-Hop"

// maxHops bounds the list, in bytes: some forty proxies.
const maxHops = 1 << 10

// HasPassed reports whether a request with the header h has passed before who goes
// by the name in hop, a list of one.
func HasPassed(h http.Header, hop []string) bool {
	for _, list := range h[hopHeader] {
		for passed := range field.Elements(list) {
			if slices.Contains(hop, passed) {
				return true
			}
		}
	}
	return false
}

// setHop says that the request has passed hop, a list of one, or none.
func (o *outgoingHeader) setHop(r *http.Request, hop []string) {
	before := r.Header[hopHeader]
	switch {
	case len(hop) == 0:
	case len(before) == 0:
		o.header[hopHeader] = hop
	default:
		o.set(hopHeader, appendHop(before, hop[0]))
	}
}

// appendHop returns the list of what was passed before, and hop. Where that is
// too long the oldest are left out, so that hop itself is seen again in any case.
func appendHop(before []string, hop string) string {
	list := strings.Join(before, ", ") + ", " + hop
	if over := len(list) - maxHops; over > 0 {
		_, list, _ = strings.Cut(list[max(0, over-len(", ")):], ", ")
	}
	return list
}
