package issuer

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/shahnk19/parachute/internal/hostname"
)

// CheckName returns nil if a public authority may issue a certificate for name,
// a host in canonical form, by the challenges that an Issuer answers. Otherwise
// the error says which certificate is not to be had so.
func CheckName(name string) error {
	_, isWildcard := hostname.CutWildcard(name)
	_, err := netip.ParseAddr(name)
	switch {
	case isWildcard:
		return errors.New("a certificate for a wildcard is not to be had automatically")
	case err == nil:
		return errors.New("a certificate for an address is not to be had automatically")
	case !strings.Contains(name, "."):
		return errors.New("a certificate for a name of one label is not to be had automatically")
	}
	return nil
}
