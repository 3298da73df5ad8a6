package forward

import (
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"

	"github.com/shahnk19/parachute/internal/field"
)

// hopHeader is the field that lists the proxies that a request has passed, the last
// one at the end. It is passed on even if the peer is not trusted: a loop may lead
// through such a peer, and a client that forges it only stops its own request.
const hopHeader = "X-Parachute-Hop"

// maxHops is how many bytes the list may have, which is some forty proxies.
const maxHops = 1 << 10

// NewHop returns a name for a proxy, as the one element of a slice: a random one.
func NewHop() []string { return []string{fmt.Sprintf("%016x", rand.Uint64())} }

// HopOf returns the name of a proxy, as hop has it, for the requests of one service.
// It differs between services, for the app of one may send a request to another and
// copy the header of its own request.
func HopOf(hop []string, service string) []string {
	sum := fnv.New32a()
	io.WriteString(sum, service)
	return []string{fmt.Sprintf("%s-%08x", hop[0], sum.Sum32())}
}

// HasPassed reports whether a request with the header h has already passed the proxy
// whose name is the one element of hop.
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

// setHop appends hop, which has one element or none, to the proxies that the request has
// passed before.
func (o *outgoingHeader) setHop(before, hop []string) {
	switch {
	case len(hop) == 0:
	case len(before) == 0:
		o.header[hopHeader] = hop
	default:
		o.set(hopHeader, appendHop(before, hop[0]))
	}
}

// appendHop returns the list of before and hop. If it is too long, the oldest
// proxies are left out, so that hop itself is recognized in any case.
func appendHop(before []string, hop string) string {
	list := strings.Join(before, ", ") + ", " + hop
	if over := len(list) - maxHops; over > 0 {
		_, list, _ = strings.Cut(list[max(0, over-len(", ")):], ", ")
	}
	return list
}
