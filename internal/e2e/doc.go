// Package e2e holds no code: its tests run the binary itself between real
// clients and a real certificate authority, Pebble. It is a module of its own,
// so that what they need is no dependency of the proxy.
package e2e
