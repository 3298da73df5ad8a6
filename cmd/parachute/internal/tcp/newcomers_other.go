//go:build !linux

package tcp

import "syscall"

// ignoreNewcomers reports false: clients that connect while l is closed may be reset.
func ignoreNewcomers(syscall.Conn) bool { return false }
