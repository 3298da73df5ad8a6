//go:build !linux

package tcp

import "syscall"

// ignoreNewcomers does nothing: clients that connect while l is closed may be reset.
func ignoreNewcomers(syscall.Conn) {}
