//go:build !linux

package main

import "net/netip"

// socketOwner returns "": on this system, the owner of a socket cannot be found
// out.
func socketOwner(string, netip.AddrPort) string { return "" }
