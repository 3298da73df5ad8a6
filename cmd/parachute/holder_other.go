//go:build !linux

package main

import "net/netip"

// holder would name the process that listens at an address; here that cannot be
// seen.
func holder(string, netip.AddrPort) string { return "" }
