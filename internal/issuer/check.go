package issuer

import (
	"errors"
	"net/netip"
	"strings"

	"github.com/shahnk19/parachute/internal/hostname"
)

// CheckName returns nil if an Issuer can obtain a certificate for name, a host in
// canonical form, from a public authority; for a wildcard, if it can set TXT records.
// Otherwise the error says why not.
func CheckName(name string) error {
	of, _ := hostname.CutWildcard(name)
	_, err := netip.ParseAddr(name)
	switch {
	case err == nil:
		return errors.New("a certificate for an address cannot be obtained automatically")
	case !strings.Contains(of, "."):
		return errors.New("a certificate for a name of one label cannot be obtained automatically")
	}
	return nil
}
