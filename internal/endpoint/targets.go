package endpoint

import (
	"errors"
	"fmt"
)

// A Target is an Endpoint and how it was spelled.
type Target struct {
	Endpoint
	Given string
}

// ParseAll parses several targets, as Parse does each.
func ParseAll(targets []string) ([]Target, error) {
	var all []Target
	for _, given := range targets {
		at, err := Parse(given)
		if err != nil {
			return nil, err
		}
		all = append(all, Target{at, given})
	}
	return all, nil
}

// Check returns an error if targets do not suit a deployment. With calls, their health
// is asked for by gRPC: each must speak HTTP/2. Unless port is 0, it is asked for at
// that port: each must have ports. With secure, there are rules for their certificates:
// one of them must have a certificate.
func Check(targets []Target, calls bool, port int, secure bool) error {
	hasPortless, hasSecure := false, false
	for _, t := range targets {
		if calls && t.Scheme == "http" {
			return fmt.Errorf("target %s: a gRPC health check takes HTTP/2: name it h2c://web-1:3000, or https://web-1:3000 if it speaks TLS, or check it without gRPC", t.Given)
		}
		hasPortless = hasPortless || t.Network != "tcp"
		hasSecure = hasSecure || t.Scheme == "https"
	}
	switch {
	case hasPortless && port != 0:
		return fmt.Errorf("health check port %d: a target on a unix socket has no port, nor has a handler", port)
	case secure && !hasSecure:
		return errors.New("target TLS: none of the targets is an https:// one")
	}
	return nil
}
