// Package endpoint parses the addresses of targets.
package endpoint

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/shahnk19/parachute/internal/hostname"
)

// An Endpoint is where a target is and what is spoken there.
type Endpoint struct {
	Scheme  string // "http", "https" or "h2c"
	Network string // "tcp" or "unix"
	Address string // host:port, or the path of a socket
}

// Parse parses a target: host:port, http://host:port or unix:/path, where HTTP/1.1
// is spoken, https://host:port or h2c://host:port. The error tells what to write
// instead.
func Parse(target string) (Endpoint, error) {
	if path, ok := strings.CutPrefix(target, "unix:"); ok {
		if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
			return Endpoint{}, fmt.Errorf("target %q: want an absolute path, as in unix:/run/web.sock", target)
		}
		return Endpoint{"http", "unix", path}, nil
	}
	scheme, address, ok := strings.Cut(target, "://")
	switch {
	case !ok:
		scheme, address = "http", target
	case scheme != "http" && scheme != "https" && scheme != "h2c":
		return Endpoint{}, fmt.Errorf("target %q has an unknown scheme: want host:port alone, https://host:port or h2c://host:port", target)
	}
	if err := checkAddress(target, address); err != nil {
		return Endpoint{}, err
	}
	return Endpoint{scheme, "tcp", address}, nil
}

// Distinct returns targets in their order, each where it is named first, however it is
// spelled then. It leaves what is no target for Parse to refuse.
func Distinct(targets []string) []string {
	var distinct []string
	var seen []Endpoint
	for _, target := range targets {
		at, err := Parse(target)
		if err == nil && slices.Contains(seen, at) {
			continue
		}
		distinct, seen = append(distinct, target), append(seen, at)
	}
	return distinct
}

// checkAddress returns an error unless address, which is the part of target after
// its scheme, is host:port.
func checkAddress(target, address string) error {
	host, port, err := net.SplitHostPort(address)
	switch {
	case address == "":
		return errors.New("target is empty: want host:port, such as web-1:3000")
	case strings.Contains(address, "/"):
		return fmt.Errorf("target %q has a path: want host:port alone, such as web-1:3000", target)
	case err != nil && strings.Count(address, ":") > 1:
		return fmt.Errorf("target %q: an IPv6 address stands in brackets, as in [::1]:3000", target)
	case err != nil || port == "":
		return fmt.Errorf("target %q has no port: want host:port, such as web-1:3000", target)
	case host == "" || !hostname.IsHostHeader(host):
		return fmt.Errorf("target %q has no host name: want host:port, such as web-1:3000", target)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("target %q: port %q is not between 1 and 65535", target, port)
	}
	return nil
}

// WithoutScheme returns a target without its scheme, if it has one.
func WithoutScheme(target string) string {
	if _, address, ok := strings.Cut(target, "://"); ok {
		return address
	}
	return target
}

// IsUnix reports whether e is a unix socket.
func (e Endpoint) IsUnix() bool { return e.Network == "unix" }

// Place returns e without its scheme: where it is, whatever is spoken there.
func (e Endpoint) Place() Endpoint {
	e.Scheme = ""
	return e
}

// HostPort returns the host and the port of e, or "" and 0 of a unix socket.
func (e Endpoint) HostPort() (host string, port uint16) {
	if e.IsUnix() {
		return "", 0
	}
	host, digits, _ := net.SplitHostPort(e.Address)
	n, _ := strconv.ParseUint(digits, 10, 16)
	return host, uint16(n)
}

// Name returns the host of e if it is a name, which has to be looked up.
func (e Endpoint) Name() (name string, ok bool) {
	host, _ := e.HostPort()
	if _, err := netip.ParseAddr(host); err == nil || host == "" {
		return "", false
	}
	return host, true
}

// WithPort returns e at another port. A unix socket has none and stays as it is.
func (e Endpoint) WithPort(port int) Endpoint {
	if host, _ := e.HostPort(); host != "" {
		e.Address = net.JoinHostPort(host, strconv.Itoa(port))
	}
	return e
}
