//go:build !linux

package tcp

import "net"

// inheritOptions leaves it to package net, which sets them on each connection.
func inheritOptions(*net.TCPListener) {}
