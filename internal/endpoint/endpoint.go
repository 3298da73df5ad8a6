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
	"unicode"
	"unicode/utf8"

	"github.com/shahnk19/parachute/internal/hostname"
)

// An Endpoint is where a target is and what is spoken there.
type Endpoint struct {
	Scheme  string // "http", "https" or "h2c"
	Network string // "tcp", "unix" or "handler"
	Address string // host:port, the path of a socket, or the name of a handler
}

// Parse parses a target: host:port, http://host:port, unix:/path or handler:name,
// where HTTP/1.1 is spoken, https://host:port or h2c://host:port. The error tells what to write
// instead.
func Parse(target string) (Endpoint, error) {
	if path, ok := strings.CutPrefix(target, "unix:"); ok {
		if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
			return Endpoint{}, fmt.Errorf("target %q: want an absolute path, as in unix:/run/web.sock", target)
		}
		return Endpoint{"http", "unix", path}, nil
	}
	if name, ok := strings.CutPrefix(target, "handler:"); ok && !isPort(name) {
		if name == "" || strings.ContainsFunc(name, func(c rune) bool { return c == utf8.RuneError || !unicode.IsGraphic(c) || unicode.IsSpace(c) }) {
			return Endpoint{}, fmt.Errorf("target %q: want the name of a handler, as in handler:web", target)
		}
		return Endpoint{"http", "handler", name}, nil
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

// Distinct returns targets in their order and without repetitions. Two spellings of one
// target are a repetition; the first one stays. What is no target stays too, for Parse
// to refuse.
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
	if !isPort(port) {
		return fmt.Errorf("target %q: port %q is not between 1 and 65535", target, port)
	}
	return nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// IsUnix reports whether e is a unix socket.
func (e Endpoint) IsUnix() bool { return e.Network == "unix" }

// IsHandler reports whether e is a handler in this process.
func (e Endpoint) IsHandler() bool { return e.Network == "handler" }

// Place returns e without its scheme: where it is, whatever is spoken there.
func (e Endpoint) Place() Endpoint {
	e.Scheme = ""
	return e
}

// HostPort returns the host and the port of e, or "" and 0 where there is neither.
func (e Endpoint) HostPort() (host string, port uint16) {
	if e.Network != "tcp" {
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

// WithPort returns e at another port. What has none stays as it is, and so does e if
// port is 0.
func (e Endpoint) WithPort(port int) Endpoint {
	if host, _ := e.HostPort(); host != "" && port != 0 {
		e.Address = net.JoinHostPort(host, strconv.Itoa(port))
	}
	return e
}

// Authority returns what a client of e that knows no other name of it sends as Host.
func (e Endpoint) Authority() string {
	if e.Network != "tcp" {
		return "localhost"
	}
	return e.Address
}

// URL returns the URL of a request target at e.
func (e Endpoint) URL(requestTarget string) string {
	scheme := "http"
	if e.Scheme == "https" {
		scheme = "https"
	}
	return scheme + "://" + e.Authority() + requestTarget
}
