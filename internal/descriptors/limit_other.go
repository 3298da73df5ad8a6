//go:build !linux

package descriptors

// Limit returns 0: nothing is known of a limit.
func Limit() int { return 0 }

// AreShort reports false, for nothing is known of a limit.
func AreShort() bool { return false }
