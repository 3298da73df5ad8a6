package control

import (
	"net/http"
	"time"

	"github.com/shahnk19/parachute"
	"github.com/shahnk19/parachute/internal/hostname"
)

func (c *handlers) certificates(w http.ResponseWriter, r *http.Request) {
	certificates := c.proxy.Certificates()
	if certificates == nil {
		certificates = []parachute.Certificate{}
	}
	c.writeKnown(w, "certificates", certificates)
}

// certificateState returns the Result.Certificate of a service.
func (c *handlers) certificateState(service string) CertificateState {
	s, err := c.proxy.Service(service)
	if err != nil {
		return ""
	}
	return certificateStateOf(s.Deployment.Hosts, c.proxy.CertificatesOf(service), time.Now())
}

// certificateStateOf is certificateState for those hosts. certificates has an
// entry for each of them with TLS, even if its certificate is not there yet.
func certificateStateOf(hosts []string, certificates []parachute.Certificate, now time.Time) CertificateState {
	valid := make(map[string]bool, len(certificates)) // by host with TLS
	for _, c := range certificates {
		valid[c.Host] = c.Issuer != "" && now.Before(c.Expires)
	}
	var state CertificateState
	for _, host := range hosts {
		switch ready, secure := valid[host]; {
		case secure && !ready:
			return CertificatePending
		case secure:
			state = CertificateReady
		}
	}
	return state
}

// canonicalHosts returns the hosts in canonical form, which events have. It leaves
// out invalid ones, which cannot be deployed.
func canonicalHosts(hosts []string) map[string]bool {
	canonical := make(map[string]bool, len(hosts))
	for _, host := range hosts {
		if name, err := hostname.ParsePattern(host); err == nil {
			canonical[name] = true
		}
	}
	return canonical
}
