package control

import (
	"fmt"

	"github.com/shahnk19/parachute"
)

// trustChange says whom the service will believe what a request has been through, if a
// deploy of d changes that, and how to keep it; else it returns "". An operator should
// not have to find that out by its effects: the application sees other addresses, and
// one that insists on TLS may redirect its visitors in circles.
func (c *handlers) trustChange(d parachute.Deployment) string {
	s, err := c.proxy.Service(d.Service)
	before, next := s.Deployment.Forwarded.Trust, d.Forwarded.Trust
	if err != nil || before == next {
		return ""
	}
	return fmt.Sprintf("the X-Forwarded headers of %s are believed now, and no longer those of %s: to keep what was, deploy %s",
		believed(next), believed(before), howToBelieve(before))
}

func believed(t parachute.Trust) string {
	switch t {
	case parachute.TrustEverybody:
		return "everybody"
	case parachute.TrustNobody:
		return "nobody"
	}
	return "the trusted proxies"
}

func howToBelieve(t parachute.Trust) string {
	switch t {
	case parachute.TrustEverybody:
		return "with --forward-headers, or better, name the proxies in front with run --trusted-proxies"
	case parachute.TrustNobody:
		return "with --forward-headers=false"
	}
	return "without --forward-headers"
}
