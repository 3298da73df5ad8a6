//go:build !linux

package upstream

// unsent returns how much of what was written to a socket its peer has not taken
// yet: nobody knows.
func unsent(uintptr) int { return 0 }
