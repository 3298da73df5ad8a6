//go:build !linux || (!amd64 && !arm64) || race

package socket

import "syscall"

// receive reads from a socket what is there.
func receive(fd uintptr, p []byte) (int, error) { return syscall.Read(int(fd), p) }

// send writes as much as a socket takes.
func send(fd uintptr, p []byte) (int, error) { return syscall.Write(int(fd), p) }

// peek is receive, but leaves what is there.
func peek(fd uintptr, p []byte) (int, error) {
	n, _, err := syscall.Recvfrom(int(fd), p, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return n, err
}
