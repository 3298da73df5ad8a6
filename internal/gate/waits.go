//go:build !nodrain

package gate

// drainsWait is false only in a binary that internal/e2e/soak has to find out: there,
// a Drain waits for nobody.
const drainsWait = true
