//go:build !linux || (!amd64 && !arm64) || race

package tcp

import "syscall"

// readNow reads from a socket what is there.
func readNow(fd uintptr, p []byte) (int, error) { return syscall.Read(int(fd), p) }

// writeNow writes as much as a socket takes.
func writeNow(fd uintptr, p []byte) (int, error) { return syscall.Write(int(fd), p) }
