package control

import (
	"context"
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

// HideSecrets is what is done to services before readers see them.
func HideSecrets(services []parachute.Status) { hideSecrets(services) }

// AsReader returns the context of requests of somebody who may only read.
func AsReader(ctx context.Context, uid int, others ...int) context.Context {
	return context.WithValue(ctx, guestKey{}, &guest{uid, true, others})
}
