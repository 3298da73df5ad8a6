//go:build !linux

package main

import "net/netip"

// socketOwner would name the process that listens at an address; here that cannot be
// seen.
func socketOwner(string, netip.AddrPort) string { return "" }
