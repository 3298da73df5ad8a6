//go:build !linux

package socket

// Unsent returns how much of what was written to a socket its peer has not taken
// yet: nobody knows.
func Unsent(uintptr) int { return 0 }
