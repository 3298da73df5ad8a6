//go:build nodrain

package gate

const drainsWait = false
