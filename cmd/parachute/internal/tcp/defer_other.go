//go:build !linux

package tcp

import "syscall"

// deferAccept does nothing: clients are accepted as they come.
func deferAccept(syscall.Conn, bool) {}
