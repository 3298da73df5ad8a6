package hostname

import (
	"cmp"
	"strconv"
)

// Ports has the ports at which clients reach a proxy. 0 stands for one that is not known.
type Ports struct {
	HTTP    int
	HTTPS   int
	Assumed int // for https, where HTTPS is not known and a client came over http
}

// Of returns the port at which a client reaches URLs of a scheme, "http" or "https", as
// [Origin] takes it. told is what a proxy in front says, which goes before p; 0 is
// nothing. Where neither knows, it is the port in host, which is the Host header of the
// client's request, unless that came over the other scheme.
func (p Ports) Of(scheme string, told int, host string, isOther bool) string {
	known, standard := p.HTTP, 80
	if scheme == "https" {
		known, standard = p.HTTPS, 443
	}
	port := cmp.Or(told, known)
	switch {
	case port == 0 && !isOther:
		return Port(host)
	case port == 0:
		port = p.Assumed
	}
	if port == standard {
		return ""
	}
	return strconv.Itoa(port)
}
