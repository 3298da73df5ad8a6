//go:build !linux

package tcp

import "net"

// inheritKeepAlive leaves it to package net, which sets keep-alives on each connection.
func inheritKeepAlive(*net.ListenConfig) {}
