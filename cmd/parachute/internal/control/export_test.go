package control

import (
	"net"
	"time"

	"github.com/shahnk19/parachute"
)

// BindPrivate is how a socket is bound, before it is widened.
func BindPrivate(path string) (*net.UnixListener, error) { return bindPrivate(path) }

// CertificateStateOf is what Result.Certificate says of those hosts.
func CertificateStateOf(hosts []string, certificates []parachute.Certificate, now time.Time) CertificateState {
	return certificateStateOf(hosts, certificates, now)
}
